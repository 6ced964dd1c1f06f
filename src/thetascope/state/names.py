"""Names of tensors: those that wrappers put a prefix before, and how they fit a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from thetascope.state.space import ParameterSpace, TensorSpec, owner_of

PREFIXES = ("module.", "_orig_mod.", "model.")


def fitted_names(specs: Mapping[str, TensorSpec], space: ParameterSpace) -> dict[str, str]:
    """Map each name, wrappers' prefixes left out where that makes it fit `space` better, to the present one."""

    def differences(names: Mapping[str, str]) -> int:
        return space.compare({new: specs[old] for new, old in names.items()}).count

    return min(ways_to_strip(specs), key=differences)


def ways_to_strip(present: Iterable[str]) -> list[dict[str, str]]:
    """All ways to leave wrappers' prefixes out, the names as they are first: each maps new names to present ones."""
    names = list(present)
    ways: list[dict[str, str]] = []
    for count in range(len(PREFIXES) + 1):
        for prefixes in combinations(PREFIXES, count):
            way = {_stripped(name, prefixes): name for name in names}
            if len(way) == len(names) and way not in ways:
                ways.append(way)
    return ways


def holds_layer(present: Iterable[str], layer: str) -> bool:
    """Whether tensors are of a layer that is called so, wrappers' prefixes left out or not."""
    return any(owner_of(name) == layer for way in ways_to_strip(present) for name in way)


def _stripped(name: str, prefixes: Sequence[str]) -> str:
    if "_orig_mod." in prefixes:  # torch.compile on a submodule puts it in the middle
        name = name.replace("_orig_mod.", "")
    for _ in prefixes:  # wrappers may be nested either way round
        for prefix in prefixes:
            name = name.removeprefix(prefix)
    return name
