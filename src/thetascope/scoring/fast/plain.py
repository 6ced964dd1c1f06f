"""The plain call of the model, with fewer rows at a time and in another memory layout, where that is faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from thetascope.scoring.fast.captured import joined
from thetascope.scoring.fast.checked import CheckedBackend
from thetascope.scoring.pytrees import cut, map_tensors
from thetascope.scoring.scores import Column, Sums


class PlainBackend(CheckedBackend):
    """Scores each point with full passes, as the oracle does, but cuts batches and lays out images as it is told."""

    name = "eager"
    fails = "the model does not run on parts of a batch"
    differs = "parts of a batch give other values than the whole, so that rows are not regrouped"

    def _scorer(self, row: int) -> Callable[[Any], Mapping[str, Column]]:
        return partial(self._columns, self._placed(row))

    def _scored(self, rows: Sequence[int]) -> dict[int, Sums]:
        if self._objective.batches.resident:
            return {k: self._one(k) for k in rows}
        return self._summed(rows, lambda batch: [self._columns(self._placed(k), batch) for k in rows])

    def _one(self, k: int) -> Sums:
        tensors, total = self._placed(k), self._objective.new_sums()
        for batch in self._objective.batches:
            total.add(self._columns(tensors, batch))
        return total

    def _placed(self, k: int) -> dict[str, Tensor]:
        tensors = self._point_tensors.tensors(k)
        for name in tensors:  # one by one, so that there are never two of all
            tensors[name] = self._laid_out(tensors[name])
        return tensors

    def _columns(self, tensors: Mapping[str, Tensor], batch: Any) -> Mapping[str, Column]:
        parts = [map_tensors(part, self._laid_out) for part in cut(batch, self._rows)]
        return joined(self._model.evaluate_parts(tensors, parts))
