"""Principal components of a training by its Gram matrix, and what a random walk would show.

The states are read in pieces, so that T states of P parameters are never in memory at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from thetascope.arrays import Floats
from thetascope.errors import GeometryError
from thetascope.geometry.directions import combined_direction
from thetascope.state import State

PIECE_BYTES = 2**26
"""How much the pieces of all states may take at once, in float64."""


@dataclass(frozen=True)
class Gram:
    """Inner products of states seen from one of them.

    Attributes:
        products: ``[T, T]``, ``⟨θ_s − θ_c, θ_t − θ_c⟩`` in float64.
        center: c, the index of the state that they are seen from.
        rounding: the length that rounding the states to their dtype may add to a difference.
    """

    products: Floats
    center: int
    rounding: float

    @property
    def distances(self) -> Floats:
        """Of each state from the center, ``[T]``."""
        return np.sqrt(np.maximum(np.diag(self.products), 0.0))


def gram(states: Sequence[State], names: Sequence[str], center: int = -1) -> Gram:
    """Read the tensors `names` of all states once, piece by piece, and multiply their differences from ``states[center]``.

    Complex parameters count as twice as many real ones.

    Raises:
        GeometryError: a state holds a value that is not finite.
    """
    count, center = len(states), center % len(states)
    products, squares = np.zeros((count, count)), 0.0
    for name in names:
        spec = states[0].specs[name]
        step = max(1, PIECE_BYTES // (16 * count if spec.dtype.startswith("complex") else 8 * count))
        for start in range(0, spec.size, step):
            piece = _piece(states, name, start, min(start + step, spec.size))
            epsilon = torch.finfo(getattr(torch, spec.dtype)).eps
            squares += float((piece[center] * epsilon).square().sum())
            piece -= piece[center].clone()
            products += (piece @ piece.T).numpy()
    bad = np.flatnonzero(~np.isfinite(np.diag(products)))
    if bad.size:
        raise GeometryError(
            f"{states[int(bad[0])].label} holds values that are not finite (as do {bad.size - 1} others), so there is no plane through the "
            "training. Leave those states out: ts.Trajectory.from_states([…])"
        )
    return Gram(products, center, math.sqrt(squares))


def _piece(states: Sequence[State], name: str, start: int, stop: int) -> torch.Tensor:
    """Some values of one tensor in all states, ``[T, values]`` in float64."""
    rows: torch.Tensor | None = None
    for t, state in enumerate(states):
        part = state.piece(name, start, stop).cpu()
        flat = torch.view_as_real(part.resolve_conj()).reshape(-1) if part.is_complex() else part
        if rows is None:
            rows = torch.empty(len(states), len(flat), dtype=torch.float64)
        rows[t] = flat
    assert rows is not None
    return rows


@dataclass(frozen=True)
class Plane:
    """The plane of the first two principal components, placed through one of the states.

    Attributes:
        weights: ``[2, T]``: direction i is Σ_t weights[i, t] · θ_t, of length 1.
        coordinates: ``[T, 2]`` of the states' projections; the center's are (0, 0).
        off_plane: ``[T]`` the distance of each state from the plane.
        explained: the components' shares of the variance, largest first.
    """

    weights: Floats
    coordinates: Floats
    off_plane: Floats
    explained: Floats

    def directions(self, states: Sequence[State], names: Sequence[str]) -> tuple[State, State]:
        """The two directions, made when they are read."""
        first, second = (combined_direction(states, w, names, f"principal component {i}") for i, w in enumerate(self.weights, 1))
        return first, second


def principal_plane(found: Gram, first: int = 0) -> Plane:
    """The mean-centred principal components of the states, seen from the Gram matrix's center.

    The sign of each is such that state `first` has a coordinate of at least 0.

    Raises:
        GeometryError: the states lie on one line up to rounding, or are all equal.
    """
    count = len(found.products)
    if count < 3:
        raise GeometryError(
            f"a plane needs at least 3 states that do not lie on one line; there are {count}. For two, interpolate between them"
        )
    centring = np.eye(count) - 1.0 / count
    values, vectors = np.linalg.eigh(centring @ found.products @ centring)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    noise = found.rounding**2 * count
    if values[0] <= max(noise, 0.0):
        raise GeometryError("all states are equal up to rounding, so the training went nowhere and there is no plane to draw")
    if values[1] <= max(noise, 1e-14 * values[0]):
        raise GeometryError(
            "the states lie on one line up to rounding, so there is no plane through them. Interpolate along the line instead, or record "
            "more states"
        )
    lengths = np.sqrt(values[:2])
    vectors = centring @ vectors[:, :2]
    coordinates = (vectors - vectors[found.center]) * lengths
    signs = np.where(coordinates[first] < 0, -1.0, 1.0)
    coordinates = coordinates * signs + 0.0  # no negative zeros
    weights = (vectors / lengths * signs).T
    outside = np.maximum(found.distances**2 - (coordinates**2).sum(axis=1), 0.0)
    outside[found.center] = 0.0
    return Plane(weights, coordinates, np.sqrt(outside), explained_ratio(found.products))


def explained_ratio(products: Floats) -> Floats:
    """The shares of the variance that the mean-centred principal components explain, ``[T − 1]``, largest first."""
    count = len(products)
    centring = np.eye(count) - 1.0 / count
    values = np.maximum(np.linalg.eigvalsh(centring @ products @ centring)[::-1], 0.0)
    ratio: Floats = values[: count - 1] / values.sum() if values.sum() > 0 else np.full(count - 1, np.nan)
    return ratio


def distance(products: Floats, a: int, b: int) -> float:
    """Of state a from state b."""
    return math.sqrt(max(products[a, a] + products[b, b] - 2 * products[a, b], 0.0))


def step_lengths(products: Floats, trainings: Sequence[Sequence[int]]) -> list[Floats]:
    """The distances between neighbouring states of each training."""
    return [np.array([distance(products, a, b) for a, b in pairwise(members)]) for members in trainings]


def random_walk_ratio(lengths: Sequence[NDArray[np.floating[Any]]], starts: Floats | None = None) -> Floats:
    """Explained variance of random walks with these step lengths in very many dimensions, where all steps are orthogonal.

    One walk of n equal steps gives 6 / (π² k²) for component k as n grows (Antognini and Sohl-Dickstein 2018).

    Args:
        lengths: of the steps, one array a walk.
        starts: how far each walk starts from the first one's start; by default all start at one place.
    """
    sizes = [len(own) + 1 for own in lengths]
    products = np.zeros((sum(sizes), sum(sizes)))
    row = 0
    for w, (own, size) in enumerate(zip(lengths, sizes, strict=True)):
        offset = 0.0 if starts is None else starts[w] ** 2
        walked = offset + np.concatenate([[0.0], np.cumsum(own**2)])
        products[row : row + size, row : row + size] = np.minimum(walked[:, None], walked[None, :])
        row += size
    return explained_ratio(products)
