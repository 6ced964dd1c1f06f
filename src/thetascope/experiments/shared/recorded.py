"""What recorded states score with the buffers that they were recorded with, where the policy for buffers replaces these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.moments import moments_of
from thetascope.drawing.spec import Line, Mark, unbounded
from thetascope.experiments.framework.phrases import number

if TYPE_CHECKING:
    import xarray as xr

RECORDED = "as recorded"


def recorded_of(data: xr.Dataset, name: str) -> Floats:
    """A value a state; none at all where states were scored as they were recorded anyway."""
    found = data.get(f"{name}_recorded")
    return np.empty(0) if found is None else np.asarray(found.values, np.float64)


def recorded_marks(x: Any, values: Floats, told: Sequence[str], **style: Any) -> list[Mark]:
    """Hollow marks, around those of the same states under the policy."""
    if not len(values):
        return []
    said = [f"{RECORDED}: {text}" for text in told]
    hollow: dict[str, Any] = {"dash": "", "marker": "circle", "face": "none", "size": 7, "level": 3, **style}
    line = Line(x=x, y=np.where(np.isfinite(values), values, np.nan), label=RECORDED, told=said, hover="%{y:.5g}", **hollow)
    return [line, *([] if np.isfinite(values).all() else [unbounded(x, values, f"{RECORDED}: not finite", "cross-thin")])]


def final_value(data: xr.Dataset, name: str, curves: str) -> float:
    """What the final state scores: where curves over α reach it, or as the reference; 0 where it is not known, so that changes are values.

    Args:
        data: over ``parameter`` and ``alpha``.
        name: what was scored.
        curves: the variable that holds it.
    """
    there = data[curves].values[:, data["alpha"].values == 1.0].ravel()
    known = [*there.tolist(), *([(data.attrs.get("reference") or {}).get("loss", np.nan)] if name == "loss" else [])]
    return float(next((value for value in known if np.isfinite(value)), 0.0))


def recorded_sentences(data: xr.Dataset, own_name: str) -> list[str]:
    """How far the buffers that were recorded are from those of the policy, in the loss."""
    if "loss_recorded" not in data:
        return []
    own, recorded = data[own_name].values, data["loss_recorded"].values
    far = np.abs(recorded - own)
    if not np.isfinite(far).any():
        return []
    at = int(np.nanargmax(far))
    return [
        f"With the buffers that were recorded the states score otherwise (hollow marks), most at {moments_of(data, '')[at]}: "
        f"{number(recorded[at])} against {number(own[at])}."
    ]
