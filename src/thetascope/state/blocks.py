"""Which modules of a model are blocks: what it repeats, such as the blocks of a residual network or of a transformer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from torch import nn

CONTAINERS = (nn.ModuleList, nn.Sequential)


def block_names(model: nn.Module, layers: Collection[str]) -> tuple[str, ...]:
    """The names of the modules that are blocks, in the order of registration; no block lies in another.

    Blocks are the children of a ModuleList or Sequential, those without parameters left out, if all are of one class or hold
    parameters of the same names. Of containers within one another the outermost counts (the blocks of a transformer, not the experts
    within each), unless one of its children is such a container itself (a stage): then the inner ones do. Where all children are
    layers there are no blocks, and what wraps a model is none: neither what holds all layers nor an only child that holds blocks.

    Args:
        model: where to look.
        layers: the names of the modules that hold parameters of their own, ties once.
    """
    return tuple(_Blocks(layers).within("", model))


def with_parents(name: str) -> Iterator[str]:
    """The names of all that a module lies in, the outermost first, and its own."""
    parts = name.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts) + 1))


class _Blocks:
    def __init__(self, layers: Collection[str]) -> None:
        self._layers, self._seen = set(layers), set[int]()
        self._held = Counter(module for name in layers for module in with_parents(name))

    def within(self, name: str, module: nn.Module) -> list[str]:
        """The blocks below a module; one that is registered twice is looked at once."""
        if id(module) in self._seen:
            return []
        self._seen.add(id(module))
        children = _children(name, module)
        inner = [block for child_name, child in children.items() for block in self.within(child_name, child)]
        if not self._holds_blocks(name, module) or any(self._holds_blocks(*child) for child in children.items()):
            return inner
        own = [child for child in children if self._held[child]]
        wraps = any(self._held[child] == len(self._layers) for child in own) or (len(own) == 1 and inner)
        return inner if wraps else own

    def _holds_blocks(self, name: str, module: nn.Module) -> bool:
        """Whether it is a container of modules that are alike, and not of layers alone."""
        if not isinstance(module, CONTAINERS):
            return False
        children = _children(name, module)
        classes = {type(child) for child in children.values()}
        alike = len(classes) == 1 or len({frozenset(n for n, _ in child.named_parameters()) for child in children.values()}) == 1
        return alike and any(self._held[child] > (child in self._layers) for child in children)


def _children(name: str, module: nn.Module) -> dict[str, nn.Module]:
    """Those that hold parameters, by their names in the model."""
    found = {f"{name}.{short}" if name else short: child for short, child in module.named_children()}
    return {child_name: child for child_name, child in found.items() if any(True for _ in child.parameters())}
