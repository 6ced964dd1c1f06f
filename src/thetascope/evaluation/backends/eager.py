"""The oracle: build a point, run the model over the data, sum. Slow, obvious, kept for ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from thetascope.evaluation.recalibration import recalibrated
from thetascope.evaluation.scores import Sums
from thetascope.geometry.points import PointSet

if TYPE_CHECKING:
    from thetascope.evaluation.objective import Objective


class EagerBackend:
    """Scores each point with full passes over the data.

    Args:
        objective: what to score.
        points: over states that are bound to the objective's model.
        as_recorded: leave buffers as the points have them, whatever the objective says of buffers.
    """

    name = "eager"

    def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False) -> None:
        if objective.buffers == "final" and not as_recorded:
            points = points.holding_buffers()
        self._objective, self._model, self._points = objective, objective.model, points
        self._calibrates = objective.calibrates and not as_recorded
        uses = points.uses(tuple(self._model.space.tensors))
        # what several points combine is kept on the device; what one point needs is read when it is made
        self._kept = {int(b): self._model.tensors_of(points.basis[b]) for b in np.flatnonzero(uses > 1)}

    def evaluate(self, rows: Sequence[int]) -> list[Sums]:
        """Score the points `rows`, in order. Call it within the model's `running`."""
        sums = [Sums() for _ in rows]
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
        """The tensors of point `k`, none of them shared with a basis state."""
        points, read, made = self._points, dict(self._kept), {}
        for name in self._model.space.tensors:
            needed = points.needs(k, name)
            for b in needed:
                if b not in read:
                    read[b] = self._model.tensors_of(points.basis[b])
            tensor = points.tensor(k, name, {b: read[b][name] for b in needed})
            is_kept = any(tensor is self._kept[b][name] for b in needed if b in self._kept)
            made[name] = tensor.clone() if is_kept else tensor
        return recalibrated(self._model, made, self._objective.calibration) if self._calibrates else made
