"""A quantity over a plane by matplotlib: contours, a heat map, or a surface in 3-D."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.fields import Field, GridInfo, edges, lonely
from thetascope.drawing.legends import wrapped
from thetascope.drawing.relief import FLOOR, PALE, Relief, best_view, relief_of
from thetascope.drawing.style import GREY, VERMILION, ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from thetascope.drawing.spec import FieldMark

MARKED: dict[str, dict[str, Any]] = {
    "not finite": {"facecolor": "white", "edgecolor": VERMILION, "hatch": "xxxxx"},
    "not scored": {"facecolor": "#ECECEC", "edgecolor": "#8C8C8C", "hatch": "...."},
}
AMBIENT, DIFFUSE, GLOSS = 0.55, 0.55, 0.1
"""Of the light on a surface."""
EXTENDED = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
"""A bar of colours, by whether values lie below them and above."""


def draw_field(ax: Any, mark: FieldMark) -> None:
    """Contours or a heat map with its colour bar; cells without a finite value are hatched. Or in 3-D."""
    grid, field = mark.grid, mark.field
    if mark.kind == "3d":
        _draw_3d(ax, mark)
        if mark.bar and len(field.scale.levels):
            _color_bar(ax, field)
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
    if mark.bar is not False:
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
    place, extended = ax.inset_axes((1.03, 0.0, 0.05, 1.0)), EXTENDED[field.beyond[0] > 0, field.beyond[1] > 0]
    bar = ax.figure.colorbar(ScalarMappable(scale.norm(), field.color_map), cax=place, extend=extended)
    bar.set_ticks(scale.ticks.tolist(), labels=scale.tick_texts)
    bar.ax.minorticks_off()
    bar.set_label(f"{field.label}{scale.remark}{': all cells equal' if scale.flat else ''}", parse_math=False)


def _draw_3d(ax: Any, mark: FieldMark) -> None:
    """A lit surface above its contours; heights and colours follow the scale, and cells without a finite value stand on the floor."""
    from matplotlib import colormaps
    from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection

    grid, field = mark.grid, mark.field
    scale, colors, relief = field.scale, colormaps[field.color_map], relief_of(grid, field)
    tilt, turn = mark.view or best_view(relief)
    x, y = np.meshgrid(relief.x, relief.y)
    ax.computed_zorder = False  # the way lies above the surface, and that above its contours
    nodes = np.stack([x, y, relief.heights], axis=-1)
    faces = np.stack([nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, 1:], nodes[1:, :-1]], axis=2)
    whole = np.isfinite(faces).all(axis=(2, 3))
    lit = _lit(relief, colors, tilt, turn)[:-1, :-1][whole]
    if whole.any():
        ax.add_collection3d(Poly3DCollection(faces[whole], facecolors=lit, edgecolors=lit, linewidths=0.7, rasterized=True, zorder=3))
    lines = [np.column_stack([line, np.full(len(line), FLOOR)]) for _, line in relief.contours]
    if lines:
        ax.add_collection3d(Line3DCollection(lines, colors=[colors(level) for level, _ in relief.contours], linewidths=0.8, zorder=1))
    heights = scale.position(field.shown)
    alone, (x, y) = lonely(heights), np.meshgrid(grid.x, grid.y)
    at = np.clip(heights[alone], 0, 1)
    ax.scatter(x[alone], y[alone], at, c=colors(at), s=8, depthshade=False, zorder=4)
    for kind, marker, color in (("not finite", "x", VERMILION), ("not scored", ".", GREY)):
        if kind in field.marked:
            cells = field.marked[kind]
            floor = np.full(cells.sum(), FLOOR)
            ax.plot(x[cells], y[cells], floor, marker, color=color, markersize=4, zorder=2, label=field.count_text(kind))
    if relief.label:
        ax.plot([], [], [], "s", color=(*np.asarray(colors(1.0))[:3], PALE), label=relief.label)
    ax.view_init(elev=tilt, azim=turn)
    _space(ax, grid, field, relief, turn)


def _lit(relief: Relief, colors: Any, tilt: float, turn: float) -> Floats:
    """The colours of the nodes ``[ny, nx, 4]`` in a light from above, left of who looks; what is cut off is pale."""
    found = np.asarray(colors(relief.heights))
    light, eye = _towards(tilt + 25, turn - 60), _towards(tilt, turn)
    normals = relief.normals
    shade = np.clip(normals @ light, 0, 1)[..., None]
    gloss = np.clip(normals @ ((light + eye) / np.linalg.norm(light + eye)), 0, 1)[..., None] ** 30
    rgb = found[..., :3] * (AMBIENT + DIFFUSE * shade)
    rgb = rgb + (1 - rgb) * GLOSS * gloss
    rgb = np.where(relief.cut[..., None], 1 - (1 - rgb) * PALE, rgb)
    found[..., :3] = np.clip(rgb, 0, 1)
    return found


def _towards(tilt: float, turn: float) -> Floats:
    up, about = np.radians([tilt, turn])
    return np.array([np.cos(up) * np.cos(about), np.cos(up) * np.sin(about), np.sin(up)])


def _space(ax: Any, grid: GridInfo, field: Field, relief: Relief, turn: float) -> None:
    """Axes without panes that fill their place, with heights written as values, and what they say above and below."""
    from matplotlib import rcParams
    from mpl_toolkits.mplot3d.proj3d import proj_transform

    scale, size = field.scale, ax.get_window_extent().size / ax.figure.dpi
    ax.grid(visible=False)
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_pane_color((0, 0, 0, 0))
        axis.pane.set_edgecolor((0, 0, 0, 0))
        axis.line.set(color=ink(), linewidth=0.8)
    ax.tick_params(labelsize="x-small", pad=-2)
    ax.set(xlim=grid.x[[0, -1]], ylim=grid.y[[0, -1]], zlim=(FLOOR, 1), box_aspect=relief.sides)
    corners = product(grid.x[[0, -1]], grid.y[[0, -1]], (FLOOR, 1))
    seen = np.array([proj_transform(*corner, ax.get_proj())[:2] for corner in corners]) / (ax.viewLim.width / 2)
    zoom = 0.96 / np.abs(seen).max()
    ax.set_box_aspect(relief.sides, zoom=zoom)
    low, high = (0.5 + 0.5 * zoom * seen[:, 1][[seen[:, 1].argmin(), seen[:, 1].argmax()]]).tolist()
    ticks, apart = np.clip(scale.position(scale.ticks), 0, 1), 4 * rcParams["font.size"] / 72 / size.min()
    kept = list[int]()
    for k in np.argsort(ticks).tolist():
        if not kept or ticks[k] - ticks[kept[-1]] >= apart:
            kept.append(k)
    ax.set_zticks(ticks[kept].tolist(), [scale.tick_texts[k] for k in kept])
    for axis in "xy":
        ax.locator_params(axis=axis, nbins=5, prune="both")  # where axes meet their numbers would collide
    left, right = (grid.y_label, grid.x_label) if np.sin(np.radians(2 * turn)) > 0 else (grid.x_label, grid.y_label)
    characters = max(int(90 * size[0] / rcParams["font.size"]), 8)
    front = 0.5 + 0.5 * zoom * float(seen[seen[:, 1].argmin(), 0])
    below, style = low - apart / 2, dict[str, Any](transform=ax.transAxes, fontsize="small", parse_math=False)
    ax.text2D(front - 0.02, below, wrapped([left], characters), ha="right", va="top", **style)
    ax.text2D(front + 0.02, below, wrapped([right], characters), ha="left", va="top", **style)
    ax.text2D(0.5, min(high + 0.02, 1.0), wrapped([f"{field.label}{scale.remark}"], 2 * characters), ha="center", va="bottom", **style)
