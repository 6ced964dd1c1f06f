"""Work that is not made of points, item by item: a study's trainings, the blocks of an atlas. By workers where a cluster is in use."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import torch

from thetascope.errors import ClusterError
from thetascope.scoring.clusters.pool import TRIES, Crew, Pool, Roll, current, told_of
from thetascope.scoring.clusters.tasks import Assignment, Handle, Probe

Item = TypeVar("Item")
Found = TypeVar("Found")
Item_contra = TypeVar("Item_contra", contravariant=True)
Found_co = TypeVar("Found_co", covariant=True)


class ItemWork(Protocol[Item_contra, Found_co]):
    """What is done with each item. It travels pickled, without what is of this process alone."""

    def sent(self, item: Item_contra, /) -> Any:
        """What travels for an item, made here."""
        ...

    def __call__(self, sent: Any, /) -> Found_co:
        """Do it."""
        ...

    def probe(self) -> Probe:
        """What computes it, and what it computes for one state that every process has."""
        ...

    def named(self, item: Item_contra, /) -> str:
        """An item in words, for a message."""
        ...


class Apart(Generic[Item, Found]):
    """Items and what was found for them, in any order: of workers where a cluster is in use, else of this process, one after another.

    Attributes:
        told: what is said of the workers behind the device; nothing of this process.
        notes: what a result says of them, once all items are done.
    """

    def __init__(self, work: ItemWork[Item, Found], items: Sequence[Item]) -> None:
        self._work, self._items, self._pool = work, items, current()
        self.told = "" if self._pool is None else told_of(self._pool)
        self.notes: Mapping[str, Any] = {}

    @property
    def is_here(self) -> bool:
        """Whether this process does it."""
        return self._pool is None

    def __iter__(self) -> Iterator[tuple[Item, Found]]:
        """Each item with what was found.

        Raises:
            ClusterError: an item ends one worker after another, or no worker is there.
        """
        if self._pool is None:
            yield from ((item, self._work(self._work.sent(item))) for item in self._items)
        elif self._items:
            yield from self._by(self._pool)

    def _by(self, pool: Pool) -> Iterator[tuple[Item, Found]]:
        work = Handle(uuid.uuid4().hex, pool.put(self._work))
        waiting = deque((item, 0) for item in self._items)
        crew, roll = Crew[tuple[Item, int]](pool, len(waiting)), Roll(self._work.probe)
        try:
            while waiting or crew.is_busy:
                while crew.idle and waiting:
                    item, tries = waiting.popleft()
                    call = Assignment(work, self._work.sent(item), torch.get_num_threads())
                    crew.send(partial(pool.call, call=call), (item, tries))
                for one in crew.landed():
                    item, tries = one.work
                    if one.answer is None:
                        roll.forget(one.worker)
                        if tries + 1 >= TRIES:
                            named = self._work.named(item)
                            raise ClusterError(f"{tries + 1} workers of {pool.name} ended over {named}; the last: {one.cause}")
                        waiting.appendleft((item, tries + 1))
                        continue
                    if one.answer.error is not None:
                        raise one.answer.error
                    roll.look(one.worker, one.answer.probe)
                    yield item, one.answer.found
        finally:
            crew.give_up()
        self.notes = roll.notes
