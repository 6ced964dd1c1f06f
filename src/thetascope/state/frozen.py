"""Which parameters do not move in a training."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from thetascope.state.space import ParameterSpace
from thetascope.state.states import State, tensor_bytes


def frozen_parameters(model: nn.Module, space: ParameterSpace, states: Sequence[State]) -> dict[str, str]:
    """The frozen floating parameters, each with why.

    A parameter is frozen if it is the same, bit for bit, in all of two or more states that differ, or if its requires_grad is off
    while others' are on. With one state, or only equal ones, requires_grad alone tells.
    """
    names = space.floating_parameters
    found = dict.fromkeys(_without_gradient(model, space), "their requires_grad is off")
    equal = unmoved(names, states)
    return found | (dict.fromkeys(equal, "they are the same in all states") if len(equal) < len(names) else {})


def resting(model: nn.Module, space: ParameterSpace, ends: Sequence[State]) -> set[str]:
    """Parameters that are frozen by the model and in fact the same at the ends of a training: the base of an adapter.

    Args:
        model: whose requires_grad tells.
        space: the model's.
        ends: the first and last states, bound to the model.
    """
    return set(unmoved(_without_gradient(model, space), ends)) if len(ends) > 1 else set(_without_gradient(model, space))


def _without_gradient(model: nn.Module, space: ParameterSpace) -> list[str]:
    """Floating parameters whose requires_grad is off, where others' are on."""
    names = space.floating_parameters
    trained = {space.ties.get(name, name) for name, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
    return [name for name in names if name not in trained] if trained & set(names) else []


def unmoved(names: Sequence[str], states: Sequence[State]) -> list[str]:
    """Those that are the same, bit for bit, in all of two or more states."""
    return [name for name in names if len(states) > 1 and _is_equal(name, states)]


def from_one_place(names: Sequence[str], states: Sequence[State]) -> list[str]:
    """Those that all of two or more states take from one place; nothing is read to know it."""
    return [name for name in names if len(states) > 1 and len({state.origin(name) for state in states}) == 1]


def _is_equal(name: str, states: Sequence[State]) -> bool:
    """Whether all states hold the same bytes there; the ends first, because what moves differs there."""
    if from_one_place([name], states):
        return True
    first = states[0][name]
    return all(first.dtype == (other := state[name]).dtype and tensor_bytes(first) == tensor_bytes(other) for state in reversed(states[1:]))
