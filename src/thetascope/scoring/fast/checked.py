"""What faster backends share: they are checked against the model once, and leave all points to the oracle where that fails."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from thetascope.errors import ObjectiveError
from thetascope.geometry.points import PointSet
from thetascope.scoring.failures import StepFailedError, out_of_memory, problem_of
from thetascope.scoring.fast.graph import NotTraceableError
from thetascope.scoring.fast.settings import Settings
from thetascope.scoring.metrics import SupervisedStep
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.scoring.pytrees import cut, rows_of
from thetascope.scoring.scores import Column, Sums

CHECK_ROWS = 8
"""So many rows of the first batch are enough to see whether two ways agree."""


class CheckedBackend(ABC):
    """Scores stored states as the oracle does and other points its own way; `fallback` says why it leaves those to the oracle too.

    Args:
        objective: what to score.
        points: over states that are bound to the objective's model.
        as_recorded: leave buffers as the points have them, whatever the objective says of buffers.
        settings: how it computes, where that may be chosen.
    """

    name: str
    fails: str
    """What is said where its own way does not run."""
    differs: str
    """What is said where it gives other values than the model."""
    calibrates = False
    """Whether it estimates running statistics itself."""

    def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False, settings: Settings | None = None) -> None:
        self._objective, self._model, self._settings = objective, objective.model, settings or Settings()
        if objective.fixed:
            self._settings = replace(self._settings, rows=None)
        self._eager = EagerBackend(objective, points, as_recorded=as_recorded)
        self._point_tensors = self._eager.point_tensors
        self._points = self._point_tensors.points
        self._checked, self._rows = False, self._settings.rows
        self._estimates = objective.calibrates and not as_recorded and bool(objective.statistics)
        self.fallback = reason_against(objective, estimates=self._estimates and not self.calibrates)
        self._made: tuple[int, Callable[[Any], Mapping[str, Column]]] | None = None

    def evaluate(self, rows: Sequence[int]) -> list[Sums]:
        """Score the points `rows`, in order. Call it within the model's `running`."""
        moving = [k for k in dict.fromkeys(rows) if self.fallback is None and not self._points.is_stored(k)]
        if not (moving and self.ready(moving[0])):
            return self._eager.evaluate(rows)
        self._made = None
        found = self._scored(moving)
        stored = [k for k in dict.fromkeys(rows) if k not in found]
        if stored:
            found |= zip(stored, self._eager.evaluate(stored), strict=True)
        return [found[k] for k in rows]

    def ready(self, row: int) -> bool:
        """Whether its own way gives what the model gives at `row`, on batches of two sizes; tried once.

        Before it is tried the model itself is run at another point: what forward leaves on the model must not be read from there.
        """
        if self._checked or self.fallback is not None:
            return self.fallback is None
        checked = (self.name, type(self), self._settings.channels_last, self._rows is not None, self._estimates)
        if checked in self._objective.cache.checked:
            self.fallback, self._checked = self._objective.cache.checked[checked], True
            return self.fallback is None
        if self._settings.rows is not None:
            self._rows = min(self._settings.rows, CHECK_ROWS * 2 // 5)  # so that the few are in parts too
        try:
            batches, expected = self._expected(row)
            self._made = (row, self._scorer(row))
            found = list(map(self._made[1], batches))
            same = all(map(alike, found, expected)) and self._calibrates_alike(row)
        except NotTraceableError as error:
            self.fallback = str(error)
        except (RuntimeError, TypeError, ValueError, KeyError, AttributeError, IndexError, NotImplementedError, StepFailedError) as error:
            if (isinstance(error, ObjectiveError) and not isinstance(error, StepFailedError)) or out_of_memory(error):
                raise
            self.fallback = f"{self.fails} ({type(error).__name__}: {problem_of(error)})"
        else:
            self.fallback = None if same else self.differs
        finally:
            self._rows = self._settings.rows
        self._checked, self._objective.cache.checked[checked] = True, self.fallback
        return self.fallback is None

    def _calibrates_alike(self, row: int) -> bool:
        """Whether running statistics are estimated as the oracle estimates them, where it does that itself."""
        return True

    def _expected(self, row: int) -> tuple[tuple[Any, Any], list[Mapping[str, Column]]]:
        """Two small batches, and what the model gives for them at `row` after a pass at another point; once a point."""
        cache, key = self._objective.cache.expected, (self._points.identity(row), self._eager.as_recorded)
        first = self._objective.batches.first()
        small = cut(first, CHECK_ROWS)[0]
        batches = (small, cut(small, max(2, (rows_of(small) or 0) * 2 // 3))[0])
        if None in key or key not in cache:
            rows = [k for k in (0, len(self._points) - 1) if self._points.identity(k) != self._points.identity(row)]
            self._model.evaluate(self._point_tensors.tensors(next(iter(rows), row)), small)
            cache[key] = list(map(partial(self._model.evaluate, self._point_tensors.tensors(row)), batches))
        return batches, cache[key]

    def rehearse(self, row: int, batch: Any) -> float:
        """How many seconds a batch takes at `row` alone."""
        score = self._made[1] if self._made is not None and self._made[0] == row else self._scorer(row)
        self._made = None  # it holds a copy of the model
        self._wait()
        start = time.perf_counter()
        score(batch)
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        """Until the device has done what it was told."""
        if self._model.device.type == "cuda":
            torch.cuda.synchronize(self._model.device)

    @abstractmethod
    def _scorer(self, row: int) -> Callable[[Any], Mapping[str, Column]]:
        """What scores a batch at a point its own way."""

    @abstractmethod
    def _scored(self, rows: Sequence[int]) -> dict[int, Sums]:
        """The scores of points, none of which is a stored state or comes twice."""

    def _summed(self, rows: Sequence[int], columns_of: Callable[[Any], Sequence[Mapping[str, Column]]]) -> dict[int, Sums]:
        """The sums over all batches of what `columns_of` gives for one, a point each."""
        sums = [self._objective.new_sums() for _ in rows]
        for batch in self._objective.batches:
            for total, columns in zip(sums, columns_of(batch), strict=True):
                total.add(columns)
        return dict(zip(rows, sums, strict=True))

    def _laid_out(self, value: Any) -> Any:
        """Images, and the weights of convolutions, in the layout that is asked for."""
        if self._settings.channels_last and isinstance(value, Tensor) and value.ndim == 4:
            return value.contiguous(memory_format=torch.channels_last)
        return value


def reason_against(objective: Objective, *, estimates: bool) -> str | None:
    """Why an objective's points are left to the oracle; None where there is no reason to.

    `estimates`: running statistics are to be estimated at each point, and only the oracle can.
    """
    if objective.model.gradients:
        return "forward, the loss or the step takes gradients"
    if isinstance(objective.model.step, SupervisedStep) and objective.model.step.whole:
        return f"the metric over all data ({', '.join(objective.model.step.whole)}) needs every output"
    return "buffers are recalibrated at each point, which takes whole passes" if estimates else None


def alike(found: Mapping[str, Column], expected: Mapping[str, Column]) -> bool:
    """Whether each column's values agree up to rounding; a metric with steps, such as accuracy, may differ in few samples."""
    if found.keys() != expected.keys():
        return False
    for name, column in expected.items():
        here, there = found[name].values, column.values
        if here.shape != there.shape:
            return False
        close = torch.isclose(here, there, rtol=1e-3, atol=1e-4, equal_nan=True)
        if not bool(close.all() if name == "loss" else close.double().mean() > 0.9):
            return False
    return True
