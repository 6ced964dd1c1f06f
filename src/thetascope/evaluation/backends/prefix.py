"""Points that share layers: what does not depend on the tensors that differ is computed once a batch.

The model is traced (see `thetascope.evaluation.tracing`). Of the points that are asked for at once, the tensor that most
of them share is the common one; the values that flow from common tensors alone are computed once and kept where the
first tensor that differs comes in, skip connections included; each point goes on from there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from thetascope.errors import ObjectiveError
from thetascope.evaluation.backends.eager import EagerBackend
from thetascope.evaluation.backends.scalar import EditScorer, Routes
from thetascope.evaluation.backends.settings import Settings
from thetascope.evaluation.memory import out_of_memory
from thetascope.evaluation.metrics import SupervisedStep
from thetascope.evaluation.nests import map_tensors, tensors_of
from thetascope.evaluation.scores import Column, Sums
from thetascope.evaluation.tracing import Environment, NotTraceableError, Plan, TracedModel
from thetascope.geometry.edits import ScalarEdits
from thetascope.geometry.points import PointSet

if TYPE_CHECKING:
    from thetascope.evaluation.objective import Objective

POINTS_BYTES = 2**28
"""So much memory the tensors may take in which the points of one walk over the data differ."""

TOGETHER = 3
"""So many points of a whole model are mostly scored together, in half a second."""


@dataclass(frozen=True)
class _Part:
    """Points that are scored in one walk over the data: what they share, and how each goes on from there."""

    rows: tuple[int, ...]
    plans: tuple[Plan, ...]
    base: Mapping[str, Tensor]
    own: tuple[Mapping[str, Tensor], ...]
    shared: tuple[fx.Node, ...]
    kept: frozenset[fx.Node]


class PrefixBackend:
    """Scores points, computing what they share once a batch; falls back to the oracle where it cannot, and says why.

    Args:
        objective: what to score.
        points: over states that are bound to the objective's model.
        as_recorded: leave buffers as the points have them, whatever the objective says of buffers.
        settings: how it computes.
    """

    name = "prefix"

    def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False, settings: Settings | None = None) -> None:
        self._objective, self._model, self._settings = objective, objective.model, settings or Settings()
        self._eager = EagerBackend(objective, points, as_recorded=as_recorded)
        self._maker = self._eager.maker
        self._points = self._maker.points
        self._traced: TracedModel | None = None
        self._scorer: EditScorer | None = None
        self._writes = False
        self._joins: dict[frozenset[fx.Node], bool] = {}
        self._verified = False
        self.fallback = reason_against(objective, as_recorded=as_recorded)

    def evaluate(self, rows: Sequence[int]) -> list[Sums]:
        """Score the points `rows`, in order. Call it within the model's `running`."""
        moving = [k for k in dict.fromkeys(rows) if self.fallback is None and not self._points.is_stored(k)]
        if not (moving and self.ready(moving[0])):
            return self._eager.evaluate(rows)
        stored = [k for k in dict.fromkeys(rows) if k not in set(moving)]
        found = dict(zip(stored, self._eager.evaluate(stored), strict=True)) if stored else {}
        scorer = self._edit_scorer()
        short = [] if scorer is None else [k for k in moving if scorer.takes(k)]
        if scorer is not None and short:
            found |= zip(short, scorer.scored(short, self._objective.batches), strict=True)
        for part in self._parts([k for k in moving if k not in set(short)]) if len(short) < len(moving) else ():
            found |= zip(part.rows, self._scored(part), strict=True)
        return [found[k] for k in rows]

    def _edit_scorer(self) -> EditScorer | None:
        """What scores points that each differ in one single parameter."""
        points, step = self._points, self._model.step
        if self._scorer is None and isinstance(points, ScalarEdits) and isinstance(step, SupervisedStep):
            tensors = self._laid_out(self._model.tensors_of(points.state))
            inputs = next(iter(self._chunks(self._model.guarded(self._objective.batches.first()[0]))))
            self._scorer = EditScorer(
                Routes(self._known(), tensors, inputs),
                points,
                step,
                lambda inputs: self._chunks(self._model.guarded(inputs)),
                self._objective.new_sums,
            )
        return self._scorer

    def expected(self, row: int) -> Mapping[str, Column]:
        """What the model itself gives at a point on the first batch."""
        return self._model.evaluate(self._maker.tensors(row), self._objective.batches.first())

    def rehearse(self, row: int, batch: Any) -> float:
        """How many seconds one batch takes at one point, where nothing but the data is shared; once it is `ready`.

        What is made of the data alone counts for a part: as many points as are mostly scored together have it in common.
        """
        (part,) = self._parts([row])
        alone, seconds = _alone(part, self._known()), 0.0
        for cut in self._cuts(alone, list(self._chunks(self._model.guarded(batch[0])))):
            start = time.perf_counter()
            found = cut()
            made = time.perf_counter()
            self._outputs(alone, partial(_itself, found))
            seconds += (made - start) / TOGETHER + time.perf_counter() - made
        return seconds

    def ready(self, row: int, expected: Mapping[str, Column] | None = None) -> bool:
        """Whether points can be scored through the graph: it is traced, and must give what the model gives; else every point falls back.

        `expected` is what the model gives at `row` on the first batch, where that is known.
        """
        if self._verified or self.fallback is not None:
            return self.fallback is None
        self._verified = True
        try:
            self._traced = self._traced or TracedModel(self._model, blocked=self._settings.blocked, unfolded=self._settings.unfolded)
            batch = self._objective.batches.first()
            expected = self.expected(row) if expected is None else expected
            (part,) = self._parts([row])
            (found,) = self._batch(part, batch)
        except NotTraceableError as error:
            self.fallback = str(error)
        except MemoryError:
            self._verified = False
            raise
        except (RuntimeError, TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
            if isinstance(error, ObjectiveError) or out_of_memory(error):
                self._verified = False
                raise
            self.fallback = f"the traced graph does not run on its own ({type(error).__name__}: {error})"
        else:
            if not alike(found, expected):
                self.fallback = "the traced graph gives other values than the model, which does something that a graph does not show"
        return self.fallback is None

    def _parts(self, rows: Sequence[int]) -> Iterator[_Part]:
        """The points in parts whose own tensors fit into memory; one by one where they share nothing."""
        traced, points, names = self._known(), self._points, tuple(self._model.space.tensors)
        common = {name: Counter(points.signature(k, name) for k in rows).most_common(1)[0][0] for name in names}
        differing = {k: frozenset(n for n in names if points.signature(k, n) != common[n]) for k in rows}
        plans = {moving: traced.plan(moving) for moving in set(differing.values())}
        sizes = {n: spec.size * 8 for n, spec in self._model.space.tensors.items()}
        pending: list[int] = []
        held = 0
        for k in rows:
            size = sum(sizes[n] for n in differing[k])
            if pending and (held + size > POINTS_BYTES or not (_shares(plans[differing[k]]) and _shares(plans[differing[pending[0]]]))):
                yield self._part(pending, common, differing, plans)
                pending, held = [], 0
            pending.append(k)
            held += size
        if pending:
            yield self._part(pending, common, differing, plans)

    def _part(
        self, rows: Sequence[int], common: Mapping[str, Any], differing: Mapping[int, frozenset[str]], plans: Mapping[frozenset[str], Plan]
    ) -> _Part:
        traced, points = self._known(), self._points
        cut = {node for k in rows for node in plans[differing[k]].cut}
        wanted = _ancestors(cut)
        shared = tuple(node for node in traced.nodes if node in wanted)
        # the common tensors come from any point that has them
        sources: dict[int, list[str]] = {}
        needed = {name for node in shared for name in traced.uses[node]}
        needed |= {name for k in rows for node in plans[differing[k]].moving for name in traced.uses[node] if name not in differing[k]}
        for name in sorted(needed):
            sources.setdefault(self._having(name, common[name], rows, points), []).append(name)
        base = {name: tensor for k, own in sources.items() for name, tensor in self._laid_out(self._maker.tensors(k, own)).items()}
        own_tensors = tuple(self._laid_out(self._maker.tensors(k, sorted(differing[k]))) for k in rows)
        return _Part(tuple(rows), tuple(plans[differing[k]] for k in rows), base, own_tensors, shared, frozenset(cut))

    def _having(self, name: str, signature: Any, rows: Sequence[int], points: PointSet) -> int:
        for k in rows:
            if points.signature(k, name) == signature:
                return k
        return next(k for k in range(len(points)) if points.signature(k, name) == signature)

    def _laid_out(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: self._layout(tensor) for name, tensor in tensors.items()}

    def _layout(self, tensor: Tensor) -> Tensor:
        if self._settings.channels_last and tensor.ndim == 4:
            return tensor.contiguous(memory_format=torch.channels_last)
        return tensor

    def _scored(self, part: _Part) -> list[Sums]:
        sums = [self._objective.new_sums() for _ in part.rows]
        for batch in self._objective.batches:
            for total, columns in zip(sums, self._batch(part, batch), strict=True):
                total.add(columns)
        return sums

    def _batch(self, part: _Part, batch: Any) -> list[Mapping[str, Column]]:
        """The values of one batch at each point."""
        inputs, targets = batch
        outputs: list[list[Any]] = [[] for _ in part.rows]
        for cut in self._cuts(part, list(self._chunks(self._model.guarded(inputs)))):
            for own, output in zip(outputs, self._outputs(part, cut), strict=True):
                own.append(output)
        step = self._model.step
        assert isinstance(step, SupervisedStep)
        return [step.measure(own[0] if len(own) == 1 else torch.cat(own), targets) for own in outputs]

    def _cuts(self, part: _Part, chunks: Sequence[Any]) -> Iterator[Callable[[], Environment]]:
        """What makes the values from which the points go on: a chunk's, or all chunks' where they are small and go well together."""
        traced = self._known()

        def cut(chunk: Any) -> Environment:
            return traced.run(part.shared, part.base, {traced.input: chunk}, keep=part.kept)

        def joined() -> Environment:
            cuts = [cut(chunk) for chunk in chunks]
            return {node: torch.cat([found[node] for found in cuts]) if node in traced.from_input else cuts[0][node] for node in part.kept}

        if len(chunks) > 1 and part.kept not in self._joins:
            self._joins[part.kept] = _joins(cut(chunks[0]), part.kept & traced.from_input, len(chunks[0]))
        if len(chunks) > 1 and self._joins[part.kept]:
            yield joined
        else:
            yield from (partial(cut, chunk) for chunk in chunks)

    def _chunks(self, inputs: Any) -> Iterator[Any]:
        rows = self._settings.rows
        if not isinstance(inputs, Tensor) or rows is None or len(inputs) <= rows:
            yield self._layout(inputs) if isinstance(inputs, Tensor) else inputs
            return
        for start in range(0, len(inputs), rows):
            yield self._layout(inputs[start : start + rows])

    def _outputs(self, part: _Part, cut: Callable[[], Environment]) -> list[Any]:
        """What the model gives at each point, from the values that `cut` makes."""
        traced, found = self._known(), cut()
        outputs = []
        for plan, own in zip(part.plans, part.own, strict=True):
            values = {node: found[node] for node in plan.cut}
            if self._writes:
                values = {node: _copied(value) for node, value in values.items()}
            before = [tensor._version for value in values.values() for tensor in tensors_of(value)]
            left = traced.run(plan.moving, {**part.base, **own}, values)
            if before != [tensor._version for value in values.values() for tensor in tensors_of(value)] and not self._writes:
                self._writes = True  # a layer writes to what it is given (ReLU in place, say): from now on each point gets copies
                return self._outputs(part, cut)
            outputs.append(left[traced.output])
        return outputs

    def _known(self) -> TracedModel:
        assert self._traced is not None
        return self._traced


def reason_against(objective: Objective, *, as_recorded: bool = False) -> str | None:
    """Why an objective's points cannot be scored through a graph; None where they may be."""
    if not isinstance(objective.model.step, SupervisedStep):
        return "the step is the user's own, and what it does with the model is not known"
    if objective.calibrates and not as_recorded:
        return "buffers are recalibrated at each point, which takes whole passes"
    return None


def _itself(found: Environment) -> Environment:
    return found


def _alone(part: _Part, traced: TracedModel) -> _Part:
    """The part as if nothing of it were shared but what no tensor of the model comes into, so that a batch costs a whole pass."""
    plan = traced.split(lambda node: bool(traced.depends[node]))
    return replace(part, plans=(plan,), shared=tuple(n for n in plan.fixed if n in set(plan.cut)), kept=frozenset(plan.cut))


def _joins(cut: Environment, nodes: Iterable[fx.Node], rows: int) -> bool:
    """Whether the values of `nodes` are plain rows of features, a row a sample: so small that cutting them costs more than it spares."""
    values = [cut[node] for node in nodes]
    return bool(values) and all(isinstance(value, Tensor) and value.ndim == 2 and len(value) == rows for value in values)


def _shares(plan: Plan) -> bool:
    """Whether something that costs is computed once."""
    return any(node.op not in ("placeholder", "get_attr") for node in plan.fixed)


def _ancestors(nodes: set[fx.Node]) -> set[fx.Node]:
    found, left = set(nodes), list(nodes)
    while left:
        for before in left.pop().all_input_nodes:
            if before not in found:
                found.add(before)
                left.append(before)
    return found


def _copied(value: Any) -> Any:
    return map_tensors(value, lambda tensor: tensor.clone())


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
