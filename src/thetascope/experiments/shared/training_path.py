"""A path through a recorded training: its knots, the states there, and what moves on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from thetascope.arrays import Floats, evenly
from thetascope.errors import TrajectoryError
from thetascope.experiments.framework.call_options import Kind, Layers, Parameters
from thetascope.experiments.framework.points import AllPoints
from thetascope.experiments.shared.chosen_layers import chosen_layers
from thetascope.geometry.directions import distance
from thetascope.geometry.edits import Parameter, ScalarEdits, chosen_parameters, parameter_values, path_values
from thetascope.geometry.paths import group_paths, lagrange_weights, model_path
from thetascope.geometry.pca import inner_products
from thetascope.geometry.points import Points
from thetascope.geometry.trajectory import NearPath, nearest_on_path
from thetascope.scoring.objective import Objective
from thetascope.state import Layer, State
from thetascope.trajectory import Trajectory

PARAMETER_RANGE = (-0.5, 1.5)
"""Of α where single parameters move: also what might come if the training went on (Němcová 2021, section 6.3)."""


MEASURED_LIMIT = 101
"""At most so many recorded states are scored beside a path, evenly chosen, the first and the last among them."""

DRAWN_PER_LAYER = 4
"""How many single parameters a layer are examined where the caller names none."""

_DEGREES = {"linear": 1, "quadratic": 2}


def checked_trajectory(trajectory: object) -> Trajectory:
    """Itself, or an error that says how to make one."""
    if isinstance(trajectory, Trajectory):
        return trajectory
    raise TrajectoryError(
        f"expected a ts.Trajectory, got {type(trajectory).__name__}; make one with ts.Trajectory(run) or .from_states([…])"
    )


@dataclass(frozen=True)
class TrainingPath:
    """The Lagrange path of a degree through a training, bound to an objective's model.

    Raises:
        TrajectoryError: the kind is unknown, there are too few states, or two knots fall on the same one.
    """

    objective: Objective
    trajectory: Trajectory
    kind: Kind

    def __post_init__(self) -> None:
        checked_trajectory(self.trajectory)
        _ = self.states

    @property
    def degree(self) -> int:
        """Of the polynomial."""
        if isinstance(self.kind, str) and self.kind in _DEGREES:
            return _DEGREES[self.kind]
        if isinstance(self.kind, int) and not isinstance(self.kind, bool) and self.kind >= 1:
            return self.kind
        raise TrajectoryError(f'kind must be "linear", "quadratic" or a degree of at least 1. Got {self.kind!r} instead.')

    @property
    def name(self) -> str:
        """How figures call it."""
        return self.kind if isinstance(self.kind, str) else f"degree {self.degree}"

    @property
    def at(self) -> Floats:
        """Where the knots stand: i/n."""
        return np.linspace(0.0, 1.0, self.degree + 1)

    @cached_property
    def indices(self) -> tuple[int, ...]:
        """The recorded states that are the knots."""
        return knot_indices(self.trajectory, self.degree)

    @cached_property
    def states(self) -> tuple[State, ...]:
        """The knots' states under the model's names."""
        return tuple(self.objective.bind(self.trajectory[index]) for index in self.indices)

    def groups(self, layers: Layers) -> dict[str, tuple[Layer, ...]]:
        """The layers that a call chooses, by label."""
        return chosen_layers(self.objective, layers, [self.objective.bind(state) for state in self.trajectory])

    def _floating(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if self.objective.model.space.tensors[name].floating]

    @property
    def parameters(self) -> list[str]:
        """The tensors that move when everything does."""
        return self.objective.model.space.floating_parameters

    @property
    def buffers(self) -> list[str]:
        """The buffers that move with them, where the objective does not say otherwise."""
        return self.objective.model.space.floating_buffers

    def model_points(self, alphas: Floats) -> Points:
        """Everything moves: ``[alphas]`` points."""
        return model_path(self.states, self.at, alphas, self.parameters, self.buffers)

    def layer_points(self, groups: Mapping[str, Sequence[Layer]], alphas: Floats) -> Points:
        """One group of layers at a time moves, its buffers with it: ``[groups · alphas]`` points."""
        moving = [self.names_of(layers) for layers in groups.values()]
        return group_paths(self.states, self.at, alphas, moving)

    def names_of(self, layers: Sequence[Layer]) -> tuple[list[str], list[str]]:
        """The floating parameters and buffers of some layers."""
        return (
            self._floating([name for layer in layers for name in layer.parameters]),
            self._floating([name for layer in layers for name in layer.buffers]),
        )

    def parameter_points(self, parameters: Sequence[Parameter], alphas: Floats) -> ScalarEdits:
        """One single parameter at a time moves: ``[parameters · alphas]`` points."""
        values = path_values(lagrange_weights(self.at, alphas), parameter_values(self.states, parameters))
        return ScalarEdits(self.states[-1], tuple(parameters), values)

    def distance(self, names: Sequence[str]) -> float:
        """Euclidean distance of some tensors from the first to the last state, in float64 (Němcová 2021, equation 6.3)."""
        return distance(self.states[0], self.states[-1], names)

    def attrs(self) -> dict[str, Any]:
        """What a result says of the path."""
        return {
            "kind": self.name,
            "degree": self.degree,
            "loss_name": self.objective.loss,
            "knots": self.knots(),
            "states_recorded": len(self.trajectory),
            "clock": self.trajectory.clock,
        }

    def knots(self) -> list[dict[str, Any]]:
        """Each knot: its α, and which recorded state it is."""
        trajectory = self.trajectory
        return [
            {
                "alpha": float(a),
                "state": i,
                "step": None if trajectory.steps is None else trajectory.steps[i],
                "epoch": None if trajectory.epochs is None else trajectory.epochs[i],
                "progress": trajectory.progress(i),
            }
            for i, a in zip(self.indices, self.at, strict=True)
        ]


@dataclass(frozen=True)
class MeasuredStates:
    """Recorded states scored as they stand, for comparison with a path: at most `MEASURED_LIMIT`, and the knots."""

    objective: Objective
    trajectory: Trajectory
    knots: tuple[int, ...]

    @property
    def indices(self) -> list[int]:
        """Which recorded states."""
        return sorted({*evenly(len(self.trajectory), MEASURED_LIMIT), *self.knots})

    @cached_property
    def states(self) -> list[State]:
        """They themselves, bound to the model."""
        return [self.objective.bind(self.trajectory[i]) for i in self.indices]

    def requests(self) -> list[AllPoints]:
        """To score them, over ``state``, as ``actual_…``."""
        return recorded_requests(self.objective, self.states, "actual_")

    @cached_property
    def _products(self) -> Floats:
        return inner_products(self.states, self.objective.model.space.floating_parameters)

    def near(self, knots: Sequence[int] | None = None) -> NearPath:
        """Where each of them is nearest to the path through the `knots`, by default to the straight line from the first to the last.

        On the line α is the share of the way, ``⟨θ_t − θ_0, θ_T − θ_0⟩ / |θ_T − θ_0|²``.
        """
        through = (self.indices[0], self.indices[-1]) if knots is None else knots
        return nearest_on_path(self._products, [self.indices.index(k) for k in through], np.linspace(0.0, 1.0, len(through)))

    def places(self, knots: Sequence[int]) -> dict[str, tuple[tuple[str, ...], Floats]]:
        """Where each of them is: its share of the way and its distance off the straight line; of a curve through the `knots` the same
        as ``nearest`` and ``off_path``."""
        line = self.near()
        found: dict[str, tuple[tuple[str, ...], Floats]] = {"share": (("state",), line.alpha), "off_line": (("state",), line.distance)}
        if len(knots) > 2:
            curve = self.near(knots)
            found |= {"nearest": (("state",), curve.alpha), "off_path": (("state",), curve.distance)}
        return found

    def constants(self) -> dict[str, tuple[tuple[str, ...], Any]]:
        """When in the training each of them was recorded."""
        return places_of(self.trajectory, self.indices)


def places_of(trajectory: Trajectory, indices: Sequence[int]) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Where in the training recorded states are, over ``state``; steps and epochs are NaN where they are not known."""
    known = {name: values[list(indices)] for name, values in moments_along([trajectory]).items()}
    progress = [trajectory.progress(i) for i in indices]
    return {"progress": (("state",), progress), **{name: (("state",), values) for name, values in known.items()}}


def moments_along(trainings: Sequence[Trajectory]) -> dict[str, np.ndarray[Any, Any]]:
    """``step`` and ``epoch`` of all states of some trainings, one after another ``[T]``; NaN where they are not known."""
    known: dict[str, list[Any]] = {"step": [t.steps for t in trainings], "epoch": [t.epochs for t in trainings]}
    return {
        name: np.concatenate([np.full(len(t), np.nan) if own is None else own for t, own in zip(trainings, values, strict=True)])
        for name, values in known.items()
    }


def recorded_requests(objective: Objective, states: Sequence[State], prefix: str, dim: str = "state", anchor: int = -1) -> list[AllPoints]:
    """To score recorded states under the experiment's policy for buffers; where that replaces theirs, also as they were recorded.

    Args:
        objective: under that policy.
        states: bound to its model.
        prefix: of the variables; what a state scores as it was recorded is called ``loss_recorded``, metrics likewise.
        dim: what they lie along.
        anchor: the state whose buffers the policy "final" gives to all.
    """
    points, shape = objective.stored(states, anchor), (len(states),)
    if not objective.replaces_buffers:
        return [AllPoints(points, (dim,), shape, prefix=prefix, as_recorded=True)]
    return [AllPoints(points, (dim,), shape, prefix=prefix), AllPoints(points, (dim,), shape, prefix="_recorded", as_recorded=True)]


def knot_indices(trajectory: Trajectory, degree: int) -> tuple[int, ...]:
    """The states nearest to i/n of the training, ties earlier.

    Raises:
        TrajectoryError: there are too few, or two knots fall on the same state.
    """
    if len(trajectory) < degree + 1:
        raise TrajectoryError(f"a path of degree {degree} needs {degree + 1} recorded states; this trajectory has {len(trajectory)}")
    knots = tuple(trajectory.index_at(i / degree) for i in range(degree + 1))
    if len(set(knots)) < len(knots):
        wanted = ", ".join(f"{i / degree:.3g}" for i in range(degree + 1))
        there = ", ".join(f"{trajectory.progress(i):.3g}" for i in range(len(trajectory)))
        raise TrajectoryError(
            f"a path of degree {degree} needs different states near progress {wanted}; recorded were {there} "
            f"(steps {trajectory.steps}). Record more states, or choose a lower degree"
        )
    return knots


def selected_parameters(path: TrainingPath, parameters: Parameters, layers: Layers) -> tuple[list[Parameter], list[str]]:
    """The single parameters to examine and the layer of each; `layers` narrows a drawing."""
    space = path.objective.space
    names = [layer.name for group in path.groups(layers).values() for layer in group]
    chosen = chosen_parameters(DRAWN_PER_LAYER if parameters is None else parameters, space, names)
    owner = {name: layer.name for layer in space.layers for name in layer.parameters}
    return chosen, [owner[parameter.name] for parameter in chosen]


def midpoints(knots: Floats) -> Floats:
    """``(θ_m − θ_i) / (θ_f − θ_i)`` of the values ``[E, 3]``; nan where the parameter ends where it began."""
    way, half = knots[:, 2] - knots[:, 0], knots[:, 1] - knots[:, 0]
    found = np.full(len(way), np.nan)
    found[way != 0] = half[way != 0] / way[way != 0]
    return found
