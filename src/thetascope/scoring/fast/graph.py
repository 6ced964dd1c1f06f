"""A pass as a graph of its steps, so that what does not depend on a tensor need not be computed again.

Data flows from node to node. Which tensors a node depends on, directly or through what flows into it, is read off the graph.
`traced` writes down the model alone with torch.fx, in milliseconds: modules of torch itself are single nodes. What torch.export
captures (see `thetascope.scoring.fast.captured`) is a graph of the same kind, of single operations.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from operator import attrgetter
from typing import Any

from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase

from thetascope.errors import ObjectiveError
from thetascope.scoring.failures import problem_of
from thetascope.scoring.fast.graph_passes import is_plain, kind_of, pooled_first
from thetascope.scoring.fast.kernels import FUNCTIONS, MODULES
from thetascope.scoring.fast.writing_down import written_down
from thetascope.scoring.model import BoundModel
from thetascope.scoring.untouched import untouched

Environment = dict[fx.Node, Any]
Call = Callable[[Sequence[Any]], Any]


class NotTraceableError(ObjectiveError):
    """The way through the layers cannot be written down as a graph; the message says why."""


@dataclass(frozen=True)
class GraphSplit:
    """The steps of a pass, split by whether they depend on the tensors that vary.

    Attributes:
        moving: what is computed for each point.
        cut: the other nodes whose values `moving` needs: all of them, not only the last (skip connections).
    """

    moving: tuple[fx.Node, ...]
    cut: tuple[fx.Node, ...]


class Graph:
    """The steps of a bound model's pass. Run it within the model's `running`.

    Args:
        model: whose way through its layers it is.
        module: the steps.
        inputs: the nodes that stand for the data, in order.
        tensors: the nodes that stand for one of the model's tensors each, by its first name, where the graph has such.
    """

    def __init__(
        self, model: BoundModel, module: fx.GraphModule, inputs: Sequence[fx.Node], tensors: Mapping[fx.Node, str] | None = None
    ) -> None:
        self._model, self._graph_module, self.inputs = model, module, tuple(inputs)
        self._tensors = tensors or {}
        self.nodes = tuple(module.graph.nodes)
        self.output = next(node for node in self.nodes if node.op == "output")
        self._own_tensors = model.own_tensors()
        self._calls: dict[fx.Node, Call] = {}

    @property
    def input(self) -> fx.Node:
        """The node that stands for the model's input."""
        return self.inputs[0]

    def names(self, node: fx.Node) -> dict[str, str]:
        """The model's tensors that a node reads: local name to first name."""
        return self._names[node]

    @cached_property
    def _names(self) -> dict[fx.Node, dict[str, str]]:
        return {node: self._found_names(node) for node in self.nodes}

    @cached_property
    def uses(self) -> dict[fx.Node, frozenset[str]]:
        """The model's tensors that each node itself reads, by their first names."""
        return {node: frozenset(self.names(node).values()) for node in self.nodes}

    @cached_property
    def depends(self) -> dict[fx.Node, frozenset[str]]:
        """The model's tensors that each node's value depends on."""
        found: dict[fx.Node, frozenset[str]] = {}
        for node in self.nodes:
            found[node] = self.uses[node].union(*(found[before] for before in node.all_input_nodes))
        return found

    @cached_property
    def from_input(self) -> frozenset[fx.Node]:
        """The nodes whose values depend on the batch."""
        found: set[fx.Node] = set(self.inputs)
        for node in self.nodes:
            if any(before in found for before in node.all_input_nodes):
                found.add(node)
        return frozenset(found)

    def leading_to(
        self,
        nodes: Iterable[fx.Node],
        there: Container[fx.Node] = (),
        inputs: Callable[[fx.Node], Iterable[fx.Node]] = attrgetter("all_input_nodes"),
    ) -> tuple[fx.Node, ...]:
        """The steps that `nodes` need, themselves included, beside those that are `there`; `inputs` says what a step takes."""
        found = {node for node in nodes if node not in there}
        left = list(found)
        while left:
            for before in inputs(left.pop()):
                if before not in found and before not in there:
                    found.add(before)
                    left.append(before)
        return tuple(node for node in self.nodes if node in found)

    def after(self, start: fx.Node) -> GraphSplit:
        """Split the steps for values that replace what `start` gives; `start` itself counts as computed."""
        reached = {start}
        for node in self.nodes:
            if any(before in reached for before in node.all_input_nodes):
                reached.add(node)
        moving = dict.fromkeys(node for node in self.nodes if node.op == "output" or (node in reached and node is not start))
        needed = {before for node in moving for before in node.all_input_nodes}
        return GraphSplit(tuple(moving), tuple(node for node in self.nodes if node in needed and node not in moving))

    def run(
        self, steps: Sequence[fx.Node], tensors: Mapping[str, Tensor], values: Environment, keep: Iterable[fx.Node] = ()
    ) -> Environment:
        """Compute `steps` from the `values` of earlier nodes; values that no later step needs are let go unless in `keep`.

        Returns:
            The values that are left, the output's under `output`.
        """
        kept, last = set(keep), _last_uses(steps)
        values = dict(values)
        for node in steps:
            if node not in values:
                held = [tensors[name] for name in self.names(node).values()]
                values[node] = self.call(node)([*(values[before] for before in node.all_input_nodes), *held])
            for before in last.get(node, ()):
                if before not in kept:
                    values.pop(before, None)
        return values

    def call(self, node: fx.Node) -> Call:
        """What a node computes, of the values of its inputs, in order, followed by those of the tensors that it reads."""
        if node not in self._calls:
            self._calls[node] = self._made_call(node)
        return self._calls[node]

    def _made_call(self, node: fx.Node) -> Call:
        if self.names(node) and node.op in ("placeholder", "get_attr"):
            return lambda values: values[0]
        if node.op == "placeholder":
            default = next(iter(node.args), None)
            return lambda values: default
        if node.op == "get_attr":
            return lambda values: self._constant(str(node.target))
        before = node.all_input_nodes
        if node.op == "call_module":
            return self._module_call(node, len(before))
        function, plain = _function_of(node), fx.Node | int | float | str | bool | None
        if not all(isinstance(arg, plain) for arg in [*node.args, *node.kwargs.values()]):

            def call(values: Sequence[Any]) -> Any:
                held = dict(zip(before, values, strict=False))
                args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda argument: held[argument])
                return function(*args, **kwargs)

            return call
        spots = [(i, before.index(arg)) for i, arg in enumerate(node.args) if isinstance(arg, fx.Node)]
        named = [(key, before.index(arg)) for key, arg in node.kwargs.items() if isinstance(arg, fx.Node)]
        template, further = list(node.args), dict(node.kwargs)

        def flat(values: Sequence[Any]) -> Any:
            """Most take nodes and plain values only, which need no walk through what is nested."""
            args: list[Any] = template.copy()
            for i, j in spots:
                args[i] = values[j]
            return function(*args, **{**further, **{key: values[j] for key, j in named}} if named else further)

        return flat

    def _module_call(self, node: fx.Node, count: int) -> Call:
        """What a module of torch's computes of its inputs, `count` nodes, and its tensors."""
        module, names, before = self.module(node), self.names(node), node.all_input_nodes
        if getattr(module, "inplace", False):  # what came before is needed for other points
            module = copy.copy(module)
            module.inplace = False  # type: ignore[assignment]
        prefix, places = f"{node.target}.", {local: count + i for i, local in enumerate(names)}
        buffers = {local for local, name in names.items() if self._model.space.tensors[name].kind == "buffer"}
        own = {name.removeprefix(prefix): tensor for name, tensor in self._own_tensors.items() if name.startswith(prefix)}

        def held(values: Sequence[Any], copied: Container[str]) -> dict[str, Any]:
            """A pass that writes to a buffer spoils no other."""
            found = {local: values[place].clone() if local in copied else values[place] for local, place in places.items()}
            return {**found, **{local: tensor.clone() for local, tensor in own.items()}}

        if is_plain(module) and node.args == (before[0],) and not node.kwargs and not list(module.children()):
            kernel: Any = MODULES.get(type(module), lambda module, inputs: None)
            layer: Any = copy.copy(module)
            absent = {local: None for local, tensor in (*module._parameters.items(), *module._buffers.items()) if tensor is None}
            if not isinstance(module, nn.RNNBase):  # which keeps its tensors in a second place
                copied = frozenset[str]() if isinstance(module, _NormBase) else buffers

                def alone(values: Sequence[Any]) -> Any:
                    """One layer, given its tensors without the care that a module with others inside needs."""
                    found = kernel(module, values[0])
                    if found is None:
                        layer.__dict__["_parameters"] = layer.__dict__["_buffers"] = {**absent, **held(values, copied)}
                        try:
                            found = layer.forward(values[0])
                        finally:  # or the graph would keep a whole point
                            layer.__dict__["_parameters"] = layer.__dict__["_buffers"] = absent
                    return found

                return alone

        def call(values: Sequence[Any]) -> Any:
            given = dict(zip(before, values[:count], strict=True))
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda argument: given[argument])
            tensors = held(values, buffers)
            return functional_call(module, tensors, args, kwargs, tie_weights=True) if tensors else module(*args, **kwargs)

        return call

    def kind(self, node: fx.Node) -> Any:
        """The function or method that a node calls, or the class of its module, where that is called without hooks."""
        return kind_of(self._graph_module, node)

    def module(self, node: fx.Node) -> nn.Module:
        """The module that a node calls."""
        return self._graph_module.get_submodule(str(node.target))

    def _constant(self, target: str) -> Any:
        if target in self._own_tensors:
            return self._own_tensors[target].clone()
        found: Any = self._graph_module
        for part in target.split("."):
            found = getattr(found, part)
        return found.to(self._model.device) if isinstance(found, Tensor) else found

    def _found_names(self, node: fx.Node) -> dict[str, str]:
        if node in self._tensors:
            return {"": self._tensors[node]}
        space, target = self._model.space, str(node.target)
        known = [*space.tensors, *space.ties]
        if node.op == "get_attr":
            return {"": space.ties.get(target, target)} if target in known else {}
        if node.op != "call_module":
            return {}
        prefix = f"{target}."
        return {name.removeprefix(prefix): space.ties.get(name, name) for name in known if name.startswith(prefix)}


def traced(model: BoundModel) -> Graph:
    """The model alone, by torch.fx. Nothing that the tracing leaves on the model stays.

    Raises:
        NotTraceableError: the way depends on values, or on hooks that a graph does not show.
    """
    if not is_plain(model.model):
        raise NotTraceableError("the model has forward hooks of its own, which a graph does not show")
    try:
        module = written_down(partial(_traced, model.model))
    except Exception as error:  # a model's forward may raise anything when it is given proxies
        raise NotTraceableError(f"torch.fx cannot trace it ({type(error).__name__}: {problem_of(error)})") from error
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    if not inputs:
        raise NotTraceableError("the model's forward takes no input")
    return Graph(model, module, inputs[:1])


def _traced(model: nn.Module) -> fx.GraphModule:
    with untouched(model):  # a forward that keeps something for the next pass would keep what stands for the data
        return pooled_first(fx.GraphModule(model, fx.Tracer().trace(model)))


def _function_of(node: fx.Node) -> Callable[..., Any]:
    """What is called for a function, a method or the output."""
    target: Any = node.target
    if node.op == "output":
        return lambda value: value
    if node.op == "call_method":
        return lambda self, *args, **kwargs: getattr(self, target)(*args, **kwargs)
    kernel = FUNCTIONS.get(target)
    if kernel is None:
        function: Callable[..., Any] = target
        return function

    def fast(*args: Any, **kwargs: Any) -> Any:
        found = kernel(*args, **kwargs)
        return target(*args, **kwargs) if found is None else found

    return fast


def _last_uses(steps: Sequence[fx.Node]) -> dict[fx.Node, list[fx.Node]]:
    """Which values each step is the last of `steps` to need; a step's own value where none does."""
    last: dict[fx.Node, fx.Node] = {}
    for node in steps:
        last[node] = node
        for before in node.all_input_nodes:
            last[before] = node
    found: dict[fx.Node, list[fx.Node]] = {}
    for before, node in last.items():
        if before.op != "output":
            found.setdefault(node, []).append(before)
    return found
