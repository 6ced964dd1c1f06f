"""A picture as data: panels of marks with axes and notes. `with_matplotlib` and `with_plotly` draw any picture; none draws itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.fields import Field, GridInfo
from thetascope.drawing.scales import COLOR_MAP, Scale
from thetascope.drawing.style import BLUE, GREY, VERMILION, Bools

Form = Literal["figure", "axes", "page"]
"""What a picture is made for: a figure, one pair of axes of a user's own, or an interactive page."""
Ticks = tuple[Sequence[float], Sequence[str]]
"""Places along an axis, and what is written there."""
INK = "#000000"
"""Drawn in the colour of the reader's texts, light on dark ground."""
THIN = ("x-thin", "cross-thin", "line-ns")
"""Markers whose lines are all that there is of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mark:
    """What all marks have.

    Attributes:
        label: what the legend calls it; marks of one label have one entry.
        about: what hovering tells first; `told` says it a point.
        hover: plotly's template for the values, in place of the panel's; `data` is what it may name ``customdata``.
        layer: which layer it is of; `layers` says it a point.
        listed: whether the legend of a printed figure has it; that of a page always has.
        level: higher ones lie above.
    """

    label: str = ""
    color: str = BLUE
    about: str = ""
    told: Sequence[str] = ()
    hover: str | None = None
    data: Any = None
    layer: str = ""
    layers: Sequence[str] = ()
    listed: bool = True
    level: float = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Line(Mark):
    """A line through points, or points alone where `dash` is empty.

    Attributes:
        z: for 3-D, values of the panel's field; "surface" for what lies on it, which has no values of its own.
        dash, marker: plotly's names. `face` is the colour of the markers, and `edge` of their outlines, where it is another.
        size: of the markers, in points.
        marked: places of the points that have a marker; all of them where there is none.
        spread: a band so far below and above; it is called `spread_label`.
        halo: a white edge, against colours below.
    """

    x: Any
    y: Any
    z: Any = None
    dash: str = "solid"
    width: float = 1.5
    marker: str = ""
    size: float = 4
    face: str = ""
    edge: str = ""
    marked: Sequence[int] | None = None
    opacity: float = 1.0
    spread: Floats | None = None
    spread_label: str = "± 2 standard errors"
    halo: bool = False

    def bands(self, log: bool = False) -> list[Area]:
        """The band around the line, in pieces where it has gaps; on a `log` axis it ends at half of the lowest value that is drawn."""
        if self.spread is None:
            return []
        x, y, spread = (np.asarray(values, np.float64) for values in (self.x, self.y, self.spread))
        known = np.flatnonzero(np.isfinite(x) & np.isfinite(y) & np.isfinite(spread) & ~(log & (y <= 0)))
        pieces = [piece for piece in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1) if len(piece) > 1]
        floor = 0.5 * float(y[known].min()) if log and len(known) else -np.inf
        named: dict[str, Any] = {"color": self.color, "label": self.spread_label, "group": self.label, "layer": self.layer}
        around = [(x[at], np.maximum(y - spread, floor)[at], (y + spread)[at]) for at in pieces]
        return [
            Area(x=np.concatenate([at, at[::-1]]), y=np.concatenate([low, high[::-1]]), **named, level=self.level - 0.5)
            for at, low, high in around
        ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Area(Mark):
    """What lies within a closed line through points.

    Attributes:
        group: the label of the mark with which a page hides it; its own where there is none.
        edge: the colour of its outline, if it has one.
    """

    x: Any
    y: Any
    opacity: float = 0.2
    group: str = ""
    edge: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Edge(Mark):
    """Points without a finite value, or beyond the axis, at the upper edge, so that they are not overlooked; at the right one with
    `upright` false; at the opposite one where it is the `first`.

    `texts` are written beside them.
    """

    at: Any
    upright: bool = True
    first: bool = False
    marker: str = "x"
    size: float = 7
    texts: Sequence[str] = ()
    color: str = VERMILION
    label: str = "not finite"


@dataclass(frozen=True, kw_only=True, eq=False)
class Bars(Mark):
    """Bars of a width and lengths from `base` on, lying where they go `across`.

    Attributes:
        colors: one a bar, in place of the mark's.
        texts: a text a bar, at its end or `inside`; empty ones are left out.
        shares: of each layer the lengths that its own values would have.
    """

    at: Any
    lengths: Any
    base: Any = 0.0
    width: float = 0.7
    across: bool = False
    hatch: str = ""
    edge: str = ""
    colors: Sequence[str] = ()
    texts: Sequence[str] = ()
    inside: bool = False
    shares: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rule(Mark):
    """A line through the whole panel, upright or level; an area where it goes `to` somewhere."""

    at: float
    to: float | None = None
    upright: bool = True
    dash: str = "dot"
    width: float = 0.8
    color: str = GREY
    level: float = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Boxes(Mark):
    """The spread of each row of `values`, ``[S, R]``, as a box with whiskers."""

    at: Floats
    values: Floats
    face: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Texts(Mark):
    """Texts beside points, each on the side where `ways` ``[n, 2]`` lead."""

    x: Sequence[float]
    y: Sequence[float]
    texts: Sequence[str]
    ways: Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True, eq=False)
class FieldMark(Mark):
    """A quantity over a plane: contours, a heat map, or 3-D; a page switches between them."""

    grid: GridInfo
    field: Field
    kind: str = "contour"
    view: tuple[float, float] | None = None
    """From where it is seen in 3-D: degrees above the plane and about the upright axis; by default from where most of it is seen."""
    bar: bool | None = None
    """Whether a bar of its colours stands beside it; by default where it is flat."""
    cells: bool = False
    """Whether cells that were evaluated have dots, where others are estimated."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Image(Mark):
    """Values ``[ny, nx]`` as cells between the edges `x` and `y`; nan is blank.

    Attributes:
        scale: how the values are spread over the colours of `color_map`; None where none has a colour.
        marked: cells in a colour of their own: what is said of them, the colour, which they are, and texts for hovering.
    """

    x: Floats
    y: Floats
    values: Floats
    scale: Scale | None
    color_map: str = COLOR_MAP
    marked: Sequence[tuple[str, str, Bools, Sequence[str]]] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class ColorBar(Mark):
    """What the colours of images mean, called by its label: beside the panel's other marks, or on a panel of its own.

    `scale` and `color_map` are those of the images; `below` and `above` say whether some values lie beyond its levels. One that is
    `steady` says what the colours of lines' points mean, as of time: options for values leave it as it is.
    """

    scale: Scale | None
    color_map: str = COLOR_MAP
    below: bool = False
    above: bool = False
    steady: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Marks on axes.

    Attributes:
        name: of the row or the variable that it shows, where a narrow page has lost what stood beside it.
        title: above it.
        x_log, y_log: whether an axis is logarithmic; `scale` is one that is denser where most values lie.
        x_range, y_range: from and to; an axis runs backwards where from is more. A range without extent, or without ends, is none: whatever
            draws it then chooses.
        hover: plotly's template of a point's values.
        epochs: of the training at x of 0 and of 1, written along the upper edge.
        aspect: width by height of a unit; None where it may be any.
        crowded: whether marks lie everywhere, so that a legend stands outside.
        over_alpha: whether x is α, the place along a path, which a page's slider marks.
        small: whether it is one of many, with few numbers along its axes.
        legend: whether it has a legend of its own.
        others: the same of other quantities by their names, for a page to switch to.
    """

    marks: Sequence[Mark]
    x_label: str = ""
    y_label: str = ""
    name: str = ""
    title: str = ""
    x_log: bool = False
    y_log: bool = False
    scale: Scale | None = None
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    x_ticks: Ticks | None = None
    y_ticks: Ticks | None = None
    x_whole: bool = False
    hover: str = "%{x:.4g}<br>%{y:.5g}"
    epochs: tuple[float, float] | None = None
    aspect: float | None = None
    grid: bool = False
    crowded: bool = False
    over_alpha: bool = False
    small: bool = False
    legend: bool = False
    others: Sequence[tuple[str, Panel]] = ()

    def __post_init__(self) -> None:
        for name in ("x_range", "y_range"):
            ends = getattr(self, name)
            if ends is not None and not (math.isfinite(ends[1] - ends[0]) and ends[0] != ends[1]):
                object.__setattr__(self, name, None)

    @property
    def plane(self) -> FieldMark | None:
        """The quantity over a plane that it shows, if it shows one."""
        return next((mark for mark in self.marks if isinstance(mark, FieldMark)), None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """Panels, or parts of them, side by side or below one another; `sizes` are widths or heights in inches, alike where there are none.

    With `shared` the axis along which they lie is one; with `columns` they lie row by row.
    """

    parts: Sequence[Panel | Parts]
    sizes: Sequence[float] = ()
    down: bool = False
    shared: bool = False
    columns: int = 0

    @property
    def rows(self) -> Parts:
        """The same as rows below one another."""
        rows = [[*self.parts[at : at + self.columns]] for at in range(0, len(self.parts), self.columns)]
        return stacked([Parts(parts=[*row, *[Panel(marks=())] * (self.columns - len(row))]) for row in rows], shared=False)

    @property
    def panels(self) -> Iterator[Panel]:
        """All panels in their order."""
        for part in self.parts:
            yield from part.panels if isinstance(part, Parts) else (part,)


@dataclass(frozen=True, kw_only=True, eq=False)
class Moving:
    """What moves in a page: the marks of the only panel at these `places` go through `frames`, each with what it is called."""

    places: Sequence[int]
    frames: Sequence[tuple[str, Sequence[Line]]]
    prefix: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A picture: what it says above, its panels, the first of which is drawn on axes of a user's own, and its size in inches."""

    title: str
    notes: tuple[str, ...]
    parts: Parts
    width: float
    height: float
    moving: Moving | None = None
    grid: bool = False
    """Whether panels form rows that a narrow page takes apart."""
    opens: str = ""
    """The kind of a plane that a report shows first; the plane's own where it is empty."""
    sized: bool = False
    """Whether the size was asked for; a page is as wide as its window otherwise."""


def changed(part: Any, change: Callable[[Panel], Panel]) -> Any:
    """A part with each of its panels changed, and those that a page switches to; empty ones stay."""
    if isinstance(part, Parts):
        return replace(part, parts=[changed(inner, change) for inner in part.parts])
    made = change(part) if part.marks else part
    return replace(made, others=[(name, change(other)) for name, other in made.others])


def stacked(panels: Sequence[Panel | Parts], sizes: Sequence[float] = (), *, shared: bool = True) -> Parts:
    """Below one another, with one x axis where it is `shared`."""
    return Parts(parts=panels, sizes=sizes, down=True, shared=shared)


def unbounded(x: Any, y: Any, label: str = "not finite", marker: str = "x") -> Edge:
    """Where a curve has no finite value."""
    return Edge(at=np.asarray(x)[~np.isfinite(y)], label=label, marker=marker)


def ends_of(alphas: Floats) -> list[Rule]:
    """The first and the last state, where α goes beyond them."""
    return [Rule(at=end) for end in (0.0, 1.0)] if alphas.min() < 0 or alphas.max() > 1 else []


def even_epochs(progress: Floats, epochs: Floats) -> tuple[float, float] | None:
    """The first epoch and the last, where they rise evenly with the steps."""
    first, last = float(epochs[0]), float(epochs[-1])
    line = first + progress * (last - first)
    even = first != last and np.isfinite(epochs).all() and np.allclose(epochs, line, atol=1e-6 * abs(last - first))
    return (first, last) if even else None


CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
"""Colours for colour-blind readers; with the dashes, curves are told apart in grey too."""


def style_of(place: int) -> dict[str, Any]:
    """Colour and dashes of the curve at that place."""
    return {"color": CYCLE[place % len(CYCLE)], "dash": DASHES[place % len(DASHES)]}
