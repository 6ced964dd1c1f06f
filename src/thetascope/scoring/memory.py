"""Memory that runs out: trying again with half the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from thetascope.errors import ObjectiveError
from thetascope.scoring.failures import out_of_memory, problem_of
from thetascope.scoring.protocols import Scorable

Found = TypeVar("Found")


def halve_batches(objective: Scorable, problem: str) -> int:
    """Make the objective's batches half as large from now on; how large they are then.

    Raises:
        ObjectiveError: they hold one sample already, or are the caller's own.
    """
    batches = objective.batches
    rows = batches.known_rows
    size = 0 if rows is None else min(batches.batch_size, rows) // 2
    if objective.fixed:
        raise ObjectiveError(
            f'memory ran out ({problem}), and batches are not cut into smaller ones where a batch is the sample (batches="fixed"). '
            "Make the objective with a smaller batch_size, which is another question, or use a machine with more memory"
        )
    if size < 1:
        what = "the batches, which are as the data give them," if rows is None else "a batch of one sample"
        raise ObjectiveError(
            f"memory ran out with {what} ({problem}). Score fewer samples or a smaller dtype, give smaller batches, or use a machine with "
            "more memory"
        )
    batches.rebatched(size)
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
