"""Planes through parameter space: a center, two directions, and a grid of coordinates on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thetascope.arrays import Floats
from thetascope.errors import GeometryError
from thetascope.geometry.points import Points
from thetascope.state import State

Axis = tuple[float, float, int]


def checked_axis(name: str, axis: object) -> Floats:
    """The coordinates of an axis ``(low, high, count)``, evenly spaced, each from the ends and not from its neighbour.

    A range that is symmetric about 0 with an odd count holds exactly 0.

    Raises:
        GeometryError: it is not written so, or has no extent.
    """
    if not (isinstance(axis, tuple | list) and len(axis) == 3):
        raise GeometryError(f"{name} must be (low, high, how many), such as (-1, 1, 51). Got {axis!r} instead.")
    low, high, count = axis
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise GeometryError(f"{name} must end in a whole number of at least 1, how many values. Got {count!r} instead.")
    numbers = all(isinstance(end, int | float | np.integer | np.floating) and not isinstance(end, bool) for end in (low, high))
    if not numbers or not np.isfinite([low, high]).all():
        raise GeometryError(f"{name} must have finite ends. Got {low!r} and {high!r} instead.")
    if (low >= high) if count > 1 else (low != high):
        what = "its low end below its high one" if count > 1 else "equal ends, because it has one value only"
        raise GeometryError(f"{name} must have {what}. Got {low} and {high} instead.")
    steps = np.arange(count, dtype=np.float64)
    return (low * (count - 1 - steps) + high * steps) / (count - 1) if count > 1 else np.array([float(low)])


def checked_grid(x: object, y: object) -> tuple[Floats, Floats]:
    """The coordinates of both axes.

    Raises:
        GeometryError: an axis is off, or the grid is one single point.
    """
    xs, ys = checked_axis("x", x), checked_axis("y", y)
    if len(xs) == len(ys) == 1:
        raise GeometryError("a grid of one point is no surface: score the state with objective.score(state), or give x or y more values")
    return xs, ys


def grid(xs: Floats, ys: Floats) -> Floats:
    """All cells ``[ny · nx, 2]``, row by row: cell ``j · nx + i`` is (xs[i], ys[j])."""
    return np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)


def plane_points(center: State, directions: tuple[State, State], at: Floats) -> Points:
    """``center + x · d_x + y · d_y`` at the coordinates `at` ``[K, 2]``. What a direction leaves out, and all buffers, stay the center's.

    (0, 0) is the center bit for bit.
    """
    groups: dict[str, int] = {}
    for name in {**directions[0].specs, **directions[1].specs}:
        groups[name] = 2 * (name in directions[0].specs) + (name in directions[1].specs) - 1
    coeffs = np.zeros((len(at), 3, 3))
    coeffs[:, :, 0] = 1.0
    coeffs[:, 1:, 1] = at[:, :1]  # groups: y only, x only, both
    coeffs[:, (0, 2), 2] = at[:, 1:]
    return Points((center, *directions), coeffs, groups, anchor=0)


def states_points(center: State, others: Sequence[State], names: Sequence[str], at: Floats) -> Points:
    """The plane in which `center` is (0, 0) and the two `others` are (1, 0) and (0, 1), each bit for bit; of one other, a line."""
    chosen = at[:, : len(others)]
    coeffs = np.concatenate([1.0 - chosen.sum(axis=1, keepdims=True), chosen], axis=1)
    return Points((center, *others), coeffs[:, None, :], dict.fromkeys(names, 0), anchor=0)
