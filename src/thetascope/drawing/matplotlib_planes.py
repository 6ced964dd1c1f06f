"""A quantity over a plane by matplotlib: contours, a heat map, or a surface in 3-D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.drawing.fields import Field, GridInfo, edges, lonely, open_corner
from thetascope.drawing.legends import wrapped
from thetascope.drawing.style import GREY, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from thetascope.drawing.spec import FieldMark

MARKED: dict[str, dict[str, Any]] = {
    "not finite": {"facecolor": "white", "edgecolor": VERMILION, "hatch": "xxxxx"},
    "not scored": {"facecolor": "#ECECEC", "edgecolor": "#8C8C8C", "hatch": "...."},
}
FINEST = 100
"""More rows or columns than this are thinned out in 3-D."""


def draw_field(ax: Any, mark: FieldMark) -> None:
    """Contours or a heat map with its colour bar; cells without a finite value are hatched. Or in 3-D."""
    grid, field = mark.grid, mark.field
    if mark.kind == "3d":
        _draw_3d(ax, grid, field)
        return
    scale, across, down = field.scale, edges(grid.x, grid.y), edges(grid.y, grid.x)
    contours = mark.kind == "contour" and not scale.flat and not grid.is_line
    if not contours or field.marked:  # below contours: up to the edge of each cell without a value
        ax.pcolormesh(across, down, np.ma.masked_invalid(field.shown), norm=scale.norm(), cmap=field.color_map, zorder=0)
    if contours:
        shown = np.ma.masked_invalid(field.shown)
        ax.contourf(grid.x, grid.y, shown, levels=scale.levels, norm=scale.norm(), cmap=field.color_map, zorder=0.5)
        ax.contour(grid.x, grid.y, shown, levels=scale.levels[1:-1], colors="white", linewidths=0.5, alpha=0.6, zorder=0.6)
        across, down = grid.x, grid.y
    ax.set(xlim=sorted(across[[0, -1]]), ylim=sorted(down[[0, -1]]))
    if grid.equal:
        ax.set_aspect("equal")
        ax.locator_params(nbins=6)
    _hatch(ax, grid, field)
    if field.evaluated is not None and mark.cells:
        y, x = np.nonzero(field.evaluated)
        ax.plot(grid.x[x], grid.y[y], ".", color="black", markersize=1.2, alpha=0.6, zorder=1.5, label="evaluated cell")
    _color_bar(ax, field)


def _hatch(ax: Axes, grid: GridInfo, field: Field) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    across, down = edges(grid.x, grid.y), edges(grid.y, grid.x)
    for kind, cells in field.marked.items():
        corners = [
            [(across[i], down[j]), (across[i + 1], down[j]), (across[i + 1], down[j + 1]), (across[i], down[j + 1]), (across[i], down[j])]
            for j, i in zip(*np.nonzero(cells), strict=True)
        ]
        outline = Path.make_compound_path(*(Path(corner, closed=True) for corner in corners))
        ax.add_patch(PathPatch(outline, linewidth=0, zorder=1, label=field.count_text(kind), **MARKED[kind]))


def _color_bar(ax: Axes, field: Field) -> None:
    """With round numbers; none where nothing is finite."""
    from matplotlib.cm import ScalarMappable

    scale = field.scale
    if not len(scale.levels):
        ax.text(0.5, 0.75, "no finite value", transform=ax.transAxes, ha="center", va="center", bbox={"facecolor": "white"}, zorder=5)
        return
    bar = ax.figure.colorbar(ScalarMappable(scale.norm(), field.color_map), cax=ax.inset_axes((1.03, 0.0, 0.05, 1.0)))
    bar.set_ticks(scale.ticks.tolist(), labels=scale.tick_texts)
    bar.ax.minorticks_off()
    bar.set_label(f"{field.label}{scale.remark}{': all cells equal' if scale.flat else ''}", parse_math=False)


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
