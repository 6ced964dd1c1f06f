"""Long lines with fewer points, none of which would be seen: what a page of thousands of records holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.spec import Line, Panel

LONG, APART = 1000, 1 / 1500
"""Lines of more points are thinned: what is left out lies within that share of the axes of a point that stays."""


def thinned(line: Line, panel: Panel, most: int = LONG) -> Line:
    """The line, or one of at most `most` points where it has more. Points that no line joins are left alone."""
    if len(line.x) <= most or not line.dash:
        return line
    axes = [_position(line.x, panel.x_log), _position(line.y, panel.y_log), *([] if line.z is None else [_position(line.z, False)])]
    kept = _kept(np.stack(axes, axis=1), most)
    some: dict[str, Any] = {name: _at(getattr(line, name), kept) for name in ("x", "y", "z", "told", "data", "spread")}
    marked = None if line.marked is None else np.flatnonzero(np.isin(kept, line.marked)).tolist()
    return replace(line, **some, marked=marked)


def _position(values: Any, log: bool) -> Floats:
    """As shares of the axis."""
    at = np.asarray(values, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.log10(at) if log else at
    finite = at[np.isfinite(at)]
    low, wide = (finite.min(), np.ptp(finite)) if len(finite) else (0.0, 0.0)
    return np.asarray((at - low) / (wide or 1.0), np.float64)


def _kept(points: Floats, most: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The first and the last point, and each that is far enough from the one kept before; what is not finite breaks a line."""
    apart = APART
    while True:
        kept, last = [0], points[0]
        for k, point in enumerate(points[1:-1], 1):
            if not np.abs(point - last).max() < apart and (np.isfinite(point).all() or np.isfinite(last).all()):
                kept.append(k)
                last = point
        if len(kept) < most:
            return np.array([*kept, len(points) - 1], np.int64)
        apart *= 1.5


def _at(values: Any, kept: Sequence[int] | Any) -> Any:
    """What a line holds for each of its points."""
    if values is None or not len(values):
        return values
    return np.asarray(values)[kept] if isinstance(values, np.ndarray) else [values[k] for k in kept]
