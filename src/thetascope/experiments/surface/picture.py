"""Loss surfaces over a plane of parameters: contours, heat map, in 3-D, and cuts through the center (thesis figure 6.26)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.curves import mark_at_edge
from thetascope.drawing.fields import Field, GridInfo, draw_field, draw_marks, height_at, lonely, open_corner
from thetascope.drawing.fields import grid_info as info
from thetascope.drawing.fields_plotly import draw_plotly
from thetascope.drawing.layouts import new_axes, new_figure, panel_of, titled
from thetascope.drawing.legends import legend_below, legend_on, legend_text, log_y, wrapped
from thetascope.drawing.style import BLUE, GREY, ORANGE, VERMILION
from thetascope.errors import ResultError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_matplotlib", "draw_plotly", "info"]

KINDS = ("contour", "heatmap", "3d", "cuts")
FINEST = 100
"""More rows or columns than this are thinned out in matplotlib's 3-D."""


def draw_matplotlib(found: GridInfo, ax: Axes | None = None, kind: str | None = None, variable: str | None = None) -> Axes | Figure:
    """Draw a whole figure; or one `kind` (contour, heatmap, 3d or cuts) of one `variable`, alone or on `ax`.

    A surface of one row or column is a line. For 3d, `ax` must be three-dimensional, else flat.
    """
    if kind is not None and kind not in KINDS:
        raise ResultError(f'there is no kind "{kind}" of surface figure; there are: {", ".join(KINDS)}')
    field, chosen = panel_of(found.fields, variable), "line" if found.is_line else kind or "contour"
    if ax is not None:
        if (chosen == "3d") != (ax.name == "3d"):
            needed = 'three-dimensional axes, such as figure.add_subplot(projection="3d")' if chosen == "3d" else "flat axes"
            raise ResultError(f'kind "{chosen}" is drawn on {needed}; got axes with projection "{ax.name}"')
        _DRAW[chosen](ax, found, field)
        legend_on(ax, inside=chosen in ("cuts", "line"))
        return ax
    if kind is None and variable is None:
        return _lines(found) if found.is_line else _whole(found)
    figure = new_figure(6.4, found.height(5.0) + 1.2 if chosen in ("contour", "heatmap") else 5.4)
    axis = figure.add_subplot(projection="3d" if chosen == "3d" else None)
    _DRAW[chosen](axis, found, field)
    return _framed(figure, found, 80)


def _whole(found: GridInfo) -> Figure:
    figure, loss = new_figure(11, 9.4), panel_of(found.fields)
    other = next((field for field in found.fields if field.name != "loss"), loss)
    for place, (kind, field) in enumerate((("contour", loss), ("3d", loss), ("heatmap", other), ("cuts", loss)), 1):
        axis = figure.add_subplot(2, 2, place, projection="3d" if kind == "3d" else None)
        _DRAW[kind](axis, found, field)
    return _framed(figure, found, 130)


def _lines(found: GridInfo) -> Figure:
    figure, axes = new_axes(5.2 * len(found.fields), 4.6, columns=len(found.fields))
    for axis, field in zip(axes, found.fields, strict=True):
        _draw_line(axis, found, field)
    return _framed(figure, found, 65 * len(found.fields))


def _framed(figure: Figure, found: GridInfo, width: int) -> Figure:
    """Title and notes above all panels, one legend below them."""
    titled(figure, found, width)
    legend_below(figure)
    return figure


def _draw_3d(ax: Any, found: GridInfo, field: Field) -> None:
    """Heights and colours follow the scale; cells without a finite value stand as marks on the floor."""
    from matplotlib import colormaps

    scale, heights = field.scale, field.scale.position(field.shown)
    x, y = np.meshgrid(found.x, found.y)
    ax.plot_surface(x, y, heights, facecolors=colormaps[field.color_map](heights), rcount=FINEST, ccount=FINEST, shade=False,
                    edgecolor=(0, 0, 0, 0.25), linewidth=0.25)  # fmt: skip
    alone = lonely(heights)
    ax.scatter(x[alone], y[alone], heights[alone], c=colormaps[field.color_map](heights[alone]), s=8, depthshade=False)
    for kind, marker, color in (("not finite", "x", VERMILION), ("not scored", ".", GREY)):
        if kind in field.marked:
            cells = field.marked[kind]
            ax.plot(x[cells], y[cells], np.zeros(cells.sum()), marker, color=color, markersize=4, label=field.count_text(kind))
    draw_marks(ax, found, lambda at_x, at_y: height_at(found, heights, at_x, at_y))
    ax.set_zlim(0, 1)
    ax.set_zticks(scale.position(scale.ticks).tolist(), scale.tick_texts, fontsize="small")
    ax.tick_params(labelsize="small")
    for name, label in (("x", found.x_label), ("y", found.y_label)):
        lines = wrapped([label], 26)
        ax.set(**{f"{name}label": lines})
        getattr(ax, f"{name}axis").label.set(fontsize="small", parse_math=False)
        getattr(ax, f"{name}axis").labelpad = 4 + 6 * lines.count("\n")
    far = max(map(len, scale.tick_texts), default=0)
    ax.set_zlabel(f"{field.label}{scale.remark}", fontsize="small", labelpad=max(1.6 * far - 2, 2), parse_math=False)
    ax.locator_params(axis="x", nbins=5)
    ax.locator_params(axis="y", nbins=5)
    across, up = open_corner(heights)
    ax.view_init(elev=32, azim=float(np.degrees(np.arctan2(0.82 * up, 0.57 * across))))
    ax.set_box_aspect(None, zoom=0.9)


def _draw_cuts(ax: Axes, found: GridInfo, field: Field) -> None:
    """The row and the column nearest to the center, each named by where it lies."""
    row, column = np.abs(found.y).argmin(), np.abs(found.x).argmin()
    along_x, along_y = f"along x, at y = {found.y[row]:.3g}", f"along y, at x = {found.x[column]:.3g}"
    _draw_curve(ax, found, field, (row, slice(None)), found.x, color=BLUE, label=along_x)
    _draw_curve(ax, found, field, (slice(None), column), found.y, color=ORANGE, linestyle=(0, (5, 1.5)), label=along_y)
    ax.set_xlabel(f"x: {found.x_label}\ny: {found.y_label}", parse_math=False)
    _finish_curves(ax, field)


def _draw_line(ax: Axes, found: GridInfo, field: Field) -> None:
    """The only row or column."""
    across = len(found.y) == 1
    at, label = (found.x, found.x_label) if across else (found.y, found.y_label)
    _draw_curve(ax, found, field, (0, slice(None)) if across else (slice(None), 0), at, color=BLUE)
    for x, y, mark in found.marks:
        ax.axvline(x if across else y, color=GREY, linewidth=1, linestyle=(0, (1, 2)), zorder=0, label=legend_text(mark))
    ax.set_xlabel(label, parse_math=False)
    _finish_curves(ax, field)


def _finish_curves(ax: Axes, field: Field) -> None:
    scale = field.scale
    if field.log:
        log_y(ax)
    elif not scale.even:
        ax.set_yscale("function", functions=(scale.position, scale.value))
        ax.set_yticks(scale.ticks.tolist(), scale.tick_texts)
    ax.set_ylabel(field.label if field.log else f"{field.label}{scale.remark}", parse_math=False)
    ax.grid(color=GREY, alpha=0.25, linewidth=0.6)


def _draw_curve(ax: Axes, found: GridInfo, field: Field, where: Any, at: Floats, **style: Any) -> None:
    """Part of the grid as a curve with gaps, dots at what was evaluated, and twice the standard error where it is known."""
    curve = field.shown[where]
    dots = np.ones(len(at), bool) if field.evaluated is None else field.evaluated[where]
    ax.plot(at, curve, marker="o", markersize=3, markevery=dots.tolist(), **style)
    if found.standard_error is not None and field.name == "loss":
        spread = 2 * found.standard_error[where]
        low = curve - spread
        if field.log:
            low = np.where(low > 0, low, curve)
        ax.fill_between(at, low, curve + spread, color=style["color"], alpha=0.2, linewidth=0, label="± 2 standard errors")
    for kind, marker, color in (("not finite", "x", VERMILION), ("not scored", "|", GREY)):
        if kind in field.marked:
            mark_at_edge(ax, at, field.marked[kind][where], kind, marker, color)


_DRAW: dict[str, Callable[[Any, GridInfo, Field], None]] = {
    "contour": partial(draw_field, contours=True),
    "heatmap": partial(draw_field, contours=False),
    "3d": _draw_3d,
    "cuts": _draw_cuts,
    "line": _draw_line,
}
