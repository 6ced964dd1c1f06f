"""What the figures of layers and of single parameters share: families of curves over α, drawn side by side by metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thetascope.errors import ResultError
from thetascope.figures.style import GREY, VERMILION, buffers_note, ink, quantity_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from thetascope.results import Result

Floats = NDArray[np.float64]

BLACK = "#000000"
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", BLACK)
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
"""Colours for colour-blind readers; with the dashes, curves are told apart in grey too."""


@dataclass(frozen=True)
class Family:
    """Curves ``[C, K]`` of several quantities over α, one a label."""

    title: str
    subtitle: str
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
        """The curves of one variable, or of all where none is named.

        Raises:
            ResultError: there is none.
        """
        if variable is None:
            return self
        if variable not in self.values:
            raise ResultError(f'there is no variable "{variable}"; there are: {", ".join(self.values)}')
        return replace(self, values={variable: self.values[variable]})

    def named(self, label: str) -> Family:
        """The one curve of that label.

        Raises:
            ResultError: there is none.
        """
        if label not in self.labels:
            raise ResultError(f'no {self.dim} "{label}" in this result; there are: {", ".join(self.labels[:20])}')
        return self.only([self.labels.index(label)])


def family(result: Result, dim: str) -> Family:
    """The curves of a result over (`dim`, alpha), α rising."""
    data, attrs = result.data, result.data.attrs
    order = np.argsort(data["alpha"].values)
    names = [name for name in attrs["scored"] if name != "loss_standard_error"]
    labels = tuple(map(str, data[dim].values))
    knots = ", ".join(f"{knot['step']:,}" for knot in attrs["knots"])
    buffers = buffers_note(attrs) if dim == "layer" else ""  # single parameters move none
    return Family(
        title=str(attrs["title"])[0].upper() + str(attrs["title"])[1:],
        subtitle=f"the rest stays final; knots at steps {knots}; {attrs['samples_scored']:,} samples{buffers}",
        dim=dim,
        labels=labels,
        alphas=data["alpha"].values[order],
        values={name: data[name].values[:, order] for name in names},
        axis_labels={name: quantity_label(name, attrs["loss_name"]) for name in names},
        distance=data["distance"].values,
        owners=tuple(map(str, data["layer"].values)),
    )


def draw_curve(ax: Axes, alphas: Floats, curve: Floats, **style: Any) -> None:
    """One curve; points that are not finite are marked at the upper edge."""
    ax.plot(alphas, curve, **style)
    bad = ~np.isfinite(curve)
    if bad.any():
        ax.plot(alphas[bad], np.full(bad.sum(), 0.97), "x", color=VERMILION, transform=ax.get_xaxis_transform(), label="not finite")


def mark_ends(ax: Axes, alphas: Floats) -> None:
    """Thin lines at the first and the last state where α goes beyond them."""
    if alphas.min() < 0 or alphas.max() > 1:
        for end in (0.0, 1.0):
            ax.axvline(end, color=GREY, linewidth=0.7, linestyle=(0, (1, 3)), zorder=0)


def style_of(place: int) -> dict[str, Any]:
    """Colour and dashes of the curve at that place."""
    color = CYCLE[place % len(CYCLE)]
    return {"color": ink() if color == BLACK else color, "linestyle": DASHES[place % len(DASHES)]}
