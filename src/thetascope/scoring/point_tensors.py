"""The tensors of points: what several share is held on the device, or streamed where it is large; the rest is read when it is needed."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from thetascope.allocator import LARGE, give_back
from thetascope.geometry.points import PointSet
from thetascope.scoring.protocols import Scorable
from thetascope.scoring.spilled import Spilled
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
        shared = self._shared_by_points(points)
        self._kept = dict[int, dict[str, Tensor]]()
        self._spilled = None if self._fits(shared) else Spilled()
        for b, names in shared.items():
            if self._spilled is not None and points.basis[b].recipe is None:
                continue  # it lies in memory or a file already, and is read again for each point
            for some in self._few(dict.fromkeys(names, (b,))):
                self._keep(b, self._model.tensors_of(points.basis[b], list(some), copy=False))
                give_back(self._size)

    def _shared_by_points(self, points: PointSet) -> dict[int, list[str]]:
        """What of each basis state several points need."""
        found: dict[int, list[str]] = {}
        for name in self._model.space.tensors:
            for b in np.flatnonzero(points.uses(name) > 1):
                found.setdefault(int(b), []).append(name)
        return found

    def _fits(self, shared: Mapping[int, Sequence[str]]) -> bool:
        """Whether what several points need is held on the device; else it is streamed, a few tensors at a time.

        The model and one point are what there must be memory for. A GPU gives half of what is free then; a CPU reads as fast as it adds
        up, so nothing large is held there.
        """
        size = sum(self._model.bytes_of(name) for names in shared.values() for name in names)
        if self._model.device.type != "cuda":
            return size < LARGE
        return size <= (free_memory(self._model.device) - self._size) / 2

    def _keep(self, b: int, tensors: Mapping[str, Tensor]) -> None:
        """Hold some tensors of a basis state, on the device or, where it is streamed, on disk."""
        if self._spilled is not None:
            try:
                for name, tensor in tensors.items():
                    self._spilled.put((b, name), tensor)
            except OSError:  # no room there
                pass
            else:
                return
        self._kept.setdefault(b, {}).update(tensors)

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
        return {b: self._read_state(b, names) for b, names in missing.items()}

    def _read_state(self, b: int, names: Sequence[str]) -> dict[str, Tensor]:
        spilled = self._spilled
        there = [name for name in names if spilled is not None and (b, name) in spilled]
        read = {} if spilled is None else {name: spilled.get((b, name)).to(self._model.device) for name in there}
        rest = [name for name in names if name not in read]
        return read | (self._model.tensors_of(self.points.basis[b], rest, copy=False) if rest else {})


def free_memory(device: torch.device) -> int:
    """How many bytes of a GPU can be had: what nobody has, and what torch keeps of what was let go."""
    free: int = torch.cuda.mem_get_info(device)[0]
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


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
