"""Many points at once: a small model leaves a wide device idle, so the points become one more dimension (torch.func.vmap)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import functional_call

from thetascope.errors import ObjectiveError
from thetascope.evaluation.backends.eager import EagerBackend
from thetascope.evaluation.backends.prefix import alike, reason_against
from thetascope.evaluation.backends.settings import Settings
from thetascope.evaluation.metrics import SupervisedStep
from thetascope.evaluation.scores import Column, Sums
from thetascope.geometry.points import PointSet

if TYPE_CHECKING:
    from thetascope.evaluation.objective import Objective

POINTS_AT_ONCE = 16
"""So many points go through the model together."""

SMALL_MODEL = 2_000_000
"""A model of at most so many parameters leaves a GPU idle when its points go one by one."""


class BatchedBackend:
    """Scores several points in one pass; falls back to the oracle where the model does not allow it, and says why.

    Args:
        objective: what to score.
        points: over states that are bound to the objective's model.
        as_recorded: leave buffers as the points have them, whatever the objective says of buffers.
        settings: none apply.
    """

    name = "batched"

    def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False, settings: Settings | None = None) -> None:
        self._objective, self._model = objective, objective.model
        self._eager = EagerBackend(objective, points, as_recorded=as_recorded)
        self._maker = self._eager.maker
        self._verified, self._writes = False, False
        self.fallback = reason_against(objective, as_recorded=as_recorded)

    def evaluate(self, rows: Sequence[int]) -> list[Sums]:
        """Score the points `rows`, in order. Call it within the model's `running`."""
        points = self._maker.points
        moving = [k for k in dict.fromkeys(rows) if self.fallback is None and not points.is_stored(k)]
        if not (moving and self._ready(moving[0])):
            return self._eager.evaluate(rows)
        stored = [k for k in dict.fromkeys(rows) if k not in set(moving)]
        found = dict(zip(stored, self._eager.evaluate(stored), strict=True)) if stored else {}
        for start in range(0, len(moving), POINTS_AT_ONCE):
            some = moving[start : start + POINTS_AT_ONCE]
            stack, shared = self._stacked(some)
            if not stack:  # one point alone, or the same one several times
                found |= zip(some, self._eager.evaluate(some), strict=True)
                continue
            sums = [self._objective.new_sums() for _ in some]
            for batch in self._objective.batches:
                for total, columns in zip(sums, self._batch(stack, shared, batch), strict=True):
                    total.add(columns)
            found |= zip(some, sums, strict=True)
        return [found[k] for k in rows]

    def _ready(self, row: int) -> bool:
        """See that two points at once give what the model gives; else every point falls back."""
        if self._verified:
            return self.fallback is None
        self._verified = True
        batch = self._objective.batches.first()
        try:
            expected = self._model.evaluate(self._maker.tensors(row), batch)
            stack, shared = self._stacked([row, row], apart=True)
            _, found = self._batch(stack, shared, batch)
            self._writes = any(tensor._version for tensor in (*stack.values(), *shared.values()))
        except (torch.OutOfMemoryError, MemoryError):
            self._verified = False
            raise
        except (RuntimeError, TypeError, ValueError, KeyError, AttributeError, IndexError, NotImplementedError) as error:
            if isinstance(error, ObjectiveError):
                raise
            reason = str(error).strip().splitlines()
            self.fallback = f"the model cannot be run over several points at once ({type(error).__name__}: {reason[0] if reason else ''})"
        else:
            if not alike(found, expected):
                self.fallback = "several points at once give other values than the model, which does something that depends on them"
        return self.fallback is None

    def _stacked(self, rows: Sequence[int], *, apart: bool = False) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The tensors in which the points differ, one below the other; and the rest. All of them, where `apart`."""
        points, names = self._maker.points, tuple(self._model.space.tensors)
        differing = [n for n in names if apart or len({points.signature(k, n) for k in rows}) > 1]
        shared = self._maker.tensors(rows[0], [n for n in names if n not in set(differing)])
        made = [self._maker.tensors(k, differing) for k in rows]
        return {n: torch.stack([own[n] for own in made]) for n in differing}, shared

    def _batch(self, stack: Mapping[str, Tensor], shared: Mapping[str, Tensor], batch: Any) -> list[Mapping[str, Column]]:
        """The values of one batch at each point."""
        inputs, targets = batch
        given, further = self._model.guarded(inputs), self._model.own_tensors()
        if self._writes:  # a pass that rewrites its weights (Embedding with max_norm) gets copies
            stack, shared = ({name: tensor.clone() for name, tensor in own.items()} for own in (stack, shared))

        def output(own: Mapping[str, Tensor]) -> Any:
            return functional_call(self._model.model, {**further, **shared, **own}, (given,), tie_weights=True)

        with _no_loops():
            outputs = torch.func.vmap(output, randomness="error")(dict(stack))
        step = self._model.step
        assert isinstance(step, SupervisedStep)
        if not isinstance(outputs, Tensor):
            raise TypeError(f"the model returns a {type(outputs).__name__}, not a tensor")
        return [step.measure(own, targets) for own in outputs]


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
