"""What is scored at a point: quantities of their own, and the errors and differences that stand beside them."""

from __future__ import annotations

PAIRED = "_excess_se"
"""Behind a metric's name: the standard error of its difference from the reference's."""


def is_error(name: str) -> bool:
    """Whether something scored is no quantity of its own but an error, or the difference from the reference."""
    return name in ("loss_standard_error", "excess", "excess_se") or name.endswith(PAIRED)
