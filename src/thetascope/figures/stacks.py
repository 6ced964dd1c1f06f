"""Panels below one another, as the figures of paths and of studies have them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from thetascope.figures.style import html

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure


class Labelled(Protocol):
    """A panel, as far as its axis goes."""

    @property
    def label(self) -> str:
        """Of the axis."""
        ...

    @property
    def log(self) -> bool:
        """Whether the axis is logarithmic."""
        ...


P = TypeVar("P", bound=Labelled)


def stacked_page(panels: Sequence[P], x_label: str, traces: Callable[[P, bool], list[Any]]) -> PlotlyFigure:
    """An interactive figure of the panels; `traces` makes those of one, and is told whether it is the first."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.06)
    for row, panel in enumerate(panels, 1):
        for trace in traces(panel, row == 1):
            figure.add_trace(trace, row=row, col=1)
        figure.update_yaxes(title_text=html(panel.label), type="log" if panel.log else "linear", row=row, col=1)
    figure.update_xaxes(title_text=x_label, row=len(panels), col=1)
    return figure
