"""Points in parameter space: a small table of coefficients over a few stored states.

    θ_k[name] = Σ_b coeffs[k, group(name), b] · basis[b][name]

K points of P parameters are described by K·G·B numbers; a point is made only when it is scored.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thetascope.arrays import Floats
from thetascope.errors import GeometryError
from thetascope.state import State

_PIECE = 2**17
"""Values at a time, few enough that their wide copies stay in the processor's cache."""


class PointSet(Protocol):
    """Points of any kind, as a backend sees them: it asks what a tensor of a point is made of, then makes it."""

    @property
    def basis(self) -> tuple[State, ...]:
        """The states that the points are made from."""
        ...

    def __len__(self) -> int: ...

    def uses(self, name: str) -> NDArray[np.int64]:
        """How many points need each basis state ``[B]`` for the tensor `name`."""
        ...

    def needs(self, k: int, name: str) -> tuple[int, ...]:
        """The basis states that `tensor` needs for `name` at point `k`."""
        ...

    def tensor(self, k: int, name: str, parts: Mapping[int, Tensor]) -> Tensor:
        """The tensor `name` of point `k`; it may be one of `parts` itself."""
        ...

    def signature(self, k: int, name: str) -> Hashable:
        """What decides the tensor `name` of point `k`: points with one signature have one tensor."""
        ...

    def identity(self, k: int) -> Hashable | None:
        """What makes point `k`, the same for the same point of any set; None where that cannot be told."""
        ...

    def is_stored(self, k: int) -> bool:
        """Whether point `k` is a stored state, so that it must score as that does, bit for bit."""
        ...

    def holding_buffers(self) -> PointSet:
        """The same points with floating buffers as in the last basis state."""
        ...

    def digest(self) -> str:
        """SHA-256 over what makes the points, without the basis."""
        ...


def state_identity(state: State) -> Hashable:
    """What any set calls a point that is a state itself."""
    return ("points", frozenset((name, ((state.digest(), 1.0),)) for name in state.specs))


@dataclass(frozen=True, eq=False)
class Points:
    """K affine combinations of B basis states, with coefficients chosen per group of tensors.

    Args:
        basis: the B states.
        coeffs: ``[K, G, B]``. A coefficient of exactly 0 leaves its state out, so that not even a NaN in it
            shows; a row of zeros and one 1 is that state bit for bit.
        groups: the names of the tensors that move, each with its column in ``G``. Names that are left out come
            from ``basis[anchor]``; integer tensors must be, unless every row is a stored state.
        buffer_groups: the columns of G that move floating buffers, which an objective may overrule.
        anchor: the basis state that the rest comes from, by default the last.

    Raises:
        GeometryError: the table's shape does not fit, or a coefficient is not finite.
    """

    basis: tuple[State, ...]
    coeffs: Floats
    groups: Mapping[str, int]
    buffer_groups: frozenset[int] = frozenset()
    anchor: int = -1

    def __post_init__(self) -> None:
        shape = self.coeffs.shape
        wanted = max(self.groups.values(), default=-1) + 1
        if len(shape) != 3 or shape[1] < wanted or shape[2] != len(self.basis):
            raise GeometryError(f"coeffs must be [points, {wanted} groups, {len(self.basis)} basis states]. Got {list(shape)} instead.")
        if not np.isfinite(self.coeffs).all() or not self.coeffs.any(axis=2).all():
            raise GeometryError("every coefficient must be finite, and every group of every point needs one that is not 0")

    def __len__(self) -> int:
        return len(self.coeffs)

    def rows(self, rows: slice | Sequence[int]) -> Points:
        """Some of the points."""
        return Points(self.basis, self.coeffs[rows], self.groups, self.buffer_groups, self.anchor)

    def holding_buffers(self) -> Points:
        """The same points with floating buffers held at the anchor's."""
        return self._held

    @cached_property
    def _held(self) -> Points:
        coeffs = self.coeffs.copy()
        for group in self.buffer_groups:
            coeffs[:, group, :] = 0.0
            coeffs[:, group, self.anchor] = 1.0
        return Points(self.basis, coeffs, self.groups, self.buffer_groups, self.anchor)

    def uses(self, name: str) -> NDArray[np.int64]:
        """How many points need each basis state ``[B]`` for the tensor `name`."""
        if name in self.groups:
            counts: NDArray[np.int64] = self._uses_of_groups[self.groups[name]]
            return counts
        alone = np.zeros(len(self.basis), np.int64)
        alone[self.anchor] = len(self)
        return alone

    @cached_property
    def _uses_of_groups(self) -> NDArray[np.int64]:
        counts: NDArray[np.int64] = (self.coeffs != 0).sum(axis=0)
        return counts

    def needs(self, k: int, name: str) -> tuple[int, ...]:
        """The basis states that `tensor` combines for `name` at point `k`."""
        group = self.groups.get(name)
        return (self.anchor % len(self.basis),) if group is None else tuple(int(b) for b in np.flatnonzero(self.coeffs[k, group]))

    def tensor(self, k: int, name: str, parts: Mapping[int, Tensor]) -> Tensor:
        """The tensor `name` of point `k`, from its basis tensors `parts` (by basis index: those that `needs` names)."""
        group = self.groups.get(name)
        if group is None:
            return parts[self.anchor % len(self.basis)]
        return combine({b: float(self.coeffs[k, group, b]) for b in parts}, parts)

    def signature(self, k: int, name: str) -> Hashable:
        """The tensor's row of coefficients; None where it comes from the anchor."""
        group = self.groups.get(name)
        return None if group is None else self.coeffs[k, group].tobytes()

    def identity(self, k: int) -> Hashable | None:
        """The states and coefficients of each tensor."""
        if k not in self._identities:
            self._identities[k] = self._identity(k)
        return self._identities[k]

    @cached_property
    def _identities(self) -> dict[int, Hashable]:
        return {}

    def _identity(self, k: int) -> Hashable:
        made: dict[int | None, Hashable] = {None: ((self.basis[self.anchor].digest(), 1.0),)}
        for group in set(self.groups.values()):
            used = np.flatnonzero(self.coeffs[k, group])
            made[group] = tuple(sorted((self.basis[b].digest(), float(self.coeffs[k, group, b])) for b in used))
        return ("points", frozenset((name, made[self.groups.get(name)]) for name in self.basis[self.anchor].specs))

    def is_stored(self, k: int) -> bool:
        """Whether every group's row is zeros and one 1, of the same state, and the rest is of that state too.

        Floating buffers may be held at another state's.
        """
        rows = self.coeffs[k]
        if not (((rows != 0).sum(axis=1) == 1).all() and (rows.sum(axis=1) == 1).all()):
            return False
        states = {int(rows[group].argmax()) for group in set(self.groups.values()) - self.buffer_groups}
        return states <= {self.anchor % len(self.basis)} or (len(states) == 1 and self._is_whole)

    @cached_property
    def _is_whole(self) -> bool:
        """Whether all tensors move that can."""
        return all(name in self.groups for name, spec in self.basis[self.anchor].specs.items() if spec.floating)

    def digest(self) -> str:
        """SHA-256 over the table and the groups, without the basis."""
        total = hashlib.sha256(np.ascontiguousarray(self.coeffs).tobytes())
        total.update(repr((sorted(self.groups.items()), sorted(self.buffer_groups), self.anchor, self.coeffs.shape)).encode())
        return total.hexdigest()


class TakenWhole(ABC):
    """Points of which each tensor is that of one basis state, bit for bit."""

    @abstractmethod
    def _from(self, k: int, name: str) -> int:
        """Which basis state."""

    def needs(self, k: int, name: str) -> tuple[int, ...]:
        """The one state that the tensor comes from."""
        return (self._from(k, name),)

    def tensor(self, k: int, name: str, parts: Mapping[int, Tensor]) -> Tensor:
        """That state's tensor itself."""
        return parts[self._from(k, name)]

    def signature(self, k: int, name: str) -> Hashable:
        """The state that the tensor comes from."""
        return self._from(k, name)


@dataclass(frozen=True, eq=False)
class StoredStates(TakenWhole):
    """States themselves as points, nothing between them: no table, so that there may be very many.

    Args:
        basis: the states.
        buffers: floating buffers, which an objective may hold at those of ``basis[anchor]``.
        anchor: by default the last.
        holds: whether it does.
    """

    basis: tuple[State, ...]
    buffers: frozenset[str] = frozenset()
    anchor: int = -1
    holds: bool = False

    def __len__(self) -> int:
        return len(self.basis)

    def _from(self, k: int, name: str) -> int:
        return self.anchor % len(self.basis) if self.holds and name in self.buffers else k

    def uses(self, name: str) -> NDArray[np.int64]:
        """Each state is needed once, or one of them for all."""
        found = np.ones(len(self.basis), np.int64)
        if self.holds and name in self.buffers:
            found[:] = 0
            found[self.anchor] = len(self.basis)
        return found

    def identity(self, k: int) -> Hashable | None:
        """As any set calls it."""
        if not self.holds:
            return state_identity(self.basis[k])
        digests = {k: self.basis[k].digest(), self.anchor: self.basis[self.anchor].digest()}
        made = {name: ((digests[self.anchor if name in self.buffers else k], 1.0),) for name in self.basis[k].specs}
        return ("points", frozenset(made.items()))

    def is_stored(self, k: int) -> bool:
        """Always."""
        return True

    def holding_buffers(self) -> StoredStates:
        """The same states with one state's floating buffers."""
        return self._held

    @cached_property
    def _held(self) -> StoredStates:
        return replace(self, holds=True)

    def digest(self) -> str:
        """SHA-256 over how many there are."""
        return hashlib.sha256(f"{len(self.basis)} stored states, buffers of {self.anchor}".encode()).hexdigest()


def combine(coefficients: Mapping[int, float], parts: Mapping[int, Tensor]) -> Tensor:
    """Σ_b coefficients[b] · parts[b], summed in float64 (float32 for half precision) and rounded once.

    One coefficient of exactly 1 gives its part itself, without a copy.
    """
    if len(coefficients) == 1:
        ((b, coefficient),) = coefficients.items()
        if coefficient == 1.0:
            return parts[b]
    example = next(iter(parts.values()))
    if example.numel() <= _PIECE or not all(part.is_contiguous() for part in parts.values()):
        return _combined(coefficients, parts, example)
    # in pieces, so that the wide copies of a large tensor never exist whole
    total = torch.empty_like(example)
    flat, flat_parts = total.view(-1), {b: part.view(-1) for b, part in parts.items()}
    for start in range(0, example.numel(), _PIECE):
        piece = slice(start, start + _PIECE)
        flat[piece] = _combined(coefficients, {b: part[piece] for b, part in flat_parts.items()}, example)
    return total


def _combined(coefficients: Mapping[int, float], parts: Mapping[int, Tensor], example: Tensor) -> Tensor:
    wide = _wider(example.dtype)
    total: Tensor | None = None
    for b, coefficient in coefficients.items():
        if total is None:
            total = parts[b].to(wide, copy=True).mul_(coefficient)
        else:
            part = parts[b].to(wide) if parts[b].element_size() == 1 else parts[b]  # eight bits are not promoted
            total.add_(part, alpha=coefficient)  # in the wider type, without a wide copy
    assert total is not None
    return total.to(example.dtype)


def _wider(dtype: torch.dtype) -> torch.dtype:
    if dtype.is_complex:
        return torch.complex128
    return torch.float64 if dtype in (torch.float32, torch.float64) else torch.float32
