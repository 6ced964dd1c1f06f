"""A quantity over a plane as a surface in space: smooth between the cells, with what lies on it, and from where it is seen best."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.fields import Field, GridInfo
from thetascope.drawing.scales import drawable, text_of
from thetascope.drawing.spec import Line, Panel
from thetascope.drawing.style import Bools

FINE, PAGE_FINE, FINEST = 120, 80, 6
"""Steps along an axis that look smooth, in print and on a page, and the most pieces that a cell's side is cut into."""
FLOOR = -0.35
"""Where contours lie, below the heights from 0 to 1."""
TALL = 0.62
"""Heights from the floor to 1, as a share of the longer side."""
NARROWEST = 0.5
"""The shorter side, as a share of the longer one: true to scale up to there."""
BEYOND = 0.15
"""So far beyond the scale may a value lie that no surface holds."""
PALE = 0.5
"""So much of its colour keeps what is cut off."""
HAIR = 0.004
"""What lies on the surface is so much above it."""
ALONG = 300
"""Points of a line that follows the surface."""
TURNS, TILTS = (-125, -135, -115, -145, -105), (30, 38, 48, 58)
"""Degrees about the upright axis, besides quarters of a turn, and above the plane; the first are the best where all see as much."""


@dataclass(frozen=True, eq=False)
class Relief:
    """The surface as it is drawn.

    Attributes:
        x, y: of its nodes, in order; each `pieces`-th is that of a cell.
        heights: on the scale, 0 to 1, ``[ny, nx]``; nan in holes.
        values: what they stand for.
        cut: nodes that lie beyond the scale, at its end instead.
        pieces: of a cell's side, along x and along y; 1 where the cells themselves are drawn.
        levels: heights of contours.
        label: says how many cells are cut off, and where; empty where none is.
        sides: lengths of the box along x, y and z.
    """

    x: Floats
    y: Floats
    heights: Floats
    values: Floats
    cut: Bools
    pieces: tuple[int, int]
    levels: list[float]
    label: str
    sides: tuple[float, float, float]

    def at(self, x: Any, y: Any) -> Floats:
        """The heights of points on the surface, nan beside it and in holes."""
        from scipy.ndimage import map_coordinates

        steps = [
            np.round((np.asarray(wanted, np.float64) - at[0]) / (at[-1] - at[0] or 1.0) * (len(at) - 1), 9)
            for at, wanted in ((self.y, y), (self.x, x))
        ]
        flat, node = (map_coordinates(self.heights, steps, order=order, cval=np.nan) for order in (1, 0))
        return np.where(np.isnan(flat), node, flat)  # a node beside a hole is there

    @property
    def contours(self) -> list[tuple[float, Floats]]:
        """Lines of equal height on the surface: the height of each, and its points ``[n, 2]``."""
        from contourpy import contour_generator

        if 1 in self.heights.shape:
            return []
        lines = contour_generator(self.x, self.y, np.ma.masked_invalid(self.heights)).multi_lines(self.levels)
        return [(level, np.asarray(line)) for level, of_one in zip(self.levels, lines, strict=True) for line in of_one]

    @property
    def normals(self) -> Floats:
        """Upwards from each node ``[ny, nx, 3]``, of length 1, in the box's proportions."""
        wide, deep, tall = self.sides
        ny, nx = self.heights.shape
        up = _filled(self.heights) * tall / (1 - FLOOR)
        slopes = np.gradient(up, np.linspace(0, deep, ny), np.linspace(0, wide, nx)) if min(ny, nx) > 1 else np.zeros((2, ny, nx))
        normals = np.stack([-slopes[1], -slopes[0], np.ones((ny, nx))], axis=-1)
        return np.asarray(normals / np.linalg.norm(normals, axis=-1, keepdims=True), np.float64)


def relief_of(grid: GridInfo, field: Field, fine: int = FINE) -> Relief:
    """The surface through the cells' positions on the scale, of about `fine` steps along an axis.

    It is a cubic spline between them, held within the range of the cells at the corners of each piece, so that it has neither a minimum
    nor a maximum that no cell has. Cells without a finite value are holes up to their neighbours.
    """
    values = np.where(field.missing, np.nan, drawable(field.values))
    with np.errstate(over="ignore"):
        at = field.scale.position(values)
    at = np.where(np.isfinite(values) & np.isnan(at), -1.0, at)  # what has no logarithm
    exact = np.clip(at, -1.0, 2.0)  # a wall far above the scale does not make the spline swing
    is_cut = bool((np.abs(exact - 0.5) > 0.5 + 1e-9).any())
    pieces = pieces_of(exact.shape, fine * (1 + is_cut))  # the edge of what is cut off runs between nodes
    down, across = (np.arange((count - 1) * k + 1) / k for count, k in zip(exact.shape, pieces, strict=True))
    met = exact
    if max(pieces) > 1 and np.isfinite(exact).any():
        from scipy.interpolate import RectBivariateSpline

        ny, nx = exact.shape
        places, degrees = (np.arange(ny, dtype=float), np.arange(nx, dtype=float)), (min(3, ny - 1), min(3, nx - 1))
        smooth = RectBivariateSpline(*places, _filled(exact), kx=degrees[0], ky=degrees[1], s=0)(down, across)
        rows, columns = ((np.floor(at).astype(int), np.ceil(at).astype(int)) for at in (down, across))
        corners = np.stack([exact[np.ix_(j, i)] for j in rows for i in columns])
        met = np.clip(smooth, corners.min(axis=0), corners.max(axis=0))  # nan where a corner is
    elif max(pieces) > 1:
        met = np.full((len(down), len(across)), np.nan)
    heights = np.clip(met, 0.0, 1.0)
    spans = np.array([np.ptp(grid.x), np.ptp(grid.y)]) if grid.equal else np.ones(2)
    wide, deep = np.maximum(spans / spans.max(), NARROWEST).tolist()
    return Relief(
        x=np.interp(across, np.arange(len(grid.x)), grid.x),
        y=np.interp(down, np.arange(len(grid.y)), grid.y),
        heights=heights,
        values=np.where(np.isfinite(heights), field.scale.levels[:1].sum(), np.nan) if field.scale.flat else field.scale.value(heights),
        cut=np.abs(met - heights) > 1e-9,
        pieces=(pieces[1], pieces[0]),
        levels=field.scale.position(field.scale.levels)[1:-1].tolist(),
        label=_label(field, exact),
        sides=(wide, deep, TALL),
    )


def pieces_of(shape: tuple[int, ...], fine: int = FINE) -> tuple[int, ...]:
    """How many pieces the sides of cells are cut into, along y and along x; 1 where there are cells enough."""
    return tuple(int(np.clip(round(fine / max(count - 1, 1)), 1, FINEST)) if min(shape) > 1 else 1 for count in shape)


def _label(field: Field, exact: Floats) -> str:
    beyond = {"above": exact > 1 + 1e-9, "below": exact < -1e-9}
    ends = {"above": field.scale.levels[-1:], "below": field.scale.levels[:1]}
    told = [f"{way} {text_of(float(ends[way][0]))}: {cells.sum():,}" for way, cells in beyond.items() if cells.any()]
    return f"cut off {', '.join(told)} of {exact.size:,} cells" if told else ""


def _filled(heights: Floats) -> Floats:
    """Holes with what is nearest to them."""
    from scipy.ndimage import distance_transform_edt

    holes = ~np.isfinite(heights)
    if not holes.any() or holes.all():
        return np.nan_to_num(heights)
    return np.asarray(heights[tuple(distance_transform_edt(holes, return_distances=False, return_indices=True))], np.float64)


def best_view(relief: Relief) -> tuple[float, float]:
    """From where to look: degrees above the plane and about the upright axis, from the x axis on.

    It is the lowest of `TILTS` from which nearly all of the basin, the lowest third of the heights, can be seen; about the axis the one
    from which most is seen.
    """
    rows, columns = (np.unique(np.linspace(0, count - 1, 25).round().astype(int)) for count in relief.heights.shape)
    heights = relief.heights[np.ix_(rows, columns)]
    known = heights[np.isfinite(heights)]
    basin = heights <= known.min() + np.ptp(known) / 3 if len(known) else heights > 0
    seen = []
    for tilt in TILTS:
        for turn in [turn + 90 * quarter for turn in TURNS for quarter in range(4)]:
            visible = _visible(relief, columns, rows, heights, tilt, turn)
            seen.append((visible[basin].mean() if basin.any() else 1.0, visible.mean(), tilt, turn))
        if max(seen)[0] > 0.97:
            break
    most = max(share for share, *_ in seen)
    *_, tilt, turn = max((entry for entry in seen if entry[0] > most - 0.03), key=lambda entry: round(entry[1], 2))
    return float(tilt), float(turn)


def _visible(relief: Relief, i: Any, j: Any, heights: Floats, tilt: float, turn: float) -> Bools:
    """Which nodes no other part of the surface hides from who looks from there."""
    up, about = np.radians([tilt, turn])
    steps = np.linspace(0.02, 1.0, 40)[:, None, None]
    (wide, deep, tall), (ny, nx) = relief.sides, relief.heights.shape
    x = i + steps * np.cos(about) * (nx - 1) / wide
    y = j[:, None] + steps * np.sin(about) * (ny - 1) / deep
    ray = heights + steps * np.tan(up) * (1 - FLOOR) / tall
    x, y, ray = np.broadcast_arrays(x, y, ray)
    inside = (x >= 0) & (x <= nx - 1) & (y >= 0) & (y <= ny - 1)
    above = relief.heights[np.where(inside, y, 0).round().astype(int), np.where(inside, x, 0).round().astype(int)]
    return np.asarray(~(inside & (above > ray + 0.01)).any(axis=0))


def lifted(mark: Line, panel: Panel, fine: int = FINE) -> Line:
    """A line in space with heights on the scale of the panel's field, where `z` has values of that field, or says that it lies on it."""
    field = panel.plane
    if mark.z is None or field is None:
        return mark
    if not isinstance(mark.z, str):
        return replace(mark, z=np.clip(field.field.scale.position(np.asarray(mark.z, np.float64)), -BEYOND, 1 + BEYOND))
    relief, x, y, told = relief_of(field.grid, field.field, fine), np.asarray(mark.x), np.asarray(mark.y), mark.told
    if mark.dash and len(x) > 1:  # from state to state it follows the surface
        pieces = max(4, -(-ALONG // (len(x) - 1)))
        places = np.arange(pieces * (len(x) - 1) + 1) / pieces
        x, y = (np.interp(places, np.arange(len(at)), at) for at in (x, y))
        told = ()
    z = relief.at(x, y)
    return replace(mark, x=x, y=y, z=(z if mark.dash else np.nan_to_num(z)) + HAIR, told=told)
