"""What follows from recorded states alone as work for a Job: no model, no data, nothing is scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import xarray as xr
from numpy.typing import ArrayLike

from thetascope.experiments.framework.plan import Plan
from thetascope.experiments.framework.source import Source, Variables
from thetascope.experiments.framework.timing import Expected
from thetascope.progress import LONG_SECONDS, duration, progress_bar, say
from thetascope.results.filled import Filled
from thetascope.results.store import Block, Store
from thetascope.scoring.cache import FirstPoint
from thetascope.scoring.fast.choice import Engine
from thetascope.scoring.oracle import EagerBackend
from thetascope.state import State

NOTHING_SCORED = "nothing is scored: the states alone are measured"


class Measurement(Protocol):
    """What is measured on states, in a number of reads of them."""

    @property
    def reads(self) -> int:
        """How many there are."""
        ...

    def seconds(self) -> float:
        """About how long it takes."""
        ...

    def measured(self, advance: Callable[[int], None]) -> tuple[Variables, Mapping[str, Any]]:
        """Variables and attributes; `advance` is told of each read."""
        ...


@dataclass(eq=False)
class StatesSource(Source):
    """States to measure.

    Args:
        title: one line for people.
        recorded: the states.
        measurement: what is measured on them.
        settings: everything that decides what is measured.
        labels: coordinates, those of the dimensions too.
        attrs: what else the result should say.
    """

    title: str
    recorded: Sequence[State]
    measurement: Measurement
    settings: Mapping[str, Any]
    labels: Variables = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    coords: Mapping[str, ArrayLike] = field(default_factory=dict)

    def engine(self, name: str) -> Engine:
        """None that computes, whatever is asked for beside it."""
        return Engine(EagerBackend, NOTHING_SCORED)

    def states(self) -> Sequence[State]:
        """All of them."""
        return self.recorded

    def first_point(self) -> FirstPoint:
        """There is none."""
        return FirstPoint((), 0, 0.0)

    def recheck(self, store: Filled) -> FirstPoint:
        """The states are those of the fingerprint, to the last bit, and all follows from them."""
        return self.first_point()

    def blocks(self, first: FirstPoint, engine: Engine) -> Sequence[Block]:
        """Nothing is stored piece by piece."""
        return []

    def fill(self, store: Store, engine: Engine, first: FirstPoint, *, progress: bool) -> Mapping[str, Any]:
        """Measure, unless that is stored."""
        if self._is_done(store.data):
            return {}
        seconds = self.measurement.seconds() if progress else 0.0
        shown, count = progress and seconds > LONG_SECONDS, len(self.recorded)
        say(f"{self.title}: {count:,} states to read, about {duration(seconds)}", shown=shown)
        with progress_bar("reading", self.measurement.reads, shown=shown) as advance:
            variables, attrs = self.measurement.measured(advance)
        store.add(variables, attrs)
        return {}

    def plan(self, stored: xr.Dataset | None, engine: Engine) -> Plan:
        """A few states are read to tell how long it takes; memory is bounded, whatever the states' number and size."""
        count = len(self.recorded)
        if stored is not None and self._is_done(stored):
            return Plan(self.title, 0, 0, "states", count, Expected(0.0, 0.0, 0.0, ""), 0, NOTHING_SCORED, None)
        seconds = self.measurement.seconds()
        time = Expected(seconds, seconds, seconds / count, "measured on a few")
        return Plan(self.title, count, count, "states", 0, time, 0, NOTHING_SCORED, None)

    @staticmethod
    def _is_done(data: xr.Dataset) -> bool:
        """Whether the variables are there: they are added at once."""
        return bool(data.data_vars)
