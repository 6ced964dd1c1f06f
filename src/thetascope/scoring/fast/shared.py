"""Points through the graph of a step, so that what several points share is computed once (see `thetascope.scoring.fast.walks`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from thetascope.geometry.edits import ScalarEdits
from thetascope.geometry.points import PointSet
from thetascope.scoring.fast.calibration import CalibratedPoints, CalibratingPlanner
from thetascope.scoring.fast.captured import Captured, captured
from thetascope.scoring.fast.checked import CheckedBackend
from thetascope.scoring.fast.graph import NotTraceableError, traced
from thetascope.scoring.fast.settings import Settings
from thetascope.scoring.fast.single_edits import EditScorer, Routes
from thetascope.scoring.fast.walks import Planner, SharedWalk, common_of
from thetascope.scoring.metrics import SupervisedStep
from thetascope.scoring.objective import Objective
from thetascope.scoring.pytrees import cut
from thetascope.scoring.scores import Column, Sums
from thetascope.scoring.statistics import explained, recalibrated

Signature = Callable[[int, str], Hashable]

CALIBRATION_ROWS = 16
"""So many rows of a calibration batch show whether statistics are estimated as the oracle does."""

POINTS_BYTES = 2**26
"""So much memory the tensors may take in which the points of one walk over the data differ, or as much as the model's."""


class GraphBackend(CheckedBackend):
    """Scores points through the graph of a step, computing what they share once a batch."""

    name = "graph"
    fails = "the captured graph does not run on its own"
    differs = "the captured graph gives other values than the model, which does something that a graph does not show"
    calibrates = True

    def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False, settings: Settings | None = None) -> None:
        super().__init__(objective, points, as_recorded=as_recorded, settings=settings)
        self._space = self._model.space.tensors
        self._bytes = {name: spec.size * self._model.target_dtype(name).itemsize for name, spec in self._space.items()}

    @cached_property
    def _captured(self) -> Captured:
        return captured_step(self._objective)

    @cached_property
    def _planner(self) -> Planner:
        return Planner(self._captured.graph)

    def _scorer(self, row: int) -> Callable[[Any], Mapping[str, Column]]:
        (walk,) = self._walks([row])
        tensors = self._tensors(walk)
        return lambda batch: self._columns(walk, tensors, batch)[0]

    def _scored(self, rows: Sequence[int]) -> dict[int, Sums]:
        if not self._estimates:
            return self._scored_as_they_are(rows)
        points, tensors = self._points, self._point_tensors
        calibrated: Any = CalibratedPoints(points, tensors, self._estimated(rows, self._objective.calibration))
        self._points = self._point_tensors = calibrated
        try:
            return self._scored_as_they_are(rows)
        finally:
            self._points, self._point_tensors = points, tensors

    def _estimated(self, rows: Sequence[int], batches: Iterable[Any]) -> dict[tuple[int, str], tuple[Hashable, Tensor]]:
        """The running statistics of points, over whole batches of the calibration data."""
        planner, points, found = self._calibrating, self._points, dict[tuple[int, str], tuple[Hashable, Tensor]]()

        def signature(k: int, name: str) -> Hashable:
            return None if name in planner.names else points.signature(k, name)

        for walk in self._walks(rows, planner, signature):
            planner.begin()
            tensors = self._tensors(walk, signature)
            for n, batch in enumerate(batches, 1):
                if not self._captured.takes(batch):
                    raise NotTraceableError("calibration batches have another form than those that are scored")
                planner.factor = 1 / n
                with explained(batch):
                    inputs = [self._laid_out(leaf) for leaf in self._captured.inputs(self._model.guarded(batch))]
                    deque(walk.run(tensors, inputs), maxlen=0)
            found |= planner.estimates(walk)
        return found

    @cached_property
    def _calibrating(self) -> CalibratingPlanner:
        return CalibratingPlanner(self._captured.graph, self._objective.statistics)

    def _calibrates_alike(self, row: int) -> bool:
        if not self._estimates:
            return True
        few = [cut(self._objective.calibration.first(), CALIBRATION_ROWS)[0]]
        expected = recalibrated(self._model, self._point_tensors.tensors(row), few, self._objective.statistics)
        found = self._estimated([row], few)
        return all(torch.allclose(tensor, expected[name], rtol=1e-3, atol=1e-4, equal_nan=True) for (_, name), (_, tensor) in found.items())

    def _scored_as_they_are(self, rows: Sequence[int]) -> dict[int, Sums]:
        found: dict[int, Sums] = {}
        if isinstance(self._points, ScalarEdits) and self._edit_scorer is not None:
            short = [k for k in rows if self._edit_scorer.takes(k)]
            if short:
                found |= zip(short, self._edit_scorer.scored(short, self._objective.batches), strict=True)
        rows = [k for k in rows if k not in found]
        for walk in self._walks(rows) if rows else ():
            found |= self._summed([k for k, _, _ in walk.points], partial(self._columns, walk, self._tensors(walk)))
        return found

    @cached_property
    def _edit_scorer(self) -> EditScorer | None:
        """Of edits, the short way, where the model alone can be written down."""
        points, step = self._points, self._model.step
        assert isinstance(points, ScalarEdits)
        if not isinstance(step, SupervisedStep):
            return None
        try:
            graph = traced(self._model)
        except NotTraceableError:
            return None
        inputs, _ = self._objective.batches.first()
        inputs = self._laid_out(next(iter(cut(self._model.guarded(inputs), self._settings.rows))))
        state = {name: self._laid_out(tensor) for name, tensor in self._model.tensors_of(points.state).items()}

        def chunks(given: Any) -> Iterator[Any]:
            return (self._laid_out(part) for part in cut(self._model.guarded(given), self._settings.rows))

        return EditScorer(Routes(graph, state, inputs), points, step, chunks, self._objective.new_sums)

    def _walks(self, rows: Sequence[int], planner: Planner | None = None, signature: Signature | None = None) -> Iterator[SharedWalk]:
        """The points in walks whose own tensors fit into memory."""
        planner, signature = planner or self._planner, signature or self._points.signature
        common, differing = common_of(rows, tuple(self._space), signature)
        budget, pending, held = max(POINTS_BYTES, sum(self._bytes.values())), list[int](), 0
        for k in [*planner.front_to_back(differing), None]:
            size = 0 if k is None else sum(self._bytes[name] for name in differing[k] or self._space)
            if pending and (k is None or held + size > budget):
                yield planner.walk(pending, signature, common, differing)
                pending, held = [], 0
            if k is not None:
                pending.append(k)
                held += size

    def _tensors(self, walk: SharedWalk, signature: Signature | None = None) -> dict[int, object]:
        """What a walk reads of its points, by place."""
        signature = signature or self._points.signature
        wanted: dict[int, list[tuple[str, int]]] = {}
        for (name, made), (place, k) in walk.tensors.items():
            source = k  # or, of what is common to most points but not to that which reads it first, one that has it
            if signature(k, name) != made:
                source = next(k for k in range(len(self._points)) if signature(k, name) == made)
            wanted.setdefault(source, []).append((name, place))
        found: dict[int, Tensor] = {}
        for k, own in wanted.items():
            tensors = self._point_tensors.tensors(k, [name for name, _ in own])
            found |= {place: self._laid_out(tensors[name]) for name, place in own}
        return walk.held(found)

    def _columns(self, walk: SharedWalk, tensors: Mapping[int, object], batch: Any) -> list[Mapping[str, Column]]:
        """The values of one batch at each point of a walk."""
        captured = self._captured
        if not captured.takes(batch):
            return [self._model.evaluate(self._point_tensors.tensors(k, list(self._space)), batch) for k, _, _ in walk.points]
        batches = cut(self._model.guarded(batch), self._rows if captured.per_sample else None)
        outputs: dict[int, list[Any]] = {}
        for each in batches:
            for k, output in walk.run(tensors, [self._laid_out(leaf) for leaf in captured.inputs(each)]):
                outputs.setdefault(k, []).append(output)
        return [captured.columns(own, batches, batch) for own in outputs.values()]


def captured_step(objective: Objective) -> Captured:
    """The objective's step as a graph, which the objective remembers.

    Raises:
        NotTraceableError: there is none; that is remembered too.
    """
    cache = objective.cache
    if cache.captured is None:
        try:
            cache.captured = captured(objective.model, objective.batches.first())
        except NotTraceableError as error:
            cache.captured = str(error)
    if isinstance(cache.captured, str):
        raise NotTraceableError(cache.captured)
    return cache.captured
