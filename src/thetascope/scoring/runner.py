"""The runner: goes through points unit by unit, and hands each finished unit on.

It knows neither results nor files: a `Sink` takes the units, and says which are there already.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from thetascope.geometry.edits import ScalarEdits
from thetascope.geometry.points import PointSet
from thetascope.scoring.arithmetic import arithmetic_of
from thetascope.scoring.failures import out_of_memory, problem_of
from thetascope.scoring.fast.choice import Backend, Engine
from thetascope.scoring.memory import halve_batches
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend

UNIT_SECONDS = 0.5
"""About how long a unit takes: what is lost at most when a run is stopped, against what storing it costs."""

WALK_SECONDS = 4.0
"""About so long the points that share layers are scored in one walk over the data, of which each computes what they share anew."""

SHARING_POINTS = 48
"""So many points make a unit where they share layers, which each unit computes once."""

AHEAD_UNITS, AHEAD_SECONDS = 4, 2.0
"""To tell how long the work takes, so many units, spread over it, are scored before the others, or fewer where those take so long."""

Values = dict[str, float]
Columns = dict[str, list[float]]


@dataclass(frozen=True)
class Request:
    """Points to score, and the labelled dimensions that they fill row by row.

    `prefix` stands before the names of their variables. `as_recorded` scores stored states as they stand, whatever
    the objective says of buffers.
    """

    points: PointSet
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    prefix: str = ""
    as_recorded: bool = False


@dataclass(frozen=True)
class Pace:
    """What was seen of so many `points`: the `seconds` they took, and how many each of the others will take."""

    points: int = 0
    seconds: float = 0.0
    each: float = 0.0

    def of(self, count: int) -> float:
        """How many seconds `count` points take with those that are done."""
        return self.seconds + max(0, count - self.points) * self.each


class Sink(Protocol):
    """Takes finished units."""

    def done(self, prefix: str) -> NDArray[np.bool_]:
        """Which points are there already, flat."""
        ...

    def unit(self, prefix: str) -> int:
        """How many points are stored at once; a divisor of nothing, the last unit of a row may be shorter."""
        ...

    def write(self, prefix: str, start: int, values: Mapping[str, Sequence[float]]) -> None:
        """Take the points from flat index `start` on."""
        ...

    def write_cells(self, prefix: str, cells: Sequence[int], values: Mapping[str, Sequence[float]]) -> None:
        """Take points that lie anywhere."""
        ...


def unit_size(request: Request, seconds: float, *, resident: bool, shares: bool) -> int:
    """How many points make a unit: about `UNIT_SECONDS` of work, more where each unit loads data or computes shared layers anew."""
    least = SHARING_POINTS if shares and shares_layers(request) else (1 if resident else 16)
    wanted = max(1, math.ceil(UNIT_SECONDS / max(seconds, 1e-9)), least)
    return min(request.shape[-1], wanted)


def shares_layers(request: Request) -> bool:
    """Whether the points of a row of the last dimension share tensors, as those do of which one layer moves."""
    points, last = request.points, request.shape[-1]
    if last < 3 or not len(points):
        return False
    names = list({name for state in points.basis for name in state.specs})
    start = (len(points) // last // 2) * last
    rows = (start, start + last // 2)
    same = sum(points.signature(rows[0], name) == points.signature(rows[1], name) for name in names)
    return same > len(names) / 2


def units_of(request: Request, size: int) -> Iterator[range]:
    """All points in units of `size` at most. None crosses a row of the last dimension."""
    last = request.shape[-1]
    for row in range(0, len(request.points), last):
        for start in range(row, row + last, size):
            yield range(start, min(start + size, row + last))


def pending_units(request: Request, sink: Sink) -> Iterator[range]:
    """The units that are not stored yet, each from its first missing point to its last. None crosses a row of the last dimension."""
    done = sink.done(request.prefix)
    for unit in units_of(request, sink.unit(request.prefix)):
        missing = np.flatnonzero(~done[unit.start : unit.stop])
        if len(missing):
            yield unit[int(missing[0]) : int(missing[-1]) + 1]


def stored_key(objective: Objective, request: Request, k: int) -> Hashable:
    """What the values of a point that is a stored state depend on, whatever the engine."""
    return (objective.identity(request.points, k, as_recorded=request.as_recorded), "as stored", *_circumstances(objective, request))


def _circumstances(objective: Objective, request: Request) -> tuple[Hashable, ...]:
    buffers = objective.buffers if not request.as_recorded and objective.replaces_buffers else "as recorded"
    arithmetic = tuple(arithmetic_of(objective.device).items())
    compared = None if objective.compared is None else objective.compared.digest()
    return (buffers, compared, objective.batches.batch_size, torch.get_num_threads(), arithmetic)


@dataclass(frozen=True)
class Share:
    """Units that are scored together: what is known of their points, which are left, and which equal one of those."""

    units: Sequence[Sequence[int]]
    known: dict[int, Values]
    left: list[int]
    alike: dict[int, int]

    @property
    def rows(self) -> list[int]:
        """All their points, in order."""
        return [k for unit in self.units for k in unit]


class Scorer:
    """Scores points of one objective with a backend, in this process. Call it within the model's `running`.

    Attributes:
        objective: what scores.
        engine: how; where memory runs out, it takes fewer rows at a time.
        notes: what the result should say besides: why a backend fell back on the oracle, to how many rows a batch came down.
    """

    def __init__(self, objective: Objective, engine: Engine) -> None:
        self.objective, self.engine = objective, engine
        self.notes: dict[str, Any] = {}
        self._scorer: tuple[Request, Backend] | None = None

    def unknown(self, request: Request, rows: Iterable[int]) -> int:
        """How many of the stored states among these points are still to score."""
        return sum(self._key(request, k) not in self.objective.cache.points for k in rows)

    def share(self, request: Request, units: Sequence[Sequence[int]]) -> Share:
        """What is left to score of these units, which are scored together."""
        cache = self.objective.cache
        keys = self._keys(request, [k for unit in units for k in unit])
        known = {k: cache.points[key] for k, key in keys.items() if key in cache.points}
        left = [k for k in keys if k not in known]
        first_of, alike = dict[Hashable, int](), dict[int, int]()
        if left and isinstance(request.points, ScalarEdits):  # those that go together are known all or scored all
            known = {k: values for k, values in known.items() if request.points.is_stored(k)}
            left = [k for k in keys if k not in known]
        else:  # of points that are the same one is scored
            left = [k for k in left if keys[k] is None or first_of.setdefault(keys[k], k) == k]
            alike = {k: first_of[key] for k, key in keys.items() if k not in known and key is not None}
        if known and cache.fell_back is not None:
            self.notes["fell_back"] = cache.fell_back
        return Share(units, known, left, alike)

    def columns_of(self, request: Request, share: Share, scored: Sequence[Values], *, remembered: bool = True) -> Columns:
        """The values of a share's points, by variable, once those that were left are `scored`; they are `remembered`."""
        known = dict(share.known)
        keys = self._keys(request, share.rows) if share.left else {}  # of the batch size that there was memory for
        for k, values in zip(share.left, scored, strict=True):
            known[k] = values
            if remembered and keys[k] is not None:
                self.objective.cache.remember(keys[k], values)
        known |= {k: known[first] for k, first in share.alike.items()}
        columns: Columns = {}
        for k in share.rows:
            for name, value in known[k].items():
                columns.setdefault(name, []).append(value)
        return columns

    def score(self, request: Request, rows: Sequence[int]) -> list[Values]:
        """Score points in this process, with half the batch where memory runs out, again and again.

        Raises:
            ObjectiveError: memory runs out with one sample too.
        """
        while True:
            try:
                return self.attempt(request, rows)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                problem = problem_of(error)
            self.halve(problem)  # after the error, whose traceback holds tensors, is gone

    def attempt(self, request: Request, rows: Sequence[int]) -> list[Values]:
        """Score points in this process."""
        backend = self._backend(request)
        found = backend.evaluate(rows)
        if backend.fallback is not None:
            self.notes["fell_back"] = self.objective.cache.fell_back = backend.fallback
        return [
            self.objective.scored(request.points, k, sums, as_recorded=request.as_recorded) for k, sums in zip(rows, found, strict=True)
        ]

    def halve(self, problem: str) -> None:
        """Make batches half as large from now on, for memory ran out."""
        self._scorer = None  # what it holds is memory too
        size, settings = halve_batches(self.objective, problem), self.engine.settings
        if settings is not None and settings.rows is not None:
            self.engine = replace(self.engine, settings=replace(settings, rows=min(settings.rows, size)))
        self.notes |= {"batch_size": size, "memory_ran_out": True}

    def take(self, engine: Engine, batch_size: int) -> None:
        """Score with this engine and so many rows a batch from now on."""
        if engine != self.engine or batch_size != self.objective.batches.batch_size:
            self._scorer, self.engine = None, engine
            self.objective.batches.rebatched(batch_size)

    def _keys(self, request: Request, rows: Sequence[int]) -> dict[int, Hashable]:
        """What each point's values depend on, to the last bit: of single edits also which others are scored with it."""
        keys = {k: self._key(request, k) for k in rows}
        if isinstance(request.points, ScalarEdits):  # stacked points decide one another's last bits
            stacked = [k for k in keys if not request.points.is_stored(k)]
            company = hashlib.sha256(repr([keys[k] for k in stacked]).encode()).hexdigest()
            keys |= {k: (keys[k], company) for k in stacked}
        return keys

    def _key(self, request: Request, k: int) -> Hashable:
        """What a point's values depend on, to the last bit; None where the point cannot be told from others."""
        point = self.objective.identity(request.points, k, as_recorded=request.as_recorded)
        if point is None:
            return None
        if request.points.is_stored(k):
            return stored_key(self.objective, request, k)
        engine = self.engine
        return (point, (engine.backend.name, engine.settings, request.as_recorded), *_circumstances(self.objective, request))

    def _backend(self, request: Request) -> Backend:
        if self._scorer is None or self._scorer[0] is not request:
            self._scorer = None  # let go of the last one's tensors first
            engine = self.engine
            scorer = engine.backend(self.objective, request.points, as_recorded=request.as_recorded, settings=engine.settings)
            self._scorer = (request, scorer)
        return self._scorer[1]


class Place(Protocol):
    """Where points are scored: in this process, or in others."""

    workers: int
    told: str
    """What is said of it behind the device, nothing of this process."""

    def scored(
        self, scorer: Scorer, request: Request, units: Sequence[Sequence[int]], seconds: float
    ) -> Generator[tuple[Sequence[Sequence[int]], Columns]]:
        """Some units and their values, again and again, in any order, until all have come.

        `seconds`: units are scored in one walk over the data, of about so long; each for itself where it is 0.
        """
        ...


class Here:
    """This process."""

    workers, told = 1, ""

    def scored(
        self, scorer: Scorer, request: Request, units: Sequence[Sequence[int]], seconds: float
    ) -> Generator[tuple[Sequence[Sequence[int]], Columns]]:
        """In their order: one, then as many at a time as take so long."""
        together, n = 1, 0
        while n < len(units):
            start, share = time.perf_counter(), scorer.share(request, units[n : n + together])
            columns = scorer.columns_of(request, share, scorer.score(request, share.left) if share.left else [])
            if seconds:
                together = max(1, round(seconds * len(share.units) / max(time.perf_counter() - start, 1e-9)))
            yield share.units, columns
            n += len(share.units)


class Runner(Scorer):
    """Scores points and hands them on.

    Args:
        objective: what scores.
        sink: takes finished units.
        engine: how they are scored.
        advance: is told how many points are done.
        place: where they are scored, by default here.
    """

    def __init__(
        self,
        objective: Objective,
        sink: Sink,
        engine: Engine,
        advance: Callable[..., None] = lambda count: None,
        place: Place | None = None,
    ) -> None:
        super().__init__(objective, engine)
        self._sink, self.advance, self.place = sink, advance, place or Here()

    def everything(self, request: Request) -> None:
        """Score all that is not stored yet, unit by unit, or a few units at once where their points share layers."""
        units = list(pending_units(request, self._sink))
        shares = len(units) > 1 and self.engine.backend is not EagerBackend and shares_layers(request)
        with closing(self.place.scored(self, request, units, WALK_SECONDS if shares else 0.0)) as found:
            for done, columns in found:
                start = 0
                for unit in done:
                    part = slice(start, start + len(unit))
                    self._sink.write(request.prefix, unit[0], {name: values[part] for name, values in columns.items()})
                    self.advance(len(unit))
                    start = part.stop

    def cells(self, request: Request, cells: Sequence[int]) -> None:
        """Score these cells: one, then as many at a time as take about `UNIT_SECONDS`, which are stored together."""
        with closing(self.place.scored(self, request, [[cell] for cell in cells], UNIT_SECONDS)) as found:
            for done, columns in found:
                self._sink.write_cells(request.prefix, [cell for (cell,) in done], columns)
                self.advance(len(done))

    def pace(self, request: Request, units: Sequence[Sequence[int]], *, stored: bool) -> Pace:
        """How long points take: a few of the units are scored before the others, and handed on where they are `stored`.

        The first also does what is done once only, and counts where there is no other. Then from the last on: later layers take
        less time, so that more units are seen before the time is up.
        """
        points, seconds, first = 0, 0.0, Pace()
        places = [0, *((2 * n + 1) * len(units) // (2 * AHEAD_UNITS) for n in reversed(range(AHEAD_UNITS)))]
        for n, unit in enumerate(units[k] for k in dict.fromkeys(places)):
            start = time.perf_counter()
            columns = self.columns(request, unit)
            if stored:
                self._sink.write_cells(request.prefix, unit, columns)
                self.advance(len(unit))
            if n == 1:
                points, seconds, first = 0, 0.0, Pace(points, seconds)
            points, seconds = points + len(unit), seconds + time.perf_counter() - start
            if seconds > AHEAD_SECONDS * (1 if n else 5):
                break
        return Pace(first.points + points, first.seconds + seconds, seconds / points / self.place.workers)

    def columns(self, request: Request, rows: Sequence[int]) -> Columns:
        """The values of some points, by variable."""
        ((_, columns),) = self.place.scored(self, request, [rows], 0.0)
        return columns
