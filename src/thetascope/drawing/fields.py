"""What pictures over a plane share: quantities on its grid, contours and heat maps of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.layouts import Panel, PictureInfo
from thetascope.drawing.legends import legend_text
from thetascope.drawing.scales import Scale, drawable, scale_of
from thetascope.drawing.style import VERMILION, Bools, quantities, title_of
from thetascope.errors import ResultError
from thetascope.results.status import ESTIMATED, MISSING

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

OBLIQUE = 0.1
"""A cosine of the two directions that a reader must know."""
MARKERS = ("*", "o", "s", "^", "D", "v")
MARKED: dict[str, dict[str, Any]] = {
    "not finite": {"facecolor": "white", "edgecolor": VERMILION, "hatch": "xxxxx"},
    "not scored": {"facecolor": "#ECECEC", "edgecolor": "#8C8C8C", "hatch": "...."},
}


@dataclass(frozen=True)
class Field(Panel):
    """One quantity over the grid ``[ny, nx]``.

    Attributes:
        values: as stored; what is not finite stays so.
        missing: cells without a value.
        not_finite: cells that were scored and have no finite value.
        evaluated: cells that were scored, where others are estimated; None where nothing is.
    """

    values: Floats
    missing: Bools
    not_finite: Bools
    evaluated: Bools | None
    scale: Scale

    @property
    def shown(self) -> Floats:
        """The values as drawn, nan where there is no finite one."""
        return np.where(self.missing, np.nan, drawable(self.values))

    @property
    def marked(self) -> dict[str, Bools]:
        """Cells without a finite value, by what is said of them."""
        return {kind: cells for kind, cells in (("not finite", self.not_finite), ("not scored", self.missing)) if cells.any()}

    def count_text(self, kind: str) -> str:
        """How the legend calls the cells of that kind."""
        return f"{kind}: {self.marked[kind].sum():,} of {self.values.size:,} cells"

    @property
    def color_map(self) -> str:
        """Matplotlib's name of it."""
        return "viridis" if self.name == "loss" else "cividis"


@dataclass(frozen=True)
class GridInfo(PictureInfo):
    """All that a picture shows of a plane. `marks`: x, y and label of stored states that lie in it."""

    x: Floats
    y: Floats
    x_label: str
    y_label: str
    fields: tuple[Field, ...]
    standard_error: Floats | None
    marks: tuple[tuple[float, float, str], ...]

    @property
    def equal(self) -> bool:
        """Whether the two ranges are alike enough to be drawn to one scale."""
        width, height = np.ptp(self.x), np.ptp(self.y)
        return bool(min(width, height) > 0 and 0.2 <= width / height <= 5)

    def height(self, width: float) -> float:
        """Of a picture of that width: true to scale where the ranges are alike."""
        return float(np.clip(width * np.ptp(self.y) / np.ptp(self.x), 0.4 * width, 1.2 * width)) if self.equal else 0.9 * width

    @property
    def is_line(self) -> bool:
        """Whether it has one row or one column."""
        return 1 in (len(self.x), len(self.y))


def grid_info(data: xr.Dataset) -> GridInfo:
    """Gather what any picture of a plane shows; cells that are missing or not finite stay so.

    Raises:
        ResultError: the data have no grid.
    """
    attrs = data.attrs
    if not {"x", "y", "status"} <= set(map(str, data.variables)):
        raise ResultError(f'this figure is of a plane; the result of "{attrs["experiment"]}" has no grid over y and x')
    labels = attrs.get("axis_labels", {})
    return GridInfo(
        title=title_of(attrs),
        notes=_notes(attrs),
        x=np.asarray(data["x"].values, np.float64),
        y=np.asarray(data["y"].values, np.float64),
        x_label=str(labels.get("x", "x")),
        y_label=str(labels.get("y", "y")),
        fields=tuple(_field(data, name, label) for name, label in quantities(attrs).items()),
        standard_error=data["loss_standard_error"].transpose("y", "x").values if "loss_standard_error" in data else None,
        marks=_marks(attrs.get("marks", ())),
    )


def _marks(marks: Sequence[Any]) -> tuple[tuple[float, float, str], ...]:
    """With their places where two are called the same."""
    labels = [str(mark["label"]) for mark in marks]
    told = [
        label if labels.count(label) == 1 else f"{label} at ({m['x']:.3g}, {m['y']:.3g})" for label, m in zip(labels, marks, strict=True)
    ]
    return tuple((float(mark["x"]), float(mark["y"]), label) for mark, label in zip(marks, told, strict=True))


def _field(data: xr.Dataset, name: str, label: str) -> Field:
    values = np.asarray(data[name].transpose("y", "x").values, np.float64)
    status = data[f"{name}_status" if f"{name}_status" in data else "status"].transpose("y", "x").values
    missing = (status == MISSING) | ((status == ESTIMATED) & ~np.isfinite(values))
    known = values[~missing & np.isfinite(values)]
    is_share = bool(name != "loss" and len(known) and known.min() >= 0 and known.max() <= 1)
    scale = scale_of(np.where(missing, np.nan, drawable(values)), bounded=is_share)
    return Field(
        name=name,
        label=label,
        log=scale.log,
        values=values,
        missing=missing,
        not_finite=~np.isfinite(values) & ~missing,
        evaluated=~missing & (status != ESTIMATED) if ((status == ESTIMATED) & ~missing).any() else None,
        scale=scale,
    )


def _notes(attrs: Any) -> tuple[str, ...]:
    """What a reader must know beside the picture."""
    first = [str(attrs["subtitle"])] if attrs.get("subtitle") else []
    if "samples" not in "".join(first):
        first.append(f"{attrs['samples_scored']:,} samples")
    if attrs.get("floating_buffers"):
        how = "recalibrated at each point" if attrs["buffers"] == "recalibrate" else "held at the center"
        first.append(f"buffers such as BatchNorm statistics {how}")
    notes = ["; ".join(first)]
    estimate = attrs.get("estimate")
    if estimate and estimate["evaluated"] < estimate["cells"]:
        within = f" within {100 * estimate['error']:.2g} %" if np.isfinite(estimate["error"]) else ""
        notes.append(f"{estimate['evaluated']:,} of {estimate['cells']:,} cells evaluated, the rest estimated{within}")
    cosine = attrs.get("directions", {}).get("cosine")
    if cosine is not None and abs(cosine) > OBLIQUE:
        notes.append(f"the two directions are oblique (cosine {cosine:.2f}): distances and angles are not true to scale")
    return tuple(notes)


def edges(centers: Floats, other: Floats) -> Floats:
    """Where cells end around their centers ``[n]``: ``[n + 1]``. A single cell is as wide as those of the `other` axis."""
    if len(centers) == 1:
        half = np.ptp(other) / max(len(other) - 1, 1) / 2 or 0.5
        return np.array([centers[0] - half, centers[0] + half])
    middle = (centers[:-1] + centers[1:]) / 2
    return np.concatenate([[2 * centers[0] - middle[0]], middle, [2 * centers[-1] - middle[-1]]])


def lonely(heights: Floats) -> Bools:
    """Cells with a height that no surface shows, since each of their corners lacks a neighbour."""
    finite = np.isfinite(heights)
    whole = finite[:-1, :-1] & finite[1:, :-1] & finite[:-1, 1:] & finite[1:, 1:]
    covered = np.zeros_like(finite)
    for rows in (slice(None, -1), slice(1, None)):
        for columns in (slice(None, -1), slice(1, None)):
            covered[rows, columns] |= whole
    return finite & ~covered


def height_at(found: GridInfo, heights: Floats, x: float, y: float) -> float:
    """Of the cell nearest to a point; the floor where it has none."""
    height = heights[np.abs(found.y - y).argmin(), np.abs(found.x - x).argmin()]
    return float(height) if np.isfinite(height) else 0.0


def open_corner(heights: Floats) -> tuple[int, int]:
    """The lowest corner of a surface ``[ny, nx]`` as signs of (x, y): seen from there no wall hides the basin."""
    corners = {(x, y): float(heights[-1 if y > 0 else 0, -1 if x > 0 else 0]) for y in (-1, 1) for x in (1, -1)}
    return min(corners, key=lambda corner: corners[corner] if np.isfinite(corners[corner]) else np.inf)


def draw_field(ax: Axes, grid: GridInfo, field: Field, *, contours: bool) -> None:
    """Contours or a heat map with its colour bar and the marks; cells without a finite value are hatched, evaluated ones dotted."""
    scale, across, down = field.scale, edges(grid.x, grid.y), edges(grid.y, grid.x)
    contours = contours and not scale.flat and not grid.is_line
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
    if field.evaluated is not None:
        y, x = np.nonzero(field.evaluated)
        ax.plot(grid.x[x], grid.y[y], ".", color="black", markersize=1.6, alpha=0.6, zorder=1.5, label="evaluated cell")
    ax.set_xlabel(grid.x_label, parse_math=False)
    ax.set_ylabel(grid.y_label, parse_math=False)
    _color_bar(ax, field)
    draw_marks(ax, grid)


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


def draw_marks(ax: Any, grid: GridInfo, height: Any = None) -> None:
    """The stored states that lie in the plane, each with its own sign, many with one; at a `height` in 3-D."""
    few = len(grid.marks) <= len(MARKERS)
    style = {"linestyle": "", "markerfacecolor": "white", "markeredgecolor": "black", "zorder": 6}
    for place, (x, y, label) in enumerate(grid.marks):
        at = (x, y) if height is None else (x, y, height(x, y))
        shown = legend_text(label) if few else f"{len(grid.marks)} stored states" if place == 0 else "_"
        size = 12 if few and place == 0 else 7
        ax.plot(*([value] for value in at), MARKERS[place if few else 1], markersize=size, label=shown, **style)
