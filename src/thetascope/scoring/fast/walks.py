"""The one rule of sharing: a step's value is computed once for all points of a walk over the data whose tensors behind it are the
same, and dropped after its last use.

Values are numbered: the value of a step is known by the step and the numbers of what flows into it, so that points of which one
layer moves share what comes before, and so do points that begin alike and part later. The points go front to back through the
network, and what most of them have in common is computed no earlier than a point needs it, so that little is held at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor, fx

from thetascope.scoring.fast.fused import Fold, folded, in_place
from thetascope.scoring.fast.graph import Call, Graph

Made = tuple[str, Hashable]
"""A tensor of some points: its name, and what decides it."""


@dataclass
class Step:
    """One value: how it is computed, from which values, where it goes, and which values are needed no more then.

    `instead` computes it in its first input's memory, where that is needed no more.
    """

    call: Call
    inputs: tuple[int, ...]
    output: int
    instead: Call | None = None
    done: list[int] = field(default_factory=list)


@dataclass
class SharedWalk:
    """What is done for each batch, point by point.

    Attributes:
        points: each with the steps that are still to do for it and the place of its output.
        given: the places of the graph's inputs.
        tensors: the places of the tensors that are read, each with a point that has it.
        constants: the steps that need those only, done once for all batches.
        size: how many places there are.
        watched: by point: the places of the values of the steps that the planner watches.
    """

    points: list[tuple[int, list[Step], int]]
    given: tuple[int, ...]
    tensors: dict[Made, tuple[int, int]]
    constants: list[Step]
    size: int
    watched: dict[int, dict[fx.Node, int]] = field(default_factory=dict)

    def held(self, tensors: dict[int, Tensor]) -> dict[int, object]:
        """What `run` takes, of the tensors by place: with the values of constant steps, without what only those need."""
        found: dict[int, object] = dict(tensors)
        for step in self.constants:
            found[step.output] = step.call([found[place] for place in step.inputs])
        needed = {place for _, steps, output in self.points for step in steps for place in step.inputs}
        needed.update(output for _, _, output in self.points)
        return {place: value for place, value in found.items() if place in needed}

    def run(
        self, tensors: Mapping[int, object], inputs: Sequence[object], seen: Callable[[Sequence[object]], None] | None = None
    ) -> Iterator[tuple[int, object]]:
        """Each point with what the graph gives for a batch.

        Args:
            tensors: by place, as `held` gives them.
            inputs: the batch's, in the graph's order.
            seen: is told all values that are held, after each step.
        """
        values: list[object] = [None] * self.size
        for place, value in (*tensors.items(), *zip(self.given, inputs, strict=True)):
            values[place] = value
        last = {output: k for k, _, output in self.points}
        for k, steps, output in self.points:
            for step in steps:
                values[step.output] = step.call([values[place] for place in step.inputs])
                if seen is not None:
                    seen(values)
                for place in step.done:
                    values[place] = None
            found = values[output]
            if last[output] == k:
                values[output] = None
            yield k, found


class Planner:
    """Plans walks through a graph; what a set of names affects is found once."""

    watched: tuple[fx.Node, ...] = ()
    """Steps of which a walk tells where their values are."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._order = {node: i for i, node in enumerate(graph.nodes)}
        self._affected: dict[frozenset[str], tuple[fx.Node, ...]] = {}
        self._in_place: dict[fx.Node, Call | None] = {}
        self.folds = self.folded()
        absorbed = {fold.conv for fold in self.folds.values()}
        self.nodes = tuple(node for node in graph.nodes if node not in absorbed)

    def folded(self) -> dict[fx.Node, Fold]:
        """The normalisations that are computed with the convolution in front of them: for every point or for none, so that a point's last
        bits do not depend on which others are in its walk."""
        found = {node: folded(self._graph, node) for node in self._graph.nodes}
        return {node: fold for node, fold in found.items() if fold is not None}

    def inputs(self, node: fx.Node) -> list[fx.Node]:
        """The steps that a node takes its values from."""
        own, fold = node.all_input_nodes, self.folds.get(node)
        return own if fold is None else [*fold.conv.all_input_nodes, *own[1:]]

    def call(self, node: fx.Node, place: int) -> Call:
        """What computes a node's value, which goes to `place`."""
        return self._graph.call(node)

    def in_place(self, node: fx.Node) -> Call | None:
        """What computes a node in the memory of its first input."""
        if node not in self._in_place:
            self._in_place[node] = in_place(self._graph, node)
        return self._in_place[node]

    def affected(self, names: frozenset[str]) -> tuple[fx.Node, ...]:
        """The steps whose values change with the tensors `names`."""
        if names not in self._affected:
            depends = self._graph.depends
            self._affected[names] = tuple(node for node in self.nodes if not names.isdisjoint(depends[node]))
        return self._affected[names]

    def front_to_back(self, differing: Mapping[int, frozenset[str]]) -> list[int]:
        """The points, those first whose differing tensors come in first."""
        last, groups = len(self._order), {names: i for i, names in enumerate(dict.fromkeys(differing.values()))}

        def place(k: int) -> tuple[int, int]:
            affected = self.affected(differing[k])
            return (self._order[affected[0]] if affected else last, groups[differing[k]])

        return sorted(differing, key=place)

    def walk(
        self,
        rows: Sequence[int],
        signature: Callable[[int, str], Hashable],
        common: Mapping[str, Hashable],
        differing: Mapping[int, frozenset[str]],
    ) -> SharedWalk:
        """A walk of the points `rows`, in this order.

        Args:
            rows: the points.
            signature: what decides a tensor of a point.
            common: what decides each tensor for the points that do not differ in it.
            differing: the tensors in which each point differs from that.
        """
        return _Numbering(self._graph, self, signature, common).walk(rows, differing)


class _Numbering:
    """The values of one walk."""

    def __init__(self, graph: Graph, planner: Planner, signature: Callable[[int, str], Hashable], common: Mapping[str, Hashable]) -> None:
        self._graph, self._planner, self._signature, self._common = graph, planner, signature, common
        self._size = 0
        self._given = {node: self._new() for node in graph.inputs}
        self._base = dict(self._given)
        self._known: dict[tuple[fx.Node, tuple[int, ...]], int] = {}
        self._tensors: dict[Made, tuple[int, int]] = {}
        self._steps: dict[int, Step] = {}  # of the point at hand, by where their values go

    def walk(self, rows: Sequence[int], differing: Mapping[int, frozenset[str]]) -> SharedWalk:
        points, watched = [], dict[int, dict[fx.Node, int]]()
        for k in rows:
            self._steps = {}
            affected, own = self._planner.affected(differing[k]), dict[fx.Node, int]()
            self._share(k, affected)
            for node in affected:
                self._number(node, k, own, differing[k])
            output = own.get(self._graph.output, self._base.get(self._graph.output, -1))
            points.append((k, list(self._steps.values()), output))
            watched[k] = {node: own[node] if node in own else self._base[node] for node in self._planner.watched}
        held = {place for place, _ in self._tensors.values()}
        constants = _constants(points, held)
        _drop(points, held)
        return SharedWalk(points, tuple(self._given.values()), self._tensors, constants, self._size, watched)

    def _share(self, k: int, affected: Sequence[fx.Node]) -> None:
        """Compute what the affected steps need of what most points have in common, and is not computed yet."""
        moving = set(affected)
        needed = {before for node in affected for before in self._planner.inputs(node) if before not in moving}
        needed = needed if affected else {self._graph.output}
        for node in () if needed <= self._base.keys() else self._graph.leading_to(needed, self._base, self._planner.inputs):
            self._number(node, k, self._base, frozenset())

    def _number(self, node: fx.Node, k: int, numbers: dict[fx.Node, int], differing: frozenset[str]) -> None:
        """Find the number of a node's value, and what computes it where it is not known."""
        fold, instead = self._planner.folds.get(node), self._planner.in_place(node)
        if fold is None:
            key = (node, tuple(self._places(node, k, numbers, differing)))
            numbers[node] = self._found(key, partial(self._planner.call, node), instead)
            return
        start, *tensors = self._places(fold.conv, k, numbers, differing)
        tensors += self._places(node, k, numbers, differing, first=1)
        weights = self._found((fold.conv, tuple(tensors)), lambda _: fold.weights)
        numbers[node] = self._found((node, (start, weights)), lambda _: fold.both, instead)

    def _found(self, key: tuple[fx.Node, tuple[int, ...]], call: Callable[[int], Call], instead: Call | None = None) -> int:
        """The number of what a step makes of the values with these numbers."""
        if key not in self._known:
            self._known[key] = place = self._new()
            self._steps[place] = Step(call(place), key[1], place, instead)
        return self._known[key]

    def _places(self, node: fx.Node, k: int, numbers: Mapping[fx.Node, int], differing: frozenset[str], first: int = 0) -> list[int]:
        """The numbers of what flows into a node: the values of other steps, from number `first` on, and tensors."""
        found = [numbers[before] if before in numbers else self._base[before] for before in node.all_input_nodes[first:]]
        return found + [self._tensor(name, k, differing) for name in self._graph.names(node).values()]

    def _tensor(self, name: str, k: int, differing: frozenset[str]) -> int:
        made = (name, self._signature(k, name) if name in differing else self._common[name])
        if made not in self._tensors:
            self._tensors[made] = (self._new(), k)
        return self._tensors[made][0]

    def _new(self) -> int:
        self._size += 1
        return self._size - 1


def _constants(points: Sequence[tuple[int, list[Step], int]], held: set[int]) -> list[Step]:
    """Take out the steps that need tensors only, the same for all batches; where their values go is added to `held`."""
    found: list[Step] = []
    for _, steps, _ in points:
        varying: list[Step] = []
        for step in steps:
            constant = bool(step.inputs) and held.issuperset(step.inputs)
            (found if constant else varying).append(step)
            if constant:
                held.add(step.output)
        steps[:] = varying
    return found


def _drop(points: Sequence[tuple[int, list[Step], int]], tensors: Container[int]) -> None:
    """Let each step drop the values of which it is the last to need one."""
    outputs, seen = {output for _, _, output in points}, set[int]()
    for _, steps, _ in reversed(points):
        for step in reversed(steps):
            for place in (step.output, *step.inputs):
                if place not in seen and place not in tensors:
                    seen.add(place)
                    if place not in outputs:
                        step.done.append(place)
            if step.instead is not None and step.inputs[0] in step.done:
                step.call = step.instead


def common_of(
    rows: Sequence[int], names: Sequence[str], signature: Callable[[int, str], Hashable]
) -> tuple[dict[str, Hashable], dict[int, frozenset[str]]]:
    """What decides each tensor for most of the points, and the tensors in which each point differs from that."""
    found = {name: [signature(k, name) for k in rows] for name in names}
    common = {name: Counter(own).most_common(1)[0][0] for name, own in found.items()}
    differing: dict[int, set[str]] = {k: set() for k in rows}
    for name, own in found.items():
        for k, made in zip(rows, own, strict=True):
            if made != common[name]:
                differing[k].add(name)
    return common, {k: frozenset(own) for k, own in differing.items()}
