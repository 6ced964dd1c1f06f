"""Directions in parameter space: drawn at random, combined from states, or one's own.

A direction is a state of its own that holds the tensors that move; names that it leaves out stay where they are. What
can be made again (from a seed, from recorded states) is made tensor by tensor when it is read, and never stored whole.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from thetascope.errors import GeometryError
from thetascope.state import State, TensorSpec

Normalize = Literal["filter", "layer"] | None
Direction = Mapping[str, Tensor]

PIECE = 2**20
"""So many values of a tensor are worked on at once."""


@dataclass(frozen=True)
class Units:
    """How a tensor's values belong to output units.

    Attributes:
        view: a shape that the tensor is seen in.
        dims: the dimensions of that which tell the units apart.
    """

    view: tuple[int, ...]
    dims: tuple[int, ...] = (0,)

    @property
    def count(self) -> int:
        """How many units."""
        return math.prod(self.view[dim] for dim in self.dims)

    @property
    def size(self) -> int:
        """How many values each has."""
        return math.prod(self.view) // max(1, self.count)

    def rows(self, tensor: Tensor) -> Tensor:
        """``[units, values]``; a view where the memory allows it."""
        return torch.movedim(tensor.view(self.view), self.dims, tuple(range(len(self.dims)))).reshape(self.count, -1)

    def back(self, rows: Tensor, shape: Sequence[int]) -> Tensor:
        """The tensor whose rows they are."""
        rest = [size for dim, size in enumerate(self.view) if dim not in self.dims]
        apart = rows.reshape([self.view[dim] for dim in self.dims] + rest)
        return torch.movedim(apart, tuple(range(len(self.dims))), self.dims).reshape(tuple(shape))


def random_directions(
    center: State,
    names: Sequence[str],
    *,
    normalize: Normalize,
    orthogonal: bool,
    seed: int,
    units: Mapping[str, Units] | None = None,
) -> tuple[State, State]:
    """Two directions from a normal distribution, made from `seed` whenever they are read: the same on every machine.

    Args:
        center: the state whose weights give the lengths.
        names: the tensors that may move; only floating ones do.
        normalize: "filter": each filter, the weights that lead to one output unit, gets the length of the center's; tensors of
            fewer than 2 dimensions, biases and norms, stay (Li et al. 2018, section 4). "layer": the same with whole tensors.
            None: the draws as they are, of every tensor.
        orthogonal: make the second orthogonal to the first, filter by filter (or tensor by tensor, or as a whole, as
            `normalize` says), so that lengths and invariance under rescaling are kept. A filter of one weight has only
            one direction and stays in the second.
        seed: of the draws.
        units: where a tensor's output units do not lie along its first dimension.

    Raises:
        GeometryError: an unknown normalisation, or nothing that it lets move.
    """
    if normalize not in (*get_args(get_args(Normalize)[0]), None):
        raise GeometryError(f'normalize must be "filter", "layer" or None. Got {normalize!r} instead.')
    moving = {name: center.specs[name] for name in names if center.specs[name].floating}
    if normalize is not None:
        moving = {name: spec for name, spec in moving.items() if len(spec.shape) > 1}
    if not moving:
        raise GeometryError(
            f'normalize="{normalize}" moves tensors of 2 or more dimensions only, and this model has none; choose normalize=None'
            if normalize
            else "the model has no floating parameters, so there is no direction to move in"
        )
    recipe = _Recipe(center, moving, normalize, seed, units or {})
    return (
        State(_Random(recipe, 0, orthogonal=False), label="random direction 1"),
        State(_Random(recipe, 1, orthogonal), label="random direction 2"),
    )


@dataclass(frozen=True)
class _Recipe:
    center: State
    moving: Mapping[str, TensorSpec]
    normalize: Normalize
    seed: int
    units: Mapping[str, Units]

    def rows_of(self, name: str) -> Units:
        """What has one length in the tensor `name`."""
        shape = self.moving[name].shape
        return self.units.get(name, Units(shape)) if self.normalize == "filter" else Units((1, *shape))

    def draw(self, index: int, name: str) -> Tensor:
        """The tensor `name` of direction `index` as drawn, in pieces of float64 that numpy's PCG64 gives alike everywhere."""
        spec = self.moving[name]
        entropy = hashlib.sha256(f"thetascope direction {self.seed} {index} {name}".encode()).digest()
        generator = np.random.Generator(np.random.PCG64(int.from_bytes(entropy[:16], "little")))
        drawn = torch.empty(spec.shape, dtype=getattr(torch, spec.dtype))
        flat = torch.view_as_real(drawn).view(-1) if drawn.is_complex() else drawn.view(-1)
        for start in range(0, len(flat), PIECE):
            part = flat[start : start + PIECE]
            part.copy_(torch.from_numpy(generator.standard_normal(len(part))))
        return drawn

    @cached_property
    def whole_projection(self) -> float:
        """⟨d₁, d₀⟩ / ⟨d₀, d₀⟩ over all tensors."""
        over, under = 0.0, 0.0
        for name in self.moving:
            first, second = self.draw(0, name), self.draw(1, name)
            over, under = over + inner(first, second), under + inner(first, first)
        return over / under


class _Random:
    def __init__(self, recipe: _Recipe, index: int, orthogonal: bool) -> None:
        self._recipe, self._index, self._orthogonal = recipe, index, orthogonal
        self.specs: Mapping[str, TensorSpec] = recipe.moving

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        return {name: self._made(name) for name in names}

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        return self._made(name).view(-1)[start:stop]

    def _made(self, name: str) -> Tensor:
        recipe = self._recipe
        drawn = recipe.draw(self._index, name)
        if recipe.normalize is None:
            return drawn.sub_(recipe.draw(0, name), alpha=recipe.whole_projection) if self._orthogonal else drawn
        units = recipe.rows_of(name)
        rows = units.rows(drawn)
        if self._orthogonal:
            _orthogonalise(rows, units.rows(recipe.draw(0, name)))
        lengths = units.rows(recipe.center[name].contiguous())
        for some in _few_rows(rows):
            wanted, there = _norms(lengths[some]), _norms(rows[some])
            factor = torch.where(there > 0, wanted / there, 0.0)
            rows[some] *= factor.to(rows.dtype)[:, None]
        return units.back(rows, drawn.shape)


def _orthogonalise(rows: Tensor, others: Tensor) -> None:
    """Make each row orthogonal to the row beside it, in place. A row of one value has no other direction: it becomes 0."""
    if rows.shape[1] == 1:
        rows.zero_()
        return
    for some in _few_rows(rows):
        a, b = wide(rows[some]), wide(others[some])
        share = (b.conj() * a).real.sum(1) / (b.conj() * b).real.sum(1)
        rows[some] = (a - share[:, None] * b).to(rows.dtype)


def _few_rows(rows: Tensor) -> Iterator[slice]:
    step = max(1, PIECE // max(1, rows.shape[1]))
    return (slice(start, start + step) for start in range(0, len(rows), step))


def _norms(rows: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(wide(rows), dim=1)
    return norms


def wide(tensor: Tensor) -> Tensor:
    """The tensor in double precision."""
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


class _Combined:
    """Σ_t weights[t] · states[t], in float64 and rounded once, a piece at a time."""

    def __init__(self, states: Sequence[State], weights: Sequence[float], names: Sequence[str]) -> None:
        self._terms = [(state, float(weight)) for state, weight in zip(states, weights, strict=True) if weight != 0]
        self.specs: Mapping[str, TensorSpec] = {name: states[0].specs[name] for name in names}

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        made = {}
        for name in names:
            spec = self.specs[name]
            tensor = torch.empty(spec.shape, dtype=getattr(torch, spec.dtype))
            flat = tensor.view(-1)
            for start in range(0, spec.size, PIECE):
                flat[start : start + PIECE] = self.piece(name, start, min(start + PIECE, spec.size))
            made[name] = tensor
        return made

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        total: Tensor | None = None
        for state, weight in self._terms:
            part = wide(state.piece(name, start, stop).cpu())
            total = part * weight if total is None else total.add_(part, alpha=weight)
        assert total is not None
        return total.to(getattr(torch, self.specs[name].dtype))


def combined_direction(states: Sequence[State], weights: Sequence[float], names: Sequence[str], label: str) -> State:
    """The direction Σ_t weights[t] · states[t] over the tensors `names`, made when it is read."""
    return State(_Combined(states, weights, names), label=label)


def own_direction(direction: Direction, center: State, names: Sequence[str], label: str) -> State:
    """A direction of one's own, used as given.

    Raises:
        GeometryError: it names tensors that do not move, has other shapes, or is 0 or not finite; all differences are listed.
    """
    given = State.of(direction, label=label)
    problems = []
    for name, spec in given.specs.items():
        if name not in names:
            problems.append(f'"{name}" is no parameter of the model')
        elif spec.shape != center.specs[name].shape:
            problems.append(f'"{name}" is {list(spec.shape)}, the model\'s is {list(center.specs[name].shape)}')
        elif not spec.floating:
            problems.append(f'"{name}" holds {spec.dtype}; only floating parameters move')
    if problems:
        raise GeometryError(f"{label} does not fit the model: {'; '.join(problems)}. Names that are left out stay where they are")
    length = norm(given)
    if not math.isfinite(length) or length == 0:
        raise GeometryError(f"{label} must be finite and not 0 everywhere. Its length is {length}")
    return given


def norm(direction: State) -> float:
    """Euclidean length, in float64."""
    total = 0.0
    for name in direction.specs:
        whole = direction[name]
        total += inner(whole, whole)
    return math.sqrt(total)


def dot(one: State, other: State) -> float:
    """The real inner product over the names that both hold, in float64, a piece at a time."""
    total = 0.0
    for name in one.specs:
        if name in other.specs:
            whole, beside = one[name], other[name]
            total += inner(whole, beside)
    return total


def cosine(one: State, other: State) -> float:
    """Of the angle between two directions: near 0 for random ones in many dimensions, ``sqrt(2 / (π n))`` on average."""
    return dot(one, other) / (norm(one) * norm(other))


def inner(one: Tensor, other: Tensor) -> float:
    """The real inner product of two tensors, in float64."""
    a, b = one.reshape(-1), other.reshape(-1)
    return math.fsum(
        float((wide(a[start : start + PIECE]).conj() * wide(b[start : start + PIECE])).real.sum()) for start in range(0, len(a), PIECE)
    )
