"""Names of tensors: those that wrappers put a prefix before, those that only count, and how they fit a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from thetascope.state.space import ParameterSpace, SpaceDifference, TensorSpec, owner_of

PREFIXES = ("module.", "_orig_mod.", "model.")
COUNTERS = ("num_batches_tracked", "n_averaged", "position_ids")
"""Last parts of the names of integer buffers that follow from the model, or count what no pass in evaluation mode needs."""


def is_counter(name: str, spec: TensorSpec) -> bool:
    """Whether a tensor counts what a pass in evaluation mode does not need."""
    return name.rpartition(".")[2] in COUNTERS and not spec.floating and spec.kind != "parameter"


@dataclass(frozen=True)
class Fit:
    """How tensors fit a space.

    Attributes:
        names: each name of the space that is there, and what it is called there; wrappers' prefixes and counters are left out.
        lacking: counters of the space that are not there.
        difference: all that does not fit.
    """

    names: dict[str, str]
    lacking: tuple[str, ...]
    difference: SpaceDifference


def fit(specs: Mapping[str, TensorSpec], space: ParameterSpace) -> Fit:
    """Map names of a space to present ones, wrappers' prefixes left out where that makes them fit it better.

    Counters may lack, or be too many. Where all of the space lies under a wrapper's prefix, what lies beside that is left out: it is
    no part of the model (the class weights of a loss in a LightningModule).
    """
    counters = {name for name, spec in space.tensors.items() if is_counter(name, spec)}
    known = space.tensors.keys() | space.ties.keys()

    def fitted(way: Mapping[str, str]) -> Fit:
        names = {new: old for new, old in way.items() if new in known or not is_counter(new, specs[old])}
        difference = space.compare({new: specs[old] for new, old in names.items()}, optional=counters)
        return Fit(names, tuple(name for name in counters if name not in names), difference)

    plain = [fitted(way) for way in ways_to_strip(specs)]
    best = min(plain, key=lambda found: found.difference.count)
    if best.difference:
        return next((found for way in ways_within(specs) if not (found := fitted(way)).difference), best)
    return best


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


def ways_within(present: Iterable[str]) -> list[dict[str, str]]:
    """All ways to take only the names below wrappers' prefixes, which are left out: each maps new names to present ones."""
    names = {name.replace("_orig_mod.", ""): name for name in present}
    ways: list[dict[str, str]] = []
    for prefix in ("module.", "model.", "module.model.", "model.module."):
        way = {name.removeprefix(prefix): old for name, old in names.items() if name.startswith(prefix)}
        beside = {name for name in names if not name.startswith(prefix)}
        if way and way not in ways and not beside & way.keys():  # else it would be a choice between two
            ways.append(way)
    return ways


def wrapped_names(specs: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Map known names to present ones, wrappers' prefixes left out so that as many as possible are known."""
    names = set(known)
    return max(ways_to_strip(specs), key=lambda way: len(way.keys() & names))


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
