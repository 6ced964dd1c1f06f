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
import scipy.linalg
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

from thetascope.arrays import Floats
from thetascope.errors import GeometryError
from thetascope.geometry.directions import combined_direction
from thetascope.state import State

PIECE_BYTES = 2**26
"""How much the pieces of all states may take at once, in float64."""


FEW_STATES = 512
"""So many states' matrix of products is taken apart whole; of more only the leading components are found."""

CANCELS = 1e-6
"""Steps shorter than this share of the way to the center have no direction that the products would tell."""

LEADING = 32
"""So many leading components, with what all of them together explain, are what is known of many states."""


@dataclass(frozen=True)
class Gram:
    """Inner products of states seen from one of them.

    Attributes:
        products: ``[T, T]``, ``⟨θ_s − θ_c, θ_t − θ_c⟩`` in float64; None where there are more states than parameters, and many.
        center: c, the index of the state that they are seen from.
        rounding: the length that rounding the states to their dtype may add to a difference.
        rows: then the differences themselves, ``[T, P]``.
    """

    products: Floats | None
    center: int
    rounding: float
    rows: Floats | None = None

    @property
    def count(self) -> int:
        """T."""
        return len(self.rows if self.products is None else self.products)  # type: ignore[arg-type]

    @property
    def distances(self) -> Floats:
        """Of each state from the center, ``[T]``."""
        if self.products is None:
            assert self.rows is not None
            return np.asarray(np.sqrt(np.einsum("tp,tp->t", self.rows, self.rows)), np.float64)
        return np.sqrt(np.maximum(np.diag(self.products), 0.0))

    def distance(self, a: int, b: int) -> float:
        """Of state a from state b."""
        if self.products is None:
            assert self.rows is not None
            return float(np.linalg.norm(self.rows[a] - self.rows[b]))
        return math.sqrt(max(self.products[a, a] + self.products[b, b] - 2 * self.products[a, b], 0.0))

    def cosine(self, a: int, b: int, c: int) -> float:
        """Of the step from state a to b with that from b to c; nan where one has no length, or one that cancels among the products."""
        before, after = self.distance(a, b), self.distance(b, c)
        if self.products is None:
            assert self.rows is not None
            least, inner = 0.0, float((self.rows[b] - self.rows[a]) @ (self.rows[c] - self.rows[b]))
        else:
            p = self.products
            least, inner = CANCELS * math.sqrt(max(p[a, a], p[b, b], p[c, c], 0.0)), float(p[b, c] - p[b, b] - p[a, c] + p[a, b])
        return min(max(inner / (before * after), -1.0), 1.0) if min(before, after) > least else math.nan

    def components(self) -> tuple[Floats, Floats, float]:
        """The leading eigenvalues of the mean-centred products, largest first, their vectors ``[T, k]``, and the sum of all."""
        if self.products is None:
            assert self.rows is not None
            centred = self.rows - self.rows.mean(axis=0)
            values, vectors = np.linalg.eigh(centred.T @ centred)
            values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
            return values[:LEADING], centred @ (vectors / np.sqrt(np.maximum(values, 1e-300)))[:, :LEADING], float(values.sum())
        centring = np.eye(self.count) - 1.0 / self.count
        matrix = centring @ self.products @ centring
        leading = None if self.count <= FEW_STATES else (self.count - LEADING, self.count - 1)
        values, vectors = scipy.linalg.eigh(matrix, subset_by_index=leading)
        return np.maximum(values[::-1], 0.0), vectors[:, ::-1], float(np.trace(matrix))


def gram(states: Sequence[State], names: Sequence[str], center: int = -1) -> Gram:
    """Read the tensors `names` of all states once, piece by piece, and multiply their differences from ``states[center]``.

    Complex parameters count as twice as many real ones.

    Raises:
        GeometryError: a state holds a value that is not finite.
    """
    found = _gram(states, names, center % len(states))
    bad = np.flatnonzero(~np.isfinite(found.distances))
    if bad.size:
        raise GeometryError(
            f"{states[int(bad[0])].label} holds values that are not finite (as do {bad.size - 1} others), so there is no plane through the "
            "training. Leave those states out: ts.Trajectory.from_states([…])"
        )
    return found


def inner_products(states: Sequence[State], names: Sequence[str]) -> Floats:
    """``⟨θ_s − θ_0, θ_t − θ_0⟩``, ``[T, T]``, of a few states, read once, piece by piece; nan where a state is not finite."""
    products = _gram(states, names, 0).products
    if products is None:
        raise GeometryError(f"products of so many states are not held at once; pass at most {FEW_STATES}. Got {len(states)} instead.")
    return products


def _gram(states: Sequence[State], names: Sequence[str], center: int) -> Gram:
    count = len(states)
    sizes = {name: states[0].specs[name].size * (2 if states[0].specs[name].dtype.startswith("complex") else 1) for name in names}
    width = sum(sizes.values())
    rows = np.empty((count, width)) if count > FEW_STATES and width < count else None
    products, squares, place = np.zeros((count, count)) if rows is None else None, 0.0, 0
    for name in names:
        spec = states[0].specs[name]
        step = max(1, PIECE_BYTES // (16 * count if spec.dtype.startswith("complex") else 8 * count))
        for start in range(0, spec.size, step):
            piece = _piece(states, name, start, min(start + step, spec.size))
            epsilon = torch.finfo(getattr(torch, spec.dtype)).eps
            squares += float((piece[center] * epsilon).square().sum())
            piece -= piece[center].clone()
            if products is None:
                assert rows is not None
                rows[:, place : place + piece.shape[1]] = piece.numpy()
                place += piece.shape[1]
            else:
                products += (piece @ piece.T).numpy()
    return Gram(products, center, math.sqrt(squares), rows)


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
    count = found.count
    if count < 3:
        raise GeometryError(
            f"a plane needs at least 3 states that do not lie on one line; there are {count}. For two, interpolate between them"
        )
    values, vectors, total = found.components()
    noise = found.rounding**2 * count
    if values[0] <= max(noise, 0.0):
        raise GeometryError("all states are equal up to rounding, so the training went nowhere and there is no plane to draw")
    if values[1] <= max(noise, 1e-14 * values[0]):
        raise GeometryError(
            "the states lie on one line up to rounding, so there is no plane through them. Interpolate along the line instead, or record "
            "more states"
        )
    lengths = np.sqrt(values[:2])
    vectors = vectors[:, :2] - vectors[:, :2].mean(axis=0)
    coordinates = (vectors - vectors[found.center]) * lengths
    signs = np.where(coordinates[first] < 0, -1.0, 1.0)
    coordinates = coordinates * signs + 0.0  # no negative zeros
    weights = (vectors / lengths * signs).T
    outside = np.maximum(found.distances**2 - (coordinates**2).sum(axis=1), 0.0)
    outside[found.center] = 0.0
    return Plane(weights, coordinates, np.sqrt(outside), _ratios(values, total, count))


def _ratios(values: Floats, total: float, count: int) -> Floats:
    """The shares of the variance that the mean-centred principal components explain, ``[T − 1]`` or the leading ones, largest first."""
    ratio: Floats = values[: count - 1] / total if total > 0 else np.full(min(len(values), count - 1), np.nan)
    return ratio


def step_lengths(found: Gram, trainings: Sequence[Sequence[int]]) -> list[Floats]:
    """The distances between neighbouring states of each training."""
    return [np.array([found.distance(a, b) for a, b in pairwise(members)]) for members in trainings]


def mean_step_cosine(found: Gram, trainings: Sequence[Sequence[int]]) -> float:
    """The mean cosine of successive steps, over all of them in each training; nan where there are none of a length above 0."""
    cosines = [found.cosine(*three) for members in trainings for three in zip(members, members[1:], members[2:], strict=False)]
    known = np.array(cosines)[np.isfinite(cosines)]
    return float(known.mean()) if len(known) else math.nan


def random_walk_ratio(lengths: Sequence[NDArray[np.floating[Any]]], starts: Floats | None = None, cosine: float = 0.0) -> Floats:
    """Explained variance of random walks with these step lengths in very many dimensions, ``[T − 1]`` or the leading ones.

    There all that is not made to agree is orthogonal, so that the products of a walk's steps are their expectations: for steps whose
    directions are ``u_{t+1} = ρ u_t + sqrt(1 − ρ²) ε_t`` (autoregressive, of first order) ``⟨u_s, u_t⟩ = ρ^|s − t|``. Nothing is drawn.
    Independent steps (ρ = 0) are all orthogonal: one walk of n equal ones gives 6 / (π² k²) for component k as n grows (Antognini
    and Sohl-Dickstein 2018).

    Args:
        lengths: of the steps, one array a walk.
        starts: how far each walk starts from the first one's start; by default all start at one place.
        cosine: ρ, of successive steps, −1 to 1.
    """
    walks = [np.concatenate([[0.0 if starts is None else starts[w]], own]) for w, own in enumerate(lengths)]
    count, bounds = sum(map(len, walks)), np.cumsum([0, *map(len, walks)])

    def whole(x: Floats) -> Floats:
        """The products of a vector: ``⟨θ_s, θ_t⟩`` sums those of the steps to both. Each factor is applied as a running sum or filter."""
        parts = []
        for own, (a, b) in zip(walks, pairwise(bounds), strict=True):
            steps = own * np.cumsum(x[a:b][::-1])[::-1]
            parts.append(np.cumsum(own * np.concatenate([steps[:1], _correlated(steps[1:], cosine)])))
        return np.concatenate(parts)

    def product(x: Floats) -> Floats:
        """The centred products of a vector."""
        x = x.reshape(count)
        y = whole(x - x.mean())
        return np.asarray(y - y.mean(), np.float64)

    ways = [np.cumsum(np.concatenate([own[:1] ** 2, own[1:] * (own[1:] + 2 * _before(own[1:], cosine))])) for own in walks]
    total = float(sum(way.sum() for way in ways)) - float(whole(np.ones(count)).sum()) / count
    if count <= FEW_STATES:
        values = np.linalg.eigvalsh(np.stack([product(unit) for unit in np.eye(count)]))
    else:
        operator = LinearOperator((count, count), matvec=product, dtype=np.float64)
        values = eigsh(operator, k=LEADING, return_eigenvectors=False, v0=np.linspace(-1.0, 1.0, count))
    return _ratios(np.maximum(np.sort(values)[::-1], 0.0), total, count)


def _before(steps: Floats, cosine: float) -> Floats:
    """``Σ_{s<t} ρ^(t−s) x_s`` for each t, in one pass."""
    if not (cosine and len(steps)):
        return np.zeros_like(steps)
    from scipy.signal import lfilter  # a tenth of a second, which most calls go without

    return np.asarray(lfilter([0.0, cosine], [1.0, -cosine], steps), np.float64)


def _correlated(steps: Floats, cosine: float) -> Floats:
    """``Σ_s ρ^|t−s| x_s`` for each t: those before, those after, and itself."""
    return steps + _before(steps, cosine) + _before(steps[::-1], cosine)[::-1]
