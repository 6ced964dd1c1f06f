"""The plane in which a training moved: its principal components, the loss there, and the optimizer's way over it.

Lorch (2016) and Li et al. (2018), section 7, for the plane; Antognini and Sohl-Dickstein (2018) for what a random walk shows
there; Němcová (2021), section 6.5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from thetascope.arrays import Floats
from thetascope.errors import GeometryError, TrajectoryError
from thetascope.experiments.framework.points import AllPoints, PointsSource
from thetascope.experiments.framework.tolerance import checked_tolerance
from thetascope.experiments.shared.chosen_layers import resting_in
from thetascope.experiments.shared.plane_view import PlaneView, component_label, moving_names, short
from thetascope.experiments.shared.training_path import checked_trajectory, moments_along, recorded_requests
from thetascope.files import distinct_names
from thetascope.geometry.pca import Gram, Plane, gram, mean_step_cosine, principal_plane, random_walk_ratio, step_lengths
from thetascope.geometry.planes import Axis, checked_grid
from thetascope.scoring.objective import Objective
from thetascope.state import State
from thetascope.state.frozen import resting
from thetascope.trajectory import Trajectory

COMPONENTS = 10
"""So many components' explained variance is stored at most."""


def source(
    objective: Objective,
    trajectory: Trajectory | Sequence[Trajectory] | Mapping[str, Trajectory],
    x: int | Axis,
    y: int | Axis,
    margin: float,
    tolerance: float | None,
) -> PointsSource:
    """The states as they are, the plane below them, and its cells."""
    names, trainings = _checked_runs(trajectory)
    clock = next((t.clock for t in trainings if t.clock != "step"), "step")
    told = {"trainings": [{"label": name, "states": len(t)} for name, t in zip(names, trainings, strict=True)]}
    states = [objective.bind(state) for training in trainings for state in training]
    # of several trainings all states are compared: each may have begun elsewhere
    still = resting_in(objective, states) if len(trainings) == 1 else resting(objective.model.model, objective.space, states)
    moving = [name for name in moving_names(objective) if name not in still]
    owner = np.repeat(np.arange(len(trainings)), [len(training) for training in trainings])
    found = gram(states, moving, center=len(trainings[0]) - 1)
    plane = principal_plane(found)
    ranges = [_range("x", x, plane.coordinates[:, 0], margin), _range("y", y, plane.coordinates[:, 1], margin)]
    xs, ys = checked_grid(*ranges)
    view = _view(objective, states, moving, found, plane, trainings)
    members = [np.flatnonzero(owner == i).tolist() for i in range(len(trainings))]
    cosine = mean_step_cosine(found, members)
    at_states = AllPoints(view.points(plane.coordinates), ("state",), (len(states),), prefix="plane_")
    measured = recorded_requests(objective, states, "path_", anchor=found.center)
    return PointsSource(
        title=f"the plane in which the training{'s' * (len(trainings) > 1)} moved" if clock != "state" else "the plane of the states",
        objective=objective,
        reference=view.center,
        requests=[*measured, at_states, view.request(xs, ys, checked_tolerance(tolerance))],
        coords={"x": xs, "y": ys, "state": np.arange(len(states)), "component": np.arange(1, min(COMPONENTS, len(states) - 1) + 1)},
        settings={
            "tolerance": tolerance,
            "x": list(ranges[0]),
            "y": list(ranges[1]),
            "states": len(states),
            "trainings": [len(t) for t in trainings],
        },
        known={**_along(trainings, found, plane, owner), **_variances(found, plane, members, cosine)},
        attrs={
            **view.attrs(),
            "mean_cosine": cosine,
            "clock": clock,
            **told,
        },
        derive=lambda data: ({}, told),  # in what is stored they may be called otherwise
    )


def _view(
    objective: Objective, states: Sequence[State], names: Sequence[str], found: Gram, plane: Plane, trainings: Sequence[Trajectory]
) -> PlaneView:
    center = states[found.center]
    of = f"{len(states)} states" if len(trainings) == 1 else f"{len(states)} states of {len(trainings)} trainings"
    return PlaneView(
        objective,
        center,
        names,
        plane.directions(states, names),
        through_states=False,
        kind="pca",
        labels=(component_label(1, plane.explained[0]), component_label(2, plane.explained[1])),
        subtitle=f"principal components of {of}, through {short(center)}",
        details={"norms": [1.0, 1.0], "cosine": 0.0},
    )


def _along(
    trainings: Sequence[Trajectory], found: Gram, plane: Plane, owner: np.ndarray[Any, Any]
) -> dict[str, tuple[tuple[str, ...], Any]]:
    """What is known of each state without scoring it."""
    at = ("state",)
    return {
        "path_x": (at, plane.coordinates[:, 0]),
        "path_y": (at, plane.coordinates[:, 1]),
        "off_plane": (at, plane.off_plane),
        "distance": (at, found.distances),
        **{name: (at, values) for name, values in moments_along(trainings).items()},
        "progress": (at, [t.progress(i) for t in trainings for i in range(len(t))]),
        "training": (at, owner),
    }


def _variances(found: Gram, plane: Plane, members: Sequence[Sequence[int]], cosine: float) -> dict[str, tuple[tuple[str, ...], Floats]]:
    """The explained variance, beside what random walks would show: of independent steps, of correlated ones, and of equal ones."""
    lengths = step_lengths(found, members)
    offsets = np.array([found.distance(members[0][0], own[0]) for own in members])
    count = min(COMPONENTS, found.count - 1)
    equal = [np.ones(len(own)) for own in lengths]
    mean = np.concatenate(lengths).mean() if sum(map(len, lengths)) else 1.0
    ratios = {
        "explained_variance_ratio": plane.explained,
        "random_walk_ratio": random_walk_ratio(lengths, offsets),
        "correlated_walk_ratio": random_walk_ratio(lengths, offsets, cosine) if math.isfinite(cosine) else np.full(count, np.nan),
        "equal_walk_ratio": random_walk_ratio(equal, offsets / mean if mean else offsets),
    }
    return {name: (("component",), ratio[:count]) for name, ratio in ratios.items()}


def _range(name: str, axis: object, along: Floats, margin: float) -> Axis:
    """The axis as given, or that many values over the way with a margin on both sides."""
    if isinstance(axis, tuple | list):
        return cast(Axis, axis)  # checked where the grid is
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer) or axis < 2:
        raise GeometryError(f"{name} must be how many values, at least 2, or (low, high, how many). Got {axis!r} instead.")
    if not (isinstance(margin, int | float | np.integer | np.floating) and not isinstance(margin, bool) and 0 <= margin < math.inf):
        raise GeometryError(f"margin must be a finite share of at least 0, such as 0.3. Got {margin!r} instead.")
    low, high = float(along.min()), float(along.max())
    reach = margin * (high - low)
    return (low - reach, high + reach, int(axis))


def _checked_runs(trajectory: object) -> tuple[list[str], list[Trajectory]]:
    """The trainings by their names: as given, else those of their folders, which parents tell apart; numbers for states in memory."""
    if isinstance(trajectory, Mapping) and any(isinstance(part, Trajectory) for part in trajectory.values()):
        for name in trajectory:
            if not isinstance(name, str) or not name.strip():
                raise TrajectoryError(f'trainings are called by words, as in {{"seed 0": trajectory, …}}. Got {name!r} instead.')
        return list(trajectory), [checked_trajectory(part) for part in trajectory.values()]
    if isinstance(trajectory, Trajectory):
        trajectory = [trajectory]
    if not isinstance(trajectory, Sequence) or isinstance(trajectory, str) or not trajectory:
        raise TrajectoryError(
            f"expected a ts.Trajectory, a list of them or a mapping of names to them. Got {type(trajectory).__name__} instead."
        )
    trainings = [checked_trajectory(part) for part in trajectory]
    unnamed = "run" if len(trainings) == 1 else "run {}"
    return distinct_names([training.folder or Path(unnamed.format(place)) for place, training in enumerate(trainings, 1)]), trainings
