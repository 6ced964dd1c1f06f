"""Scoring units in other processes: which worker gets what, and what happens where one ends, or memory runs out."""

from __future__ import annotations

import math
import uuid
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from thetascope.errors import ClusterError
from thetascope.scoring.clusters.tasks import Answer, Handle, Probe, Task, portable
from thetascope.scoring.objective import Objective
from thetascope.scoring.runner import Columns, Here, Place, Request, Scorer, Share, Values
from thetascope.shown import warn

TASK_SECONDS = 5.0
"""About how long a worker works on what it is sent, so that sending costs little; towards the end less, so that all end together."""

TRIES = 3
"""So many workers may end over the same points, before that is an error."""

START_SECONDS = 60.0
"""How long no worker may be there."""

FAR = 1e-3
"""Values of one state that differ by a larger part of them are no matter of rounding: a worker scores something else."""


Done = tuple[Sequence[Sequence[int]], Columns]


class WorkerLostError(Exception):
    """A worker ended; the message says how."""


class Pool(Protocol):
    """Workers, by number, each with a `thetascope.scoring.clusters.tasks.Worker`."""

    workers: int
    name: str

    def put(self, thing: Any) -> Any:
        """Put something where every worker can fetch it."""
        ...

    def ready(self, worker: int) -> Any:
        """A ticket that is done when the worker is there."""
        ...

    def score(self, worker: int, task: Task) -> Any:
        """A ticket that is done when the worker has answered."""
        ...

    def done(self, tickets: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Those that are done, at the latest after so long."""
        ...

    def answer(self, ticket: Any) -> Answer:
        """What a worker answered.

        Raises:
            WorkerLostError: it has ended.
        """
        ...

    def lacking(self) -> str:
        """What a worker needs, and what there is."""
        ...

    def renew(self, worker: int) -> None:
        """End a worker, whatever it does, and start another in its place."""
        ...


_current: ContextVar[Pool | None] = ContextVar("pool", default=None)


@contextmanager
def used(pool: Pool) -> Iterator[None]:
    """Within it, experiments are scored by these workers."""
    token = _current.set(pool)
    try:
        yield
    finally:
        _current.reset(token)


def place_for(objective: Objective) -> Place:
    """Where an objective's points are scored: by the workers of the cluster that is in use, else here."""
    pool = _current.get()
    return Here() if pool is None else Away(pool, objective)


@dataclass(frozen=True)
class _Work:
    """Shares that a worker scores, and how many workers have ended over them."""

    shares: Sequence[Share]
    tries: int = 0

    @property
    def rows(self) -> list[int]:
        """The points that are left."""
        return [k for share in self.shares for k in share.left]


@dataclass(frozen=True)
class _Flight:
    """What a worker was asked for; no work where it is only to say that it is there."""

    worker: int
    work: _Work | None = None
    batch_size: int = 0


class Away:
    """The workers of a pool, for one objective."""

    def __init__(self, pool: Pool, objective: Objective) -> None:
        self.pool, self.workers = pool, pool.workers
        self.told = f", {self.workers} worker{'s' if self.workers > 1 else ''} of {pool.name}"
        self._objective = objective
        self._sent: Handle | None = None
        self._request: tuple[Request, Handle] | None = None
        self._probes: dict[int, Probe] = {}
        self._lost = 0

    def scored(self, scorer: Scorer, request: Request, units: Sequence[Sequence[int]], seconds: float) -> Generator[Done]:
        """Units as they come from the workers.

        Raises:
            ClusterError: some points end one worker after another, or no worker is there.
        """
        found = _Round(self, scorer, request, units, seconds)
        try:
            while True:
                yield from found.sent()
                if found.is_over:
                    break
                yield from found.landed()
        finally:
            found.give_up()
        if self._probes:
            scorer.notes["workers"] = [{"host": p.host, "device": p.device, "threads": p.threads} for _, p in sorted(self._probes.items())]

    def next_work(self, scorer: Scorer, request: Request, waiting: deque[Sequence[int]], seconds: float, each: float) -> _Work:
        """The next units, about `TASK_SECONDS` of them, fewer towards the end: in one share where they are scored in one walk."""
        wanted = (seconds or TASK_SECONDS) / each if each else 1.0
        count = max(1, min(int(wanted), math.ceil(len(waiting) / (2 * self.workers))))
        units = [waiting.popleft() for _ in range(count)]
        return _Work([scorer.share(request, together) for together in ([units] if seconds else [[unit] for unit in units])])

    def task(self, scorer: Scorer, request: Request, work: _Work) -> Task:
        """What is sent to a worker; the objective and the points are put where it can fetch them."""
        if self._sent is None:
            self._sent = self._put(portable(self._objective))
        if self._request is None or self._request[0] is not request:
            self._request = (request, self._put(request))
        size, threads = scorer.objective.batches.batch_size, torch.get_num_threads()
        return Task(self._sent, self._request[1], scorer.engine, size, threads, [share.left for share in work.shares])

    def _put(self, thing: Any) -> Handle:
        return Handle(uuid.uuid4().hex, self.pool.put(thing))

    def after(self, flight: _Flight, request: Request, cause: str) -> list[_Work]:
        """What is to do again once a worker has ended."""
        self.pool.renew(flight.worker)
        self._probes.pop(flight.worker, None)
        if flight.work is None:
            self._lost += 1
            if self._lost >= TRIES * self.workers:
                raise ClusterError(f"{self._lost} workers of {self.pool.name} ended before they could score anything; the last: {cause}")
            return []
        tries = flight.work.tries + 1
        if tries >= TRIES:
            rows = flight.work.rows
            points = f"point {rows[0]}" if len(rows) == 1 else f"points {rows[0]} to {rows[-1]}"
            what = f"{points} of {len(request.points)} ({', '.join(request.dims)})"
            raise ClusterError(f"{tries} workers of {self.pool.name} ended while they scored {what}; the last: {cause}")
        # one at a time, so that those end no worker that can be scored
        return [_Work([share], tries) for share in flight.work.shares]

    def look(self, worker: int, answer: Answer) -> None:
        """See whether a worker scores what is scored here.

        Raises:
            ClusterError: it has another model, other data, or other values than rounding explains.
        """
        self._lost = 0
        if answer.probe is None:
            return
        here, there = Probe.of(self._objective), answer.probe
        self._probes[worker] = there
        where = f'worker {worker + 1} on "{there.host}" ({there.device})'
        other = [name for name in here.fingerprint if here.fingerprint[name] != there.fingerprint.get(name)]
        if other:
            raise ClusterError(
                f"what arrived at {where} is another {' and '.join(other)} than here: give it the same files and libraries as this machine"
            )
        for name, value in here.values.items():
            found = there.values[name]
            if found == value or (math.isnan(found) and math.isnan(value)):
                continue
            if abs(found - value) > FAR * abs(value):
                raise ClusterError(f"{where} scores {name} {found:.9g} where this process scores {value:.9g} for the same state")
            text = f"{where} scores {name} {found!r} where this process ({here.device}) scores {value!r}: results differ in their last bits"
            warn(text, stacklevel=2)
            return


class _Round:
    """Units of one request on their way to workers and back."""

    def __init__(self, away: Away, scorer: Scorer, request: Request, units: Sequence[Sequence[int]], seconds: float) -> None:
        self._away, self._scorer, self._request, self._seconds = away, scorer, request, seconds
        self._waiting, self._again = deque(units), deque[_Work]()
        self._flying: dict[Any, _Flight] = {}
        self._idle: list[int] = []
        self._each = 0.0
        """Seconds a unit, as the last worker had it."""
        for worker in range(min(away.workers, len(units))):
            self._start(worker)

    @property
    def is_over(self) -> bool:
        """Whether everything has come."""
        return not (self._again or self._waiting or any(flight.work for flight in self._flying.values()))

    @property
    def _batch_size(self) -> int:
        return self._scorer.objective.batches.batch_size

    def sent(self) -> Iterator[Done]:
        """Give each worker that is free something to do; what is known already needs none."""
        while self._idle and (self._again or self._waiting):
            if self._again:
                work = self._again.popleft()
            else:
                work = self._away.next_work(self._scorer, self._request, self._waiting, self._seconds, self._each)
            if work.rows:
                task, worker = self._away.task(self._scorer, self._request, work), self._idle.pop()
                self._flying[self._away.pool.score(worker, task)] = _Flight(worker, work, self._batch_size)
            else:
                yield from self._finished(work, [[] for _ in work.shares])

    def landed(self) -> Iterator[Done]:
        """Wait for workers, and take what they answer."""
        for ticket in self._done():
            flight = self._flying.pop(ticket)
            try:
                answer = self._away.pool.answer(ticket)
            except WorkerLostError as lost:
                self._again.extend(self._away.after(flight, self._request, str(lost)))
                self._start(flight.worker)
                continue
            self._idle.append(flight.worker)
            if flight.work is not None:
                yield from self._taken(flight.worker, flight.work, flight.batch_size, answer)

    def _taken(self, worker: int, work: _Work, batch_size: int, answer: Answer) -> Iterator[Done]:
        if answer.error is not None:
            raise answer.error
        if answer.problem is not None:
            if batch_size == self._batch_size:  # else another worker has said so already
                self._scorer.halve(answer.problem)
            self._again.append(work)
            return
        self._away.look(worker, answer)
        self._scorer.notes |= {name: value for name, value in answer.notes.items() if name == "fell_back"}
        for key, losses in answer.losses.items():
            self._scorer.objective.cache.keep_losses(key, losses)
        self._each = answer.seconds / sum(len(share.units) for share in work.shares)
        yield from self._finished(work, answer.values, remembered=batch_size == self._batch_size)

    def _finished(self, work: _Work, values: Sequence[Sequence[Values]], *, remembered: bool = True) -> Iterator[Done]:
        for share, scored in zip(work.shares, values, strict=True):
            yield share.units, self._scorer.columns_of(self._request, share, scored, remembered=remembered)

    def _start(self, worker: int) -> None:
        self._flying[self._away.pool.ready(worker)] = _Flight(worker)

    def _done(self) -> Sequence[Any]:
        """The tickets that are done; waits for one."""
        pool = self._away.pool
        while True:
            found = pool.done(list(self._flying), START_SECONDS)
            if found:
                return found
            if not any(flight.work for flight in self._flying.values()):
                raise ClusterError(f"no worker of {pool.name} was there within {START_SECONDS:g} s. {pool.lacking()}")

    def give_up(self) -> None:
        """End the workers that still score: nobody waits for it any more."""
        for flight in self._flying.values():
            if flight.work is not None:
                self._away.pool.renew(flight.worker)
