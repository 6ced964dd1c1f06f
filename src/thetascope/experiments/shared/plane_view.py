"""What surfaces and the plane of a training share: a plane with its directions described, scored on a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from thetascope.arrays import Floats
from thetascope.drawing.moments import moment_of
from thetascope.errors import GeometryError, TrajectoryError
from thetascope.experiments.framework.call_options import Layers
from thetascope.experiments.framework.points import AllPoints, grid_points
from thetascope.experiments.shared.chosen_layers import chosen_layers, resting_in
from thetascope.geometry.directions import lengths
from thetascope.geometry.pca import gram, principal_plane
from thetascope.geometry.planes import grid, plane_points, states_points
from thetascope.geometry.points import Points
from thetascope.scoring.objective import Objective
from thetascope.state import State
from thetascope.trajectory import Trajectory


@dataclass(frozen=True)
class PlaneView:
    """A plane through a center, spanned by two directions or by two other states, and what a result says of it.

    Args:
        objective: what is scored.
        center: bound to its model; (0, 0).
        names: the tensors that may move.
        spans: the directions, or with `through_states` one or two other states at (1, 0) and (0, 1).
        through_states: whether `spans` are states.
        kind: "random", "pca", "states" or "own".
        labels: of the axes.
        subtitle: one line on what was done.
        marks: stored states in the plane besides the center, as (x, y, label).
        details: what else is known of the directions.
    """

    objective: Objective
    center: State
    names: Sequence[str]
    spans: tuple[State, ...]
    through_states: bool
    kind: str
    labels: tuple[str, str]
    subtitle: str
    marks: tuple[tuple[float, float, str], ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def points(self, at: Floats) -> Points:
        """The plane at the coordinates `at` ``[K, 2]``."""
        if self.through_states:
            return states_points(self.center, self.spans, self.names, at)
        return plane_points(self.center, (self.spans[0], self.spans[1]), at)

    def request(self, xs: Floats, ys: Floats, tolerance: float | None) -> AllPoints:
        """To score the grid, over (``y``, ``x``), or some of it where a tolerance is given."""
        return grid_points(self.points(grid(xs, ys)), (len(ys), len(xs)), tolerance)

    def attrs(self) -> dict[str, Any]:
        """What a result says of the plane."""
        marks = [(0.0, 0.0, short(self.center)), *self.marks]
        directions = {"kind": self.kind, "normalize": None, "orthogonal": False, "seed": None, **self.details}
        return {
            "loss_name": self.objective.loss,
            "subtitle": self.subtitle,
            "axis_labels": dict(zip("xy", self.labels, strict=True)),
            "marks": [dict(zip(("x", "y", "label"), mark, strict=True)) for mark in marks],
            "directions": directions,
            "center": {"label": self.center.label, "step": self.center.step, "epoch": self.center.epoch},
        }


def moving_names(objective: Objective, layers: Layers = None, states: Sequence[State] = ()) -> list[str]:
    """The floating parameters of some layers of the objective's model, or of all; the states tell which are trainable.

    Raises:
        StateError: a layer that there is not.
    """
    space = objective.model.space
    groups = {} if layers is None else chosen_layers(objective, layers, states)
    chosen = None if layers is None else {name for group in groups.values() for layer in group for name in layer.parameters}
    return [name for name in space.floating_parameters if chosen is None or name in chosen]


def measured(directions: tuple[State, State]) -> dict[str, Any]:
    """The lengths of two directions and the cosine between them.

    Raises:
        GeometryError: one is 0 (all weights of the center are), or they point the same way.
    """
    norms, angle = lengths(*directions)
    if not all(norms):
        raise GeometryError(
            f"{directions[norms.index(0.0)].label} has length 0, so it leads nowhere: the weights that give it its length are 0. "
            "Choose normalize=None, or another center"
        )
    if abs(angle) > 1 - 1e-9:
        raise GeometryError("the two directions point along one line, so they span no plane; choose two that differ")
    return {"norms": norms, "cosine": angle}


def short(state: State) -> str:
    """How figures call a state."""
    known = state.step is not None or state.epoch is not None
    return moment_of({"step": state.step, "epoch": state.epoch}) if known else state.label


def principal_view(objective: Objective, trajectory: Trajectory | None, names: Sequence[str]) -> PlaneView:
    """The plane of a training's first two principal components, through its last state."""
    if trajectory is None:
        raise TrajectoryError('directions="pca" needs the states of a training: pass a ts.Trajectory')
    states = [objective.bind(state) for state in trajectory]
    still = resting_in(objective, states)
    names = [name for name in names if name not in still]
    plane = principal_plane(gram(states, names))
    return PlaneView(
        objective,
        states[-1],
        names,
        plane.directions(states, names),
        through_states=False,
        kind="pca",
        labels=(component_label(1, plane.explained[0]), component_label(2, plane.explained[1])),
        subtitle=f"around {short(states[-1])}; the first two principal components of {len(states)} states",
        details={"norms": [1.0, 1.0], "cosine": 0.0},
    )


def component_label(number: int, share: float) -> str:
    """How an axis calls a principal component."""
    return f"PC {number} ({100 * share:.1f} % of the variance), distance in parameter space"
