"""Rewinds: the last of some states, in which one group of tensors at a time holds an earlier state's values."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from thetascope.errors import GeometryError
from thetascope.geometry.points import TakenWhole, state_identity
from thetascope.state import State, digest_of


@dataclass(frozen=True, eq=False)
class Rewinds(TakenWhole):
    """G·T points: the last of T states with the tensors of group g as in state t, at flat index ``g · T + t``. No table of coefficients.

    Args:
        basis: the states.
        groups: the names of the tensors of each group; a name may be in several.
        sources: ``[G, T]``: the state that holds the values of group g in state t. That is t itself, or another state in which they
            are the same, so that points that are the same are known as such.

    Raises:
        GeometryError: `sources` has another shape, or names a state that there is not.
    """

    basis: tuple[State, ...]
    groups: tuple[tuple[str, ...], ...]
    sources: NDArray[np.int64]

    def __post_init__(self) -> None:
        shape = (len(self.groups), len(self.basis))
        if self.sources.shape != shape or not ((self.sources >= 0) & (self.sources < shape[1])).all():
            raise GeometryError(f"sources must be {list(shape)} places among {shape[1]} states. Got {list(self.sources.shape)} instead.")

    def __len__(self) -> int:
        return len(self.groups) * len(self.basis)

    @cached_property
    def _members(self) -> tuple[frozenset[str], ...]:
        return tuple(map(frozenset, self.groups))

    def _from(self, k: int, name: str) -> int:
        g, t = divmod(k, len(self.basis))
        return int(self.sources[g, t]) if name in self._members[g] else len(self.basis) - 1

    def uses(self, name: str) -> NDArray[np.int64]:
        """How many points need each state ``[T]`` for the tensor `name`: the last for all groups but its own."""
        moving = [g for g, names in enumerate(self._members) if name in names]
        found: NDArray[np.int64] = np.bincount(self.sources[moving].ravel(), minlength=len(self.basis))
        found[-1] += (len(self.groups) - len(moving)) * len(self.basis)
        return found

    def identity(self, k: int) -> Hashable | None:
        """The last state where that is what it is; else which tensors are of which other state."""
        g, t = divmod(k, len(self.basis))
        if self.is_stored(k):
            return state_identity(self.basis[-1])
        return ("rewind", self.basis[-1].digest(), self.groups[g], self.basis[int(self.sources[g, t])].digest())

    def is_stored(self, k: int) -> bool:
        """Whether the group's values are the last state's, so that the point is that state."""
        g, t = divmod(k, len(self.basis))
        return int(self.sources[g, t]) == len(self.basis) - 1

    def holding_buffers(self) -> Rewinds:
        """The same: groups hold floating buffers only where these move."""
        return self

    def digest(self) -> str:
        """SHA-256 over the groups and the sources."""
        return hashlib.sha256(repr((self.groups, self.sources.tolist())).encode()).hexdigest()


def same_values(states: Sequence[State], groups: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """For each group and state ``[G, T]`` the last state in which all tensors of the group have the same bits. Each state is read once."""
    digests = [[digest_of(state.tensors(names)) for state in states] for names in groups]
    last = [{digest: t for t, digest in enumerate(row)} for row in digests]
    return np.array([[last[g][digest] for digest in row] for g, row in enumerate(digests)], np.int64).reshape(len(groups), len(states))
