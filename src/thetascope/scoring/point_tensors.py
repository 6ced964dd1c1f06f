"""The tensors of points: what several points share is kept on the device, the rest is read when it is needed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import islice
from weakref import WeakValueDictionary

import numpy as np
from torch import Tensor

from thetascope.geometry.points import PointSet
from thetascope.scoring.protocols import Scorable
from thetascope.scoring.statistics import Spectral, spectral_of
from thetascope.state.states import READ_AT_ONCE

FEW_STATES = 3
"""A point of more states is made a few tensors at a time, so that they are not all in memory at once."""

_SHARED: WeakValueDictionary[tuple[int, int, bool], PointTensors] = WeakValueDictionary()
"""By the objective, the points and whether they are scored as recorded, which each of them holds itself, so that no id is another's."""


class PointTensors:
    """The points of one set as tensors on the device, bound to an objective's model.

    Args:
        objective: whose model, dtype, device and policy for buffers hold.
        points: over states that are bound to the objective's model.
        as_recorded: leave buffers as the points have them, whatever the objective says of buffers.
    """

    def __init__(self, objective: Scorable, points: PointSet, *, as_recorded: bool = False) -> None:
        self._of = (objective, points)
        if objective.buffers == "final" and not as_recorded:
            points = points.holding_buffers()
        self._model, self._spectral = objective.model, () if as_recorded else tuple(spectral_of(objective.model))
        self.points: PointSet = _Following(points, self._spectral) if self._spectral else points
        kept: dict[int, list[str]] = {}
        for name in self._model.space.tensors:
            for b in np.flatnonzero(points.uses(name) > 1):
                kept.setdefault(int(b), []).append(name)
        self._kept = {b: self._model.tensors_of(points.basis[b], names, copy=False) for b, names in kept.items()}

    @classmethod
    def shared(cls, objective: Scorable, points: PointSet, *, as_recorded: bool = False) -> PointTensors:
        """The same for all that score these points at a time: what is kept is several copies of the model."""
        key = (id(objective), id(points), as_recorded)
        found = _SHARED.get(key)
        if found is None:
            _SHARED[key] = found = cls(objective, points, as_recorded=as_recorded)
        return found

    def tensors(self, k: int, names: Sequence[str] | None = None) -> dict[str, Tensor]:
        """The tensors of point `k` (all by default), none of them shared with a basis state."""
        points, tensors = self.points, dict[str, Tensor]()
        asked = list(self._model.space.tensors if names is None else names)
        spectral = [each for each in self._spectral if not {each.left, each.right}.isdisjoint(asked)]
        more = {name for each in spectral for name in (each.weight, each.left)} - {*asked}
        every = {name: points.needs(k, name) for name in (*asked, *more)}
        few = len({b for states in every.values() for b in states}) <= FEW_STATES
        for start in range(0, len(every), max(1, len(every)) if few else READ_AT_ONCE):
            needed = dict(islice(every.items(), start, None if few else start + READ_AT_ONCE))
            read = self._read(needed)
            for name, states in needed.items():
                parts = {b: self._kept.get(b, {}).get(name) for b in states}
                tensor = points.tensor(k, name, {b: read[b][name] if part is None else part for b, part in parts.items()})
                tensors[name] = tensor.clone() if any(tensor is part for part in parts.values()) else tensor
        for each in spectral:
            vectors = each.vectors(tensors[each.weight], tensors[each.left])
            tensors |= zip((each.left, each.right), vectors, strict=True)
        return {name: tensors[name] for name in asked}

    def _read(self, needed: Mapping[str, Sequence[int]]) -> dict[int, dict[str, Tensor]]:
        """What a point needs of the basis states and is not kept; each state is opened once."""
        missing: dict[int, list[str]] = {}
        for name, states in needed.items():
            for b in states:
                if name not in self._kept.get(b, {}):
                    missing.setdefault(b, []).append(name)
        return {b: self._model.tensors_of(self.points.basis[b], names) for b, names in missing.items()}


class _Following:
    """Points whose singular vectors follow from their weights, so that points share them that share the weight too."""

    def __init__(self, points: PointSet, spectral: Sequence[Spectral]) -> None:
        self._points = points
        self._weights = {name: each.weight for each in spectral for name in (each.left, each.right)}
        self.basis, self.uses, self.needs, self.tensor = points.basis, points.uses, points.needs, points.tensor
        self.identity, self.is_stored, self.digest = points.identity, points.is_stored, points.digest
        self.holding_buffers = points.holding_buffers

    def __len__(self) -> int:
        return len(self._points)

    def signature(self, k: int, name: str) -> Hashable:
        """That of the weight as well, for a singular vector."""
        own, weight = self._points.signature(k, name), self._weights.get(name)
        return own if weight is None else ("follows", self._points.signature(k, weight), own)
