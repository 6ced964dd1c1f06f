"""The figures that are made here: they belong to no pyplot, and show themselves in a notebook."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """A matplotlib figure that no pyplot keeps, so that none is left open.

    Notebooks show only pyplot's figures by themselves; this one brings its own picture.
    """

    def _repr_png_(self) -> bytes:
        """A PNG at the figure's own resolution, as the user's rcParams set it."""
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi="figure")
        return buffer.getvalue()
