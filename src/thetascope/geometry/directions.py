"""Directions in parameter space: drawn at random, combined from states, or one's own.

A direction is a state of its own that holds the tensors that move; names that it leaves out stay where they are. What
can be made again (from a seed, from recorded states) is made tensor by tensor when it is read, and never stored whole.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thetascope._version import DIRECTIONS
from thetascope.errors import GeometryError
from thetascope.state import State, TensorSpec

Normalize = Literal["filter", "layer"] | None
Direction = Mapping[str, Tensor]

PIECE = 2**20
"""So many values of a tensor are worked on at once."""

BLOCK = 2**16
"""So many numbers are drawn at once, at one place of the generator's counter."""


@dataclass(frozen=True)
class Units:
    """How a tensor's values belong to output units.

    Attributes:
        view: a shape that the tensor is seen in.
        dims: the dimensions of that which tell the units apart; none where all values are one unit.
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

    The numbers are those of a counter-based generator (Philox4x64-10, Salmon et al. 2011), so that any part of a tensor is drawn alone.

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
    recipe = _Recipe(center, moving, normalize, orthogonal, seed, units or {})
    return (
        State(_Random(recipe, 0), label="random direction 1", recipe=recipe.identity(0)),
        State(_Random(recipe, 1), label="random direction 2", recipe=recipe.identity(1)),
    )


@lru_cache(maxsize=64)
def _block(key: int, number: int, count: int) -> NDArray[np.float32]:
    """The first numbers, `count` of `BLOCK`, of a normal distribution at a place of the counter. The last ones are kept: the second
    direction is made from the first one's too."""
    drawn = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, number, 0])).standard_normal(count, dtype=np.float32)
    drawn.flags.writeable = False
    return drawn


@dataclass(frozen=True)
class _Lengths:
    """What makes one direction's values of its draws a and those of the other, b: ``scale · (a − share · b)``, a number a unit each."""

    scale: Tensor
    share: Tensor | None


@dataclass(frozen=True, eq=False)
class _Recipe:
    center: State
    moving: Mapping[str, TensorSpec]
    normalize: Normalize
    orthogonal: bool
    seed: int
    units: Mapping[str, Units]

    def identity(self, index: int) -> str:
        """What decides the values of direction `index`."""
        names = [(name, spec.shape, spec.dtype, self.unit_of(name)) for name, spec in self.moving.items()]
        lengths = None if self.normalize is None else self.center.digest()
        made = ("random direction", DIRECTIONS, index, self.seed, self.normalize, index == 1 and self.orthogonal, lengths, names)
        return hashlib.sha256(repr(made).encode()).hexdigest()

    def unit_of(self, name: str) -> Units:
        """What has one length in the tensor `name`."""
        shape = self.moving[name].shape
        return self.units.get(name, Units(shape)) if self.normalize == "filter" else Units((math.prod(shape),), ())

    def drawn(self, index: int, name: str, slab: slice) -> Tensor:
        """The numbers of direction `index` for the part `slab` of a tensor along the first dimension of its view, in float64; the two
        parts of complex numbers along a last one."""
        key = int.from_bytes(hashlib.sha256(f"thetascope direction {self.seed} {index} {name}".encode()).digest()[:16], "little")
        inner = (*self.unit_of(name).view[1:], *((2,) if self.moving[name].dtype.startswith("complex") else ()))
        start, stop = (end * math.prod(inner) for end in (slab.start, slab.stop))
        total, numbers = self.unit_of(name).view[0] * math.prod(inner), np.empty(stop - start, np.float64)
        for number in range(start // BLOCK, -(-stop // BLOCK)):
            at, count = number * BLOCK, min(BLOCK, total - number * BLOCK)
            low, high = max(start, at), min(stop, at + count)
            numbers[low - start : high - start] = _block(key, number, count)[low - at : high - at]
        return torch.from_numpy(numbers).view(slab.stop - slab.start, *inner)

    def slabs(self, name: str, start: int = 0, stop: int | None = None) -> Iterator[slice]:
        """Parts of a tensor along the first dimension of its view, `PIECE` values or so each, that hold its values `start` to `stop`."""
        view = self.unit_of(name).view
        width = math.prod(view[1:])
        end = math.prod(view) if stop is None else stop
        step = max(1, PIECE // max(1, width))
        last = -(-end // width) if width else 0
        return (slice(at, min(at + step, last)) for at in range(start // max(1, width), last, step))

    def values(self, index: int, name: str, slab: slice) -> Tensor:
        """A part of direction `index`, flat, in the dtype of the tensor: made in float64 and rounded once."""
        made, lengths = self.drawn(index, name, slab), self.lengths(index, name)
        here = slab if len(lengths.scale) > 1 else slice(None)
        if lengths.share is not None:
            made -= lengths.share[here] * self.drawn(0, name, slab)
        dtype: torch.dtype = getattr(torch, self.moving[name].dtype)
        made = made.mul_(lengths.scale[here]).to(dtype.to_real())
        return (torch.view_as_complex(made) if dtype.is_complex else made).reshape(-1)

    def lengths(self, index: int, name: str) -> _Lengths:
        """Of the tensor `name` in direction `index`."""
        return self._measured(name)[index]

    def _measured(self, name: str) -> tuple[_Lengths, _Lengths]:
        """Of both directions; found once for each tensor, in one walk over its numbers and the center's values."""
        if name not in self._known:
            self._known[name] = self._of_draws(name) if self.normalize is None else self._of_units(name)
        return self._known[name]

    @cached_property
    def _known(self) -> dict[str, tuple[_Lengths, _Lengths]]:
        return {}

    def _of_draws(self, name: str) -> tuple[_Lengths, _Lengths]:
        one = torch.ones(1, dtype=torch.float64)
        return _Lengths(one, None), _Lengths(one, one * self.whole_projection if self.orthogonal else None)

    def _of_units(self, name: str) -> tuple[_Lengths, _Lengths]:
        """The lengths of the center's units, and what of the second draws lies along the first."""
        unit, complex_ = self.unit_of(name), self.moving[name].dtype.startswith("complex")
        ndim = len(unit.view) + complex_
        within = [dim for dim in range(ndim) if dim not in unit.dims]
        shape = [size if dim in unit.dims else 1 for dim, size in enumerate(unit.view)] + [1] * complex_
        squares = torch.zeros(4, *shape, dtype=torch.float64)  # of the center, the first and the second draws, and the product of these
        for slab in self.slabs(name):
            first, second = self.drawn(0, name, slab), self.drawn(1, name, slab)
            width = math.prod(unit.view[1:])
            center = self.center.piece(name, slab.start * width, slab.stop * width).cpu()
            center = (torch.view_as_real(center.resolve_conj()) if complex_ else center).to(torch.float64).reshape(first.shape)
            here = slab if 0 in unit.dims else slice(None)
            for into, (one, other) in zip(squares, ((center, center), (first, first), (second, second), (first, second)), strict=True):
                into[here] += (one * other).sum(within, keepdim=True) if within else one * other
        wanted, first, second, both = squares
        share = torch.where(first > 0, both / first, 0.0) if self.orthogonal else None
        left = second if share is None else (second - share * both).clamp(min=0.0)
        if share is not None and unit.size * (1 + complex_) == 1:
            left = torch.zeros_like(left)  # a unit of one number has no other direction
        scales = [torch.where(there > 0, (wanted / there).sqrt(), 0.0) for there in (first, left)]
        return _Lengths(scales[0], None), _Lengths(scales[1], share)

    @cached_property
    def whole_projection(self) -> float:
        """⟨d₁, d₀⟩ / ⟨d₀, d₀⟩ of the draws over all tensors."""
        over, under = list[float](), list[float]()
        for name in self.moving:
            for slab in self.slabs(name):
                first = self.drawn(0, name, slab)
                over.append(float((first * self.drawn(1, name, slab)).sum()))
                under.append(float(first.square().sum()))
        return math.fsum(over) / math.fsum(under)


class _Random:
    def __init__(self, recipe: _Recipe, index: int) -> None:
        self._recipe, self._index = recipe, index
        self.specs: Mapping[str, TensorSpec] = recipe.moving

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        found = {}
        for name in names:
            spec = self.specs[name]
            made, at = torch.empty(spec.shape, dtype=getattr(torch, spec.dtype)), 0
            for slab in self._recipe.slabs(name):
                values = self._recipe.values(self._index, name, slab)
                made.view(-1)[at : at + len(values)] = values
                at += len(values)
            found[name] = made
        return found

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        recipe, width = self._recipe, math.prod(self._recipe.unit_of(name).view[1:])
        parts = [recipe.values(self._index, name, slab) for slab in recipe.slabs(name, start, stop)]
        before = start // max(1, width) * width
        return torch.cat(parts)[start - before : stop - before] if parts else torch.empty(0, dtype=getattr(torch, self.specs[name].dtype))


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
    made = (
        "combined",
        [(state.digest(), float(weight)) for state, weight in zip(states, weights, strict=True) if weight != 0],
        list(names),
    )
    return State(_Combined(states, weights, names), label=label, recipe=hashlib.sha256(repr(made).encode()).hexdigest())


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
    return math.sqrt(products(direction, direction)[0])


def lengths(one: State, other: State) -> tuple[list[float], float]:
    """The Euclidean lengths of two directions, and the cosine of the angle between them; nan where one has no length.

    The cosine is near 0 for random ones in many dimensions, ``sqrt(2 / (π n))`` on average.
    """
    first, second, both = products(one, other)
    norms = [math.sqrt(first), math.sqrt(second)]
    return norms, both / (norms[0] * norms[1]) if all(norms) else math.nan


def cosine(one: State, other: State) -> float:
    """Of the angle between two directions."""
    return lengths(one, other)[1]


def products(one: State, other: State) -> tuple[float, float, float]:
    """The squared lengths of two directions and their real inner product, in float64; each is read once, a piece at a time."""
    sums: tuple[list[float], list[float], list[float]] = ([], [], [])
    for name in {**one.specs, **other.specs}:
        size = (one if name in one.specs else other).specs[name].size
        for start in range(0, size, PIECE):
            stop = min(start + PIECE, size)
            a = wide(one.piece(name, start, stop).cpu()) if name in one.specs else None
            b = a if other is one else wide(other.piece(name, start, stop).cpu()) if name in other.specs else None
            for into, (left, right) in zip(sums, ((a, a), (b, b), (a, b)), strict=True):
                if left is not None and right is not None:
                    into.append(float((left.conj() * right).real.sum()))
    first, second, both = map(math.fsum, sums)
    return first, second, both


def distance(one: State, other: State, names: Sequence[str]) -> float:
    """Between two states over some tensors, in float64, a piece at a time."""
    squares = []
    for name in names:
        size = one.specs[name].size
        for start in range(0, size, PIECE):
            stop = min(start + PIECE, size)
            apart = wide(other.piece(name, start, stop).cpu()) - wide(one.piece(name, start, stop).cpu())
            squares.append(float((apart.conj() * apart).real.sum()))
    return math.sqrt(math.fsum(squares))
