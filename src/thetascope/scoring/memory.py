"""Memory that runs out: telling it from other errors, and trying again with half the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from thetascope.errors import ObjectiveError
from thetascope.scoring.protocols import Scorable

Found = TypeVar("Found")

_PHRASES = (
    *("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory"),
    *("bad_alloc", "could not create a memory"),
)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in _PHRASES)


def problem_of(error: BaseException) -> str:
    """The error's first line."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def halve_batches(objective: Scorable, problem: str) -> int:
    """Make the objective's batches half as large from now on; how large they are then.

    Raises:
        ObjectiveError: they hold one sample already, or are the caller's own.
    """
    batches = objective.batches
    rows = batches.known_rows
    size = 0 if rows is None else min(batches.batch_size, rows) // 2
    if size < 1:
        what = "the batches, which are as the data give them," if rows is None else "a batch of one sample"
        raise ObjectiveError(
            f"memory ran out with {what} ({problem}). Score fewer samples or a smaller dtype, give smaller batches, or use a machine with "
            "more memory"
        )
    for each in (batches, objective.calibration):
        each.rebatched(size)
    return size


def halving(objective: Scorable, attempt: Callable[[], Found]) -> Found:
    """What `attempt` returns; where memory runs out, with half the batch, again and again.

    Raises:
        ObjectiveError: memory runs out with one sample too.
    """
    while True:
        try:
            return attempt()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            problem = problem_of(error)
        halve_batches(objective, problem)  # after the error, whose traceback holds tensors, is gone
