"""The layers that a call chooses with layers=, and the blocks that they lie in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from thetascope.errors import StateError
from thetascope.experiments.framework.call_options import Layers
from thetascope.experiments.framework.source import Variables
from thetascope.scoring.objective import Objective
from thetascope.state import TRAINABLE, Layer, ParameterSpace, State, frozen_parameters
from thetascope.state.frozen import resting


def chosen_layers(objective: Objective, layers: Layers, states: Sequence[State]) -> dict[str, tuple[Layer, ...]]:
    """The layers that move together, by label; of none that are chosen all but those that rest, as the base of an adapter does.

    Args:
        objective: whose model has the layers.
        layers: as a call gives them.
        states: of the training, in order, bound to the model; what is frozen is looked for in them.

    Raises:
        StateError: a layer that there is not, or none.
    """
    if is_word(layers, TRAINABLE):
        return objective.space.groups(layers, frozen_parameters(objective.model.model, objective.space, states))
    groups, still = objective.space.groups(layers), resting_in(objective, states) if layers is None else set()
    return moving_layers(groups, objective.space, still)


def resting_in(objective: Objective, states: Sequence[State]) -> set[str]:
    """The parameters that are frozen by the objective's model, and the same at both ends of some states."""
    return resting(objective.model.model, objective.space, [states[0], states[-1]] if len(states) > 1 else states)


def moving_layers(groups: Mapping[str, tuple[Layer, ...]], space: ParameterSpace, still: Collection[str]) -> dict[str, tuple[Layer, ...]]:
    """The groups without those all of whose floating parameters are still."""

    def rests(layers: Sequence[Layer]) -> bool:
        floating = [name for layer in layers for name in layer.parameters if space.tensors[name].floating]
        return bool(floating) and all(name in still for name in floating)

    return {label: layers for label, layers in groups.items() if not rests(layers)} if still else dict(groups)


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
