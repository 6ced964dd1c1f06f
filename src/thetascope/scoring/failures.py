"""What went wrong in a pass: telling memory that ran out from other errors, and saying of those on what data they happened."""

from __future__ import annotations

import torch

from thetascope.errors import ObjectiveError

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


class StepFailedError(ObjectiveError):
    """The model, the loss or the step raised an error on a batch."""
