"""Scoring units of points in other processes: which worker gets what, and what happens where memory runs out."""

from __future__ import annotations

import math
import uuid
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from thetascope.errors import ClusterError
from thetascope.scoring.clusters.pool import TRIES, Crew, Landed, Pool, Roll, current, told_of
from thetascope.scoring.clusters.tasks import Answer, Handle, Probe, Task, portable
from thetascope.scoring.objective import Objective
from thetascope.scoring.runner import Columns, Here, Place, Request, Scorer, Share, Values

TASK_SECONDS = 5.0
"""About how long a worker works on what it is sent, so that sending costs little; towards the end less, so that all end together."""


Done = tuple[Sequence[Sequence[int]], Columns]


def place_for(objective: Objective) -> Place:
    """Where an objective's points are scored: by the workers of the cluster that is in use, else here."""
    pool = current()
    return Here() if pool is None else Away(pool, objective)


@dataclass(frozen=True)
class _Work:
    """Shares that a worker scores in batches of a size, and how many workers have ended over them."""

    shares: Sequence[Share]
    tries: int = 0
    batch_size: int = 0

    @property
    def rows(self) -> list[int]:
        """The points that are left."""
        return [k for share in self.shares for k in share.left]


class Away:
    """The workers of a pool, for one objective."""

    def __init__(self, pool: Pool, objective: Objective) -> None:
        self.pool, self.workers, self.told = pool, pool.workers, told_of(pool)
        self.roll = Roll(lambda: Probe.of(objective))
        self._objective = objective
        self._sent: Handle | None = None
        self._request: tuple[Request, Handle] | None = None

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
        scorer.notes |= self.roll.notes

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
        return Task(
            self._sent, self._request[1], scorer.engine, work.batch_size, torch.get_num_threads(), [share.left for share in work.shares]
        )

    def _put(self, thing: Any) -> Handle:
        return Handle(uuid.uuid4().hex, self.pool.put(thing))

    def again(self, work: _Work, request: Request, cause: str) -> list[_Work]:
        """What is to do again once a worker has ended over it."""
        tries = work.tries + 1
        if tries >= TRIES:
            points = f"point {work.rows[0]}" if len(work.rows) == 1 else f"points {work.rows[0]} to {work.rows[-1]}"
            what = f"{points} of {len(request.points)} ({', '.join(request.dims)})"
            raise ClusterError(f"{tries} workers of {self.pool.name} ended while they scored {what}; the last: {cause}")
        # one at a time, so that those end no worker that can be scored
        return [_Work([share], tries) for share in work.shares]


class _Round:
    """Units of one request on their way to workers and back."""

    def __init__(self, away: Away, scorer: Scorer, request: Request, units: Sequence[Sequence[int]], seconds: float) -> None:
        self._away, self._scorer, self._request, self._seconds = away, scorer, request, seconds
        self._waiting, self._again = deque(units), deque[_Work]()
        self._crew = Crew[_Work](away.pool, len(units))
        self._each = 0.0
        """Seconds a unit, as the last worker had it."""
        self.give_up = self._crew.give_up

    @property
    def is_over(self) -> bool:
        """Whether everything has come."""
        return not (self._again or self._waiting or self._crew.is_busy)

    @property
    def _batch_size(self) -> int:
        return self._scorer.objective.batches.batch_size

    def sent(self) -> Iterator[Done]:
        """Give each worker that is free something to do; what is known already needs none."""
        while self._crew.idle and (self._again or self._waiting):
            if self._again:
                work = self._again.popleft()
            else:
                work = self._away.next_work(self._scorer, self._request, self._waiting, self._seconds, self._each)
            if work.rows:
                work = replace(work, batch_size=self._batch_size)
                task = self._away.task(self._scorer, self._request, work)
                self._crew.send(partial(self._ask, task), work)
            else:
                yield from self._finished(work, [[] for _ in work.shares])

    def _ask(self, task: Task, worker: int) -> Any:
        return self._away.pool.score(worker, task)

    def landed(self) -> Iterator[Done]:
        """Wait for workers, and take what they answer."""
        for one in self._crew.landed():
            if one.answer is None:
                self._away.roll.forget(one.worker)
                self._again.extend(self._away.again(one.work, self._request, one.cause))
            else:
                yield from self._taken(one, one.answer)

    def _taken(self, one: Landed[_Work], answer: Answer) -> Iterator[Done]:
        if answer.error is not None:
            raise answer.error
        same = one.work.batch_size == self._batch_size
        if answer.problem is not None:
            if same:  # else another worker has said so already
                self._scorer.halve(answer.problem)
            self._again.append(one.work)
            return
        self._away.roll.look(one.worker, answer.probe)
        self._scorer.notes |= {name: value for name, value in answer.notes.items() if name == "fell_back"}
        for key, losses in answer.losses.items():
            self._scorer.objective.cache.keep_losses(key, losses)
        self._each = answer.seconds / sum(len(share.units) for share in one.work.shares)
        yield from self._finished(one.work, answer.values, remembered=same)

    def _finished(self, work: _Work, values: Sequence[Sequence[Values]], *, remembered: bool = True) -> Iterator[Done]:
        for share, scored in zip(work.shares, values, strict=True):
            yield share.units, self._scorer.columns_of(self._request, share, scored, remembered=remembered)
