"""The layers of recorded states where there is no model: as they were recorded, else as the tensors' names tell."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from thetascope.errors import RecordingError
from thetascope.experiments.framework.call_options import Layers
from thetascope.experiments.shared.chosen_layers import is_word, moving_layers
from thetascope.recording.run_directory import RunDirectory
from thetascope.state import TRAINABLE, Layer, ParameterSpace, State
from thetascope.state.frozen import from_one_place, unmoved
from thetascope.state.guessed import space_of_specs
from thetascope.trajectory import Trajectory


def space_of(trajectory: Trajectory) -> ParameterSpace:
    """The space of a training's states: that of the recorded model, with its order of layers, where a Recorder wrote it down.

    States in memory that hold one tensor under two names have it once.
    """
    specs = trajectory[0].specs
    if trajectory.run is not None:
        try:
            recorded = RunDirectory.open(trajectory.run).space
        except RecordingError:  # the run is damaged, and the states are not
            recorded = None
        if recorded is not None and recorded.tensors.keys() == specs.keys():
            return recorded
    tied = _tied(trajectory[0]) if trajectory.folder is None else set[str]()
    return space_of_specs({name: spec for name, spec in specs.items() if name not in tied})


def _tied(state: State) -> set[str]:
    """Names of tensors in memory that an earlier name holds too."""
    held = state.tensors()
    places = {name: (t.data_ptr(), t.stride(), tuple(t.shape)) for name, t in held.items() if t.numel()}
    order = list(places)
    return {name for _, same in groupby(sorted(order, key=lambda n: (places[n], order.index(n))), places.get) for name in list(same)[1:]}


def layers_of_states(space: ParameterSpace, layers: Layers, states: Sequence[State]) -> dict[str, tuple[Layer, ...]]:
    """The layers that a call chooses, by label; "trainable" leaves out those that are the same in all states, and so does a call that
    chooses none where the states take these from one place, as that of the base of an adapter.

    Raises:
        StateError: a layer that there is not, or none.
    """
    names = space.floating_parameters
    if layers is None:
        still = from_one_place(names, states)
        return moving_layers(space.groups(layers), space, still if len(still) < len(names) else [])
    if not is_word(layers, TRAINABLE):
        return space.groups(layers)
    still = unmoved(names, states)
    return space.groups(layers, still if len(still) < len(names) else [])
