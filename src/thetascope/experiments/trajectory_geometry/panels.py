"""What the pictures of a way are made of: time along an axis and in colours, the way seen from the line, layers as rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats, evenly
from thetascope.drawing.fields import edges
from thetascope.drawing.scales import ROOM, Scale, colors_of, scale_of
from thetascope.drawing.spec import INK, ColorBar, Line, Mark, Panel, Rule
from thetascope.drawing.style import GREY, known_variable
from thetascope.experiments.shared.layer_rows import rows_panel

if TYPE_CHECKING:
    import xarray as xr

COLORS = 24
"""So many colours tell the time of a state."""
TIME = "plasma"
"""The colours of time: others than those of losses, and seen on dark ground."""
COLUMNS = 400
"""So many states at most are columns of an image, evenly chosen."""
FLAT = 0.05
"""Of the chord: an axis of distances off the line goes at least so far, so that rounding is not drawn as a way."""
RELATIVE = "distance from the first state / its length"


@dataclass(frozen=True)
class Clock:
    """When the states were recorded: by steps, or by their order where steps are not known."""

    at: Floats
    label: str
    told: list[str]

    @classmethod
    def of(cls, data: xr.Dataset) -> Clock:
        """Of the states of a result."""
        epochs = data["epoch"].values if "epoch" in data.coords else np.full(data.sizes["state"], np.nan)
        label = "step" if "step" in data.coords else "state"
        at = data[label].values
        told = [f"{label} {t:,}" + (f", epoch {epoch:g}" if np.isfinite(epoch) else "") for t, epoch in zip(at, epochs, strict=True)]
        return cls(np.asarray(at, np.float64), label, told)

    @property
    def scale(self) -> Scale:
        """Of its colours."""
        return scale_of(self.at, bounded=True)


def chosen(variable: str | None, there: dict[str, Any]) -> list[Any]:
    """All panels, or that of one variable.

    Raises:
        ResultError: there is no such variable.
    """
    return list(there.values()) if variable is None else [there[known_variable(variable, there)]]


def line_panel(clock: Clock, share: Floats, off: Floats, hover: str = "share of the way %{x:.3f}<br>off the line %{y:.3g}") -> Panel:
    """The way seen from the straight line between its ends, in lengths of the line; time as colour."""
    colors, scale = colors_of(TIME, COLORS), clock.scale
    places = np.nan_to_num(scale.position(clock.at), nan=0.0)
    bins = np.minimum((places * COLORS).astype(int), COLORS - 1)
    marks: list[Mark] = [Line(x=share, y=off, color=GREY, width=1, hover="", listed=False, label="the way")]
    size = 5.0 if len(share) <= 200 else 3.0
    for place in np.unique(bins).tolist():
        at = np.flatnonzero(bins == place)
        style: dict[str, Any] = {"dash": "", "marker": "circle", "size": size, "color": colors[place], "listed": False, "level": 3}
        marks.append(Line(x=share[at], y=off[at], told=[clock.told[k] for k in at], hover=hover, label="states", **style))
    ends: dict[str, Any] = {"dash": "", "hover": "", "level": 4, "face": "white", "edge": "black", "color": INK}
    marks.append(Line(x=share[:1], y=off[:1], marker="circle", size=8, label="first state", **ends))
    marks.append(Line(x=share[-1:], y=off[-1:], marker="star", size=12, label="last state", **ends))
    marks.append(ColorBar(scale=scale, color_map=TIME, label=clock.label, steady=True))
    return Panel(
        name="share", marks=marks, x_label="share of the way from the first state to the last",
        y_label="distance off the straight line / its length",
        x_range=_room(np.append(share, (0.0, 1.0))), y_range=_room(np.append(off, (0.0, FLAT))), grid=True, legend=True,
    )  # fmt: skip


def _room(values: Floats) -> tuple[float, float]:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return low - ROOM * (high - low), high + ROOM * (high - low)


def relative_panel(data: xr.Dataset, clock: Clock) -> Panel:
    """How far each layer is from its first values, in lengths of these, over time."""
    return over_time(data, clock, "relative_from_start", RELATIVE, "%{z:.4g} of its first length")


def over_time(data: xr.Dataset, clock: Clock, name: str, label: str, hover: str) -> Panel:
    """A variable over (layer, state) as an image."""
    count = data.sizes["state"]
    some = evenly(count, COLUMNS)
    values, at = data[name].values[:, some], clock.at[some]
    layers = data["layer"].values.astype(str)
    told = [[f"{layer}, {clock.told[k]}" for k in some] for layer in layers]
    x = edges(at, at)
    # layers that begin at 0 have no length to compare with, and stay blank
    status = np.where(np.isfinite(values), 1, np.nan)
    axes: dict[str, Any] = {"x_label": clock.label, "x_range": (float(x[0]), float(x[-1]))}
    return rows_panel(data, values, status, x, label, name=name, hover=hover, told=told, **axes)


def zero() -> Rule:
    """Where a cosine is 0."""
    return Rule(at=0.0, upright=False)
