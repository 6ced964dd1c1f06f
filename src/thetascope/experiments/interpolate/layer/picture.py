"""One layer at a time on its path: all layers in one picture (thesis figure 6.5), or one alone (6.10 to 6.14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from thetascope.drawing.spec import Line, Mark, Panel, Parts, Picture, style_of, unbounded
from thetascope.drawing.style import GREY, quantities, title_of
from thetascope.experiments.interpolate.curves import ends_of, note_of, one_of

if TYPE_CHECKING:
    import xarray as xr

NAMED = 12
"""So many layers are named in a figure's legend, those whose curves vary most; more are drawn thin and grey."""


def picture(data: xr.Dataset, variable: str | None = None, layer: str | None = None) -> Picture:
    """All layers, or only `layer`: all variables side by side, or only `variable`."""
    data = data.sortby("alpha") if layer is None else one_of(data.sortby("alpha"), "layer", layer)
    names, alphas, shown = data["layer"].values.astype(str).tolist(), data["alpha"].values, quantities(data.attrs, variable)
    called = [f"{name} ({distance:.3g})" for name, distance in zip(names, data["distance"].values, strict=True)]
    finite = [curve[np.isfinite(curve)] for curve in data[next(iter(shown))].values]
    named = np.sort(np.argsort([np.ptp(curve) if len(curve) else np.inf for curve in finite])[::-1][:NAMED]).tolist()
    panels = []
    for variable_, label in shown.items():
        curves = data[variable_].values
        marks: list[Mark] = [
            Line(x=alphas, y=curve, label=called[i], about=names[i], layer=names[i], **style_of(named.index(i)))
            if i in named
            else Line(x=alphas, y=curve, label=called[i], about=names[i], layer=names[i], color=GREY, width=0.6, listed=False, level=1)
            for i, curve in enumerate(curves)
        ]
        marks += [unbounded(alphas, curves[i]) for i in named]
        x_label = "α of the layer (0: its first values, 1: its last)"
        panels.append(Panel(name=variable_, marks=[*marks, *ends_of(alphas)], x_label=x_label, y_label=label, hover=HOVER))
    told = "in brackets: the distance that a layer travelled"
    title = title_of(data.attrs) if layer is None else f"{title_of(data.attrs)}: {layer}"
    return Picture(
        title=title, notes=(note_of(data.attrs, buffers=True), told), parts=Parts(parts=panels), width=5.2 * len(panels), height=4.8
    )


HOVER = "α = %{x:.3f}<br>%{y:.5g}"
