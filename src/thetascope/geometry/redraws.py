"""Redraws: one state in which one group of tensors at a time holds freshly drawn values."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from thetascope.errors import GeometryError
from thetascope.state import State, digest_of


@dataclass(frozen=True, eq=False)
class Redraws:
    """G·D points: `state` with the tensors of group g drawn for the d-th time, at flat index ``g · D + d``.

    Args:
        state: what all other tensors come from.
        groups: the names that are drawn, a tuple a group.
        draws: D, how many times each group is drawn.
        draw: makes group g's tensors of draw d; the same ones each time it is asked.
        recipe: whatever decides what `draw` makes; the digest covers it.
        same: the groups of which every draw is the same: they are one point, D times.

    A draw is made when one of its tensors is asked for; only the latest is held.

    Raises:
        GeometryError: there is no draw.
    """

    state: State
    groups: tuple[tuple[str, ...], ...]
    draws: int
    draw: Callable[[int, int], Mapping[str, Tensor]]
    recipe: str
    same: frozenset[int] = frozenset()
    _identities: dict[int, Hashable] = field(default_factory=dict, init=False, repr=False)
    _latest: dict[int, Mapping[str, Tensor]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise GeometryError(f"draws must be at least 1. Got {self.draws} instead.")

    @property
    def basis(self) -> tuple[State, ...]:
        """The one state that the rest comes from."""
        return (self.state,)

    def __len__(self) -> int:
        return len(self.groups) * self.draws

    def uses(self, name: str) -> NDArray[np.int64]:
        """Every point needs the one state."""
        return np.array([len(self)])

    def needs(self, k: int, name: str) -> tuple[int, ...]:
        """The one state; of a drawn tensor it tells the dtype and the device."""
        return (0,)

    def tensor(self, k: int, name: str, parts: Mapping[int, Tensor]) -> Tensor:
        """The state's own tensor, or a copy of the drawn one in its dtype and on its device."""
        if name not in self.groups[k // self.draws]:
            return parts[0]
        return self._drawn(self._first_like(k))[name].to(parts[0].device, parts[0].dtype, copy=True)

    def signature(self, k: int, name: str) -> Hashable:
        """The point itself, or the first that is the same, for a tensor that it draws; None for the rest."""
        return self._first_like(k) if name in self.groups[k // self.draws] else None

    def identity(self, k: int) -> Hashable | None:
        """The values, where all draws are the same; else None: a function draws them, which cannot be told from another one."""
        group = k // self.draws
        if group not in self.same:
            return None
        if group not in self._identities:
            drawn = digest_of(self._drawn(self._first_like(k)))
            self._identities[group] = ("redraw", self.state.digest(), drawn)
        return self._identities[group]

    def _first_like(self, k: int) -> int:
        """The first point of the same values."""
        return k // self.draws * self.draws if k // self.draws in self.same else k

    def _drawn(self, k: int) -> Mapping[str, Tensor]:
        if k not in self._latest:
            self._latest.clear()
            self._latest[k] = self.draw(*divmod(k, self.draws))
        return self._latest[k]

    def is_stored(self, k: int) -> bool:
        """Never: each point holds a draw."""
        return False

    def holding_buffers(self) -> Redraws:
        """Buffers are the state's anyway."""
        return self

    def digest(self) -> str:
        """SHA-256 over the groups, the number of draws, those that are the same, and the recipe."""
        return hashlib.sha256(repr((self.groups, self.draws, sorted(self.same), self.recipe)).encode()).hexdigest()
