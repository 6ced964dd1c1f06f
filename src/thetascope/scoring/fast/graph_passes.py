"""Steps of a graph that are put in another order, or made others that leave their inputs alone: the same values."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch._ops import OpOverload

aten = torch.ops.aten
RELUS: frozenset[Any] = frozenset({F.relu, torch.relu, "relu", nn.ReLU, aten.relu.default})
MAX_POOLS: frozenset[Any] = frozenset(
    pool for d in (1, 2, 3) for pool in (getattr(F, f"max_pool{d}d"), getattr(torch, f"max_pool{d}d"), getattr(nn, f"MaxPool{d}d"))
) | {aten.max_pool2d.default}
SELVES = frozenset({aten.detach_.default, aten.detach.default, aten.lift_fresh_copy.default, aten.alias.default})
"""Operations that give what they are given, where no gradient is taken."""
RETURNED = frozenset({aten.dropout.default, aten.alpha_dropout.default, aten.feature_dropout.default})
"""Operations that may give back what they are given without saying so."""


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


def without_writing(module: fx.GraphModule) -> str | None:
    """Replace each operation that writes to its input by the one that gives a new value, for whatever reads the input afterwards.

    Returns:
        The operation for which that is not possible, because what it writes to is read under another name (a view); else None.
    """
    graph, order = module.graph, {node: i for i, node in enumerate(module.graph.nodes)}
    roots: dict[fx.Node, fx.Node] = {}  # whose memory a value may lie in
    for node in list(graph.nodes):
        if node.target in SELVES:
            node.replace_all_uses_with(node.args[0])
        if node.target in SELVES or node.target is aten._assert_tensor_metadata.default:
            graph.erase_node(node)
            continue
        source = _memory_of(node)
        roots[node] = node if source is None else roots.get(source, source)
        if not (isinstance(node.target, OpOverload) and node.target._schema.is_mutable):
            continue
        plain, written = _plain_form(node.target), node.args[0] if node.args else None
        if plain is None or not isinstance(written, fx.Node):
            return str(node.target)
        others = [n for n, root in roots.items() if root is roots[written] and n not in (written, node)]
        if any(order[user] > order[node] for other in others for user in other.users if user.target is not aten.sym_size.int):
            return str(node.target)
        with graph.inserting_after(node):
            new = graph.call_function(plain, node.args, node.kwargs)
        new.meta, order[new], roots[new] = dict(node.meta), order[node], new
        node.replace_all_uses_with(new)
        for user in [user for user in written.users if order[user] > order[node]]:
            user.replace_input_with(written, new)
        graph.erase_node(node)
        del roots[node]
    graph.eliminate_dead_code()
    return None


def _plain_form(target: OpOverload) -> Any:
    """The operation that computes the same and writes to nothing; None where there is none of the same arguments."""
    name = target._schema.name.split("::")[1]
    writes = [argument for argument in target._schema.arguments if argument.alias_info is not None and argument.alias_info.is_write]
    packet = getattr(aten, name.removesuffix("_"), None) if name.endswith("_") and target.namespace == "aten" else None
    if packet is None or len(writes) != 1 or writes[0] is not target._schema.arguments[0]:
        return None
    return getattr(packet, target._overloadname, None)


def _memory_of(node: fx.Node) -> fx.Node | None:
    """The input that a node's value may be a view of."""
    first = node.args[0] if node.args else None
    if not isinstance(first, fx.Node):
        return None
    if not isinstance(node.target, OpOverload):
        return first if node.op == "call_function" else None  # an item of a list of views, say
    views = any(found.alias_info is not None for found in node.target._schema.returns)
    return first if views or node.target in RETURNED else None
