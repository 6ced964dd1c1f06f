"""Paths through knots: Lagrange polynomials of any degree for parameters, the polyline for buffers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from thetascope.arrays import Floats
from thetascope.errors import GeometryError
from thetascope.geometry.points import Points
from thetascope.state import State


def checked_alphas(alphas: int | ArrayLike, default_range: tuple[float, float] = (0.0, 1.0)) -> Floats:
    """The values of α: given ones, or that many evenly over `default_range`.

    Raises:
        GeometryError: none, repeated or not finite values, or a count under 2.
    """
    if isinstance(alphas, int | np.integer):
        if alphas < 2:
            raise GeometryError(f"a number of alphas must be at least 2. Got {alphas} instead.")
        return np.linspace(*default_range, int(alphas))
    values = np.asarray(alphas, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise GeometryError(f"alphas must be a number of points or a non-empty list of values. Got shape {list(values.shape)} instead.")
    if not np.isfinite(values).all():
        raise GeometryError(f"alphas must be finite; values {np.flatnonzero(~np.isfinite(values)).tolist()} are not")
    if np.unique(values).size != values.size:
        raise GeometryError("alphas must not repeat; each stands for one point of the path")
    return values


def lagrange_weights(knots: ArrayLike, alphas: ArrayLike) -> Floats:
    """Lagrange's basis polynomials ``ℓ_i(α) = Π_{j≠i} (α − α_j) / (α_i − α_j)``, as ``[K, B]``.

    Exact at the knots: a row of zeros and one 1. Degree 1 is the straight line, degree 2 the quadratic path of
    Němcová (2021, equation 4.3).

    Raises:
        GeometryError: fewer than 2 knots, or two that are equal.
    """
    x, at = np.asarray(knots, dtype=np.float64), np.asarray(alphas, dtype=np.float64)
    if x.ndim != 1 or x.size < 2 or np.unique(x).size != x.size:
        raise GeometryError(f"a path needs at least 2 different knots. Got {x.tolist()} instead.")
    weights = np.ones((at.size, x.size))
    for i in range(x.size):
        for j in range(x.size):
            if j != i:
                weights[:, i] *= (at - x[j]) / (x[i] - x[j])
    return weights


def polyline_weights(knots: ArrayLike, alphas: ArrayLike) -> Floats:
    """Weights ``[K, B]`` of the straight pieces between neighbouring knots, α clamped to their range.

    They are never negative and sum to 1, so a variance stays one. `knots` rise.
    """
    x, at = np.asarray(knots, dtype=np.float64), np.asarray(alphas, dtype=np.float64)
    clamped = np.clip(at, x[0], x[-1])
    return np.stack([np.interp(clamped, x, unit) for unit in np.eye(x.size)], axis=1)


def model_path(states: Sequence[State], knots: ArrayLike, alphas: Floats, parameters: Sequence[str], buffers: Sequence[str]) -> Points:
    """The path of the whole model through `states` at `knots`: one point an α."""
    coeffs = np.stack([lagrange_weights(knots, alphas), polyline_weights(knots, alphas)], axis=1)
    groups = dict.fromkeys(parameters, 0) | dict.fromkeys(buffers, 1)
    return Points(tuple(states), coeffs, groups, buffer_groups=frozenset({1}))


def group_paths(states: Sequence[State], knots: ArrayLike, alphas: Floats, groups: Sequence[tuple[Sequence[str], Sequence[str]]]) -> Points:
    """One group at a time moves through `states`, the rest stays at the last: point ``g · K + k`` is group g at α_k.

    `groups` holds (parameters, floating buffers) of each group.
    """
    weights = (lagrange_weights(knots, alphas), polyline_weights(knots, alphas))
    count, size = len(groups), len(alphas)
    coeffs = np.zeros((count * size, 2 * count, len(states)))
    coeffs[:, :, -1] = 1.0
    columns: dict[str, int] = {}
    for g, names in enumerate(groups):
        for kind in range(2):
            coeffs[g * size : (g + 1) * size, 2 * g + kind] = weights[kind]
            columns |= dict.fromkeys(names[kind], 2 * g + kind)
    return Points(tuple(states), coeffs, columns, buffer_groups=frozenset(range(1, 2 * count, 2)))


def lines_to_last(states: Sequence[State], alphas: Floats, parameters: Sequence[str], buffers: Sequence[str]) -> Points:
    """The straight lines of the whole model from each of the states to the last: point ``t · A + a`` lies at α_a of that from state t."""
    count, size = len(states), len(alphas)
    coeffs = np.zeros((count, size, 2, count))
    for t in range(count - 1):
        coeffs[t, :, :, t], coeffs[t, :, :, -1] = (1 - alphas)[:, None], alphas[:, None]
    coeffs[-1, :, :, -1] = 1.0
    groups = dict.fromkeys(parameters, 0) | dict.fromkeys(buffers, 1)
    return Points(tuple(states), coeffs.reshape(count * size, 2, count), groups, buffer_groups=frozenset({1}))
