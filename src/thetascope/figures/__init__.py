"""Figures: one module a kind of result. ``info(result)`` computes, ``draw_matplotlib`` and ``draw_plotly`` only draw.

No torch: a result is drawn on a machine that has neither the model nor the data. To add one: a module with these
three functions, named in FIGURES under the experiment's name.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thetascope.errors import ResultError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

    from thetascope.results import Result

FIGURES = {
    "interpolate model": "thetascope.figures.path",
    "interpolate layer": "thetascope.figures.layers",
    "interpolate parameter": "thetascope.figures.parameters",
    "compare_paths model": "thetascope.figures.comparison",
    "compare_paths parameter": "thetascope.figures.patterns",
    "layer_roles": "thetascope.figures.layer_roles",
    "study_epochs": "thetascope.figures.studies",
    "study_train_size": "thetascope.figures.studies",
    "study_test_size": "thetascope.figures.studies",
    "surface": "thetascope.figures.surface",
    "trajectory_plane": "thetascope.figures.plane",
}
"""The module that draws each experiment, or each level of one."""


def draw_matplotlib(result: Result, ax: Axes | None = None, **options: Any) -> Axes | Figure:
    """Draw `result` on `ax`, or in a new figure."""
    module = _module(result)
    drawn: Axes | Figure = module.draw_matplotlib(module.info(result), ax, **options)
    return drawn


def draw_plotly(result: Result, **options: Any) -> PlotlyFigure:
    """Draw `result` as an interactive figure."""
    module = _module(result)
    return module.draw_plotly(module.info(result), **options)


def save_figure(result: Result, path: Path) -> Path:
    """Draw `result` into a file: an interactive page for .html (self-contained, no network), else a picture.

    Returns:
        The path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".html":
        draw_plotly(result).write_html(path, include_plotlyjs=True, config={"showSendToCloud": False}, auto_play=False)
        return path
    from matplotlib.figure import Figure

    drawn = draw_matplotlib(result)
    assert isinstance(drawn, Figure)
    drawn.savefig(path, dpi=150)
    return path


def _module(result: Result) -> Any:
    name = f"{result.experiment} {result.data.attrs.get('level', '')}".strip()
    if name not in FIGURES:
        raise ResultError(f'there is no figure for "{name}"; there are: {", ".join(FIGURES)}')
    return import_module(FIGURES[name])
