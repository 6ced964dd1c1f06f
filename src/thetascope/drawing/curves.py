"""What pictures of curves over α share: colours, what is marked beside them, and families of curves, one a layer or parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.layouts import PictureInfo, framed, known_variable
from thetascope.drawing.style import GREY, VERMILION, Bools, html, ink, knots_note, quantities, title_of
from thetascope.errors import ResultError

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from plotly.graph_objects import Figure as PlotlyFigure

BLACK = "#000000"
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", BLACK)
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
"""Colours for colour-blind readers; with the dashes, curves are told apart in grey too."""
PAGE_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
"""The same for plotly."""


@dataclass(frozen=True)
class Family(PictureInfo):
    """Curves ``[C, K]`` of several quantities over rising α, one a label."""

    dim: str
    labels: tuple[str, ...]
    alphas: Floats
    values: dict[str, Floats]
    axis_labels: dict[str, str]
    distance: Floats
    owners: tuple[str, ...]

    def only(self, chosen: Sequence[int]) -> Family:
        """Some of the curves."""
        return replace(
            self,
            labels=tuple(self.labels[i] for i in chosen),
            values={name: values[list(chosen)] for name, values in self.values.items()},
            distance=self.distance[list(chosen)],
            owners=tuple(self.owners[i] for i in chosen),
        )

    def of(self, variable: str | None) -> Family:
        """The curves of one variable, or of all where none is named."""
        return self if variable is None else replace(self, values={variable: self.values[known_variable(variable, self.values)]})

    def owned_by(self, layer: str) -> Family:
        """The curves of one layer's parameters."""
        return self.only([i for i, owner in enumerate(self.owners) if owner == layer])

    def named(self, label: str) -> Family:
        """The one curve of that label.

        Raises:
            ResultError: there is none.
        """
        if label not in self.labels:
            raise ResultError(f'no {self.dim} "{label}" in this result; there are: {", ".join(self.labels[:20])}')
        return self.only([self.labels.index(label)])


def family(data: xr.Dataset, dim: str) -> Family:
    """The curves of a result over (`dim`, alpha)."""
    data, axis_labels = data.sortby("alpha"), quantities(data.attrs)
    return Family(
        title=title_of(data.attrs),
        notes=(f"the rest stays final; {knots_note(data.attrs, buffers=dim == 'layer')}",),  # single parameters move no buffers
        dim=dim,
        labels=tuple(map(str, data[dim].values)),
        alphas=data["alpha"].values,
        values={name: data[name].values for name in axis_labels},
        axis_labels=axis_labels,
        distance=data["distance"].values,
        owners=tuple(map(str, data["layer"].values)),
    )


def family_page(found: Family, x_label: str, style: Callable[[int], dict[str, Any]]) -> PlotlyFigure:
    """A page of all variables side by side; `style` is how the curve at that place is drawn and called."""
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=1, cols=len(found.values), subplot_titles=[html(found.axis_labels[name]) for name in found.values])
    for col, curves in enumerate(found.values.values(), 1):
        for i, curve in enumerate(curves):
            trace = Scatter(x=found.alphas, y=curve, mode="lines", legendgroup=str(i), showlegend=col == 1, **style(i))
            figure.add_trace(trace, row=1, col=col)
    figure.update_xaxes(title_text=x_label)
    return framed(figure, found, height=480, margin={"t": 120})


def draw_curve(ax: Axes, alphas: Floats, curve: Floats, **style: Any) -> None:
    """One curve; points that are not finite are marked at the upper edge."""
    ax.plot(alphas, curve, **style)
    mark_at_edge(ax, alphas, ~np.isfinite(curve))


def mark_at_edge(
    ax: Axes, x: Floats, bad: Bools, label: str = "not finite", marker: str = "x", color: str = VERMILION, height: float = 0.97
) -> None:
    """What has no finite value stands at the upper edge, so that it is not overlooked."""
    if bad.any():
        ax.plot(x[bad], np.full(bad.sum(), height), marker, color=color, transform=ax.get_xaxis_transform(), label=label)


def mark_ends(ax: Axes, alphas: Floats) -> None:
    """Thin lines at the first and the last state where α goes beyond them."""
    if alphas.min() < 0 or alphas.max() > 1:
        thin_lines(ax, (0.0, 1.0))


def thin_lines(ax: Axes, places: Sequence[float] | Floats, width: float = 0.7) -> None:
    """Dotted upright lines below all else."""
    for place in places:
        ax.axvline(place, color=GREY, linewidth=width, linestyle=(0, (1, 3)), zorder=0)


def style_of(place: int) -> dict[str, Any]:
    """Colour and dashes of the curve at that place."""
    color = CYCLE[place % len(CYCLE)]
    return {"color": ink() if color == BLACK else color, "linestyle": DASHES[place % len(DASHES)]}


def epoch_axis(ax: Axes, progress: Floats, epochs: Floats) -> None:
    """Epochs of the training along the upper edge, where they rise evenly with the steps."""
    first, last = epochs[0], epochs[-1]
    if first == last or not np.allclose(epochs, first + progress * (last - first), atol=1e-6 * abs(last - first)):
        return
    from matplotlib.ticker import MaxNLocator

    top = ax.secondary_xaxis(
        "top", functions=(lambda p: first + np.asarray(p) * (last - first), lambda e: (np.asarray(e) - first) / (last - first))
    )
    top.xaxis.set_major_locator(MaxNLocator(nbins=9, integer=True))
    top.set_xlabel("epoch of the training, for measured states")
