"""What a call would do: how much is to score, how long it takes, what memory it needs. Nothing is written for it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from thetascope.experiments.framework.phrases import listed
from thetascope.experiments.framework.timing import Expected
from thetascope.results.portions import Portion
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.scoring.pytrees import tensors_of
from thetascope.scoring.runner import Request
from thetascope.state import State

_Reference: Any = StorageWeakRef  # torch gives it no types


@dataclass(frozen=True)
class Memory:
    """Bytes of tensors.

    Attributes:
        states: of the stored states that the points are made of.
        data: of the data where they stay on the device, else of one batch.
        point: the most that lived at once while one point was made and scored, measured; what kernels use within themselves
            is not counted.
    """

    states: int
    data: int
    point: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.states + self.data + self.point


@dataclass(frozen=True)
class Plan:
    """What a call would do.

    Attributes:
        title: one line for people.
        least: how much is left at least; less than `todo` where cells are estimated.
        todo: how much is left, such as 41 points.
        unit: of what: "points", "parameters" or "optimizer steps".
        stored: how much of it is there already.
        time: how long it takes.
        samples: on how many samples each point is scored; by label where there are several objectives.
        engine: the backend, the device, and why.
        memory: None where it is not known.
    """

    title: str
    least: int
    todo: int
    unit: str
    stored: int
    time: Expected
    samples: int | Mapping[str, int]
    engine: str
    memory: Memory | None

    def of_portion(self, portion: Portion) -> Plan:
        """That of a portion of the points, were all of them still to do."""
        every = self.todo + self.stored
        todo = min(self.todo, -(-every // portion.count))
        share = todo / max(self.todo, 1)
        time = replace(self.time, least=self.time.least * share, seconds=self.time.seconds * share)
        return replace(self, title=f"{self.title}, part {portion}", least=min(self.least, todo), todo=todo, time=time)

    @property
    def scored_on(self) -> str:
        """On how many samples, in words."""
        if isinstance(self.samples, int):
            return f"{self.samples:,} samples"
        return listed([f"{count:,} {label} samples" for label, count in self.samples.items()])


def memory_of(objective: Objective, requests: Sequence[Request]) -> Memory:
    """What scoring the points takes, measured on the first. Call it within the model's `running`."""
    states = {state.digest(): state for request in requests for state in request.points.basis}
    return Memory(sum(map(_state_bytes, states.values())), _data_bytes(objective), _point_bytes(objective, requests[0]))


def plan_of_scoring(title: str, objective: Objective, state: Mapping[str, Tensor]) -> Plan:
    """The plan of what scores one state once, and the rest is arithmetic on its samples' values."""
    bound = objective.bind(state)
    start = time.perf_counter()
    living = LivingTensors()
    with living:
        found = objective.score(bound)
    seconds = time.perf_counter() - start
    memory = Memory(_state_bytes(bound), _data_bytes(objective), living.most)
    expected = Expected(seconds, seconds, seconds, "measured on one")
    return Plan(title, 1, 1, "points", 0, expected, int(found["samples"]), f"eager on {objective.device}", memory)


def _state_bytes(state: State) -> int:
    sizes = [spec.size * int(getattr(torch, spec.dtype).itemsize) for spec in state.specs.values()]
    return sum(sizes)


def _data_bytes(objective: Objective) -> int:
    batches = objective.batches
    held = list(batches) if batches.resident else [batches.first()]
    storages: dict[int, int] = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for batch in held for t in tensors_of(batch)}
    return sum(storages.values())


def _point_bytes(objective: Objective, request: Request) -> int:
    """The most that lives at once while the first point is made and scored by the oracle."""
    backend = EagerBackend(objective, request.points, as_recorded=request.as_recorded)
    living = LivingTensors()
    with living:
        backend.evaluate([0])
    return living.most


class LivingTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that operations make, as long as they live; what was there before does not count."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = 0
        self._made: dict[int, tuple[Any, int]] = {}
        self._found: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        self._made = {key: entry for key, entry in self._made.items() if not entry[0].expired()}
        self._found = {key: reference for key, reference in self._found.items() if not reference.expired()}
        for tensor in _tensors((args, kwargs)):
            reference = _Reference(tensor.untyped_storage())
            if reference.cdata not in self._made:
                self._found[reference.cdata] = reference
        made = func(*args, **(kwargs or {}))
        for tensor in _tensors(made):
            reference = _Reference(tensor.untyped_storage())
            if reference.cdata not in self._found:
                self._made[reference.cdata] = (reference, tensor.untyped_storage().nbytes())
        self.most = max(self.most, sum(size for _, size in self._made.values()))
        return made


def _tensors(nest: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(nest) if isinstance(leaf, Tensor) and leaf.layout == torch.strided]
