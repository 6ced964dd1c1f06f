"""Steps of a graph that are put in another order or made other steps: the same values in less time."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from thetascope.scoring.fast.patches import patches_of, pooled, pooling_window, suits

RELUS: frozenset[Any] = frozenset({F.relu, torch.relu, "relu", nn.ReLU})
MAX_POOLS: frozenset[Any] = frozenset(
    pool for d in (1, 2, 3) for pool in (getattr(F, f"max_pool{d}d"), getattr(torch, f"max_pool{d}d"), getattr(nn, f"MaxPool{d}d"))
)


def pooled_first(module: fx.GraphModule) -> fx.GraphModule:
    """Max pooling before the ReLU in front of it: the same values, to the last bit, from a quarter of the work."""
    for pool in list(module.graph.nodes):
        relu = pool.args[0] if pool.args else None
        if kind_of(module, pool) not in MAX_POOLS or pool.kwargs.get("return_indices") or not isinstance(relu, fx.Node):
            continue
        alone = len(relu.users) == 1 and len(relu.args) == 1 and not any(relu.kwargs.values())  # such as inplace=True
        if kind_of(module, relu) in RELUS and alone:
            pool.replace_input_with(relu, relu.args[0])
            pool.replace_all_uses_with(relu)
            relu.args = (pool,)
            pool.append(relu)
    return module


def unfold(module: fx.GraphModule) -> None:
    """Patches of the data as a step in front of each convolution that they suit."""
    for node in list(module.graph.nodes):
        before = node.args[0] if len(node.args) == 1 and not node.kwargs else None
        if kind_of(module, node) is nn.Conv2d and isinstance(before, fx.Node) and before.op == "placeholder":
            conv: Any = module.get_submodule(str(node.target))
            if suits(conv):
                window = _pooling_of(module, node)
                with module.graph.inserting_before(node):
                    geometry = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, window)
                    node.args = (module.graph.call_function(patches_of, (before, *geometry)),)


def _pooling_of(module: fx.GraphModule, conv: fx.Node) -> tuple[int, int]:
    """The window of the max pooling that alone takes what `conv` gives; its step takes windows from then on. (1, 1) for none."""
    pool = next(iter(conv.users), None)
    if len(conv.users) != 1 or pool is None or kind_of(module, pool) is None or pool.args[:1] != (conv,):
        return (1, 1)
    called = module.get_submodule(str(pool.target)) if pool.op == "call_module" else None
    window = pooling_window(kind_of(module, pool), called, pool.args[1:], pool.kwargs)
    if window is None:
        return (1, 1)
    with module.graph.inserting_after(pool):
        instead = module.graph.call_function(pooled, (conv, *window))
    pool.replace_all_uses_with(instead)
    module.graph.erase_node(pool)
    return window


def kind_of(module: fx.GraphModule, node: fx.Node) -> Any:
    """The function or method that a node calls, or the class of a module without hooks that gives one value."""
    if node.op != "call_module":
        return node.target if node.op in ("call_function", "call_method") else None
    called = module.get_submodule(str(node.target))
    plain = is_plain(called) and not getattr(called, "return_indices", False)
    return type(called) if plain else None


def is_plain(module: nn.Module) -> bool:
    """Whether a module is called without hooks."""
    return not (module._forward_hooks or module._forward_pre_hooks)
