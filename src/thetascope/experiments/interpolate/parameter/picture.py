"""Single parameters on their paths: those of a layer in one picture, the more opaque the farther one travelled (thesis
figures 6.6, 6.8), or one closely, loss left and accuracy right (6.7, 6.9, 6.15 to 6.18)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from thetascope.drawing.curves import Family, draw_curve, family, family_page, mark_ends
from thetascope.drawing.layouts import new_axes
from thetascope.drawing.style import BLUE, GREY, VERMILION, html
from thetascope.errors import ResultError

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

FAINTEST = 0.25


def info(data: xr.Dataset) -> Family:
    """The parameters' curves."""
    return family(data, "parameter")


def draw_matplotlib(
    found: Family, ax: Axes | None = None, variable: str | None = None, layer: str | None = None, parameter: str | None = None
) -> Axes | Figure:
    """Draw one `variable` (default: the loss) on `ax` or in a new figure: a panel a layer, or one `layer`.

    One `parameter` is drawn closely, in a new figure with all variables side by side where none is named.
    """
    if parameter is not None:
        return _closely(found.named(parameter).of(variable), ax)
    variable, layers = variable or "loss", list(dict.fromkeys(found.owners))
    found = found.of(variable)
    if layer is not None and layer not in layers:
        raise ResultError(f'no parameters of the layer "{layer}" in this result; there are: {", ".join(layers)}')
    if ax is not None:
        _draw_family(ax, found if layer is None else found.owned_by(layer), variable, found.distance.max())
        return ax
    return _panels(found, layers if layer is None else [layer], variable)


def _panels(found: Family, layers: list[str], variable: str) -> Figure:
    columns = min(len(layers), 3)
    rows, farthest = -(-len(layers) // columns), found.distance.max()
    figure, axes = new_axes(max(6.4, 3.9 * columns), 1.2 + 2.9 * rows, rows, columns)
    for axis, layer in zip(axes, layers, strict=False):
        part = found.owned_by(layer)
        _draw_family(axis, part, variable, farthest)
        axis.set_title(f"{layer}: {len(part.labels)} parameter{'s' if len(part.labels) != 1 else ''}", fontsize="medium")
    for axis in axes[len(layers) :]:
        axis.set_visible(False)
    note = f"{found.notes[0]}; the more opaque, the farther travelled (at most {farthest:.3g})"
    figure.suptitle(f"{found.title}\n{note}", fontsize="medium")
    return figure


def _opacity(distance: float, farthest: float) -> float:
    return FAINTEST + (1 - FAINTEST) * (distance / farthest if farthest > 0 else 0.0)


def _draw_family(ax: Axes, found: Family, variable: str, farthest: float) -> None:
    for i in np.argsort(found.distance):
        draw_curve(ax, found.alphas, found.values[variable][i], color=BLUE, alpha=_opacity(found.distance[i], farthest), linewidth=1.2)
    _finish(ax, found, variable)


def _finish(ax: Axes, found: Family, variable: str) -> None:
    mark_ends(ax, found.alphas)
    ax.set_xlabel("α of the parameter")
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
    figure, axes = new_axes(4.2 * len(found.values), 3.6, columns=len(found.values))
    for axis, (name, curves) in zip(axes, found.values.items(), strict=True):
        draw_curve(axis, found.alphas, curves[0], color=BLUE if name == "loss" else VERMILION, marker=".", markersize=4)
        _finish(axis, found, name)
    figure.suptitle(f"{found.labels[0]}, distance {found.distance[0]:.3g}\n{found.notes[0]}", fontsize="medium")
    return figure


def draw_plotly(found: Family, variable: str | None = None, layer: str | None = None, parameter: str | None = None) -> PlotlyFigure:
    """All curves of the chosen variable, layer or parameter, the more opaque the farther one travelled; names on hovering."""
    shown = (found if parameter is None else found.named(parameter)).of(variable)
    shown, farthest = shown if layer is None else shown.owned_by(layer), float(found.distance.max())

    def style(i: int) -> dict[str, object]:
        hover = f"{html(shown.labels[i])}, distance {shown.distance[i]:.3g}<br>α = %{{x:.3f}}<br>%{{y:.6g}}<extra></extra>"
        opacity = _opacity(float(shown.distance[i]), farthest)
        return {"name": html(shown.labels[i]), "line": {"color": BLUE}, "opacity": opacity, "hovertemplate": hover}

    figure = family_page(shown, "α of the parameter", style)
    for col, values in enumerate(shown.values.values(), 1):  # plotly's axis would go from 0 to twice as much, beyond an accuracy of 1
        finite = values[np.isfinite(values)]
        if finite.size and np.ptp(finite) == 0:
            room = 0.01 * abs(float(finite[0])) or 0.01
            figure.update_yaxes(range=[float(finite[0]) - room, float(finite[0]) + room], row=1, col=col)
    for end in (0.0, 1.0):
        figure.add_vline(x=end, line_width=1, line_dash="dot", line_color=GREY)
    return figure
