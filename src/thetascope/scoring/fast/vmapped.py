"""Many points at once: a small model leaves a wide device idle, so the points become one more dimension (torch.func.vmap)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from thetascope.geometry.points import PointSet
from thetascope.scoring.fast.checked import CheckedBackend
from thetascope.scoring.fast.settings import Settings
from thetascope.scoring.objective import Objective
from thetascope.scoring.scores import Column, Sums

POINTS_AT_ONCE = 16
"""So many points go through the model together."""

SMALL_MODEL = 2_000_000
"""A model of at most so many parameters leaves a GPU idle when its points go one by one."""


class BatchedBackend(CheckedBackend):
    """Scores several points in one pass, the loss and the metrics with it, where the step allows it. No settings apply."""

    name = "batched"
    fails = "the step cannot be run over several points at once"
    differs = "several points at once give other values than the model, which does something that depends on them"

    def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False, settings: Settings | None = None) -> None:
        super().__init__(objective, points, as_recorded=as_recorded, settings=settings)
        self._writes = False

    def _scorer(self, row: int) -> Callable[[Any], Mapping[str, Column]]:
        """Two points at once, of which the second is told."""
        stack, shared = self._stacked([row, row], apart=True)

        def score(batch: Any) -> Mapping[str, Column]:
            _, found = self._batch(stack, shared, batch)
            self._writes = any(tensor._version for tensor in (*stack.values(), *shared.values()))
            return found

        return score

    def _scored(self, rows: Sequence[int]) -> dict[int, Sums]:
        found: dict[int, Sums] = {}
        for start in range(0, len(rows), POINTS_AT_ONCE):
            some = rows[start : start + POINTS_AT_ONCE]
            stack, shared = self._stacked(some)
            if stack:
                found |= self._summed(some, partial(self._batch, stack, shared))
            else:  # one point alone, or the same one several times
                found |= zip(some, self._eager.evaluate(some), strict=True)
        return found

    def _stacked(self, rows: Sequence[int], *, apart: bool = False) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The tensors in which the points differ, one below the other; and the rest. All of them, where `apart`."""
        names = tuple(self._model.space.tensors)
        differing = [n for n in names if apart or len({self._points.signature(k, n) for k in rows}) > 1]
        shared = self._point_tensors.tensors(rows[0], [n for n in names if n not in set(differing)])
        each = [self._point_tensors.tensors(k, differing) for k in rows]
        return {n: torch.stack([own[n] for own in each]) for n in differing}, shared

    def _batch(self, stack: Mapping[str, Tensor], shared: Mapping[str, Tensor], batch: Any) -> list[Mapping[str, Column]]:
        """The values of one batch at each point."""
        given, further = self._model.guarded(batch), self._model.own_tensors()
        if self._writes:  # a pass that writes to its weights (Embedding with max_norm) gets copies
            stack, shared = ({name: tensor.clone() for name, tensor in own.items()} for own in (stack, shared))

        def columns(own: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
            found = self._model.columns({**further, **shared, **own}, given)
            return {name: (column.values, column.weights) for name, column in found.items()}

        with _no_loops():
            found = torch.func.vmap(columns, randomness="error")(dict(stack))
        count = len(next(iter(stack.values())))
        return [{name: Column(values[i], weights[i]) for name, (values, weights) in found.items()} for i in range(count)]


@contextmanager
def _no_loops() -> Iterator[None]:
    """Let an operation that has no rule for several points fail, instead of going over them one by one with a warning."""
    functorch: Any = torch._C._functorch
    before = functorch._is_vmap_fallback_enabled()
    functorch._set_vmap_fallback_enabled(False)
    try:
        yield
    finally:
        functorch._set_vmap_fallback_enabled(before)
