"""Points that share layers: what does not depend on the tensors that differ is computed once a batch.

The model is traced (see `thetascope.scoring.fast.graph`). Of the points that are asked for at once, the tensor that most
of them share is the common one; the values that flow from common tensors alone are computed once and kept where the
first tensor that differs comes in, skip connections included; each point goes on from there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, fx

from thetascope.geometry.edits import ScalarEdits
from thetascope.geometry.points import PointSet
from thetascope.scoring.fast.checked import CheckedBackend
from thetascope.scoring.fast.graph import Environment, GraphSplit, TracedModel
from thetascope.scoring.fast.settings import Settings
from thetascope.scoring.fast.single_edits import EditScorer, Routes
from thetascope.scoring.objective import Objective
from thetascope.scoring.pytrees import map_tensors, tensors_of
from thetascope.scoring.scores import Column, Sums

POINTS_BYTES = 2**28
"""So much memory the tensors may take in which the points of one walk over the data differ."""

TOGETHER = 3
"""So many points of a whole model are mostly scored together, in half a second."""


@dataclass(frozen=True)
class _Part:
    """Points that are scored in one walk over the data: what they share, and how each goes on from there."""

    rows: tuple[int, ...]
    splits: tuple[GraphSplit, ...]
    base: Mapping[str, Tensor]
    own: tuple[Mapping[str, Tensor], ...]
    shared: tuple[fx.Node, ...]
    kept: frozenset[fx.Node]


class GraphBackend(CheckedBackend):
    """Scores points through the model's graph, computing what they share once a batch."""

    name = "graph"
    fails = "the traced graph does not run on its own"
    differs = "the traced graph gives other values than the model, which does something that a graph does not show"

    def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False, settings: Settings | None = None) -> None:
        super().__init__(objective, points, as_recorded=as_recorded, settings=settings)
        self._writes = False
        self._joins: dict[frozenset[fx.Node], bool] = {}

    @cached_property
    def _traced(self) -> TracedModel:
        return TracedModel(self._model, blocked=self._settings.blocked, unfolded=self._settings.unfolded)

    def _tried(self, row: int, batch: Any) -> Mapping[str, Column]:
        (part,) = self._parts([row])
        return self._batch(part, batch)[0]

    def _scored(self, rows: Sequence[int]) -> dict[int, Sums]:
        found: dict[int, Sums] = {}
        if isinstance(self._points, ScalarEdits):
            short = [k for k in rows if self._edit_scorer.takes(k)]
            if short:
                found |= zip(short, self._edit_scorer.scored(short, self._objective.batches), strict=True)
        rows = [k for k in rows if k not in found]
        for part in self._parts(rows) if rows else ():
            found |= self._summed(part.rows, partial(self._batch, part))
        return found

    @cached_property
    def _edit_scorer(self) -> EditScorer:
        """What scores points that each differ in one single parameter."""
        assert isinstance(self._points, ScalarEdits)
        tensors = self._laid_out(self._model.tensors_of(self._points.state))
        inputs = next(self._chunks(self._objective.batches.first()[0]))
        return EditScorer(Routes(self._traced, tensors, inputs), self._points, self._step, self._chunks, self._objective.new_sums)

    def rehearse(self, row: int, batch: Any) -> float:
        """How many seconds one batch takes at one point, where nothing but the data is shared; once it is `ready`.

        What is made of the data alone counts for a part: as many points as are mostly scored together have it in common.
        """
        (part,) = self._parts([row])
        alone, seconds = _alone(part, self._traced), 0.0
        for cut in self._cuts(alone, list(self._chunks(batch[0]))):
            start = time.perf_counter()
            found = cut()
            made = time.perf_counter()
            self._outputs(alone, partial(dict, found))
            seconds += (made - start) / TOGETHER + time.perf_counter() - made
        return seconds

    def _parts(self, rows: Sequence[int]) -> Iterator[_Part]:
        """The points in parts whose own tensors fit into memory; one by one where they share nothing."""
        points, names = self._points, tuple(self._model.space.tensors)
        common = {name: Counter(points.signature(k, name) for k in rows).most_common(1)[0][0] for name in names}
        differing = {k: frozenset(n for n in names if points.signature(k, n) != common[n]) for k in rows}
        splits = {varying: self._traced.split_at(varying) for varying in set(differing.values())}
        sizes = {n: spec.size * 8 for n, spec in self._model.space.tensors.items()}
        pending: list[int] = []
        held = 0
        for k in rows:
            size = sum(sizes[n] for n in differing[k])
            if pending and (held + size > POINTS_BYTES or not (_shares(splits[differing[k]]) and _shares(splits[differing[pending[0]]]))):
                yield self._part(pending, common, differing, splits)
                pending, held = [], 0
            pending.append(k)
            held += size
        if pending:
            yield self._part(pending, common, differing, splits)

    def _part(
        self,
        rows: Sequence[int],
        common: Mapping[str, Any],
        differing: Mapping[int, frozenset[str]],
        splits: Mapping[frozenset[str], GraphSplit],
    ) -> _Part:
        uses = self._traced.uses
        cut = {node for k in rows for node in splits[differing[k]].cut}
        shared = self._traced.leading_to(cut)
        needed = {name for node in shared for name in uses[node]}
        needed |= {name for k in rows for node in splits[differing[k]].moving for name in uses[node] if name not in differing[k]}
        sources: dict[int, list[str]] = {}  # the common tensors come from any point that has them
        for name in sorted(needed):
            candidates = chain(rows, range(len(self._points)))
            source = next(k for k in candidates if self._points.signature(k, name) == common[name])
            sources.setdefault(source, []).append(name)
        base = {name: tensor for k, names in sources.items() for name, tensor in self._tensors(k, names).items()}
        own = tuple(self._tensors(k, sorted(differing[k])) for k in rows)
        return _Part(tuple(rows), tuple(splits[differing[k]] for k in rows), base, own, shared, frozenset(cut))

    def _tensors(self, k: int, names: Sequence[str]) -> dict[str, Tensor]:
        return self._laid_out(self._point_tensors.tensors(k, names))

    def _laid_out(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: self._layout(tensor) for name, tensor in tensors.items()}

    def _layout(self, tensor: Tensor) -> Tensor:
        if self._settings.channels_last and tensor.ndim == 4:
            return tensor.contiguous(memory_format=torch.channels_last)
        return tensor

    def _batch(self, part: _Part, batch: Any) -> list[Mapping[str, Column]]:
        """The values of one batch at each point."""
        inputs, targets = batch
        outputs: list[list[Any]] = [[] for _ in part.rows]
        for cut in self._cuts(part, list(self._chunks(inputs))):
            for own, output in zip(outputs, self._outputs(part, cut), strict=True):
                own.append(output)
        return [self._step.measure(own[0] if len(own) == 1 else torch.cat(own), targets) for own in outputs]

    def _cuts(self, part: _Part, chunks: Sequence[Any]) -> Iterator[Callable[[], Environment]]:
        """What makes the values from which the points go on: a chunk's, or all chunks' where they are small and go well together."""
        traced = self._traced

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
        """The inputs of a batch, or a copy where the model writes to them, in parts that go through the network at once."""
        inputs, rows = self._model.guarded(inputs), self._settings.rows
        if not isinstance(inputs, Tensor) or rows is None or len(inputs) <= rows:
            yield self._layout(inputs) if isinstance(inputs, Tensor) else inputs
            return
        for start in range(0, len(inputs), rows):
            yield self._layout(inputs[start : start + rows])

    def _outputs(self, part: _Part, cut: Callable[[], Environment]) -> list[Any]:
        """What the model gives at each point, from the values that `cut` makes."""
        found, outputs = cut(), []
        for split, own in zip(part.splits, part.own, strict=True):
            values = {node: found[node] for node in split.cut}
            if self._writes:
                values = {node: map_tensors(value, lambda tensor: tensor.clone()) for node, value in values.items()}
            before = [tensor._version for value in values.values() for tensor in tensors_of(value)]
            left = self._traced.run(split.moving, {**part.base, **own}, values)
            if before != [tensor._version for value in values.values() for tensor in tensors_of(value)] and not self._writes:
                self._writes = True  # a layer writes to what it is given (ReLU in place, say): from now on each point gets copies
                return self._outputs(part, cut)
            outputs.append(left[self._traced.output])
        return outputs


def _alone(part: _Part, traced: TracedModel) -> _Part:
    """The part as if nothing of it were shared but what no tensor of the model comes into, so that a batch costs a whole pass."""
    split = traced.split(lambda node: bool(traced.depends[node]))
    return replace(part, splits=(split,), shared=traced.leading_to(split.cut), kept=frozenset(split.cut))


def _joins(cut: Environment, nodes: Iterable[fx.Node], rows: int) -> bool:
    """Whether the values of `nodes` are plain rows of features, a row a sample: so small that cutting them costs more than it spares."""
    values = [cut[node] for node in nodes]
    return bool(values) and all(isinstance(value, Tensor) and value.ndim == 2 and len(value) == rows for value in values)


def _shares(split: GraphSplit) -> bool:
    """Whether something that costs is computed once."""
    return any(node.op not in ("placeholder", "get_attr") for node in split.fixed)
