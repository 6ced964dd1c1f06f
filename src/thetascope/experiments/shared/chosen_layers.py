"""The layers that a call chooses with layers=, and the blocks that they lie in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from thetascope.errors import StateError
from thetascope.experiments.framework.call_options import Layers
from thetascope.experiments.framework.source import Variables
from thetascope.scoring.objective import Objective
from thetascope.state import TRAINABLE, Layer, ParameterSpace, State, frozen_parameters


def chosen_layers(objective: Objective, layers: Layers, states: Iterable[State]) -> dict[str, tuple[Layer, ...]]:
    """The layers that move together, by label; only "trainable" looks at the states, bound to the objective's model.

    Raises:
        StateError: a layer that there is not, or none.
    """
    if not is_word(layers, TRAINABLE):
        return objective.space.groups(layers)
    return objective.space.groups(layers, frozen_parameters(objective.model.model, objective.space, list(states)))


def some_layers(groups: dict[str, tuple[Layer, ...]]) -> dict[str, tuple[Layer, ...]]:
    """The groups, none of which is empty.

    Raises:
        StateError: one is, or there is none.
    """
    empty = [label for label, group in groups.items() if not group]
    if empty or not groups:
        which = f" in {', '.join(empty)}" if empty else ""
        raise StateError(f"layers selects no layer{which}; name at least one, or leave it out for all")
    return groups


def is_word(layers: Layers, word: str) -> bool:
    """Whether a call chooses its layers by this word; they may be given as an array too."""
    return isinstance(layers, str) and layers == word


def block_labels(space: ParameterSpace, groups: Mapping[str, Sequence[Layer]]) -> Variables:
    """The coordinate ``block`` over ``layer``: the block that each group lies in, nothing for one that several do."""
    found = [{space.block_of(layer.name) for layer in layers} for layers in groups.values()]
    return {"block": (("layer",), [blocks.pop() if len(blocks) == 1 else "" for blocks in found])}
