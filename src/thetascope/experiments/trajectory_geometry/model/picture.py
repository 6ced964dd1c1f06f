"""The way seen from the straight line, its steps, and how far each layer went, over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.drawing.scales import written
from thetascope.drawing.spec import Form, Line, Panel, Parts, Picture, stacked
from thetascope.drawing.style import BLUE, ORANGE, check_holds, wants_log
from thetascope.experiments.shared.layer_rows import ROWS_NOTE, inches
from thetascope.experiments.trajectory_geometry.panels import Clock, chosen, line_panel, relative_panel, zero

if TYPE_CHECKING:
    import xarray as xr


def picture(data: xr.Dataset, form: Form, variable: str | None = None) -> Picture:
    """The way from the line with time as colour, lengths and turns of the steps, and the layers' relative distances.

    `variable` is one of share, step_length, turning and relative_from_start, drawn alone.
    """
    check_holds(data, ("share", "off_line", "relative_from_start"), "a way")
    clock, attrs = Clock.of(data), data.attrs
    rows = relative_panel(data, clock)
    panels = {
        "share": line_panel(clock, data["share"].values, _off(data)),
        "step_length": _lengths(data, clock),
        "turning": _cosines(data, clock),
        "relative_from_start": rows,
    }
    notes = (f"{data.sizes['state']:,} states of {attrs['parameters']:,} parameters; {told(attrs)}", ROWS_NOTE)
    said: dict[str, Any] = {"title": "The way through parameter space", "notes": notes}
    if variable is not None or form == "axes":
        shown = chosen(variable or "share", panels)
        return Picture(**said, parts=Parts(parts=shown), width=6.4, height=5.2)
    way, lengths, cosines, _ = panels.values()
    texts = rows.y_ticks[1] if rows.y_ticks else ()
    layers = data.sizes["layer"]
    low = min(inches(layers, len(texts)), 0.6 + 0.3 * layers) + 0.6
    above = Parts(parts=[way, stacked([lengths, cosines])], sizes=(1.25, 1))
    return Picture(**said, parts=stacked([above, rows], (5.0, low), shared=False), width=12, height=6.9 + low)


def told(attrs: Any) -> str:
    """The numbers of the whole way, in a line."""
    return f"tortuosity {written(attrs['tortuosity'])}, mean cosine of all pairs of steps {written(attrs['mean_cosine'])}"


def _off(data: xr.Dataset) -> Any:
    chord = data.attrs["chord"]
    return data["off_line"].values / chord if chord > 0 else np.full(data.sizes["state"], np.nan)


def _lengths(data: xr.Dataset, clock: Clock) -> Panel:
    """Of the steps; the first state has none."""
    values = data["step_length"].values[1:]
    line = Line(x=clock.at[1:], y=values, told=clock.told[1:], marker="circle", size=3, color=BLUE)
    return Panel(name="step_length", marks=[line], x_label=clock.label, y_label="length of the step", y_log=wants_log(values), grid=True)


def _cosines(data: xr.Dataset, clock: Clock) -> Panel:
    """Of the steps with the one before, and with what was left to go."""
    kinds = (("turning", "with the step before", BLUE, "circle"), ("heading", "with what was left to go", ORANGE, "diamond"))
    marks = [
        Line(x=clock.at, y=data[name].values, told=clock.told, marker=marker, size=3, color=color, label=label)
        for name, label, color, marker in kinds
    ]
    return Panel(
        name="turning",
        marks=[zero(), *marks],
        x_label=clock.label,
        y_label="cosine of the step",
        y_range=(-1.05, 1.05),
        grid=True,
        legend=True,
    )
