"""Figures: one module a kind of result. ``info(result)`` computes, ``draw_matplotlib`` and ``draw_plotly`` only draw.

No torch: a result is drawn on a machine that has neither the model nor the data. To add one: a module with these
three functions, named in FIGURES under the experiment's name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from thetascope.errors import ResultError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

    from thetascope.results import Result

FIGURES = {"interpolate": "thetascope.figures.path"}


def draw_matplotlib(result: Result, ax: Axes | None = None, **options: Any) -> Axes | Figure:
    """Draw `result` on `ax`, or in a new figure."""
    module = _module(result)
    drawn: Axes | Figure = module.draw_matplotlib(module.info(result), ax, **options)
    return drawn


def draw_plotly(result: Result, **options: Any) -> PlotlyFigure:
    """Draw `result` as an interactive figure."""
    module = _module(result)
    return module.draw_plotly(module.info(result), **options)


def _module(result: Result) -> Any:
    if result.experiment not in FIGURES:
        raise ResultError(f'there is no figure for the experiment "{result.experiment}"; there are: {", ".join(FIGURES)}')
    return import_module(FIGURES[result.experiment])
