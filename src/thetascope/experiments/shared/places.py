"""Where recorded states are beside a path, by place and by clock: their share of the way, and their share of the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.moments import clock_of, moment_of
from thetascope.drawing.spec import Line
from thetascope.drawing.style import GREY, check_holds
from thetascope.experiments.framework.phrases import number, percent

if TYPE_CHECKING:
    import xarray as xr

STRAIGHT = 1e-4
"""Of the line's length: a training that stays so near to it went along it."""
ON_CURVE = "nearest place on the path"
ON_LINE = "share of the way"


def place_of(data: xr.Dataset) -> tuple[Floats, str]:
    """Where on the path of a result each recorded state is, and what that is called; nan where it is not known.

    Raises:
        ResultError: the result does not hold it.
    """
    curved = data.attrs["degree"] > 1
    name = "nearest" if curved else "share"
    check_holds(data, (name, "off_line"), "a path and the states beside it")
    return np.asarray(data[name].values, np.float64), ON_CURVE if curved else ON_LINE


def by_clock(x: Floats, values: Floats, told: Sequence[str], **style: Any) -> Line:
    """What states score over their share of the steps, beside the same by place."""
    look: dict[str, Any] = {
        "dash": "dot",
        "width": 0.8,
        "marker": "circle",
        "face": "white",
        "size": 4,
        "color": GREY,
        "level": 1.5,
        **style,
    }
    said = [f"by clock: {text}" for text in told]
    return Line(x=x, y=np.where(np.isfinite(values), values, np.nan), label="measured, by clock", told=said, hover="%{y:.5g}", **look)


def most_off(data: xr.Dataset) -> float:
    """The largest distance of a state off the straight line, in lengths of the line; nan where that is not known."""
    length, off = data.attrs.get("distance", np.nan), data["off_line"].values
    return float(np.nanmax(off)) / length if length > 0 and np.isfinite(off).any() else np.nan


def way_sentences(data: xr.Dataset) -> list[str]:
    """Whether the training went along the line, and how its pace differs from an even one."""
    share, progress, off = data["share"].values, data["progress"].values, most_off(data)
    if not np.isfinite(off):
        return []
    if off <= STRAIGHT:
        told = f"The training went along the straight line: no state lies off it by more than {100 * STRAIGHT:g} % of its length."
    else:
        at = int(np.nanargmax(data["off_line"].values))
        told = f"The training left the straight line by up to {percent(off)} of its length, at {_when(data, at)}."
    ahead, clock = share - progress, clock_of(data.attrs)
    if clock == "state" or not np.isfinite(ahead).any():  # nobody knows when the states were
        return [told]
    far = int(np.nanargmax(np.abs(ahead)))
    if abs(ahead[far]) < 0.1:
        return [told, f"It went at an even pace: its share of the way and its share of the {clock}s differ by less than 10 %."]
    return [
        told,
        f"It did not go at an even pace: at {_when(data, far)}, after {percent(float(progress[far]))} of the {clock}s, it had done "
        f"{percent(float(share[far]))} of the way.",
    ]


def middle_sentence(data: xr.Dataset) -> str:
    """The path and the training beside each other where the training was nearest to the middle of the path."""
    place, called = place_of(data)
    actual = data["actual_loss"].values
    known = np.isfinite(place) & np.isfinite(actual)
    inside = known & (place > 0) & (place < 1)
    if not inside.any():
        return ""
    at = int(np.argmin(np.where(inside, np.abs(place - 0.5), np.inf)))
    order = np.argsort(data["alpha"].values)
    path = float(np.interp(place[at], data["alpha"].values[order], data["loss"].values[order]))
    return (
        f"Of the recorded states that of {_when(data, at)} is nearest to the middle of the path ({called} {place[at]:.2f}): the path has a "
        f"loss of {number(path)} there, and the state itself {number(actual[at])}."
    )


def _when(data: xr.Dataset, k: int) -> str:
    return moment_of({name: data[name].values[k] for name in ("step", "epoch", "state") if name in data.variables})
