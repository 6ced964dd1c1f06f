"""Running statistics of many points in one walk over the calibration data, so that points share what comes before they differ.

A normalisation layer is computed by each batch's own statistics, and its running ones take their cumulative average, as in
`thetascope.scoring.statistics`. The statistics of points that share all tensors behind a layer are one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from thetascope.geometry.points import PointSet
from thetascope.scoring.fast.fused import NORMS, Fold, aten
from thetascope.scoring.fast.graph import Call, Graph, NotTraceableError
from thetascope.scoring.fast.graph_passes import is_plain
from thetascope.scoring.fast.walks import Planner, SharedWalk
from thetascope.scoring.point_tensors import PointTensors
from thetascope.scoring.statistics import Statistics


@dataclass(frozen=True)
class Norm:
    """A step that normalises by running statistics: their names, and the input, scale and shift among the values that it takes."""

    mean: str
    var: str
    eps: float
    spots: tuple[int, int | None, int | None]


class CalibratingPlanner(Planner):
    """Plans walks in which normalisation layers estimate their statistics.

    Raises:
        NotTraceableError: a layer that keeps statistics is no single step of the graph.
    """

    def __init__(self, graph: Graph, statistics: Statistics) -> None:
        super().__init__(graph)
        self._norms = {node: norm for node in graph.nodes if (norm := _norm_of(graph, node)) is not None}
        self.watched = tuple(self._norms)
        self.names = frozenset(name for norm in self._norms.values() for name in (norm.mean, norm.var))
        wanted = {f"{name}.running_mean" if name else "running_mean" for name in statistics.norms}
        means = [norm.mean for norm in self._norms.values()]
        alone = {name for name in means if means.count(name) == 1}  # a norm that is used twice averages over its uses
        which = sorted(wanted - alone) or sorted(statistics.others)
        if which:
            raise NotTraceableError(f"the statistics of {which[0].rpartition('.')[0] or 'the model'} are estimated by whole passes")
        self.factor = 1.0
        self._running: dict[int, tuple[Tensor, Tensor]] = {}

    def begin(self) -> None:
        """Forget the statistics of the walk before."""
        self._running = {}

    def folded(self) -> dict[fx.Node, Fold]:
        """Nothing is folded: weights do not know a batch's statistics."""
        return {}

    def call(self, node: fx.Node, place: int) -> Call:
        """A normalisation by the batch's own statistics, which it takes into the average kept for the `place` of its value."""
        norm = self._norms.get(node)
        if norm is None:
            return super().call(node, place)
        at, scale, shift = norm.spots

        def normalised(values: Sequence[Any]) -> Any:
            x = values[at]
            if place not in self._running:
                self._running[place] = (x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1]))
            weight, bias = (None if spot is None else values[spot] for spot in (scale, shift))
            mean, var = self._running[place]
            return torch.batch_norm(x, weight, bias, mean, var, True, self.factor, norm.eps, torch.backends.cudnn.enabled)

        return normalised

    def estimates(self, walk: SharedWalk) -> dict[tuple[int, str], tuple[Hashable, Tensor]]:
        """By point and name: what tells a statistic from others, and the statistic."""
        found: dict[tuple[int, str], tuple[Hashable, Tensor]] = {}
        for k, places in walk.watched.items():
            for node, place in places.items():
                norm, (mean, var) = self._norms[node], self._running[place]
                found[k, norm.mean] = (("estimated", id(mean)), mean)
                found[k, norm.var] = (("estimated", id(var)), var)
        return found


def _norm_of(graph: Graph, node: fx.Node) -> Norm | None:
    """What a step normalises by, where that are running statistics of the model."""
    if node.op == "call_module":
        module: Any = graph.module(node)
        names = graph.names(node)
        if type(module) not in NORMS or not is_plain(module) or module.running_mean is None or len(node.args) != 1 or node.kwargs:
            return None
        local = list(names)
        spots = (0, *(1 + local.index(name) if name in local else None for name in ("weight", "bias")))
        return Norm(names["running_mean"], names["running_var"], module.eps, spots)  # type: ignore[arg-type]
    if node.target is not aten.batch_norm.default or node.kwargs:
        return None
    before, args = list(node.all_input_nodes), list[Any](node.args)
    held = [graph.names(arg).get("") if isinstance(arg, fx.Node) and arg.op in ("placeholder", "get_attr") else None for arg in args[3:5]]
    if None in held or args[5] is not False:
        return None
    spot = [before.index(arg) if isinstance(arg, fx.Node) else None for arg in args[:3]]
    return Norm(str(held[0]), str(held[1]), float(args[7]), (spot[0], spot[1], spot[2]))  # type: ignore[arg-type]


class CalibratedPoints:
    """Points with estimated statistics, and their tensors."""

    def __init__(self, points: PointSet, tensors: PointTensors, estimates: Mapping[tuple[int, str], tuple[Hashable, Tensor]]) -> None:
        self._points, self._tensors, self._estimates = points, tensors, estimates
        self.identity, self.is_stored = points.identity, points.is_stored

    def __len__(self) -> int:
        return len(self._points)

    def signature(self, k: int, name: str) -> Hashable:
        """An estimated statistic is known by where it was estimated."""
        found = self._estimates.get((k, name))
        return self._points.signature(k, name) if found is None else found[0]

    def tensors(self, k: int, names: Iterable[str]) -> dict[str, Tensor]:
        """The tensors of point `k`, none of them shared with a basis state."""
        asked = list(names)
        found = {name: self._estimates[k, name][1].clone() for name in asked if (k, name) in self._estimates}
        return found | self._tensors.tensors(k, [name for name in asked if name not in found])
