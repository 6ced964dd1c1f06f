"""Single parameters on their paths: those of a layer in one picture, the more opaque the farther one travelled (thesis
figures 6.6, 6.8), or one closely, loss left and accuracy right (6.7, 6.9, 6.15 to 6.18)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from thetascope.errors import ResultError
from thetascope.figures.curves import Family, draw_curve, family, mark_ends
from thetascope.figures.legends import heading
from thetascope.figures.style import BLUE, GREY, VERMILION, html

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

    from thetascope.results import Result

FAINTEST = 0.25


def info(result: Result) -> Family:
    """The parameters' curves."""
    return family(result, "parameter")


def draw_matplotlib(
    found: Family, ax: Axes | None = None, variable: str | None = None, layer: str | None = None, parameter: str | None = None
) -> Axes | Figure:
    """Draw one `variable` (default: the loss) on `ax` or in a new figure: a panel a layer, or one `layer`.

    One `parameter` is drawn closely, in a new figure with all variables side by side where none is named.

    Raises:
        ResultError: there is no such variable, layer or parameter.
    """
    if parameter is not None:
        return _closely(found.named(parameter).of(variable), ax)
    variable = variable or "loss"
    found.of(variable)
    if layer is not None and layer not in found.owners:
        raise ResultError(f'no parameters of the layer "{layer}" in this result; there are: {", ".join(dict.fromkeys(found.owners))}')
    layers = list(dict.fromkeys(found.owners)) if layer is None else [layer]
    if ax is not None:
        chosen = [i for i, owner in enumerate(found.owners) if owner in layers]
        _draw_family(ax, found.only(chosen), variable, found.distance.max())
        ax.set_xlabel("α of the parameter")
        return ax
    return _panels(found, layers, variable)


def _panels(found: Family, layers: list[str], variable: str) -> Figure:
    from thetascope.figures.picture import Picture

    columns = min(len(layers), 3)
    rows = -(-len(layers) // columns)
    figure = Picture(figsize=(max(6.4, 3.9 * columns), 1.2 + 2.9 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, layer in zip(axes, layers, strict=False):
        part = found.only([i for i, owner in enumerate(found.owners) if owner == layer])
        _draw_family(axis, part, variable, found.distance.max())
        axis.set_title(f"{layer}: {len(part.labels)} parameter{'s' if len(part.labels) != 1 else ''}", fontsize="medium")
        axis.set_xlabel("α of the parameter")
    for axis in axes[len(layers) :]:
        axis.set_visible(False)
    figure.suptitle(
        f"{found.title}\n{found.subtitle}; the more opaque, the farther travelled (at most {found.distance.max():.3g})", fontsize="medium"
    )
    return figure


def _opacity(distance: float, farthest: float) -> float:
    return FAINTEST + (1 - FAINTEST) * (distance / farthest if farthest > 0 else 0.0)


def _draw_family(ax: Axes, found: Family, variable: str, farthest: float) -> None:
    for i in np.argsort(found.distance):
        draw_curve(ax, found.alphas, found.values[variable][i], color=BLUE, alpha=_opacity(found.distance[i], farthest), linewidth=1.2)
    mark_ends(ax, found.alphas)
    ax.set_ylabel(found.axis_labels[variable])
    ax.ticklabel_format(axis="y", useOffset=False)


def _closely(found: Family, ax: Axes | None) -> Axes | Figure:
    if ax is not None:
        variable = next(iter(found.values))
        draw_curve(ax, found.alphas, found.values[variable][0], color=BLUE)
        mark_ends(ax, found.alphas)
        ax.set_xlabel(f"α of {found.labels[0]}")
        ax.set_ylabel(found.axis_labels[variable])
        return ax
    from thetascope.figures.picture import Picture

    figure = Picture(figsize=(4.2 * len(found.values), 3.6), layout="constrained")
    for axis, (name, curves) in zip(figure.subplots(1, len(found.values), squeeze=False)[0], found.values.items(), strict=True):
        draw_curve(axis, found.alphas, curves[0], color=BLUE if name == "loss" else VERMILION, marker=".", markersize=4)
        mark_ends(axis, found.alphas)
        axis.set_xlabel("α of the parameter")
        axis.set_ylabel(found.axis_labels[name])
        axis.ticklabel_format(axis="y", useOffset=False)
    figure.suptitle(f"{found.labels[0]}, distance {found.distance[0]:.3g}\n{found.subtitle}", fontsize="medium")
    return figure


def draw_plotly(found: Family, variable: str | None = None, layer: str | None = None, parameter: str | None = None) -> PlotlyFigure:
    """All curves of the chosen variable, layer or parameter, the more opaque the farther one travelled; names on hovering.

    Raises:
        ResultError: there is no such variable or parameter.
    """
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    shown = (found if parameter is None else found.named(parameter)).of(variable)
    if layer is not None:
        shown = shown.only([i for i, owner in enumerate(shown.owners) if owner == layer])
    farthest = float(found.distance.max())
    figure = make_subplots(rows=1, cols=len(shown.values), subplot_titles=[html(shown.axis_labels[name]) for name in shown.values])
    for col, name in enumerate(shown.values, 1):
        for i, label in enumerate(shown.labels):
            figure.add_trace(
                Scatter(
                    x=shown.alphas,
                    y=shown.values[name][i],
                    mode="lines",
                    name=html(label),
                    legendgroup=str(i),
                    showlegend=col == 1,
                    line={"color": BLUE},
                    opacity=_opacity(float(shown.distance[i]), farthest),
                    hovertemplate=f"{html(label)}, distance {shown.distance[i]:.3g}<br>α = %{{x:.3f}}<br>%{{y:.6g}}<extra></extra>",
                ),
                row=1,
                col=col,
            )
        _around_constant(figure, shown.values[name], col)
    figure.update_xaxes(title_text="α of the parameter")
    figure.update_layout(
        title={"text": heading(shown.title, [shown.subtitle])},
        template="plotly_white",
        height=480,
        margin={"t": 120},
    )
    for end in (0.0, 1.0):
        figure.add_vline(x=end, line_width=1, line_dash="dot", line_color=GREY)
    return figure


def _around_constant(figure: PlotlyFigure, values: NDArray[np.float64], col: int) -> None:
    """An axis close around values that are all one: plotly's would go from 0 to twice as much, beyond what an accuracy can be."""
    finite = values[np.isfinite(values)]
    if finite.size and np.ptp(finite) == 0:
        room = 0.01 * abs(float(finite[0])) or 0.01
        figure.update_yaxes(range=[float(finite[0]) - room, float(finite[0]) + room], row=1, col=col)
