"""What pictures over a plane share: quantities on its grid, contours and heat maps of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.captions import scored_notes
from thetascope.drawing.scales import Scale, color_map_of, drawable, is_share, scale_of
from thetascope.drawing.style import Bools, known_variable, quantities, title_of
from thetascope.errors import ResultError
from thetascope.results.status import ESTIMATED, MISSING

if TYPE_CHECKING:
    import xarray as xr

OBLIQUE = 0.1
"""A cosine of the two directions that a reader must know."""


@dataclass(frozen=True)
class Field:
    """One quantity over the grid ``[ny, nx]``.

    Attributes:
        name, label: the variable's name, and what an axis calls it.
        log: whether a logarithmic axis shows it better.
        values: as stored; what is not finite stays so.
        missing: cells without a value.
        not_finite: cells that were scored and have no finite value.
        evaluated: cells that were scored, where others are estimated; None where nothing is.
        pooled: the values of all fields that are on this one's scale; None where there are no others.
        limits: the ends of the colours where they were asked for; what lies beyond is drawn as its end.
        cmap: matplotlib's name of the colours where they were asked for.
    """

    name: str
    label: str
    log: bool
    values: Floats
    missing: Bools
    not_finite: Bools
    evaluated: Bools | None
    scale: Scale
    pooled: Floats | None = None
    limits: tuple[float, float] = (-np.inf, np.inf)
    cmap: str = ""

    @property
    def finite(self) -> Floats:
        """The values, nan where there is no finite one."""
        return np.where(self.missing, np.nan, drawable(self.values))

    @property
    def shown(self) -> Floats:
        """The values as drawn: no lower or higher than the ends of the colours."""
        return np.clip(self.finite, *self.limits)

    @property
    def beyond(self) -> tuple[int, int]:
        """How many cells lie below the colours, and above."""
        return int((self.finite < self.limits[0]).sum()), int((self.finite > self.limits[1]).sum())

    @property
    def clipped(self) -> list[str]:
        """What must be said of them."""
        named, count = zip(self.beyond, ("below", "above"), self.limits, strict=True), f"{self.values.size:,} cells"
        return [f"{some:,} of {count} lie {side} {end:.3g}, where the colours of {self.label} end" for some, side, end in named if some]

    def scaled(self, cmap: str | None = None, vmin: float | None = None, vmax: float | None = None, **options: Any) -> Field:
        """The same in other colours: `options` of its scale, and where it ends."""
        limits = (-np.inf if vmin is None else vmin, np.inf if vmax is None else vmax)
        is_same = vmin is vmax is None and all(value is None for value in options.values())
        values = self.finite if self.pooled is None else self.pooled
        scale = self.scale if is_same else scale_of(values, bounded=is_share(self.name, values), vmin=vmin, vmax=vmax, **options)
        return replace(self, cmap=cmap or self.cmap, scale=scale, log=scale.log, limits=limits)

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
        return self.cmap or color_map_of(self.name)


@dataclass(frozen=True)
class GridInfo:
    """All that a picture shows of a plane. `marks`: x, y and label of stored states that lie in it."""

    title: str
    notes: tuple[str, ...]
    x: Floats
    y: Floats
    x_label: str
    y_label: str
    fields: tuple[Field, ...]
    standard_error: Floats | None
    marks: tuple[tuple[float, float, str], ...]

    def field(self, variable: str | None) -> Field:
        """The one of that variable, or of the loss where none is named."""
        by_name = {field.name: field for field in self.fields}
        return by_name[known_variable(variable or "loss", by_name)]

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
    finite = np.where(missing, np.nan, drawable(values))
    scale = scale_of(finite, bounded=is_share(name, finite))
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


def on_one_scale(fields: Sequence[Field]) -> list[Field]:
    """Fields of one quantity on the scale of all their values, and called the same."""
    pooled = np.concatenate([field.finite.ravel() for field in fields])
    scale = scale_of(pooled, bounded=is_share(fields[0].name, pooled))
    label = fields[0].label if len({field.label for field in fields}) == 1 else fields[0].name
    return [replace(field, scale=scale, log=scale.log, label=label, pooled=pooled) for field in fields]


def _notes(attrs: Any) -> tuple[str, ...]:
    """What a reader must know beside the picture."""
    first = [str(attrs["subtitle"])] if attrs.get("subtitle") else []
    if "samples" not in "".join(first):
        first.append(f"{attrs['samples_scored']:,} samples")
    notes = ["; ".join(first), *scored_notes(attrs, "buffers of the center", "center")]
    estimate = attrs.get("estimate")
    if estimate and estimate["evaluated"] < estimate["cells"]:
        seen = f": the loss was {largest_seen(estimate)}" if np.isfinite(estimate["error"]) else ""
        notes.append(f"{estimate['evaluated']:,} of {estimate['cells']:,} cells evaluated, the rest estimated{seen}")
    cosine = attrs.get("directions", {}).get("cosine")
    if cosine is not None and abs(cosine) > OBLIQUE:
        notes.append(f"the two directions are oblique (cosine {cosine:.2f}): distances and angles are not true to scale")
    return tuple(notes)


def largest_seen(estimate: Mapping[str, Any]) -> str:
    """How far an estimated loss was off where that was tested, in words: the largest error seen, no bound on those that were not."""
    seen = estimate["error"] / estimate.get("safety", 1.0)
    return f"off by at most {100 * seen:.2g} % on {estimate['held_out']} cells that the fit had not seen"


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
