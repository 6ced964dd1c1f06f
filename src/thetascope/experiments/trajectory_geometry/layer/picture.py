"""The way of each layer by itself: seen from its own line, its relative distance over time, and its share of the squared way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.scales import written
from thetascope.drawing.spec import Bars, Form, Line, Panel, Parts, Picture, style_of
from thetascope.drawing.style import check_holds, one_of
from thetascope.experiments.shared.layer_rows import rows_picture
from thetascope.experiments.trajectory_geometry.panels import FLAT, RELATIVE, Clock, chosen, over_time, relative_panel

if TYPE_CHECKING:
    import xarray as xr

CURVES = 12
"""So many layers at most are drawn as curves; more as the rows of images."""


def picture(data: xr.Dataset, form: Form, variable: str | None = None, layer: str | None = None) -> Picture:
    """All layers, or only `layer`; few as curves, many as the rows of images.

    `variable` is one of share, relative_from_start and, of few layers, squared_share, drawn alone.
    """
    check_holds(data, ("share", "off_line", "relative_from_start"), "the ways of layers")
    data = data if layer is None else one_of(data, "layer", layer)
    clock, title = Clock.of(data), "The way of each layer" + (f": {layer}" if layer is not None else "")
    notes: tuple[str, ...] = (f"{data.sizes['state']:,} states; each layer by itself, seen from its own straight line",)
    if data.sizes["layer"] > CURVES:
        rows = {
            "relative_from_start": relative_panel(data, clock),
            "share": over_time(data, clock, "share", "share of the layer's own way", "%{z:.3f} of its way"),
        }
        shown = chosen(variable, rows)
        return rows_picture(shown[:1] if form == "axes" else shown, form, title, notes, 4.6)
    panels = {"share": _ways(data, clock), "relative_from_start": _relative(data, clock), "squared_share": _shares(data)}
    shown = chosen(variable, panels)
    return Picture(title=title, notes=notes, parts=Parts(parts=shown[:1] if form == "axes" else shown), width=5.0 * len(shown), height=4.8)


def _layers(data: xr.Dataset) -> list[str]:
    return list(data["layer"].values.astype(str))


def _ways(data: xr.Dataset, clock: Clock) -> Panel:
    """A curve a layer, in lengths of its own line; its first state left, its last right."""
    off, share = off_lines(data), data["share"].values
    marks = [
        Line(x=share[i], y=off[i], label=name, about=name, layer=name, told=clock.told, marker="circle", size=3, **style_of(i))
        for i, name in enumerate(_layers(data))
    ]
    top = float(np.nanmax(np.append(off, FLAT)))
    return Panel(
        name="share", marks=marks, x_label="share of the layer's way from its first values to its last",
        y_label="distance off the layer's line / its length", y_range=(-0.05 * top, 1.05 * top), grid=True,
        hover="share of the way %{x:.3f}<br>off the line %{y:.3g}",
    )  # fmt: skip


def off_lines(data: xr.Dataset) -> Floats:
    """Distances off the line in lengths of the line; nan for a layer whose ends are equal."""
    chords = data["from_start"].values[:, -1:]
    off: Floats = np.divide(data["off_line"].values, chords, out=np.full(data["off_line"].shape, np.nan), where=chords > 0)
    return off


def _relative(data: xr.Dataset, clock: Clock) -> Panel:
    marks = [
        Line(x=clock.at, y=values, label=name, about=name, layer=name, told=clock.told, **style_of(i))
        for i, (name, values) in enumerate(zip(_layers(data), data["relative_from_start"].values, strict=True))
    ]
    return Panel(name="relative_from_start", marks=marks, x_label=clock.label, y_label=RELATIVE, grid=True)


def _shares(data: xr.Dataset) -> Panel:
    """Bars a layer, the first at the top."""
    names, shares = _layers(data), np.nan_to_num(data["squared_share"].values)
    texts = [f"tortuosity {written(float(value))}" if np.isfinite(value) else "did not move" for value in data["tortuosity"].values]
    bars = [
        Bars(
            at=[i],
            lengths=[shares[i]],
            texts=[texts[i]],
            color=style_of(i)["color"],
            layer=name,
            about=name,
            listed=False,
            label="share",
            across=True,
            width=0.6,
        )
        for i, name in enumerate(names)
    ]  # fmt: skip
    return Panel(
        name="squared_share", marks=bars, x_label="share of the squared way", hover="%{x:.1%}",
        x_range=(0.0, 1.45 * max(float(shares.max(initial=0.0)), 0.1)), y_range=(len(names) - 0.4, -0.6),
        y_ticks=(list(range(len(names))), names),
    )  # fmt: skip
