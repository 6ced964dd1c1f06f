"""The figures that are made here: they belong to no pyplot, and show themselves in a notebook."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure


class NotebookFigure(Figure):
    """A matplotlib figure that no pyplot keeps, so that none is left open.

    Notebooks show only pyplot's figures by themselves; this one brings its own picture.
    """

    def _repr_png_(self) -> bytes:
        """A PNG at the figure's own resolution, as the user's rcParams set it."""
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi="figure")
        return buffer.getvalue()


class PanelsFigure(NotebookFigure):
    """A figure of several results, which is an interactive page as well: ``figure()`` draws that."""

    page: Callable[[], PlotlyFigure]

    def __call__(self) -> PlotlyFigure:
        """The page. To matplotlib `figure` is the figure itself, so that this is what ``figure()`` calls."""
        return self.page()

    if TYPE_CHECKING:

        @property
        def figure(self) -> PanelsFigure:
            """Itself."""
