"""One layer at a time on its path: all layers in one picture (thesis figure 6.5), or one alone (6.10 to 6.14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from thetascope.drawing.curves import CYCLE, PAGE_DASHES, Family, draw_curve, family, family_page, mark_ends, style_of
from thetascope.drawing.layouts import new_axes
from thetascope.drawing.legends import legend_text
from thetascope.drawing.style import GREY, html

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

NAMED = 12
"""So many layers are named in the legend, those whose curves vary most; more are drawn thin and grey."""


def info(data: xr.Dataset) -> Family:
    """The layers' curves."""
    return family(data, "layer")


def draw_matplotlib(found: Family, ax: Axes | None = None, variable: str | None = None, layer: str | None = None) -> Axes | Figure:
    """Draw all layers, or only `layer`: all variables side by side in a new figure, or only `variable`; on `ax` one (default: the loss)."""
    shown = found if layer is None else found.named(layer)
    if ax is not None:
        _draw(ax, shown.of(variable or "loss"), variable or "loss")
        ax.set_xlabel("α of the layer")
        ax.legend(title="layer (distance)", fontsize="small")
        return ax
    shown = shown.of(variable)
    figure, axes = new_axes(5.2 * len(shown.values), 4.4, columns=len(shown.values))
    for name, axis in zip(shown.values, axes, strict=True):
        _draw(axis, shown, name)
        axis.set_xlabel("α of the layer (0: its first values, 1: its last)")
    handles, labels = axes[0].get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside right center", title="layer (distance)", fontsize="small")
    title = shown.title if layer is None else f"{shown.title}: {shown.labels[0]}, distance {shown.distance[0]:.3g}"
    figure.suptitle(f"{title}\n", fontsize="large")
    figure.text(0.5, 0.925, shown.notes[0], ha="center", fontsize="small", color=GREY)
    return figure


def _draw(ax: Axes, found: Family, variable: str) -> None:
    finite = [curve[np.isfinite(curve)] for curve in next(iter(found.values.values()))]
    named = np.argsort([np.ptp(curve) if len(curve) else np.inf for curve in finite])[::-1][:NAMED].tolist()
    place = 0
    for i, label in enumerate(found.labels):
        curve = found.values[variable][i]
        if i in named:
            draw_curve(ax, found.alphas, curve, label=legend_text(f"{label} ({found.distance[i]:.3g})"), **style_of(place))
            place += 1
        else:
            ax.plot(found.alphas, curve, color=GREY, linewidth=0.6, alpha=0.6, zorder=1)
    mark_ends(ax, found.alphas)
    ax.set_ylabel(found.axis_labels[variable])


def draw_plotly(found: Family, variable: str | None = None, layer: str | None = None) -> PlotlyFigure:
    """All variables side by side, or only `variable`; a click on a layer in the legend hides it."""
    shown = (found if layer is None else found.named(layer)).of(variable)
    return family_page(
        shown,
        "α of the layer",
        lambda i: {
            "name": html(f"{shown.labels[i]} ({shown.distance[i]:.3g})"),
            "line": {"color": CYCLE[i % len(CYCLE)], "dash": PAGE_DASHES[i % len(PAGE_DASHES)]},
            "hovertemplate": f"{html(shown.labels[i])}<br>α = %{{x:.3f}}<br>%{{y:.5g}}<extra></extra>",
        },
    )
