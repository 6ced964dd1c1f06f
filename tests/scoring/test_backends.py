"""Every backend against the oracle, and the oracle against a plainer computation still."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from tests.scoring.plain import combined, loaded, plain_scores, plain_step_scores, recalibrate
from thetascope.geometry.points import Points, PointSet
from thetascope.scoring.fast.captured import exported
from thetascope.scoring.fast.graph import NotTraceableError
from thetascope.scoring.fast.plain import PlainBackend
from thetascope.scoring.fast.settings import Settings
from thetascope.scoring.fast.shared import GraphBackend
from thetascope.scoring.fast.vmapped import BatchedBackend
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.scoring.scores import Sums
from thetascope.testing.contracts import BackendContract
from thetascope.testing.models import Case

BackendContract.device = os.environ.get("THETASCOPE_DEVICE", "cpu")  # benchmarks/gpu.py names a GPU


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
                recalibrate(model, list(objective.calibration))
            found.append(plain_scores(model, batches, case.loss) if case.step is None else plain_step_scores(model, batches, case.step))
        return found


class TestGraphBackend(BackendContract):
    backend = GraphBackend


class TestBatchedBackend(BackendContract):
    backend = BatchedBackend


class RowsOfThree(GraphBackend):
    """Batches in parts, of which the last is shorter, and channels last."""

    def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False) -> None:
        super().__init__(objective, points, as_recorded=as_recorded, settings=Settings(rows=3, channels_last=True))


class TestGraphBackendInParts(BackendContract):
    backend = RowsOfThree


class PlainInParts(PlainBackend):
    """The plain call, likewise."""

    def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False) -> None:
        super().__init__(objective, points, as_recorded=as_recorded, settings=Settings(rows=3, channels_last=True))


class TestPlainBackend(BackendContract):
    backend = PlainInParts


class Exported(RowsOfThree):
    """By torch.export, also where torch.fx would do."""

    def evaluate(self, rows: Sequence[int]) -> list[Sums]:
        cache, model = self._objective.cache, self._model
        if cache.captured is None:
            try:
                cache.captured = exported(model, self._objective.batches.first(), whole=True)
            except NotTraceableError as error:
                cache.captured = str(error)
        found = super().evaluate(rows)
        untraceable = type(model.model).__name__ == "Untraceable" or self._objective.calibrates
        assert untraceable or self.fallback is None
        return found


class TestExportedGraph(BackendContract):
    backend = Exported
