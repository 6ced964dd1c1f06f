"""What one single parameter changes: one output of a linear layer, one channel of a convolution.

Such a change stays within its channel through the steps that treat channels apart (activations, pooling, batch normalisation,
flattening). The next linear layer or convolution takes it in as an update of what it gave before; from there on everything
is computed. What is not known to treat channels apart ends the short way: from there on everything is computed too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from thetascope.scoring.fast.fused import CONVOLUTIONS, NORMS
from thetascope.scoring.fast.graph import Environment, Graph
from thetascope.scoring.fast.graph_passes import is_plain
from thetascope.scoring.pytrees import tensors_of

FLATTENS = (torch.flatten, nn.Flatten, "flatten", "view", "reshape")

_ACTIVATIONS = ("relu", "relu6", "gelu", "silu", "elu", "selu", "celu", "leaky_relu", "softplus", "softsign", "tanh", "sigmoid", "hardtanh",
                "hardswish", "hardsigmoid", "mish", "logsigmoid", "tanhshrink", "dropout")  # fmt: skip
_ACTIVATION_MODULES = ("ReLU", "ReLU6", "GELU", "SiLU", "ELU", "SELU", "CELU", "LeakyReLU", "Softplus", "Softsign", "Tanh", "Sigmoid",
                       "Hardtanh", "Hardswish", "Hardsigmoid", "Mish", "LogSigmoid", "Tanhshrink", "Dropout", "Dropout1d", "Dropout2d",
                       "Identity")  # fmt: skip
_POOLS = tuple(f"{kind}_pool{dims}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for dims in (1, 2, 3))

ELEMENTWISE: frozenset[Any] = frozenset(
    [getattr(home, name) for home in (F, torch) for name in _ACTIVATIONS if hasattr(home, name)]
    + [getattr(nn, name) for name in _ACTIVATION_MODULES]
    + ["relu", "tanh", "sigmoid", "contiguous"]
)
"""Steps that give each value its own, whatever stands beside it. To add one: its function, method name or module class."""

POOLS: frozenset[Any] = frozenset(
    [getattr(home, name) for home in (F, torch) for name in _POOLS if hasattr(home, name)]
    + [getattr(nn, f"{kind}Pool{dims}d") for kind in ("Max", "Avg", "AdaptiveAvg", "AdaptiveMax") for dims in (1, 2, 3)]
)
"""Steps that treat channels (dimension 1 of ``[N, C, …]``) apart."""


@dataclass(frozen=True)
class Stretch:
    """New `values` of the channels `start`, `start` + 1, … along the dimension `dim` of a value; as many as they have there."""

    values: Tensor
    start: int
    dim: int

    @property
    def span(self) -> slice:
        """Which channels."""
        return slice(self.start, self.start + self.values.shape[self.dim])

    def of(self, whole: Tensor) -> Tensor:
        """The same channels of another value."""
        return whole.narrow(self.dim, self.start, self.values.shape[self.dim])


class Site:
    """The one layer that reads a parameter tensor: a linear layer or a convolution of which a single value changes one channel."""

    def __init__(self, traced: Graph, node: fx.Node, tensor: str, role: str) -> None:
        self.node, self.tensor, self.role = node, tensor, role
        self.module: Any = traced.module(node)
        self.inputs: fx.Node = node.all_input_nodes[0]
        self.is_linear = isinstance(self.module, nn.Linear)
        self.dim = -1 if self.is_linear else 1

    def slope(self, inputs: Tensor, outputs: Tensor, index: Sequence[int]) -> Tensor:
        """By how much channel ``index[0]`` changes for a change of the value at `index` by 1: ``[N, …]`` without its dimension."""
        if self.role == "bias":
            return torch.ones_like(outputs.select(self.dim, 0))
        if self.is_linear:
            return inputs.select(-1, index[1])
        conv = self.module
        sizes, padding = outputs.shape[2:], _padding(conv)
        found = inputs[:, index[1]]
        found = F.pad(found, [p for pad in reversed(padding) for p in (pad, pad)])
        for d, (offset, step, dilation, size) in enumerate(zip(index[2:], conv.stride, conv.dilation, sizes, strict=True), 1):
            start = offset * dilation
            found = found[(slice(None),) * d + (slice(start, start + step * (size - 1) + 1, step),)]
        return found


def site_of(traced: Graph, tensor: str) -> Site | None:
    """Where a parameter tensor changes one channel at a time; None where it does not, or that is not known."""
    users = [node for node in traced.nodes if tensor in traced.uses[node]]
    if len(users) != 1 or not _is_plain(traced, users[0]):
        return None
    module: Any = traced.module(users[0])
    if not (type(module) is nn.Linear or (_convolves(module) and module.padding != "same")):
        return None
    role = next(local for local, name in traced.names(users[0]).items() if name == tensor)
    return Site(traced, users[0], tensor, role)


class ShortWay:
    """How a change of one channel of `start` reaches the output.

    Args:
        traced: the model.
        start: a linear layer or a convolution.
        dim: of its channels.
        example: the values of all nodes for some batch.

    Attributes:
        last: the node whose whole value is made first; what follows is computed as a whole.
        usable: whether what it reads is as it was computed; a layer that writes to what it is given spoils it.
        stackable: whether several changed versions may go through at once.
    """

    def __init__(self, traced: Graph, start: fx.Node, dim: int, example: Environment) -> None:
        self._traced, self.start, self._dim = traced, start, dim
        self._steps: list[fx.Node] = []
        self._places: dict[fx.Node, int] = {}
        self._mixing: fx.Node | None = None
        self._follow(example)
        self._before = self._steps[-1] if self._steps else start
        self.last = self._mixing or self._before
        self._rest = traced.after(self.last)
        self.stackable = self._stacks(example)
        self.usable = not any(tensor._version for node in self.needs for tensor in tensors_of(example[node]))

    def _follow(self, example: Environment) -> None:
        """Go from the start as far as channels stay apart, then see whether the next step mixes them."""
        node, value = self.start, example[self.start]
        stretch = Stretch(value.narrow(self._dim, 0, 1).clone(), 0, self._dim if value.ndim > 2 else 1)
        while True:
            users = [user for user in node.users if not _is_shape(user)]
            if len(users) != 1 or users[0].all_input_nodes[:1] != [node]:
                return
            if self._mixes(users[0], stretch):
                self._mixing = users[0]
                return
            if users[0].op in ("call_function", "call_method", "call_module") and _flattens(self._traced, users[0], example):
                self._places[users[0]] = example[node][0, 0].numel()
            found = self._stepped(users[0], stretch)
            if found is None:
                return
            stretch, node = found, users[0]
            self._steps.append(node)

    @cached_property
    def needs(self) -> frozenset[fx.Node]:
        """The nodes whose values `outputs` reads."""
        return frozenset({self.last, self._before, self.start, *self._rest.cut})

    def outputs(self, values: Environment, tensors: Mapping[str, Tensor], channel: int, changed: Tensor) -> Tensor:
        """What the model gives where `channel` of the start is `changed`.

        Args:
            values: of the nodes in `needs`, for a batch of n samples.
            tensors: the model's.
            channel: of `start`.
            changed: ``[g, n, …]``, g new versions of that channel, without its dimension.

        Returns:
            ``[g · n, …]``, the versions one after the other. g may be above 1 only where the way is `stackable`.
        """
        count, old = len(changed), values[self.start]
        dim = self._dim if old.ndim > 2 else 1
        stretch = Stretch(changed.flatten(0, 1).unsqueeze(dim), channel, dim)
        for node in self._steps:
            found = self._stepped(node, stretch, tensors)
            assert found is not None
            stretch = found
        from_input = self._traced.from_input  # what the rest of the way needs besides, once a version
        left = {
            node: _repeated(values[node], count) if node in from_input else values[node] for node in self._rest.cut if node is not self.last
        }
        left[self.last] = self._joined(stretch, values, tensors, count)
        outputs: Tensor = self._traced.run(self._rest.moving, tensors, left)[self._traced.output]
        return outputs

    def _joined(self, stretch: Stretch, values: Environment, tensors: Mapping[str, Tensor], count: int) -> Tensor:
        """The whole value of the node where the change leaves its channel."""
        old = values[self.last]
        if self._mixing is None:
            whole = _repeated(old, count)
            whole = whole.clone() if count == 1 else whole
            stretch.of(whole).copy_(stretch.values)
            return whole
        here = stretch.of(values[self._before])
        difference = (stretch.values.reshape(count, *here.shape) - here).flatten(0, 1)
        module: Any = self._traced.module(self._mixing)
        weight = tensors[self._traced.names(self._mixing)["weight"]][:, stretch.span]
        if isinstance(module, nn.Linear):
            update = difference * weight[:, 0] if weight.shape[1] == 1 else F.linear(difference, weight)
        else:
            update = CONVOLUTIONS[type(module)](difference, weight, None, module.stride, module.padding, module.dilation)
        return update.reshape(count, *old.shape).add_(old).flatten(0, 1)

    def _stacks(self, example: Environment) -> bool:
        """Whether several versions may stand one below the other: all that comes from the input has a row a sample."""
        rows = len(example[self._traced.input]) if isinstance(example[self._traced.input], Tensor) else -1
        from_input = [node for node in {*self._rest.cut, self.last, *self._steps, self.start} if node in self._traced.from_input]
        values = [example[node] for node in from_input] + [example[self._traced.output]]
        return all(isinstance(value, Tensor) and value.ndim > 0 and len(value) == rows for value in values)

    def _mixes(self, node: fx.Node, stretch: Stretch) -> bool:
        """Whether the node is a linear layer or convolution over the channels of `stretch`."""
        if not _is_plain(self._traced, node):
            return False
        module: Any = self._traced.module(node)
        if type(module) is nn.Linear:
            return stretch.dim == -1 or stretch.values.ndim == 2
        return _convolves(module) and stretch.dim == 1 and stretch.values.ndim == 2 + len(module.kernel_size)

    def _stepped(self, node: fx.Node, stretch: Stretch, tensors: Mapping[str, Tensor] | None = None) -> Stretch | None:
        """The stretch after a step that treats channels apart; None where the step is not known to.

        Without `tensors` the stretch is only followed.
        """
        if node in self._places:
            return Stretch(stretch.values.flatten(1), stretch.start * self._places[node], 1) if stretch.dim == 1 else None
        what: Any = node.target
        if node.op == "call_module":
            module: Any = self._traced.module(node)
            what = type(module)
            if not _is_plain(self._traced, node):
                return None
            if what in NORMS:
                return self._normalised(node, module, stretch, tensors)
        pools = what in POOLS and stretch.dim == 1 and stretch.values.ndim > 2
        if len(node.all_input_nodes) != 1 or not (pools or what in ELEMENTWISE):
            return None
        value = self._traced.run([node], {}, {node.all_input_nodes[0]: stretch.values}, keep=[node])[node]
        return Stretch(value, stretch.start, stretch.dim) if isinstance(value, Tensor) else None

    def _normalised(self, node: fx.Node, module: Any, stretch: Stretch, tensors: Mapping[str, Tensor] | None) -> Stretch | None:
        if module.running_mean is None or stretch.dim != 1:
            return None
        if tensors is None:
            return stretch
        held = {local: tensors[name][stretch.span] for local, name in self._traced.names(node).items() if local != "num_batches_tracked"}
        value = F.batch_norm(
            stretch.values, held["running_mean"], held["running_var"], held.get("weight"), held.get("bias"), False, 0.0, module.eps
        )
        return Stretch(value, stretch.start, stretch.dim)


def _flattens(traced: Graph, node: fx.Node, example: Environment) -> bool:
    """Whether ``[N, C, …]`` becomes ``[N, C · …]``, so that a channel becomes as many neighbours as it has places."""
    what = type(traced.module(node)) if node.op == "call_module" else node.target
    before, after = example[node.all_input_nodes[0]], example[node]
    shaped = isinstance(before, Tensor) and isinstance(after, Tensor) and before.ndim > 2 and after.ndim == 2
    return what in FLATTENS and shaped and after.shape == (len(before), before[0].numel())


def _repeated(value: Tensor, count: int) -> Tensor:
    return value if count == 1 else value.repeat(count, *(1 for _ in value.shape[1:]))


def _is_shape(node: fx.Node) -> bool:
    """Whether a node only asks for sizes, which no value changes."""
    return (node.op == "call_method" and node.target in ("size", "dim")) or (
        node.op == "call_function" and node.target is getattr and node.args[1:] in (("shape",), ("ndim",))
    )


def _is_plain(traced: Graph, node: fx.Node) -> bool:
    """Whether a node calls one of torch's modules on one value, without hooks."""
    return node.op == "call_module" and len(node.args) == 1 and not node.kwargs and is_plain(traced.module(node))


def _convolves(module: Any) -> bool:
    """Whether a module is a convolution over all channels, with zeros around."""
    return type(module) in CONVOLUTIONS and module.groups == 1 and module.padding_mode == "zeros"


def _padding(conv: Any) -> tuple[int, ...]:
    return (0,) * len(conv.kernel_size) if conv.padding == "valid" else tuple(conv.padding)
