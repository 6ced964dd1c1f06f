"""Figures: one module a kind of result. ``info(result)`` computes, ``draw_matplotlib`` and ``draw_plotly`` only draw.

No torch: a result is drawn on a machine that has neither the model nor the data. To add one: a module with these
three functions, named in FIGURES under the experiment's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thetascope.errors import ResultError
from thetascope.files import write_atomically

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
    "parameter_atlas": "thetascope.figures.atlas",
}
"""The module that draws each experiment, or each level of one."""


def draw_matplotlib(result: Result, ax: Axes | None = None, **options: Any) -> Axes | Figure:
    """Draw `result` on `ax`, or in a new figure.

    Every figure takes `variable`: one of the scored variables, drawn alone. What else one takes its module says.

    Raises:
        ResultError: the figure has no such option, or the result no such variable.
    """
    module = _module(result)
    _check_options(module.draw_matplotlib, options, f'the figure of "{_name(result)}"')
    before = {} if ax is None else {text: text.get_text() for text in _texts(ax)}
    drawn: Axes | Figure = module.draw_matplotlib(module.info(result), ax, **options)
    for text in _texts(drawn):
        if text.get_text() != before.get(text):
            text.set_parse_math(False)  # names and titles are text, also with dollar signs; only numbers along an axis are set as formulas
    return drawn


def draw_plotly(result: Result, **options: Any) -> PlotlyFigure:
    """Draw `result` as an interactive figure.

    Raises:
        ResultError: the figure has no such option, or the result no such variable.
    """
    module = _module(result)
    _check_options(module.draw_plotly, options, f'the page of "{_name(result)}"')
    return module.draw_plotly(module.info(result), **options)


def save_figure(result: Result, path: Path, **options: Any) -> Path:
    """Draw `result` into a file, whole or not at all: an interactive page for .html (self-contained, no network), else a picture.

    The `options` are those of `draw_plotly` for a page, else of `draw_matplotlib`.

    Returns:
        The path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(partial: Path) -> None:
        if path.suffix == ".html":
            draw_plotly(result, **options).write_html(partial, include_plotlyjs=True, config={"showSendToCloud": False}, auto_play=False)
            return
        from matplotlib.figure import Figure

        drawn = draw_matplotlib(result, **options)
        assert isinstance(drawn, Figure)
        drawn.savefig(partial, format=path.suffix[1:].lower() or "png", dpi=150)

    write_atomically(path, write)
    return path


def _check_options(draw: Callable[..., Any], options: Mapping[str, object], figure: str) -> None:
    """One error for an option that this figure does not have, with those that it has."""
    known = [name for name in signature(draw).parameters if name not in ("found", "ax")]
    for name in options.keys() - set(known):
        raise ResultError(f"{figure} takes no {name}=; it takes {', '.join(f'{option}=' for option in known) or 'no option'}")


def _name(result: Result) -> str:
    """What FIGURES calls a result."""
    return f"{result.experiment} {result.data.attrs.get('level', '')}".strip()


def png(result: Result) -> bytes | None:
    """A picture of `result` for a notebook; None where there is no figure for it, or it is not finished yet."""
    from thetascope.figures.picture import Picture

    if _name(result) not in FIGURES or result.status_counts()["missing"]:
        return None
    drawn = draw_matplotlib(result)
    return drawn._repr_png_() if isinstance(drawn, Picture) else None


def _texts(drawn: Axes | Figure) -> set[Any]:
    """All texts but the numbers along the axes."""
    from matplotlib.axis import Tick
    from matplotlib.text import Text

    numbers = {label for tick in drawn.findobj(Tick) for label in (tick.label1, tick.label2)}
    return set(drawn.findobj(Text)) - numbers


def _module(result: Result) -> Any:
    name = _name(result)
    if name not in FIGURES:
        raise ResultError(f'there is no figure for "{name}"; there are: {", ".join(FIGURES)}')
    return import_module(FIGURES[name])
