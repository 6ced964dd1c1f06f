"""How long scoring takes, told before it begins: measured on a few of the points, scored the way that all will be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from thetascope.progress import duration
from thetascope.scoring.runner import Pace, Request, Runner

PATIENCE_SECONDS = 60.0
"""Where full passes over the points of one unit would take longer than this, nothing is measured before something is said."""


@dataclass(frozen=True, eq=False)
class Remaining:
    """What is left of a request: its units, and how many points there are. `least` may be enough where cells are estimated."""

    request: Request
    units: Sequence[Sequence[int]]
    left: int
    least: int

    @property
    def moves(self) -> bool:
        """Whether there are points beside stored states, which the oracle scores whatever the engine."""
        some = [unit[len(unit) // 2] for unit in self.units[:: max(1, len(self.units) // 8)]]
        return not all(self.request.points.is_stored(k) for k in some)


@dataclass(frozen=True)
class Expected:
    """How long it takes: at least and in all, and for each point; on how many that was measured.

    `most`: it takes less, because full passes were measured and layers are shared.
    """

    least: float
    seconds: float
    each: float
    measured_on: str
    most: bool = False

    def __str__(self) -> str:
        if self.least < self.seconds:
            return f"{duration(self.least)} to {duration(self.seconds)}"
        return f"{'at most' if self.most else 'about'} {duration(self.seconds)}"


def expected(runner: Runner, works: Sequence[Remaining], oracle: float, *, fast: bool, stored: bool) -> Expected:
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
        least, most = (oracle * sum(counts) for counts in zip(*((work.least, work.left) for work in works), strict=True))
        return Expected(least, most, oracle, "measured on one", most=fast and largest is not None)
    # each request of its own: what an earlier experiment scored is known
    paces = [runner.pace(work.request, work.units, stored=stored) if work in moving else _of_states(runner, work, oracle) for work in works]
    least = sum(pace.of(work.least) for work, pace in zip(works, paces, strict=True))
    most = sum(pace.of(work.left) for work, pace in zip(works, paces, strict=True))
    return Expected(least, most, most / count, "measured on a few")


def _of_states(runner: Runner, work: Remaining, oracle: float) -> Pace:
    """How long stored states take, of which some are known."""
    return Pace(each=oracle * runner.unknown(work.request, chain.from_iterable(work.units)) / max(1, work.left))
