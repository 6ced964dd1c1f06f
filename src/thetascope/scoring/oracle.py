"""The oracle: build a point, run the model over the data, sum. Slow, obvious, kept for ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from thetascope.geometry.points import PointSet
from thetascope.scoring.fast.settings import Settings
from thetascope.scoring.metrics import SupervisedStep
from thetascope.scoring.point_tensors import PointTensors
from thetascope.scoring.protocols import Scorable
from thetascope.scoring.pytrees import cut, holds_images
from thetascope.scoring.scores import Sums
from thetascope.scoring.statistics import recalibrated

IMAGE_ROWS = 32
"""So many images go through a network at once."""


class EagerBackend:
    """Scores each point with full passes over the data.

    Args:
        objective: what to score.
        points: over states that are bound to the objective's model.
        as_recorded: leave buffers as the points have them, whatever the objective says of buffers.
        settings: none apply.
    """

    name = "eager"
    fallback: str | None = None

    def __init__(self, objective: Scorable, points: PointSet, *, as_recorded: bool = False, settings: Settings | None = None) -> None:
        self._objective, self._model = objective, objective.model
        self.point_tensors = PointTensors.shared(objective, points, as_recorded=as_recorded)
        self.as_recorded, self._calibrates = as_recorded, objective.calibrates and not as_recorded

    def evaluate(self, rows: Sequence[int]) -> list[Sums]:
        """Score the points `rows`, in order. Call it within the model's `running`."""
        sums = [self._objective.new_sums() for _ in rows]
        batches = self._objective.batches
        if batches.resident or len(rows) == 1 or self._calibrates:  # calibrating walks the data anyway, once a point
            for k, total in zip(rows, sums, strict=True):
                tensors = self.point(k)
                for batch in batches:
                    self._add(total, tensors, batch)
                del tensors
        else:  # batches that are loaded anew on each walk are loaded once for all points
            for batch in batches:
                for k, total in zip(rows, sums, strict=True):
                    self._add(total, self.point(k), batch)
        return sums

    def _add(self, total: Sums, tensors: dict[str, Tensor], batch: Any) -> None:
        """Score a batch; images a few at a time where each has a value of its own, since what flows between layers is large."""
        step = self._model.step
        few = isinstance(step, SupervisedStep) and step.by_name and not self._objective.fixed and holds_images(batch)
        for part in cut(batch, IMAGE_ROWS if few else None):
            total.add(self._model.evaluate(tensors, part))

    def point(self, k: int) -> dict[str, Tensor]:
        """The tensors that point `k` is scored with, the statistics estimated anew where the policy for buffers says so."""
        tensors, of = self.point_tensors.tensors(k), self._objective
        return recalibrated(self._model, tensors, of.calibration, of.statistics) if self._calibrates else tensors
