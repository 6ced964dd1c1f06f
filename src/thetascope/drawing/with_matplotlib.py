"""Pictures by matplotlib: whole figures, or the first panel on axes of a user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.drawing.legends import fitted, inches_of, legend_below, legend_on, legend_text, log_axis
from thetascope.drawing.matplotlib_planes import EXTENDED, draw_field
from thetascope.drawing.narrowing import BESIDE, MARGIN, font, said_height
from thetascope.drawing.relief import lifted
from thetascope.drawing.spec import (
    CYCLE,
    INK,
    THIN,
    Area,
    Bars,
    Boxes,
    ColorBar,
    Edge,
    FieldMark,
    Image,
    Line,
    Mark,
    Panel,
    Parts,
    Picture,
    Rule,
    Texts,
)  # fmt: skip
from thetascope.drawing.style import GREY, ink
from thetascope.errors import ResultError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES: dict[str, Any] = {
    "": "", "solid": "-", "dash": (0, (5, 1.5)), "dot": (0, (1, 1)), "dashdot": (0, (6, 1.5, 1, 1.5)), "longdash": (0, (3, 1, 1, 1, 1, 1)),
}  # fmt: skip
MARKERS = {
    "": "", "circle": "o", "square": "s", "diamond": "D", "star": "*", "triangle-up": "^", "triangle-down": "v", "triangle-left": "<",
    "triangle-right": ">", "cross": "P", "x": "X", "x-thin": "x", "cross-thin": "+", "line-ns": "|",
}  # fmt: skip
"""By plotly's names."""
SHORTEST = 1.2
"""Inches that a label may be long, however short its axis is."""
MANY = 2000
"""More points than this are drawn as dots of an image, in files of vectors too."""


def figure_of(picture: Picture, kind: type[Figure] | None = None) -> Figure:
    """The whole picture: title and notes above all panels, one legend below them."""
    from thetascope.drawing.notebook import NotebookFigure

    figure, inches = (kind or NotebookFigure)(figsize=(picture.width, picture.height), layout="constrained"), picture.width - MARGIN
    below: Any = figure.subfigures(1, 1)
    if picture.title:
        figure.suptitle(fitted([picture.title], inches, "large"), fontsize="large")
    if picture.notes:
        below.suptitle(fitted(picture.notes, inches, "small"), fontsize="small", color=GREY)
    room = picture.width, picture.height - said_height(picture)
    drawn = _laid_out(below, below.add_gridspec(1, 1)[0], picture.parts, room)
    common = [axes for axes, panel in drawn if not panel.legend]
    if any(axes.get_legend_handles_labels()[1] for axes in common):
        legend_below(figure, common, _order(panel for _, panel in drawn))
    as_text(texts_of(figure))
    if picture.sized or font() > 1:  # texts take much of it: go by the room that they left
        figure.draw_without_rendering()
        for axes, panel in drawn:
            if axes.name != "3d":
                _fit(axes, panel, _inches(axes, whole=True))
        as_text(texts_of(figure))
    return figure


def _order(panels: Iterable[Panel]) -> list[str]:
    """Of the labels in a legend."""
    return list(dict.fromkeys(legend_text(mark.label) for panel in panels for mark in panel.marks if mark.label))


def drawn_on(ax: Axes, picture: Picture) -> Axes:
    """The first panel, on these axes, with its legend.

    Raises:
        ResultError: it is drawn on axes of another kind.
    """
    panel, before = next(picture.parts.panels), {text: text.get_text() for text in texts_of(ax)}
    kind = panel.plane.kind if panel.plane else "line"
    if (kind == "3d") != (ax.name == "3d"):
        needed = 'three-dimensional axes, such as figure.add_subplot(projection="3d")' if kind == "3d" else "flat axes"
        raise ResultError(f'kind "{kind}" is drawn on {needed}; got axes with projection "{ax.name}"')
    panel, there = restyled(panel, ax), ax.get_legend_handles_labels()[1]
    draw_panel(ax, panel, titled=not panel.crowded)
    if ax.get_legend_handles_labels()[1] or (panel.crowded and panel.title):
        inside, note = 0.0 if panel.crowded else 0.4, panel.title if panel.crowded else ""
        legend_on(ax, [*there, *_order([panel])], inches=_inches(ax), inside=inside, note=note)
    as_text(text for text in texts_of(ax) if text.get_text() != before.get(text))
    return ax


def restyled(panel: Panel, ax: Axes) -> Panel:
    """Its curves in colours and dashes that no other curve on these axes has, as long as there are some."""
    from matplotlib.colors import to_hex

    colors, dashes = {to_hex(line.get_color()).upper() for line in ax.lines}, {line.get_linestyle() for line in ax.lines}
    own = dict.fromkeys(mark.color for mark in panel.marks if isinstance(mark, Line))
    free = iter([color for color in CYCLE if color not in {*colors, *own, INK}] * 2)
    new = {color: next(free, color) if color.upper() in colors else color for color in own}
    dash = next((dash for dash in ("dash", "dot", "dashdot") if {"dash": "--", "dot": ":", "dashdot": "-."}[dash] not in dashes), "solid")

    def changed(mark: Mark) -> Mark:
        color = new.get(mark.color, mark.color)
        if isinstance(mark, Line) and color != mark.color:
            dash_, face = dash if mark.dash == "solid" else mark.dash, color if mark.face == mark.color else mark.face
            return replace(mark, color=color, dash=dash_, face=face)
        return replace(mark, color=color) if isinstance(mark, Edge) else mark

    return replace(panel, marks=[changed(mark) for mark in panel.marks])


def _inches(ax: Axes, *, whole: bool = False) -> tuple[float, float]:
    """How wide and high axes are; or their place is as a `whole`, of which axes true to scale take a part."""
    box, dpi = ax.get_position(original=True).transformed(ax.figure.transSubfigure) if whole else ax.get_window_extent(), ax.figure.dpi
    return box.width / dpi, box.height / dpi


def texts_of(drawn: Axes | Figure) -> set[Any]:
    """All texts but the numbers along the axes."""
    from matplotlib.axis import Tick
    from matplotlib.text import Text

    numbers = {label for tick in drawn.findobj(Tick) for label in (tick.label1, tick.label2)}
    return set(drawn.findobj(Text)) - numbers


def as_text(texts: Iterable[Any]) -> None:
    """Names and titles are text, also with dollar signs; only numbers along an axis are set as formulas."""
    for text in texts:
        text.set_parse_math(False)


def _laid_out(figure: Any, place: Any, part: Panel | Parts, inches: tuple[float, float]) -> list[tuple[Any, Panel]]:
    """The panels of a part on axes of their own in that place of the figure, so many inches wide and high."""
    if isinstance(part, Panel):
        if not part.marks:
            return []
        deep = part.plane is not None and part.plane.kind == "3d"
        axes = figure.add_subplot(place, projection="3d" if deep else None)
        names = max(map(inches_of, part.y_ticks[1] if part.y_ticks else ()), default=0.0)
        beside = BESIDE * font() * (2 if part.plane else 1) + names
        room = max(inches[0] - beside, 1.0), max(inches[1] - BESIDE * font(), 0.8)
        draw_panel(axes, part, inches=room)
        if part.legend and axes.get_legend_handles_labels()[1]:
            legend_on(axes, _order([part]), inches=room, inside=0.6)
        return [(axes, part)]
    (width, height), count = inches, len(part.parts)
    if part.columns:
        rows = -(-count // part.columns)
        cells, sizes = place.subgridspec(rows, part.columns), [(width / part.columns, height / rows)] * count
    else:
        shares = [size / sum(part.sizes or [1.0] * count) for size in part.sizes or [1.0] * count]
        sizes = [(width, height * share) if part.down else (width * share, height) for share in shares]
        cells = place.subgridspec(count, 1, height_ratios=shares) if part.down else place.subgridspec(1, count, width_ratios=shares)
    found = [_laid_out(figure, cell, inner, size) for cell, inner, size in zip(cells, part.parts, sizes, strict=False)]
    if part.shared:
        _share(found, down=part.down)
    return [drawn for of_one in found for drawn in of_one]


def _share(found: Sequence[list[tuple[Any, Panel]]], *, down: bool) -> None:
    """One axis along which panels lie; what it says stands once."""
    every = [axes for of_one in found for axes, _ in of_one]
    for axes in every[1:]:
        (axes.sharex if down else axes.sharey)(every[0])
    for axes in every[:-1] if down else every[1:]:
        axes.tick_params(**({"labelbottom": False} if down else {"labelleft": False}))
        axes.set(**({"xlabel": ""} if down else {"ylabel": ""}))


def draw_panel(ax: Any, panel: Panel, *, titled: bool = True, inches: tuple[float, float] | None = None) -> None:
    """The marks, then the axes around them, whose texts go into so many inches."""
    ax.set(**{f"{axis}scale": "log" for axis in "xy" if getattr(panel, f"{axis}_log")})
    if panel.scale is not None:
        ax.set_yscale("function", functions=(panel.scale.position, panel.scale.value))
    for mark in panel.marks:
        for part in (*mark.bands(panel.y_log), lifted(mark, panel)) if isinstance(mark, Line) else (mark,):
            _DRAW[type(part)](ax, part)
    if ax.name != "3d":
        _label(ax, panel)
    if panel.x_whole:
        ax.locator_params(axis="x", integer=True)
    if panel.grid:
        ax.grid(color=GREY, alpha=0.25, linewidth=0.6)
        ax.set_axisbelow(True)
    if panel.small:
        _few_numbers(ax, panel)
    if panel.aspect is not None:
        ax.set_aspect(panel.aspect, anchor="NW")
        ax.tick_params(length=2, pad=2, labelsize="x-small")
        ax.spines[:].set_visible(False)
    if panel.epochs is not None:
        _epoch_axis(ax, *panel.epochs, (inches or _inches(ax))[0])
    if ax.name != "3d":
        _fit(ax, panel, inches or _inches(ax), titled=titled)
    elif panel.title and titled:
        ax.set_title(panel.title, fontsize="small", loc="left")


def _few_numbers(ax: Any, panel: Panel) -> None:
    ax.tick_params(labelsize="x-small")
    ax.yaxis.get_offset_text().set_fontsize("x-small")
    if not panel.x_log:
        ax.locator_params(axis="x", nbins=4)
    if not panel.y_log:
        ax.locator_params(axis="y", nbins=4)
        ax.ticklabel_format(axis="y", scilimits=(-3, 4))


def _fit(ax: Any, panel: Panel, inches: tuple[float, float], *, titled: bool = True) -> None:
    """Titles and labels on lines of their own where they are longer than the axes."""
    above, inches = max(inches[0], 0.8 * font()), (max(inches[0], SHORTEST * font()), max(inches[1], SHORTEST * font()))
    said = [(ax.xaxis.label, panel.x_label, inches[0]), (ax.yaxis.label, panel.y_label, inches[1])]
    for one in ax.child_axes:
        said += [(label, label.get_text(), length) for label, length in zip((one.xaxis.label, one.yaxis.label), inches, strict=True)]
    for text, whole, length in said:
        if text.get_text():
            text.set_text(fitted([whole], length, text.get_fontsize()))
    if panel.title and titled:
        ax.set_title(fitted([panel.title], above, "small"), fontsize="small", loc="left")


def _label(ax: Axes, panel: Panel) -> None:
    """What the axes say."""
    from matplotlib.ticker import NullLocator

    for axis in "xy":
        ticks, limits, label, log = (getattr(panel, f"{axis}_{what}") for what in ("ticks", "range", "label", "log"))
        if ticks is not None:
            named = axis == "x" and sum(not text[:1].isdigit() for text in ticks[1] if text) > 1  # names are longer than numbers
            style: dict[str, Any] = {"fontsize": "small", "rotation": 90 if named else 0, "parse_math": False}
            getattr(ax, f"set_{axis}ticks")(list(ticks[0]), list(ticks[1]), **style)
            getattr(ax, f"{axis}axis").set_minor_locator(NullLocator())
        if limits is not None:
            ax.set(**{f"{axis}lim": limits})
        if label:
            getattr(ax, f"set_{axis}label")(label, fontsize="small" if panel.small else None)
        if log and ticks is None:
            log_axis(ax, axis)


def _epoch_axis(ax: Any, first: float, last: float, inches: float) -> None:
    from matplotlib.ticker import MaxNLocator

    top = ax.secondary_xaxis(
        "top", functions=(lambda p: first + np.asarray(p) * (last - first), lambda e: (np.asarray(e) - first) / (last - first))
    )
    top.xaxis.set_major_locator(MaxNLocator(nbins=int(np.clip(2 * inches / font(), 2, 9)), integer=True))
    top.set_xlabel("epoch of the training, for states by clock")


def _named(mark: Mark) -> dict[str, Any]:
    color = ink() if mark.color == INK else mark.color
    return {"label": legend_text(mark.label) if mark.label and mark.listed else "_", "color": color, "zorder": mark.level}


def draw_line(ax: Any, mark: Line) -> Any:
    """A line, which is returned, with what lies around it."""
    named = _named(mark)
    style = {"markerfacecolor": mark.face or named["color"], "markeredgecolor": mark.edge or named["color"]}
    style |= {
        "markeredgewidth": 1.2 if mark.marker in THIN else 0.7 * bool(mark.face or mark.edge),
        "markevery": mark.marked,
        "rasterized": len(mark.x) > MANY,
    }
    at = (mark.x, mark.y) if mark.z is None else (mark.x, mark.y, mark.z)
    (line,) = ax.plot(
        *at, linestyle=DASHES[mark.dash], linewidth=mark.width, marker=MARKERS[mark.marker], markersize=mark.size, alpha=mark.opacity,
        **named, **style,
    )  # fmt: skip
    if mark.halo:
        from matplotlib.patheffects import Normal, withStroke

        line.set_path_effects([withStroke(linewidth=mark.width + 1.6, foreground="white"), Normal()])
    return line


def _area(ax: Any, mark: Area) -> None:
    from matplotlib.colors import to_rgba

    named, edge = _named(mark), ink() if mark.edge == INK else mark.edge or "none"
    named["facecolor"] = to_rgba(named.pop("color"), mark.opacity)
    ax.fill(mark.x, mark.y, edgecolor=edge, linewidth=0.8 if mark.edge else 0, **named)


def _edge(ax: Any, mark: Edge) -> None:
    if not len(mark.at):
        return
    far = np.full(len(mark.at), 0.03 if mark.first else 0.97)
    at, across = ((mark.at, far), ax.get_xaxis_transform()) if mark.upright else ((far, mark.at), ax.get_yaxis_transform())
    ax.plot(*at, linestyle="", marker=MARKERS[mark.marker], markersize=mark.size, transform=across, **{**_named(mark), "zorder": 5})
    for place, text in zip(mark.at, mark.texts, strict=False):
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8}
        style: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": "x-small", "color": "#333333", "zorder": 5}
        if text:
            ax.text(0.94, float(place), text, transform=across, bbox=box, **style)


def _bars(ax: Any, mark: Bars) -> None:
    lengths, edge = np.asarray(mark.lengths, np.float64), ink() if mark.edge == INK else mark.edge or None
    style: dict[str, Any] = {**_named(mark), "hatch": mark.hatch or None, "edgecolor": edge, "linewidth": 0.6 if edge else 0}
    style |= {"color": list(mark.colors)} if mark.colors else {}
    start = np.where(np.isfinite(lengths), mark.base, np.nan)
    if np.any(mark.base):
        ax.use_sticky_edges = False
    (ax.barh if mark.across else ax.bar)(mark.at, lengths, mark.width, start, **style)
    for at, base, length, text in zip(mark.at, start, lengths, mark.texts, strict=False):
        if text and mark.inside:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
            ax.text(base + length / 2, at, text, ha="center", va="center", fontsize="x-small", color="black", bbox=box)
        elif text:
            ax.annotate(text, (base + length, at), (3, 0), textcoords="offset points", va="center", fontsize="x-small")


def _rule(ax: Any, mark: Rule) -> None:
    named = _named(mark)
    if mark.to is not None:
        (ax.axvspan if mark.upright else ax.axhspan)(mark.at, mark.to, **{**named, "alpha": 0.2, "linewidth": 0})
        return
    dash = (0, (1, 3)) if mark.dash == "dot" else DASHES[mark.dash]
    (ax.axvline if mark.upright else ax.axhline)(mark.at, linewidth=mark.width, linestyle=dash, **named)


def _boxes(ax: Any, mark: Boxes) -> None:
    ax.boxplot(
        [row[np.isfinite(row)] for row in mark.values], positions=mark.at, widths=0.6, patch_artist=True, manage_ticks=False,
        boxprops={"facecolor": mark.face, "edgecolor": mark.color, "label": mark.label}, medianprops={"color": "black"},
        whiskerprops={"color": mark.color}, capprops={"color": mark.color},
        flierprops={"marker": ".", "markersize": 3, "markerfacecolor": mark.color, "markeredgecolor": mark.color},
    )  # fmt: skip


def _texts(ax: Any, mark: Texts) -> None:
    from matplotlib.patheffects import withStroke

    for x, y, text, (across, up) in zip(mark.x, mark.y, mark.texts, mark.ways, strict=True):
        place: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": "small", "zorder": 8}
        edge = [withStroke(linewidth=2.5, foreground="white")]  # on its own white edge, whatever the ground
        ax.annotate(text, (x, y), (13 * across, 13 * up), color="black", path_effects=edge, **place)
    if mark.label:
        ax.plot([], [], linestyle="", marker="$1$", color=ink(), label=mark.label)


def _image(ax: Any, mark: Image) -> None:
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Rectangle

    style: dict[str, Any] = {"rasterized": True, "linewidth": 0, "edgecolors": "none"}
    shown = np.ma.masked_invalid(mark.values)
    for _, _, cells, _ in mark.marked:
        shown = np.ma.masked_where(cells, shown)
    norm = None if mark.scale is None else mark.scale.norm()
    ax.pcolormesh(mark.x, mark.y, shown, norm=norm, cmap=mark.color_map, **style)
    for label, color, cells, _ in mark.marked:
        if cells.any():
            ax.pcolormesh(mark.x, mark.y, np.ma.masked_where(~cells, cells), cmap=ListedColormap([color]), **style)
            ax.add_patch(Rectangle((0, 0), 0, 0, facecolor=color, edgecolor="black", linewidth=0.4, label=label))


def _color_bar(ax: Any, mark: ColorBar) -> None:
    """On its own axes, or beside what is drawn on them; it says so where there is no colour."""
    from matplotlib.cm import ScalarMappable

    place = ax.inset_axes((1.03, 0.0, 0.03, 1.0)) if ax.has_data() else ax
    if mark.scale is None:
        place.set_axis_off()
        place.text(0, 0.5, f"no {mark.label.partition(':')[0]} above 0", rotation=90, va="center", fontsize="small")
        return
    shown = ScalarMappable(mark.scale.norm(), mark.color_map)
    bar = ax.figure.colorbar(shown, cax=place, extend=EXTENDED[mark.below, mark.above])
    bar.set_ticks(mark.scale.ticks.tolist(), labels=mark.scale.tick_texts)
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize="x-small")
    bar.set_label(mark.label, fontsize="small", parse_math=False)


_DRAW: dict[type[Mark], Callable[[Any, Any], None]] = {
    Line: draw_line, Area: _area, Edge: _edge, Bars: _bars, Rule: _rule, Boxes: _boxes, Texts: _texts, FieldMark: draw_field, Image: _image,
    ColorBar: _color_bar,
}  # fmt: skip
