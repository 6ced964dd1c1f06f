"""Every backend against the oracle, and the oracle against a plainer computation still."""

from __future__ import annotations

import torch

from tests.scoring.plain import combined, loaded, plain_scores, recalibrate
from thetascope.geometry.points import Points, PointSet
from thetascope.scoring.fast.settings import Settings
from thetascope.scoring.fast.shared import GraphBackend
from thetascope.scoring.fast.vmapped import BatchedBackend
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.testing.contracts import BackendContract
from thetascope.testing.models import Case


class TestEagerBackend(BackendContract):
    """The oracle itself, against a plainer computation still."""

    backend = EagerBackend

    def expected(self, case: Case, objective: Objective, points: Points) -> list[dict[str, float]]:
        dtype = objective.dtype or torch.float32
        batches = list(objective.batches)
        found = []
        for k in range(len(points)):
            tensors = combined(points, k)
            if objective.buffers == "final":
                tensors |= {name: points.basis[-1][name] for name in objective.space.buffers}
            model = loaded(case, tensors, dtype)
            if objective.buffers == "recalibrate":
                recalibrate(model, batches)
            found.append(plain_scores(model, batches, case.loss))
        return found


class TestGraphBackend(BackendContract):
    backend = GraphBackend


class TestBatchedBackend(BackendContract):
    backend = BatchedBackend


class RowsOfThree(GraphBackend):
    """Batches in chunks, of which the last is shorter, and channels last."""

    def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False) -> None:
        super().__init__(objective, points, as_recorded=as_recorded, settings=Settings(rows=3, channels_last=True))


class TestGraphBackendInChunks(BackendContract):
    backend = RowsOfThree


class InBlocks(GraphBackend):
    """In chunks, and in oneDNN's layout from convolution to convolution."""

    def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False) -> None:
        super().__init__(objective, points, as_recorded=as_recorded, settings=Settings(rows=5, blocked=True))


class TestGraphBackendInBlocks(BackendContract):
    backend = InBlocks


class OnPatches(GraphBackend):
    """In chunks, and what convolutions see of the data laid out."""

    def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False) -> None:
        super().__init__(objective, points, as_recorded=as_recorded, settings=Settings(rows=5, unfolded=True))


class TestGraphBackendOnPatches(BackendContract):
    backend = OnPatches
