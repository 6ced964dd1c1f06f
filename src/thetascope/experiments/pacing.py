"""How long scoring takes, told before it begins: measured on a few of the points, scored the way that all will be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thetascope.evaluation.engine import Request, Runner

PATIENCE_SECONDS = 60.0
"""Where full passes over the points of one unit would take longer than this, nothing is measured before something is said."""


@dataclass(frozen=True)
class Work:
    """What is left of a request: its units, and how many points there are at most."""

    request: Request
    units: Sequence[Sequence[int]]
    left: int

    @property
    def moves(self) -> bool:
        """Whether there are points beside stored states, which the oracle scores whatever the engine."""
        if not self.units:
            return False
        unit = self.units[len(self.units) // 2]
        return not self.request.points.is_stored(unit[len(unit) // 2])  # the first of a row often is


@dataclass(frozen=True)
class Expected:
    """How long it takes: in all and for each point, and on how many that was measured. `most`: less, where layers are shared."""

    seconds: float
    each: float
    measured_on: str
    most: bool = False


def expected(runner: Runner, works: Sequence[Work], oracle: float, *, fast: bool, stored: bool) -> Expected:
    """How long the works take.

    Args:
        runner: scores; where points are `stored` they are done then.
        works: what is left of each request.
        oracle: how long a full pass takes.
        fast: whether the engine is another than the oracle.
        stored: whether what is scored for it is kept.
    """
    count = sum(work.left for work in works)
    moving = [work for work in works if work.moves]
    largest = max(moving, key=lambda work: work.left, default=None)
    if not fast or largest is None or len(largest.units[0]) * oracle > PATIENCE_SECONDS:
        return Expected(count * oracle, oracle, "measured on one", most=fast and largest is not None)
    pace = runner.pace(largest.request, largest.units, stored=stored)
    seconds = sum(work.left * (pace if work.moves else oracle) for work in works)
    return Expected(seconds, pace, "measured on a few")
