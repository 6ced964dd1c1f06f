"""What captions say of how points were scored: what was done with buffers, and how far errors can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thetascope.drawing.moments import is_known, moment_of
from thetascope.quantities import HEAVY

NAMES = 4
"""So many buffers are named."""


def knots_note(attrs: Mapping[str, Any]) -> str:
    """Through which states a path goes, and on how many samples it was scored."""
    return f"{knots_at(attrs['knots'])}; {attrs['samples_scored']:,} samples"


def knots_at(knots: Sequence[Mapping[str, Any]]) -> str:
    """The states that a path passes through, by their steps, or as far as they are known."""
    if all(is_known(knot["step"]) for knot in knots):
        steps = ", ".join(f"{knot['step']:,}" for knot in knots)
        return f"knots at steps {steps}"
    return f"knots at {', '.join(moment_of(knot) for knot in knots)}"


def scored_notes(attrs: Mapping[str, Any], moving: str = "running statistics move along the path", held: str = "last state") -> list[str]:
    """What was done with buffers, and that errors are rough where they are; nothing where there is nothing to say.

    Args:
        attrs: of the result.
        moving: what buffers do under the policy "path".
        held: whose buffers all points have under the policy "final".
    """
    return [note for note in (buffers_note(attrs, moving, held), tails_note(attrs)) if note]


def buffers_note(attrs: Mapping[str, Any], moving: str, held: str, *, were: bool = False) -> str:
    """What was done with floating buffers; nothing where the model has none. With `were` it is a sentence."""
    if not attrs.get("floating_buffers"):
        return ""
    if attrs["buffers"] != "recalibrate":
        return moving if attrs["buffers"] == "path" else f"buffers {'were those ' * were}of the {held}"
    calibration, left = attrs.get("calibration") or {}, list(attrs.get("statistics_left", ()))
    said = (
        [f"running statistics {'were ' * were}estimated anew at each point{_source(attrs, calibration)}"]
        if calibration.get("layers", 1)
        else []
    )
    return "; ".join([*said, *([f"statistics of {_named(left)} are left as they are: not understood"] if left else [])])


def _source(attrs: Mapping[str, Any], calibration: Mapping[str, Any]) -> str:
    """What they were estimated from."""
    if not calibration:
        return ""
    rows, batches, size = (calibration[name] for name in ("rows", "batches", "batch"))
    whole = rows is not None and batches > 1 and batches * size == rows
    cut = f"{batches:,} batch{'es' * (batches != 1)}{f' of {size:,}' if whole else ''}"
    if not attrs.get("calibration_is_own_data"):
        return f" from calibration data ({cut if rows is None else f'{rows:,} rows, {cut}'})"
    return f" from {'' if rows is None else f'{rows:,} of '}the objective's own inputs ({cut})"


def _named(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= NAMES else f"{', '.join(names[:NAMES])} and {len(names) - NAMES} more"


def tails_note(attrs: Mapping[str, Any]) -> str:
    """That few samples carry much of the loss, where they do."""
    share = (attrs.get("reference") or {}).get("top_share")
    if share is None or not share > HEAVY:
        return ""
    return f"the 1 % of the samples with the largest losses carry {100 * share:.0f} % of the loss: standard errors are rough"
