"""Which of the recorded states to keep: evenly spread, the first and the last always among them."""

from __future__ import annotations


def stride_for(last: int, limit: int | None) -> int:
    """The smallest power of two such that the states kept up to ordinal `last` number at most `limit`.

    Ordinals count the records from 0. Kept are the multiples of the stride and `last` itself. The stride never
    shrinks as `last` grows, so a state that was dropped is never wanted again.
    """
    stride = 1
    while limit is not None and 1 + last // stride + (last % stride != 0) > limit:
        stride *= 2
    return stride


def is_kept(ordinal: int, last: int, limit: int | None) -> bool:
    """Whether the state `ordinal` is kept once `last` is the newest one."""
    return ordinal == last or ordinal % stride_for(last, limit) == 0
