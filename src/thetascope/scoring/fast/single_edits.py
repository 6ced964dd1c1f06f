"""Points that differ in one single parameter: only what that parameter reaches is computed.

The base, in which nothing is edited, is computed once a batch; a value of a linear layer or a convolution changes one channel of
it, which goes the short way to the output (see `thetascope.scoring.fast.channel_updates`), several points at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, fx

from thetascope.geometry.edits import Parameter, ScalarEdits
from thetascope.scoring.batches import Batches
from thetascope.scoring.fast.channel_updates import ShortWay, Site, site_of
from thetascope.scoring.fast.graph import Environment, Graph
from thetascope.scoring.metrics import SupervisedStep
from thetascope.scoring.pytrees import tensors_of
from thetascope.scoring.scores import Column, Sums

STACKED_ROWS, STACKED_BYTES = 4096, 2**23
"""So many samples go the short way at once, of all the points that are stacked: so few that the largest value that is made of them
stays in the cache."""

EXAMPLE_ROWS = 7
"""So many samples are enough to see which way a change goes, and whether it arrives."""

Chunks = Callable[[Any], Iterable[Any]]


@dataclass(frozen=True)
class Route:
    """Where a parameter tensor acts, and how a change of it reaches the output."""

    site: Site
    way: ShortWay


class Routes:
    """The short ways of a traced model whose tensors are `tensors`, found when they are asked for and checked once.

    Args:
        traced: the model.
        tensors: of the state that is edited.
        inputs: of some batch.
    """

    def __init__(self, traced: Graph, tensors: Mapping[str, Tensor], inputs: Any) -> None:
        self.traced, self.tensors = traced, tensors
        self._inputs = inputs[:EXAMPLE_ROWS] if isinstance(inputs, Tensor) else inputs
        self._found: dict[str, Route | None] = {}
        self._ways: dict[fx.Node, ShortWay] = {}

    def of(self, tensor: str) -> Route | None:
        """The route of the parameter tensor of that name; None where there is no short one."""
        if tensor not in self._found:
            self._found[tensor] = self._route(tensor)
        return self._found[tensor]

    def base(self, routes: Iterable[Route], inputs: Any) -> Environment:
        """The values that the routes need of a batch in which nothing is edited."""
        needed = {node for route in routes for node in route.way.needs | {route.site.inputs}}
        return self.traced.run(self.traced.leading_to(needed), self.tensors, {self.traced.input: inputs}, keep=needed)

    @cached_property
    def example(self) -> Environment:
        """The values of all nodes for a few samples."""
        nodes = self.traced.nodes
        return self.traced.run(nodes, self.tensors, {self.traced.input: self._inputs}, keep=nodes)

    def _route(self, tensor: str) -> Route | None:
        site = site_of(self.traced, tensor) if self.tensors[tensor].is_floating_point() else None
        if site is None:
            return None
        if site.node not in self._ways:
            self._ways[site.node] = ShortWay(self.traced, site.node, site.dim, self.example)
        route = Route(site, self._ways[site.node])
        return route if route.way.usable and self._arrives(route) else None

    def _arrives(self, route: Route) -> bool:
        """Whether two edits of the tensor's first value give what the whole graph gives with the tensor edited."""
        name = route.site.tensor
        tensor, index = self.tensors[name], (0,) * self.tensors[name].ndim
        steps = torch.tensor([0.75, -0.5], dtype=tensor.dtype, device=tensor.device)
        outputs = []
        for step in steps:
            edited = tensor.clone()
            edited[index] += step
            left = self.traced.run(self.traced.nodes, {**self.tensors, name: edited}, {self.traced.input: self._inputs})
            outputs.append(left[self.traced.output])
        if not all(isinstance(output, Tensor) for output in outputs):
            return False
        expected = torch.cat(outputs)
        found = torch.cat([some for _, some in stacks_of(route, self.example, self.tensors, index, steps)])
        return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-4, equal_nan=True)


def stacks_of(
    route: Route, base: Environment, tensors: Mapping[str, Tensor], index: Sequence[int], steps: Tensor
) -> Iterator[tuple[int, Tensor]]:
    """The model's outputs for the steps ``[G]`` that the value at `index` is changed by, as many at once as suit.

    Yields:
        How many steps, and the outputs ``[steps · N, …]``, one step's below the other's.
    """
    site, way = route.site, route.way
    channel, outputs = index[0], base[site.node]
    old, slope = outputs.select(site.dim, channel), site.slope(base[site.inputs], outputs, index)
    widest = max(old.nbytes, *(tensor.nbytes for tensor in tensors_of(base[way.last])))
    at_once = max(1, min(STACKED_ROWS // max(1, len(old)), STACKED_BYTES // max(1, widest))) if way.stackable else 1
    for start in range(0, len(steps), at_once):
        some = steps[start : start + at_once]
        changed = old + some.view(-1, *(1 for _ in old.shape)) * slope
        yield len(some), way.outputs(base, tensors, channel, changed)


class EditScorer:
    """Scores points of single edits the short way.

    Args:
        routes: of the model in the edited state.
        points: the edits.
        step: how outputs are scored.
        chunks: cuts a batch's inputs into what goes through the network at once.
        new_sums: what a point's values are summed up in.
    """

    def __init__(self, routes: Routes, points: ScalarEdits, step: SupervisedStep, chunks: Chunks, new_sums: Callable[[], Sums]) -> None:
        self._routes, self._points, self._step, self._chunks, self._new_sums = routes, points, step, chunks, new_sums

    def takes(self, k: int) -> bool:
        """Whether point `k` has a short way."""
        return self._routes.of(self._parameter(k).name) is not None

    def scored(self, rows: Sequence[int], batches: Batches) -> list[Sums]:
        """The scores of the points `rows`, in order, in one walk over the data."""
        sums = {k: self._new_sums() for k in rows}
        groups = [(parameter, list(members)) for parameter, members in groupby(rows, self._parameter)]
        routes = {name: self._routes.of(name) for name in {parameter.name for parameter, _ in groups}}
        used = [route for route in routes.values() if route is not None]
        for inputs, targets in batches:
            chunks = [self._routes.base(used, chunk) for chunk in self._chunks(inputs)]
            for parameter, members in groups:
                route = routes[parameter.name]
                assert route is not None
                steps = self._steps(parameter, members)
                ways = [stacks_of(route, base, self._routes.tensors, parameter.index, steps) for base in chunks]
                found = self._stacked(ways, targets) if len(chunks) == 1 and self._step.by_name else self._one_by_one(ways, targets)
                for k, columns in zip(members, found, strict=True):
                    sums[k].add(columns)
        return [sums[k] for k in rows]

    def _stacked(self, ways: Sequence[Iterable[tuple[int, Tensor]]], targets: Tensor) -> Iterator[Mapping[str, Column]]:
        """What known measures say of all points of a stack at once: they give each sample its own value."""
        for count, outputs in ways[0]:
            columns, rows = self._step.measure(outputs, targets.repeat(count, *(1 for _ in targets.shape[1:]))), len(targets)
            for start in range(0, count * rows, rows):
                part = slice(start, start + rows)
                yield {name: Column(column.values[part], column.weights[part]) for name, column in columns.items()}

    def _one_by_one(self, ways: Sequence[Iterable[tuple[int, Tensor]]], targets: Any) -> Iterator[Mapping[str, Column]]:
        parts = [[o for count, outputs in way for o in outputs.tensor_split(count)] for way in ways]
        for outputs in zip(*parts, strict=True):
            yield self._step.measure(outputs[0] if len(outputs) == 1 else torch.cat(outputs), targets)

    def _parameter(self, k: int) -> Parameter:
        return self._points.parameters[k // int(self._points.values.shape[1])]

    def _steps(self, parameter: Parameter, rows: Sequence[int]) -> Tensor:
        """By how much each point's value differs from the state's, both as the dtype of the evaluation has them."""
        tensor = self._routes.tensors[parameter.name]
        values = torch.from_numpy(self._points.values.ravel()[list(rows)].copy()).to(tensor.device, tensor.dtype)
        return (values.double() - tensor[parameter.index].double()).to(tensor.dtype)
