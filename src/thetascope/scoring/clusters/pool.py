"""Workers in other processes, as whatever schedules them offers them: who is free, who has what, and what becomes of one that ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from thetascope.errors import ClusterError
from thetascope.scoring.clusters.tasks import Answer, Assignment, Probe, Task
from thetascope.shown import warn

W = TypeVar("W")

TRIES = 3
"""So many workers may end over the same work, before that is an error."""

START_SECONDS = 60.0
"""How long no worker may be there."""

FAR = 1e-3
"""Values of one state that differ by a larger part of them are no matter of rounding: a worker scores something else."""


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

    def call(self, worker: int, call: Assignment) -> Any:
        """A ticket that is done when the worker has called something."""
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


def current() -> Pool | None:
    """The workers that are in use; None where there are none."""
    return _current.get()


def told_of(pool: Pool) -> str:
    """What a line that says what will be done says of them, behind the device."""
    return f", {pool.workers} worker{'s' if pool.workers > 1 else ''} of {pool.name}"


@dataclass(frozen=True)
class Landed(Generic[W]):
    """What a worker had to do, with its answer; without one it has ended, of some cause."""

    worker: int
    work: W
    answer: Answer | None
    cause: str = ""


class Crew(Generic[W]):
    """Workers at work.

    Args:
        pool: theirs.
        count: how many are wanted.

    Attributes:
        idle: those that wait for work.
    """

    def __init__(self, pool: Pool, count: int) -> None:
        self._pool, self._lost = pool, 0
        self.idle: list[int] = []
        self._flying: dict[Any, tuple[int, W | None]] = {}
        for worker in range(min(pool.workers, count)):
            self._start(worker)

    @property
    def is_busy(self) -> bool:
        """Whether some work is not answered yet."""
        return any(work is not None for _, work in self._flying.values())

    def send(self, ask: Callable[[int], Any], work: W) -> None:
        """Give work to a worker that is idle; `ask` makes the ticket."""
        worker = self.idle.pop()
        self._flying[ask(worker)] = (worker, work)

    def landed(self) -> Iterator[Landed[W]]:
        """Wait for workers; what they answered, or had to do as they ended. Those that ended are replaced.

        Raises:
            ClusterError: no worker is there, or they end before they have anything to do.
        """
        for ticket in self._done():
            worker, work = self._flying.pop(ticket)
            try:
                answer = self._pool.answer(ticket)
            except WorkerLostError as lost:
                self._replace(worker)
                if work is None:
                    self._count(str(lost))
                else:
                    yield Landed(worker, work, None, str(lost))
                continue
            self.idle.append(worker)
            if work is not None:
                self._lost = 0
                yield Landed(worker, work, answer)

    def give_up(self) -> None:
        """End the workers that are at work: nobody waits for it any more."""
        for worker, work in self._flying.values():
            if work is not None:
                self._pool.renew(worker)

    def _start(self, worker: int) -> None:
        self._flying[self._pool.ready(worker)] = (worker, None)

    def _replace(self, worker: int) -> None:
        self._pool.renew(worker)
        self._start(worker)

    def _count(self, cause: str) -> None:
        self._lost += 1
        if self._lost >= TRIES * self._pool.workers:
            raise ClusterError(f"{self._lost} workers of {self._pool.name} ended before they could do anything; the last: {cause}")

    def _done(self) -> Sequence[Any]:
        """The tickets that are done; waits for one."""
        while True:
            found = self._pool.done(list(self._flying), START_SECONDS)
            if found:
                return found
            if not self.is_busy:
                raise ClusterError(f"no worker of {self._pool.name} was there within {START_SECONDS:g} s. {self._pool.lacking()}")


class Roll:
    """Workers that have shown what they are, and that they compute what this process does.

    Args:
        here: what this process is, and computes.
    """

    def __init__(self, here: Callable[[], Probe]) -> None:
        self._here = here
        self._probes: dict[int, Probe] = {}

    @property
    def notes(self) -> dict[str, Any]:
        """What a result says of its workers."""
        seen = [{"host": p.host, "device": p.device, "threads": p.threads} for _, p in sorted(self._probes.items())]
        return {"workers": seen} if seen else {}

    def forget(self, worker: int) -> None:
        """It has ended."""
        self._probes.pop(worker, None)

    def look(self, worker: int, there: Probe | None) -> None:
        """See whether a worker computes what is computed here; a worker shows that once.

        Raises:
            ClusterError: it has another model, other data, or other values than rounding explains.
        """
        if there is None:
            return
        here, self._probes[worker] = self._here(), there
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
