"""The pictures of all experiments, found by convention: ``picture.py`` in an experiment's folder, or in that of its level.

Such a module has ``info(data)``, which computes what is shown, and ``draw_matplotlib`` and ``draw_plotly``, which only draw it.
None loads torch: a result is drawn on a machine that has neither the model nor the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thetascope.errors import ResultError
from thetascope.files import write_atomically
from thetascope.results.status import status_counts

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure


EXPERIMENTS = "thetascope.experiments"


def draw_matplotlib(data: xr.Dataset, ax: Axes | None = None, **options: Any) -> Axes | Figure:
    """Draw a result's data on `ax`, or in a new figure.

    Nearly every figure takes `variable`: one of the scored variables, drawn alone. What else one takes its module says.

    Raises:
        ResultError: the figure has no such option, or the result nothing of the name that it gives.
    """
    module = picture_module(data)
    _check_options(module.draw_matplotlib, options, f'the figure of "{_called(data)}"')
    before = {} if ax is None else {text: text.get_text() for text in _texts(ax)}
    drawn: Axes | Figure = module.draw_matplotlib(module.info(data), ax, **options)
    for text in _texts(drawn):
        if text.get_text() != before.get(text):
            text.set_parse_math(False)  # names and titles are text, also with dollar signs; only numbers along an axis are set as formulas
    return drawn


def draw_plotly(data: xr.Dataset, **options: Any) -> PlotlyFigure:
    """Draw a result's data as an interactive figure.

    Raises:
        ResultError: the figure has no such option, or the result nothing of the name that it gives.
    """
    module = picture_module(data)
    _check_options(module.draw_plotly, options, f'the page of "{_called(data)}"')
    return module.draw_plotly(module.info(data), **options)


def save_figure(data: xr.Dataset, path: Path, **options: Any) -> Path:
    """Draw into a file, whole or not at all: an interactive page for .html (self-contained, no network), else a picture.

    The `options` are those of `draw_plotly` for a page, else of `draw_matplotlib`.

    Returns:
        The path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(partial: Path) -> None:
        if path.suffix == ".html":
            draw_plotly(data, **options).write_html(partial, include_plotlyjs=True, config={"showSendToCloud": False}, auto_play=False)
            return
        from matplotlib.figure import Figure

        drawn = draw_matplotlib(data, **options)
        assert isinstance(drawn, Figure)
        drawn.savefig(partial, format=path.suffix[1:].lower() or "png", dpi=150)

    write_atomically(path, write)
    return path


def png(data: xr.Dataset) -> bytes | None:
    """A picture for a notebook; None where there is no figure for the data, or they are not finished yet."""
    from thetascope.drawing.notebook import NotebookFigure

    if _key(data) not in _modules("picture") or status_counts(data)["missing"]:
        return None
    drawn = draw_matplotlib(data)
    return drawn._repr_png_() if isinstance(drawn, NotebookFigure) else None


def notes_of(data: xr.Dataset) -> tuple[str, ...]:
    """What the figure says below its title."""
    notes: tuple[str, ...] = picture_module(data).info(data).notes
    return notes


def picture_module(data: xr.Dataset) -> Any:
    """The module that draws data of that experiment and level.

    Raises:
        ResultError: there is none.
    """
    there = _modules("picture")
    if _key(data) not in there:
        raise ResultError(f'there is no figure for "{_called(data)}"; there are: {", ".join(map(" ".join, there))}')
    return import_module(there[_key(data)])


def animation_module(data: xr.Dataset) -> Any:
    """The module beside the picture that moves it, with ``save_animation(data, path, variable=…)``.

    Raises:
        ResultError: there is none.
    """
    there = _modules("animation")
    if _key(data) not in there:
        names = '" or "'.join(map(" ".join, there))
        raise ResultError(f'only a result of "{names}" can be animated; got one of "{data.attrs["experiment"]}"')
    return import_module(there[_key(data)])


def _key(data: xr.Dataset) -> tuple[str, ...]:
    """The experiment and, where it has one, the level. Both come from files of strangers: they are only looked up."""
    return tuple(str(data.attrs[name]) for name in ("experiment", "level") if name in data.attrs)


def _called(data: xr.Dataset) -> str:
    return " ".join(_key(data))


def _modules(name: str) -> dict[tuple[str, ...], str]:
    """The modules of that name that there are, by experiment and level."""
    found: dict[tuple[str, ...], str] = {}
    for place in map(Path, import_module(EXPERIMENTS).__path__):
        for file in sorted([*place.glob(f"*/{name}.py"), *place.glob(f"*/*/{name}.py")]):
            folders = file.parent.relative_to(place).parts
            if all(map(str.isidentifier, folders)):
                found.setdefault(folders, ".".join([EXPERIMENTS, *folders, name]))
    return found


def _check_options(draw: Callable[..., Any], options: Mapping[str, object], figure: str) -> None:
    """One error for an option that this figure does not have, with those that it has."""
    known = [name for name in signature(draw).parameters if name not in ("found", "ax")]
    for name in options.keys() - set(known):
        raise ResultError(f"{figure} takes no {name}=; it takes {', '.join(f'{option}=' for option in known) or 'no option'}")


def _texts(drawn: Axes | Figure) -> set[Any]:
    """All texts but the numbers along the axes."""
    from matplotlib.axis import Tick
    from matplotlib.text import Text

    numbers = {label for tick in drawn.findobj(Tick) for label in (tick.label1, tick.label2)}
    return set(drawn.findobj(Text)) - numbers
