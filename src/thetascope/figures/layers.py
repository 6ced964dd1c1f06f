"""One layer at a time on its path: all layers in one picture (thesis figure 6.5), or one alone (6.10 to 6.14)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.figures.curves import CYCLE, Family, Floats, draw_curve, family, mark_ends, style_of
from thetascope.figures.legends import heading, legend_text
from thetascope.figures.style import GREY, html

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

    from thetascope.results import Result

NAMED = 12
"""So many layers are named in the legend, those whose curves vary most; more are drawn thin and grey."""


def info(result: Result) -> Family:
    """The layers' curves."""
    return family(result, "layer")


def draw_matplotlib(found: Family, ax: Axes | None = None, variable: str | None = None, layer: str | None = None) -> Axes | Figure:
    """Draw all layers, or only `layer`: all variables side by side in a new figure, or only `variable`; on `ax` one (default: the loss).

    Raises:
        ResultError: there is no such variable or layer.
    """
    shown = found if layer is None else found.named(layer)
    if ax is not None:
        _draw(ax, shown.of(variable or "loss"), variable or "loss")
        ax.set_xlabel("α of the layer")
        ax.legend(title="layer (distance)", fontsize="small")
        return ax
    from thetascope.figures.picture import Picture

    shown = shown.of(variable)
    figure = Picture(figsize=(5.2 * len(shown.values), 4.4), layout="constrained")
    axes = figure.subplots(1, len(shown.values), squeeze=False)[0]
    for name, axis in zip(shown.values, axes, strict=True):
        _draw(axis, shown, name)
        axis.set_xlabel("α of the layer (0: its first values, 1: its last)")
    handles, labels = axes[0].get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside right center", title="layer (distance)", fontsize="small")
    title = shown.title if layer is None else f"{shown.title}: {shown.labels[0]}, distance {shown.distance[0]:.3g}"
    figure.suptitle(f"{title}\n", fontsize="large")
    figure.text(0.5, 0.925, shown.subtitle, ha="center", fontsize="small", color=GREY)
    return figure


def _ranked(curves: Floats) -> list[int]:
    """Layers by how much their curves vary, most first."""
    spread = [np.ptp(curve[np.isfinite(curve)]) if np.isfinite(curve).any() else np.inf for curve in curves]
    return [int(i) for i in np.argsort(spread)[::-1]]


def _draw(ax: Axes, found: Family, variable: str) -> None:
    named = set(_ranked(next(iter(found.values.values())))[:NAMED])
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
    """All variables side by side, or only `variable`; a click on a layer in the legend hides it.

    Raises:
        ResultError: there is no such variable or layer.
    """
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    shown = (found if layer is None else found.named(layer)).of(variable)
    figure = make_subplots(rows=1, cols=len(shown.values), subplot_titles=[html(shown.axis_labels[name]) for name in shown.values])
    for col, name in enumerate(shown.values, 1):
        for i, label in enumerate(shown.labels):
            text: dict[str, Any] = {"name": html(f"{label} ({shown.distance[i]:.3g})"), "legendgroup": str(i), "showlegend": col == 1}
            figure.add_trace(
                Scatter(
                    x=shown.alphas,
                    y=shown.values[name][i],
                    mode="lines",
                    line={"color": CYCLE[i % len(CYCLE)], "dash": ("solid", "dash", "dot", "dashdot", "longdash")[i % 5]},
                    hovertemplate=f"{html(label)}<br>α = %{{x:.3f}}<br>%{{y:.5g}}<extra></extra>",
                    **text,
                ),
                row=1,
                col=col,
            )
    figure.update_xaxes(title_text="α of the layer")
    figure.update_layout(
        title={"text": heading(shown.title, [shown.subtitle])},
        template="plotly_white",
        height=480,
        margin={"t": 120},
    )
    return figure
