"""What is said of the barrier of a path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thetascope.experiments.framework.phrases import UNKNOWN, give_or_take, number, percent, what_errors

ERRORS = 2.0
"""So many standard errors are no barrier, and no cost."""
SHARE = 0.01
"""Of the gain, which is no barrier."""


def barrier_note(attrs: Mapping[Any, Any]) -> str:
    """The barrier in a few words; nothing where none is known."""
    if attrs.get("has_barrier") is None:
        return ""
    error = attrs["barrier_se"]
    if not attrs["has_barrier"]:
        return "no barrier" if what_errors(error) != UNKNOWN else f"no barrier ({UNKNOWN})"
    return f"a barrier of {give_or_take(attrs['barrier'], error)} at α = {attrs['barrier_at']:.2f} ({what_errors(error)})"


def barrier_sentence(attrs: Mapping[Any, Any], ends: tuple[float, float], highest: float) -> list[str]:
    """What the barrier is, and why it is none; `ends` are the losses there, `highest` the largest loss between them."""
    if attrs.get("has_barrier") is None:
        return []
    height, error, gain = attrs["barrier"], attrs["barrier_se"], attrs["barrier_gain"]
    rises = f"{give_or_take(height, error)}, at α = {attrs['barrier_at']:.2f} ({what_errors(error)})"
    if attrs["has_barrier"]:
        falls = "; no loss on the way is above both ends'" if highest <= max(ends) else ""
        return [f"There is a barrier: the loss rises above the straight line between the ends' losses by up to {rises}{falls}."]
    if height == 0:
        return ["There is no barrier: no loss lies above the straight line between the ends' losses."]
    share = f"{percent(SHARE)} of the gain, {number(SHARE * gain)}" if gain > 0 else "rounding"
    within = f"within two standard errors or {share}" if what_errors(error) != UNKNOWN else f"within {share}"
    return [f"There is no barrier: the loss rises above the straight line between the ends' losses by at most {rises}, which is {within}."]
