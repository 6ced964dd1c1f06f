"""The figures that are made here: they belong to no pyplot, and show themselves in a notebook."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

FONTS: Any = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none"}
"""Files of vectors hold TrueType, which publishers ask for, and text as text."""


class NotebookFigure(Figure):
    """A matplotlib figure that no pyplot keeps, so that none is left open.

    Notebooks show only pyplot's figures by themselves; this one brings its own picture.
    """

    __module__ = "matplotlib.figure"  # trackers such as wandb know a figure by where its class is from

    def savefig(self, fname: Any, **kwargs: Any) -> None:
        """Write it to a file, as matplotlib's figures do."""
        with rc_context(FONTS):
            super().savefig(fname, **kwargs)

    def _repr_png_(self) -> bytes:
        """A PNG at the figure's own resolution, as the user's rcParams set it."""
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi="figure")
        return buffer.getvalue()

    def __reduce__(self) -> Any:
        return _blank, (type(self).__name__,), self.__getstate__()


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


def _blank(name: str) -> NotebookFigure:
    kind = PanelsFigure if name == PanelsFigure.__name__ else NotebookFigure
    return kind.__new__(kind)


def shown_in_html(page: Any) -> Any:
    """The same plotly figure; a notebook that becomes a page of HTML keeps it, in which plotly's own figures are lost."""
    page._ipython_display_ = None  # it would go before the rest
    page._repr_mimebundle_ = partial(_bundle, page)
    return page


def _bundle(page: Any, include: Any = None, exclude: Any = None, **kwargs: Any) -> dict[str, Any]:
    from plotly.io import to_html

    own = type(page)._repr_mimebundle_(page, include, exclude, **kwargs)
    return {"text/html": to_html(page, full_html=False, include_plotlyjs="cdn"), **own}
