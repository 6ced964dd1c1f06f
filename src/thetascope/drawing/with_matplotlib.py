"""Pictures by matplotlib: whole figures, or the first panel on axes of a user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.drawing.legends import legend_below, legend_on, legend_text, log_y, wrapped
from thetascope.drawing.matplotlib_planes import draw_field
from thetascope.drawing.spec import (
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
    "": "", "circle": "o", "square": "s", "diamond": "D", "star": "*", "triangle-up": "^", "triangle-down": "v", "cross": "P", "x": "X",
    "x-thin": "x", "cross-thin": "+", "line-ns": "|",
}  # fmt: skip
"""By plotly's names."""
CHARACTERS, NOTE_CHARACTERS = 9, 13.5
"""Of the title and of the notes, an inch."""
MANY = 2000
"""More points than this are drawn as dots of an image, in files of vectors too."""


def figure_of(picture: Picture) -> Figure:
    """The whole picture: title and notes above all panels, one legend below them."""
    from thetascope.drawing.notebook import NotebookFigure

    figure = NotebookFigure(figsize=(picture.width, picture.height), layout="constrained")
    below: Any = figure.subfigures(1, 1)
    figure.suptitle(wrapped([picture.title], int(CHARACTERS * picture.width)), fontsize="large")
    below.suptitle(wrapped(picture.notes, int(NOTE_CHARACTERS * picture.width)), fontsize="small", color=GREY)
    drawn = _laid_out(below, below.add_gridspec(1, 1)[0], picture.parts)
    common = [axes for axes, panel in drawn if not panel.legend]
    if any(axes.get_legend_handles_labels()[1] for axes in common):
        legend_below(figure, common, _order(panel for _, panel in drawn))
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
    kind = next((mark.kind for mark in panel.marks if isinstance(mark, FieldMark)), "line")
    if (kind == "3d") != (ax.name == "3d"):
        needed = 'three-dimensional axes, such as figure.add_subplot(projection="3d")' if kind == "3d" else "flat axes"
        raise ResultError(f'kind "{kind}" is drawn on {needed}; got axes with projection "{ax.name}"')
    draw_panel(ax, panel, titled=not panel.crowded)
    if ax.get_legend_handles_labels()[1] or (panel.crowded and panel.title):
        legend_on(ax, _order([panel]), inside=not panel.crowded, note=panel.title if panel.crowded else "")
    as_text(text for text in texts_of(ax) if text.get_text() != before.get(text))
    return ax


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


def _laid_out(figure: Any, place: Any, part: Panel | Parts) -> list[tuple[Any, Panel]]:
    """The panels of a part on axes of their own in that place of the figure."""
    if isinstance(part, Panel):
        if not part.marks:
            return []
        deep = any(isinstance(mark, FieldMark) and mark.kind == "3d" for mark in part.marks)
        axes = figure.add_subplot(place, projection="3d" if deep else None)
        draw_panel(axes, part)
        if part.legend and axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize="x-small")
        return [(axes, part)]
    if part.columns:
        grid = place.subgridspec(-(-len(part.parts) // part.columns), part.columns)
        return [drawn for cell, inner in zip(grid, part.parts, strict=False) for drawn in _laid_out(figure, cell, inner)]
    count, sizes = len(part.parts), part.sizes or [1.0] * len(part.parts)
    grid = place.subgridspec(count, 1, height_ratios=sizes) if part.down else place.subgridspec(1, count, width_ratios=sizes)
    found = [_laid_out(figure, grid[i], inner) for i, inner in enumerate(part.parts)]
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


def draw_panel(ax: Any, panel: Panel, *, titled: bool = True) -> None:
    """The marks, then the axes around them."""
    if panel.x_log:
        ax.set_xscale("log")
    if panel.scale is not None:
        ax.set_yscale("function", functions=(panel.scale.position, panel.scale.value))
    for mark in panel.marks:
        for band in mark.bands(panel.y_log) if isinstance(mark, Line) else ():
            _area(ax, band)
        _DRAW[type(mark)](ax, mark)
    if panel.y_log:
        log_y(ax)
    if ax.name != "3d":
        _label(ax, panel)
    if panel.x_whole:
        ax.locator_params(axis="x", integer=True)
    if panel.grid:
        ax.grid(color=GREY, alpha=0.25, linewidth=0.6)
        ax.set_axisbelow(True)
    if panel.small:
        ax.tick_params(labelsize="x-small")
        ax.locator_params(nbins=4)
        ax.ticklabel_format(axis="y", scilimits=(-3, 4))
        ax.yaxis.get_offset_text().set_fontsize("x-small")
    if panel.aspect is not None:
        ax.set_aspect(panel.aspect, anchor="NW")
        ax.tick_params(length=2, pad=2, labelsize="x-small")
        ax.spines[:].set_visible(False)
    if panel.title and titled:
        ax.set_title(panel.title, fontsize="small", loc="left")
    if panel.epochs is not None:
        _epoch_axis(ax, *panel.epochs)


def _label(ax: Axes, panel: Panel) -> None:
    """What the axes say."""
    for axis in "xy":
        ticks, limits, label = (getattr(panel, f"{axis}_{what}") for what in ("ticks", "range", "label"))
        if ticks is not None:
            named = axis == "x" and sum(not text[:1].isdigit() for text in ticks[1] if text) > 1  # names are longer than numbers
            style: dict[str, Any] = {"fontsize": "small", "rotation": 90 if named else 0, "parse_math": False}
            getattr(ax, f"set_{axis}ticks")(list(ticks[0]), list(ticks[1]), **style)
            ax.tick_params(axis=axis, which="minor", length=0, labelsize=0)  # type: ignore[arg-type]
        if limits is not None:
            ax.set(**{f"{axis}lim": limits})
        if label:
            getattr(ax, f"set_{axis}label")(label, fontsize="small" if panel.small else None)


def _epoch_axis(ax: Any, first: float, last: float) -> None:
    from matplotlib.ticker import MaxNLocator

    top = ax.secondary_xaxis(
        "top", functions=(lambda p: first + np.asarray(p) * (last - first), lambda e: (np.asarray(e) - first) / (last - first))
    )
    top.xaxis.set_major_locator(MaxNLocator(nbins=9, integer=True))
    top.set_xlabel("epoch of the training, for measured states")


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
    far = np.full(len(mark.at), 0.97)
    at, across = ((mark.at, far), ax.get_xaxis_transform()) if mark.upright else ((far, mark.at), ax.get_yaxis_transform())
    ax.plot(*at, linestyle="", marker=MARKERS[mark.marker], markersize=7, transform=across, **{**_named(mark), "zorder": 5})
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
    bar = ax.figure.colorbar(shown, cax=place, extend="min" if mark.below else "neither")
    bar.set_ticks(mark.scale.ticks.tolist(), labels=mark.scale.tick_texts)
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize="x-small")
    bar.set_label(mark.label, fontsize="small", parse_math=False)


_DRAW: dict[type[Mark], Callable[[Any, Any], None]] = {
    Line: draw_line, Area: _area, Edge: _edge, Bars: _bars, Rule: _rule, Boxes: _boxes, Texts: _texts, FieldMark: draw_field, Image: _image,
    ColorBar: _color_bar,
}  # fmt: skip
