"""Lengths, distances and angles of a training's way, by products of neighbouring states and with the ends.

Tortuosity is the ratio of a way's length to the distance of its ends, as for rivers and vessels; the mean cosine over all pairs of n
unit vectors is (|Σ û|² − n) / (n (n − 1)).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from thetascope.errors import StateError, TrajectoryError
from thetascope.experiments.framework.call_options import Layers
from thetascope.experiments.framework.measured import StatesSource
from thetascope.experiments.framework.source import Variables
from thetascope.experiments.shared.chosen_layers import block_labels
from thetascope.experiments.shared.state_space import layers_of_states, space_of
from thetascope.experiments.shared.training_path import checked_trajectory
from thetascope.geometry.trajectory import Way, WayReading, way_of
from thetascope.state import State
from thetascope.trajectory import Trajectory

LEVELS = ("model", "layer")
OVER_STATES = ("arc", "from_start", "to_end", "share", "off_line", "step_length", "heading", "turning")


def source(trajectory: Trajectory, level: str, layers: Layers) -> StatesSource:
    """All states of the trajectory."""
    if level not in LEVELS:
        raise TrajectoryError(f"level must be one of {', '.join(LEVELS)}. Got {level!r} instead.")
    if level == "model" and layers is not None:
        raise TrajectoryError('layers has no meaning at level="model"; leave it out, or choose level="layer"')
    states = list(checked_trajectory(trajectory))
    if len(states) < 2:
        raise TrajectoryError(f"a way has two states or more, and this trajectory has {len(states)}; record more of them")
    space = space_of(trajectory)
    floating = set(space.floating_parameters)
    if not floating:
        raise StateError(f"the states hold no floating parameters, so nothing moved: {', '.join(space.tensors) or 'they hold nothing'}")
    chosen = layers_of_states(space, layers, states)
    groups = {label: [name for layer in group for name in layer.parameters if name in floating] for label, group in chosen.items()}
    groups = {label: names for label, names in groups.items() if names}
    if not groups:
        raise StateError(f"the chosen layers hold no floating parameters: {', '.join(chosen)}")
    return StatesSource(
        title="the geometry of the way" if level == "model" else "the geometry of each layer's way",
        recorded=states,
        measurement=_Geometry(states, groups, level),
        labels={
            "state": (("state",), np.arange(len(states))),
            "layer": (("layer",), list(groups)),
            **block_labels(space, {label: chosen[label] for label in groups}),
            **_when(states),
        },
        settings={"level": level, "groups": groups},
        attrs={
            "level": level,
            "states_recorded": len(states),
            "parameters": sum(space.tensors[name].size for names in groups.values() for name in names),
        },
    )


def _when(states: Sequence[State]) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Steps and epochs where they are known; nan for a state whose epoch is not, where others' are."""
    steps, epochs = [state.step for state in states], [state.epoch for state in states]
    found: dict[str, tuple[tuple[str, ...], Any]] = {}
    if None not in steps:
        found["step"] = (("state",), steps)
    if any(epoch is not None for epoch in epochs):
        found["epoch"] = (("state",), [np.nan if epoch is None else epoch for epoch in epochs])
    return found


@dataclass(frozen=True)
class _Geometry:
    """What is measured on the states."""

    states: Sequence[State]
    groups: Mapping[str, Sequence[str]]
    level: str

    @cached_property
    def _reading(self) -> WayReading:
        return WayReading(self.states, list(self.groups.values()), together=self.level == "model")

    @property
    def reads(self) -> int:
        """How many pieces of states are read."""
        return self._reading.reads

    def seconds(self) -> float:
        """About how long it takes."""
        return self._reading.seconds()

    def measured(self, advance: Callable[[int], None]) -> tuple[Variables, Mapping[str, Any]]:
        """The way of the model or of each layer, and of each layer how far it went."""
        products = self._reading.products(advance)
        whole = way_of(products.together())
        # layers have no units of their own where directions are those of the model: their mean cosine is not asked for then
        each = way_of(products) if self.level == "layer" else way_of(products.without_units())
        squares = each.chord**2
        by_layer: Variables = {
            "relative_distance": (("layer",), each.relative[:, -1]),
            "squared_share": (("layer",), squares / squares.sum() if squares.sum() > 0 else np.full(len(squares), np.nan)),
            "relative_from_start": (("layer", "state"), each.relative),
        }
        if self.level == "model":
            return {**{name: (("state",), getattr(whole, name)[0]) for name in OVER_STATES}, **by_layer}, _numbers(whole)
        over: Variables = {name: (("layer", "state"), getattr(each, name)) for name in OVER_STATES}
        numbers: Variables = {name: (("layer",), getattr(each, name)) for name in ("tortuosity", "mean_cosine")}
        return {**over, **by_layer, **numbers}, {}


def _numbers(way: Way) -> dict[str, float]:
    return {name: float(getattr(way, name)[0]) for name in ("tortuosity", "mean_cosine", "chord")}
