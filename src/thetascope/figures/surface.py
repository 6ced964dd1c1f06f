"""Loss surfaces over a plane of parameters: contours, heat map, in 3-D, and cuts through the center (thesis figure 6.26)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.errors import ResultError
from thetascope.figures.fields import Field, GridInfo, draw_field, draw_marks, grid_info, height_at, lonely, open_corner
from thetascope.figures.legends import legend_below, legend_on, legend_text, log_y, wrapped
from thetascope.figures.scales import Floats
from thetascope.figures.style import BLUE, GREY, ORANGE, VERMILION, panel_of
from thetascope.figures.surface_plotly import draw_plotly

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from thetascope.results import Result

__all__ = ["draw_matplotlib", "draw_plotly", "info"]

KINDS = ("contour", "heatmap", "3d", "cuts")
FINEST = 100
"""More rows or columns than this are thinned out in matplotlib's 3-D."""


def info(result: Result) -> GridInfo:
    """Gather what the figure shows; cells that are missing or not finite stay so.

    Raises:
        ResultError: the result has no grid.
    """
    return grid_info(result)


def draw_matplotlib(found: GridInfo, ax: Axes | None = None, kind: str | None = None, variable: str | None = None) -> Axes | Figure:
    """Draw a whole figure; or one `kind` (contour, heatmap, 3d or cuts) of one `variable`, alone or on `ax`.

    A surface of one row or column is a line. For 3d, `ax` must be three-dimensional, else flat.

    Raises:
        ResultError: no such kind or variable, or `ax` does not suit the kind.
    """
    if kind is not None and kind not in KINDS:
        raise ResultError(f'there is no kind "{kind}" of surface figure; there are: {", ".join(KINDS)}')
    field, chosen = panel_of(found.fields, variable or "loss"), "line" if found.is_line else kind or "contour"
    if ax is not None:
        _check_axes(ax, chosen)
        _DRAW[chosen](ax, found, field)
        legend_on(ax, inside=chosen in ("cuts", "line"))
        return ax
    from thetascope.figures.picture import Picture

    if kind is None and variable is None:
        return _lines(found) if found.is_line else _whole(found)
    flat = chosen in ("contour", "heatmap")
    figure = Picture(figsize=(6.4, found.height(5.0) + 1.2 if flat else 5.4), layout="constrained")
    axis = figure.add_subplot(projection="3d" if chosen == "3d" else None)
    _DRAW[chosen](axis, found, field)
    _frame(figure, found, 80)
    return figure


def _check_axes(ax: Axes, kind: str) -> None:
    if (kind == "3d") != (ax.name == "3d"):
        needed = 'three-dimensional axes, such as figure.add_subplot(projection="3d")' if kind == "3d" else "flat axes"
        raise ResultError(f'kind "{kind}" is drawn on {needed}; got axes with projection "{ax.name}"')


def _whole(found: GridInfo) -> Figure:
    from thetascope.figures.picture import Picture

    figure = Picture(figsize=(11, 9.4), layout="constrained")
    loss = panel_of(found.fields, "loss")
    other = next((field for field in found.fields if field.name != "loss"), loss)
    for place, (kind, field) in enumerate((("contour", loss), ("3d", loss), ("heatmap", other), ("cuts", loss)), 1):
        axis = figure.add_subplot(2, 2, place, projection="3d" if kind == "3d" else None)
        _DRAW[kind](axis, found, field)
    _frame(figure, found, 130)
    return figure


def _lines(found: GridInfo) -> Figure:
    from thetascope.figures.picture import Picture

    figure = Picture(figsize=(5.2 * len(found.fields), 4.6), layout="constrained")
    for axis, field in zip(figure.subplots(1, len(found.fields), squeeze=False)[0], found.fields, strict=True):
        _draw_line(axis, found, field)
    _frame(figure, found, 65 * len(found.fields))
    return figure


def _frame(figure: Figure, found: GridInfo, width: int) -> None:
    """Title and notes above all panels, one legend below them."""
    figure.suptitle(f"{wrapped([found.title], width)}\n{wrapped(found.notes, width)}", fontsize="medium", parse_math=False)
    legend_below(figure)


def _draw_contour(ax: Axes, found: GridInfo, field: Field) -> None:
    draw_field(ax, found, field, contours=True)
    draw_marks(ax, found)


def _draw_heatmap(ax: Axes, found: GridInfo, field: Field) -> None:
    draw_field(ax, found, field, contours=False)
    draw_marks(ax, found)


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
            ax.plot(
                x[cells],
                y[cells],
                np.zeros(cells.sum()),
                marker,
                color=color,
                markersize=4,
                label=field.count_text(kind),
            )
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
    if scale.log:
        log_y(ax)
    elif not scale.even:
        ax.set_yscale("function", functions=(scale.position, scale.value))
        ax.set_yticks(scale.ticks.tolist(), scale.tick_texts)
    ax.set_ylabel(field.label if scale.log else f"{field.label}{scale.remark}", parse_math=False)
    ax.grid(color=GREY, alpha=0.25, linewidth=0.6)


def _draw_curve(ax: Axes, found: GridInfo, field: Field, where: Any, at: Floats, **style: Any) -> None:
    """Part of the grid as a curve with gaps, dots at what was evaluated, and twice the standard error where it is known."""
    curve = field.shown[where]
    dots = np.ones(len(at), bool) if field.evaluated is None else field.evaluated[where]
    ax.plot(at, curve, marker="o", markersize=3, markevery=dots.tolist(), **style)
    if found.standard_error is not None and field.name == "loss":
        spread = 2 * found.standard_error[where]
        low = curve - spread
        if field.scale.log:
            low = np.where(low > 0, low, curve)
        ax.fill_between(at, low, curve + spread, color=style["color"], alpha=0.2, linewidth=0, label="± 2 standard errors")
    for kind, marker, color in (("not finite", "x", VERMILION), ("not scored", "|", GREY)):
        bad = field.marked.get(kind, np.zeros(field.values.shape, bool))[where]
        ax.plot(
            at[bad], np.full(bad.sum(), 0.97), marker, color=color, transform=ax.get_xaxis_transform(), label=kind if bad.any() else "_"
        )


_DRAW: dict[str, Callable[[Any, GridInfo, Field], None]] = {
    "contour": _draw_contour,
    "heatmap": _draw_heatmap,
    "3d": _draw_3d,
    "cuts": _draw_cuts,
    "line": _draw_line,
}
