"""Dry runs: what a call would score, how long it would take and what memory it needs, without writing anything.

`planned` calls an experiment; where it would begin, it asks `asked` and hands its plan to `stop` instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from thetascope.evaluation.backends.eager import EagerBackend
from thetascope.evaluation.engine import Request
from thetascope.evaluation.nests import tensors_of
from thetascope.evaluation.objective import Objective
from thetascope.experiments.pacing import Expected
from thetascope.state import State

if TYPE_CHECKING:
    from thetascope.experiments.stored_study import Study
    from thetascope.experiments.training import Training

_Reference: Any = StorageWeakRef  # torch gives it no types
_ASKED: ContextVar[bool] = ContextVar("_ASKED", default=False)


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
        unit: of what: "points" or "optimizer steps".
        stored: how much of it is there already.
        time: how long it takes.
        samples: on how many samples each point is scored.
        engine: the backend, the device, and why.
        memory: None where it is not known.
    """

    title: str
    least: int
    todo: int
    unit: str
    stored: int
    time: Expected
    samples: int
    engine: str
    memory: Memory | None


class _StoppedError(Exception):
    """Carries a plan out of the call that made it."""

    def __init__(self, plan: Plan) -> None:
        super().__init__("a dry run ends here")
        self.plan = plan


def asked() -> bool:
    """Whether only the plan is wanted."""
    return _ASKED.get()


def stop(plan: Plan) -> NoReturn:
    """Hand the plan to whoever asked for it."""
    raise _StoppedError(plan)


def planned(call: Callable[[], object]) -> Plan:
    """What `call`, which runs one experiment, would do. A few points are scored, nothing is written."""
    token = _ASKED.set(True)
    try:
        call()
    except _StoppedError as stopped:
        return stopped.plan
    finally:
        _ASKED.reset(token)
    raise AssertionError("this experiment makes no plan")


def memory_of(objective: Objective, requests: Sequence[Request]) -> Memory:
    """What scoring the points takes, measured on the first. Call it within the model's `running`."""
    states = {state.digest(): state for request in requests for state in request.points.basis}
    return Memory(sum(map(_state_bytes, states.values())), _data_bytes(objective), _point_bytes(objective, requests[0]))


def plan_of_training(study: Study, training: Training, steps: int, scorings: int, stored: int) -> Plan:
    """The plan of a study that trains. A few steps are made on a model of their own; memory is not measured."""
    start = time.perf_counter()
    samples = study.objective.score(study.state)["samples"]
    scoring, step = time.perf_counter() - start, training.step_seconds(steps) if steps else 0.0
    where = f"trained and scored on {study.objective.device}"
    seconds = steps * step + scorings * scoring
    expected = Expected(seconds, seconds, step, "measured on a few")
    return Plan(study.title, steps, steps, "optimizer steps", stored, expected, int(samples), where, None)


def plan_of_scoring(title: str, objective: Objective, state: Mapping[str, Tensor]) -> Plan:
    """The plan of a study that scores one state once, and the rest is arithmetic on its samples' values."""
    bound = objective.bind(state)
    start = time.perf_counter()
    living = _Living()
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
    living = _Living()
    with living:
        backend.evaluate([0])
    return living.most


class _Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
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
