"""Pictures laid out: what every one says, panels chosen by their variables, axes in rows, pages with a title and notes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from thetascope.drawing.legends import wrapped
from thetascope.drawing.style import html
from thetascope.errors import ResultError

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

LEGEND_ABOVE = {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0}
"""Of a page."""
FROM_TOP = {"yref": "container", "y": 1.0, "yanchor": "top", "pad": {"t": 16}}
"""Where the title of a page stands that has much below it."""


@dataclass(frozen=True)
class PictureInfo:
    """What every picture says above it: its title, and what a reader must know besides."""

    title: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Panel:
    """One quantity of a picture: the variable's name, the axis's label, and whether that axis is logarithmic."""

    name: str
    label: str
    log: bool


P = TypeVar("P", bound=Panel)


def check_holds(data: xr.Dataset, names: Iterable[str], shown: str) -> None:
    """Whether the data hold what the picture needs.

    Raises:
        ResultError: they do not.
    """
    absent = sorted(set(names) - set(map(str, data.variables)))
    if absent:
        raise ResultError(
            f'this figure is of {shown}; the result of "{data.attrs["experiment"]}" lacks {", ".join(absent)}; '
            "if it is not finished, repeat the call with the same out= to go on with it"
        )


def known_variable(variable: str, there: Iterable[str]) -> str:
    """The variable, which must be there.

    Raises:
        ResultError: it is not.
    """
    if variable not in (names := list(there)):
        raise ResultError(f'there is no variable "{variable}"; there are: {", ".join(names)}')
    return variable


def panel_of(panels: Sequence[P], variable: str | None = None) -> P:
    """The panel that shows `variable`, or the loss where none is named."""
    by_name = {panel.name: panel for panel in panels}
    return by_name[known_variable(variable or "loss", by_name)]


def panels_of(panels: Sequence[P], variable: str | None) -> tuple[P, ...]:
    """The panel that shows `variable`, alone, or all of them where none is named."""
    return tuple(panels) if variable is None else (panel_of(panels, variable),)


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches that no pyplot keeps."""
    from thetascope.drawing.notebook import NotebookFigure

    return NotebookFigure(figsize=(width, height), layout="constrained")


def new_axes(width: float, height: float, rows: int = 1, columns: int = 1, **shared: Any) -> tuple[Figure, list[Any]]:
    """A new figure and its axes, row by row."""
    figure = new_figure(width, height)
    return figure, list(figure.subplots(rows, columns, squeeze=False, **shared).ravel())


def titled(figure: Figure, found: PictureInfo, width: int, *more: str, size: str = "medium") -> None:
    """The title and the notes above all panels, in lines of at most so many characters."""
    notes = wrapped([*found.notes, *filter(None, more)], width)
    figure.suptitle(f"{wrapped([found.title], width)}\n{notes}", fontsize=size, parse_math=False)


def stacked_page(panels: Sequence[P], x_label: str, traces: Callable[[P, bool], list[Any]], spacing: float = 0.06) -> PlotlyFigure:
    """A page of the panels below one another; `traces` makes those of one, and is told whether it is the first."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=spacing)
    for row, panel in enumerate(panels, 1):
        for trace in traces(panel, row == 1):
            figure.add_trace(trace, row=row, col=1)
        figure.update_yaxes(title_text=html(panel.label), type="log" if panel.log else "linear", row=row, col=1)
    figure.update_xaxes(title_text=x_label, row=len(panels), col=1)
    return figure


def framed(
    figure: PlotlyFigure, found: PictureInfo, width: int = 130, *, title: Mapping[str, Any] | None = None, **layout: Any
) -> PlotlyFigure:
    """The page with its title and notes, in lines of at most so many characters, and what else its layout is."""
    text = "<br>".join([html(found.title), *(f"<sub>{html(line)}</sub>" for line in wrapped(found.notes, width).splitlines())])
    figure.update_layout(title={"text": text, **(title or {})}, template="plotly_white", **layout)
    return figure


def room_for_notes(found: PictureInfo, width: int = 130) -> int:
    """Pixels that the notes take above a page."""
    return 18 * len(wrapped(found.notes, width).splitlines())
