"""What is scored at a point: quantities of their own, what stands beside them as errors, and how few samples carry a loss."""

from __future__ import annotations

PAIRED = "_excess_se"
"""Behind a metric's name: the standard error of its difference from the reference's."""

TOP_SHARE = 0.01
"""Of the samples: those with the highest losses."""

HEAVY = 0.25
"""Where the top samples carry more than this share of the loss, standard errors are rough, and studies ask a bootstrap."""


def top_count(total: int) -> int:
    """How many samples the top 1 % are."""
    return max(1, round(TOP_SHARE * total))


def is_error(name: str) -> bool:
    """Whether something scored is no quantity of its own but an error, or the difference from the reference."""
    return name in ("loss_standard_error", "excess", "excess_se") or name.endswith(PAIRED)
