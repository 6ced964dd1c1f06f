"""A model as a graph of its steps, so that what does not depend on a tensor need not be computed again.

Traced with torch.fx: data flows from node to node, modules of torch itself are single nodes. Which tensors a node depends
on, directly or through what flows into it, is read off the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.func import functional_call

from thetascope.errors import ObjectiveError
from thetascope.scoring.fast.blocked_layout import STEPS, Blocked
from thetascope.scoring.fast.graph_passes import is_plain, kind_of, pooled_first, unfold
from thetascope.scoring.fast.kernels import FUNCTIONS, MODULES
from thetascope.scoring.fast.patches import Patches, Windowed
from thetascope.scoring.memory import problem_of
from thetascope.scoring.model import BoundModel

Environment = dict[fx.Node, Any]


class NotTraceableError(ObjectiveError):
    """The model's way through its layers cannot be written down as a graph; the message says why."""


@dataclass(frozen=True)
class GraphSplit:
    """The steps of a pass, split by whether they depend on the tensors that vary.

    Attributes:
        fixed: what is computed once.
        moving: what is computed for each point.
        cut: nodes of `fixed` whose values `moving` needs: all of them, not only the last (skip connections).
    """

    fixed: tuple[fx.Node, ...]
    moving: tuple[fx.Node, ...]
    cut: tuple[fx.Node, ...]


class TracedModel:
    """The graph of a bound model. Make and run it within the model's `running`.

    Args:
        model: whose way through its layers is written down.
        blocked: keep values in oneDNN's layout from convolution to convolution (see `thetascope.scoring.fast.blocked_layout`).
        unfolded: lay out what convolutions see of the data, a step of its own (see `thetascope.scoring.fast.patches`).

    Raises:
        NotTraceableError: the way depends on values, or on hooks that a graph does not show.
    """

    def __init__(self, model: BoundModel, *, blocked: bool = False, unfolded: bool = False) -> None:
        self._model, self._blocked, self._unfolded = model, blocked, unfolded
        self._graph_module = pooled_first(_traced(model.model))
        if unfolded:
            unfold(self._graph_module)
        self.nodes = tuple(self._graph_module.graph.nodes)
        inputs = [node for node in self.nodes if node.op == "placeholder"]
        if not inputs:
            raise NotTraceableError("the model's forward takes no input")
        self.input = inputs[0]
        self.output = next(node for node in self.nodes if node.op == "output")
        self._own_tensors = model.own_tensors()

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
        found: set[fx.Node] = set()
        for node in self.nodes:
            if node.op == "placeholder" or any(before in found for before in node.all_input_nodes):
                found.add(node)
        return frozenset(found)

    def leading_to(self, nodes: Iterable[fx.Node]) -> tuple[fx.Node, ...]:
        """The steps that `nodes` need, themselves included."""
        found, left = set(nodes), list(nodes)
        while left:
            for before in left.pop().all_input_nodes:
                if before not in found:
                    found.add(before)
                    left.append(before)
        return tuple(node for node in self.nodes if node in found)

    def split_at(self, varying: Iterable[str]) -> GraphSplit:
        """Split the steps for points that differ in the tensors `varying` only."""
        wanted = set(varying)
        return self.split(lambda node: bool(self.depends[node] & wanted))

    def after(self, start: fx.Node) -> GraphSplit:
        """Split the steps for values that replace what `start` gives; `start` itself counts as computed."""
        reached = {start}
        for node in self.nodes:
            if any(before in reached for before in node.all_input_nodes):
                reached.add(node)
        return self.split(lambda node: node in reached and node is not start)

    def split(self, moves: Callable[[fx.Node], bool]) -> GraphSplit:
        """Split the steps by a rule."""
        fixed = [node for node in self.nodes if not moves(node) and node.op != "output"]
        moving = [node for node in self.nodes if node.op == "output" or moves(node)]
        needed = {before for node in moving for before in node.all_input_nodes}
        return GraphSplit(tuple(fixed), tuple(moving), tuple(node for node in fixed if node in needed))

    def run(
        self, steps: Sequence[fx.Node], tensors: Mapping[str, Tensor], values: Environment, keep: Iterable[fx.Node] = ()
    ) -> Environment:
        """Compute `steps` from the `values` of earlier nodes; values that no later step needs are let go unless in `keep`.

        Returns:
            The values that are left, the output's under `output`.
        """
        kept, last = set(keep), self._last_uses(steps)
        values = dict(values)
        for node in steps:
            values[node] = self._value(node, tensors, values)
            for before in last.get(node, ()):
                if before not in kept:
                    values.pop(before, None)
        return {node: _dense(value) for node, value in values.items()} if self._blocked or self._unfolded else values

    def _last_uses(self, steps: Sequence[fx.Node]) -> dict[fx.Node, list[fx.Node]]:
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

    def _value(self, node: fx.Node, tensors: Mapping[str, Tensor], values: Environment) -> Any:
        if node.op == "placeholder":
            return values[node] if node in values else next(iter(node.args), None)
        if node.op == "get_attr":
            names = self.names(node)
            return tensors[names[""]] if names else self._constant(str(node.target))
        if self._blocked:
            in_blocks = self._in_blocks(node, tensors, values)
            if in_blocks is not None:
                return in_blocks
            found = {before: values[before] for before in node.all_input_nodes}
            values = {before: value.dense() if isinstance(value, Blocked) else value for before, value in found.items()}
        args, kwargs = self._arguments(node, values)
        if node.op == "call_module":
            return self._called(node, tensors, args, kwargs)
        if node.op == "output":
            return args[0]
        return self._applied(node, args, kwargs)

    @staticmethod
    def _applied(node: fx.Node, args: Any, kwargs: Any) -> Any:
        """What a function or method gives."""
        if node.op == "call_function" and node.target in FUNCTIONS:
            found = FUNCTIONS[node.target](*args, **kwargs)
            if found is not None:
                return found
        function = getattr(args[0], str(node.target)) if node.op == "call_method" else node.target
        assert callable(function)
        return function(*(args[1:] if node.op == "call_method" else args), **kwargs)

    def _in_blocks(self, node: fx.Node, tensors: Mapping[str, Tensor], values: Environment) -> Blocked | None:
        """A node's value in oneDNN's layout; None where it has none."""
        step, before = STEPS.get(self._kinds[node]), node.args[0] if node.args else None
        if step is None or not isinstance(before, fx.Node) or node.all_input_nodes != [before]:
            return None
        module = self.module(node) if node.op == "call_module" else None
        held = {local: tensors[name] for local, name in self.names(node).items()}
        return step(values[before], module, held, *node.args[1:], **node.kwargs)

    @cached_property
    def _kinds(self) -> dict[fx.Node, Any]:
        return {node: kind_of(self._graph_module, node) for node in self.nodes}

    def _arguments(self, node: fx.Node, values: Environment) -> tuple[Any, Any]:
        """What a node is called with. Most take nodes and plain values only, which need no walk through pytrees."""
        if node in self._flat:
            return tuple(values[arg] if isinstance(arg, fx.Node) else arg for arg in node.args), {}
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda before: values[before])
        return args, kwargs

    @cached_property
    def _flat(self) -> frozenset[fx.Node]:
        plain = fx.Node | int | float | str | bool | None
        return frozenset(node for node in self.nodes if not node.kwargs and all(isinstance(arg, plain) for arg in node.args))

    def _called(self, node: fx.Node, tensors: Mapping[str, Tensor], args: Any, kwargs: Any) -> Any:
        module = self.module(node)
        held = {local: tensors[name] for local, name in self.names(node).items()}
        if is_plain(module) and len(args) == 1 and not kwargs:
            if type(module) is nn.Linear:
                return F.linear(args[0], held["weight"], held.get("bias"))
            if isinstance(args[0], Patches):
                convolved = args[0].convolved(held["weight"], held.get("bias"))
                if convolved is not None:
                    return convolved
                args = (args[0].inputs,)
            if type(module) is nn.Conv2d:
                return module._conv_forward(args[0], held["weight"], held.get("bias"))
            if type(module) in MODULES:
                found = MODULES[type(module)](module, args[0])
                if found is not None:
                    return found
        for local, name in self.names(node).items():
            if self._model.space.tensors[name].kind == "buffer":
                held[local] = tensors[name].clone()  # a pass that writes to a buffer spoils no other
        prefix = f"{node.target}."
        held |= {name.removeprefix(prefix): tensor.clone() for name, tensor in self._own_tensors.items() if name.startswith(prefix)}
        return functional_call(module, held, args, kwargs, tie_weights=True) if held else module(*args, **kwargs)

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
        space, target = self._model.space, str(node.target)
        known = [*space.tensors, *space.ties]
        if node.op == "get_attr":
            return {"": space.ties.get(target, target)} if target in known else {}
        if node.op != "call_module":
            return {}
        prefix = f"{target}."
        return {name.removeprefix(prefix): space.ties.get(name, name) for name in known if name.startswith(prefix)}


def _traced(model: nn.Module) -> fx.GraphModule:
    if not is_plain(model):
        raise NotTraceableError("the model has forward hooks of its own, which a graph does not show")
    try:
        return fx.GraphModule(model, fx.Tracer().trace(model))
    except Exception as error:  # a model's forward may raise anything when it is given proxies
        raise NotTraceableError(f"torch.fx cannot trace it ({type(error).__name__}: {problem_of(error)})") from error


def _dense(value: Any) -> Any:
    return value.dense() if isinstance(value, Blocked | Windowed) else value
