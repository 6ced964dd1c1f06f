"""Points through the graph of a step, so that what several points share is computed once (see `thetascope.scoring.fast.walks`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

from torch import Tensor

from thetascope.geometry.edits import ScalarEdits
from thetascope.geometry.points import PointSet
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

POINTS_BYTES = 2**26
"""So much memory the tensors may take in which the points of one walk over the data differ, or as much as the model's."""


class GraphBackend(CheckedBackend):
    """Scores points through the graph of a step, computing what they share once a batch."""

    name = "graph"
    fails = "the captured graph does not run on its own"
    differs = "the captured graph gives other values than the model, which does something that a graph does not show"

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

    def _walks(self, rows: Sequence[int]) -> Iterator[SharedWalk]:
        """The points in walks whose own tensors fit into memory."""
        points, planner = self._points, self._planner
        common, differing = common_of(rows, tuple(self._space), points.signature)
        budget, pending, held = max(POINTS_BYTES, sum(self._bytes.values())), list[int](), 0
        for k in [*planner.front_to_back(differing), None]:
            size = 0 if k is None else sum(self._bytes[name] for name in differing[k] or self._space)
            if pending and (k is None or held + size > budget):
                yield planner.walk(pending, points.signature, common, differing)
                pending, held = [], 0
            if k is not None:
                pending.append(k)
                held += size

    def _tensors(self, walk: SharedWalk) -> dict[int, object]:
        """What a walk reads of its points, by place."""
        wanted: dict[int, list[tuple[str, int]]] = {}
        for (name, made), (place, k) in walk.tensors.items():
            source = k  # or, of what is common to most points but not to that which reads it first, one that has it
            if self._points.signature(k, name) != made:
                source = next(k for k in range(len(self._points)) if self._points.signature(k, name) == made)
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
            return [self._model.evaluate(self._point_tensors.tensors(k), batch) for k, _, _ in walk.points]
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
