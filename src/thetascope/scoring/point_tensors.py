"""The tensors of points: what several points share is kept on the device, the rest is read when it is needed."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from weakref import WeakValueDictionary

import numpy as np
from torch import Tensor

from thetascope.allocator import LARGE, give_back
from thetascope.geometry.points import PointSet
from thetascope.scoring.protocols import Scorable
from thetascope.scoring.statistics import Spectral, spectral_of

AT_ONCE = 2**24
"""So many bytes of states are read at once for a point, so that it is made without all of them in memory."""

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
        self._size = self._model.bytes
        give_back(self._size)
        self._kept = dict[int, dict[str, Tensor]]()
        for b, names in self._shared_by_points(points).items():
            for some in self._few(dict.fromkeys(names, (b,))):
                self._kept.setdefault(b, {}).update(self._model.tensors_of(points.basis[b], list(some), copy=False))
                give_back(self._size)

    def _shared_by_points(self, points: PointSet) -> dict[int, list[str]]:
        """What of each basis state is kept, since several points need it.

        On the CPU large states are read again for each point instead, a few tensors at a time; but for those that are computed.
        """
        found: dict[int, list[str]] = {}
        for name in self._model.space.tensors:
            for b in np.flatnonzero(points.uses(name) > 1):
                found.setdefault(int(b), []).append(name)
        there = {b for b in found if points.basis[b].recipe is None} if self._model.device.type == "cpu" else set[int]()
        again = sum(self._model.bytes_of(name) for b in there for name in found[b]) >= LARGE
        return {b: names for b, names in found.items() if not (again and b in there)}

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
        if self._size >= LARGE:
            give_back(sum(map(self._model.bytes_of, asked)))
        spectral = [each for each in self._spectral if not {each.left, each.right}.isdisjoint(asked)]
        more = {name for each in spectral for name in (each.weight, each.left)} - {*asked}
        for needed in self._few({name: points.needs(k, name) for name in (*asked, *more)}):
            read = self._read(needed)
            for name, states in needed.items():
                parts = {b: kept[name] if name in (kept := self._kept.get(b, {})) else read[b][name] for b in states}
                tensor = points.tensor(k, name, parts)
                tensors[name] = tensor.clone() if any(tensor is part for part in parts.values()) else tensor
        for each in spectral:
            vectors = each.vectors(tensors[each.weight], tensors[each.left])
            tensors |= zip((each.left, each.right), vectors, strict=True)
        return {name: tensors[name] for name in asked}

    def _few(self, every: Mapping[str, Sequence[int]]) -> Iterator[dict[str, Sequence[int]]]:
        """What a point needs, some tensors at a time: at least one, and no more than `AT_ONCE` bytes of all states."""
        some, size = dict[str, Sequence[int]](), 0
        for name, states in every.items():
            read = self._model.bytes_of(name) * sum(name not in self._kept.get(b, {}) for b in states)
            if some and size + read > AT_ONCE:
                yield some
                some, size = {}, 0
            some[name] = states
            size += read
        if some:
            yield some

    def _read(self, needed: Mapping[str, Sequence[int]]) -> dict[int, dict[str, Tensor]]:
        """What a point needs of the basis states and is not kept; each state is opened once."""
        missing: dict[int, list[str]] = {}
        for name, states in needed.items():
            for b in states:
                if name not in self._kept.get(b, {}):
                    missing.setdefault(b, []).append(name)
        return {b: self._model.tensors_of(self.points.basis[b], names, copy=False) for b, names in missing.items()}


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
