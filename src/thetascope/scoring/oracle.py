"""The oracle: build a point, run the model over the data, sum. Slow, obvious, kept for ever."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from thetascope.geometry.points import PointSet
from thetascope.scoring.fast.settings import Settings
from thetascope.scoring.point_tensors import PointTensors
from thetascope.scoring.protocols import Scorable
from thetascope.scoring.recalibration import recalibrated
from thetascope.scoring.scores import Sums


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
        self.point_tensors = PointTensors(objective, points, as_recorded=as_recorded)
        self._calibrates = objective.calibrates and not as_recorded

    def evaluate(self, rows: Sequence[int]) -> list[Sums]:
        """Score the points `rows`, in order. Call it within the model's `running`."""
        sums = [self._objective.new_sums() for _ in rows]
        batches = self._objective.batches
        if batches.resident or len(rows) == 1 or self._calibrates:  # calibrating walks the data anyway, once a point
            for k, total in zip(rows, sums, strict=True):
                tensors = self._point(k)
                for batch in batches:
                    total.add(self._model.evaluate(tensors, batch))
                del tensors
        else:  # batches that are loaded anew on each walk are loaded once for all points
            for batch in batches:
                for k, total in zip(rows, sums, strict=True):
                    total.add(self._model.evaluate(self._point(k), batch))
        return sums

    def _point(self, k: int) -> dict[str, Tensor]:
        tensors = self.point_tensors.tensors(k)
        return recalibrated(self._model, tensors, self._objective.calibration) if self._calibrates else tensors
