"""Steps that are computed together or in place, where nothing else needs what stands between: the same up to rounding, in less time."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from thetascope.scoring.fast.graph import Call, Graph
from thetascope.scoring.fast.graph_passes import RELUS, is_plain

aten = torch.ops.aten
CONVOLUTIONS: Mapping[type[nn.Module], Callable[..., Tensor]] = {
    nn.Conv1d: torch.conv1d, nn.Conv2d: torch.conv2d, nn.Conv3d: torch.conv3d
}  # fmt: skip
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
FRESH = frozenset(
    {
        *CONVOLUTIONS,
        *NORMS,
        nn.Linear,
        aten.conv2d.default,
        aten.batch_norm.default,
        aten.linear.default,
        operator.add,
        torch.add,
        aten.add.Tensor,
    }
)
"""Steps whose values are new memory."""


@dataclass(frozen=True)
class Fold:
    """A convolution and the normalisation by running statistics behind it as one convolution.

    Attributes:
        conv: the convolution's node.
        weights: gives weight and bias, of the values that the convolution takes besides its input, then those of the normalisation.
        both: takes the input, and what `weights` gave.
    """

    conv: fx.Node
    weights: Call
    both: Call


def folded(graph: Graph, norm: fx.Node) -> Fold | None:
    """The convolution in front of a normalisation with that; None where there is none that nothing else reads."""
    conv = norm.args[0] if norm.args else None
    if not isinstance(conv, fx.Node) or len(conv.users) != 1:
        return None
    if norm.op == "call_module" and conv.op == "call_module":
        return _folded_modules(graph, conv, norm)
    if norm.target is aten.batch_norm.default and conv.target is aten.conv2d.default:
        return _folded_operations(conv, norm)
    return None


def _folded_modules(graph: Graph, conv: fx.Node, norm: fx.Node) -> Fold | None:
    first: Any = graph.module(conv)
    second: Any = graph.module(norm)
    plain = is_plain(first) and is_plain(second) and len(conv.args) == len(norm.args) == 1 and not conv.kwargs and not norm.kwargs
    convolves = type(first) in CONVOLUTIONS and first.padding_mode == "zeros"
    if not (plain and convolves and type(second) in NORMS and second.running_mean is not None):
        return None
    function, of_conv, of_norm = CONVOLUTIONS[type(first)], list(graph.names(conv)), list(graph.names(norm))

    def weights(values: Sequence[Any]) -> Any:
        held = dict(zip(of_conv, values, strict=False))
        stats: dict[str, Any] = dict(zip(of_norm, values[len(of_conv) :], strict=True))
        scale, shift, mean, var = (stats.get(name) for name in ("weight", "bias", "running_mean", "running_var"))
        return _scaled(held["weight"], held.get("bias"), scale, shift, mean, var, second.eps)

    def both(values: Sequence[Any]) -> Any:
        return function(values[0], *values[1], first.stride, first.padding, first.dilation, first.groups)

    return Fold(conv, weights, both) if {"weight", "running_mean", "running_var"} <= {*of_conv, *of_norm} else None


def _folded_operations(conv: fx.Node, norm: fx.Node) -> Fold | None:
    before, beside = conv.all_input_nodes[1:], norm.all_input_nodes[1:]
    of_conv, of_norm = list[Any](conv.args), list[Any](norm.args)
    if of_norm[5] is not False or norm.kwargs or conv.kwargs or None in of_norm[3:5]:
        return None
    of_conv += [None] * (3 - len(of_conv))

    def weights(values: Sequence[Any]) -> Any:
        given = dict(zip([*before, *beside], values, strict=True))
        weight, bias, scale, shift, mean, var = [given[arg] if isinstance(arg, fx.Node) else arg for arg in (*of_conv[1:3], *of_norm[1:5])]
        return _scaled(weight, bias, scale, shift, mean, var, of_norm[7])

    return Fold(conv, weights, lambda values: torch.conv2d(values[0], *values[1], *of_conv[3:]))


def _scaled(weight: Tensor, bias: Any, scale: Any, shift: Any, mean: Any, var: Any, eps: float) -> tuple[Tensor, Tensor]:
    """A convolution's weight and bias with the normalisation behind it in them."""
    factor = torch.rsqrt(var + eps) if scale is None else torch.rsqrt(var + eps) * scale
    moved = -mean * factor if bias is None else (bias - mean) * factor
    return weight * factor.view(-1, *(1 for _ in weight.shape[1:])), moved if shift is None else moved + shift


def in_place(graph: Graph, node: fx.Node) -> Call | None:
    """A step that writes to its first input, where that is new memory which nothing else reads; None where it may not."""
    before = node.args[0] if node.args else None
    if not isinstance(before, fx.Node) or len(before.users) != 1 or graph.kind(before) not in FRESH or graph.kind(node) not in RELUS:
        return None
    return lambda values: values[0].relu_()
