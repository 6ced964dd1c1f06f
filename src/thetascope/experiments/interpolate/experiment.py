"""Paths through a training: the straight line and Lagrange polynomials through recorded states.

Goodfellow, Vinyals and Saxe (2015) for the line; Němcová (2021), sections 4.1, 4.2, 6.2 and 6.3, for the quadratic path
and for layers and single parameters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from thetascope.arrays import Floats
from thetascope.errors import TrajectoryError
from thetascope.experiments.framework.call_options import Kind, Layers, Parameters
from thetascope.experiments.framework.points import AllPoints, PointsSource
from thetascope.experiments.shared.barriers import barrier_attrs
from thetascope.experiments.shared.chosen_layers import block_labels, is_word
from thetascope.experiments.shared.training_path import (
    PARAMETER_RANGE,
    MeasuredStates,
    TrainingPath,
    selected_parameters,
)
from thetascope.geometry.paths import checked_alphas
from thetascope.geometry.points import Points
from thetascope.scoring.objective import Objective
from thetascope.state import BLOCKS
from thetascope.trajectory import Trajectory


def source(
    objective: Objective, trajectory: Trajectory, kind: Kind, level: str, alphas: int | ArrayLike, layers: Layers, parameters: Parameters
) -> PointsSource:
    """The points of a path."""
    levels = {"model": _model, "layer": _layer, "parameter": _parameter}
    if level not in levels:
        raise TrajectoryError(f"level must be one of {', '.join(levels)}. Got {level!r} instead.")
    path = TrainingPath(objective, trajectory, kind)
    values = checked_alphas(alphas, PARAMETER_RANGE if level == "parameter" else (0.0, 1.0))
    return levels[level](path, values, layers, parameters)


def _model(path: TrainingPath, alphas: Floats, layers: Layers, parameters: Parameters) -> PointsSource:
    _unused("layers", layers, "model")
    _unused("parameters", parameters, "model")
    measured, points = MeasuredStates(path.objective, path.trajectory, path.indices), path.model_points(alphas)
    return PointsSource(
        title=f"{path.name} path of the whole model",
        objective=path.objective.keeping_losses(),  # of which the barrier has its error
        requests=[AllPoints(points, ("alpha",), (len(alphas),)), *measured.requests()],
        coords={"alpha": alphas, "state": np.asarray(measured.indices)},
        settings={"kind": path.name, "level": "model", "alphas": alphas.tolist(), "knots": list(path.indices)},
        known={**measured.constants(), **measured.places(path.indices)},
        attrs={"level": "model", "distance": path.distance(path.parameters), **path.attrs()},
        derive=lambda data: ({}, _barrier(data, path, points)),
    )


def _barrier(data: xr.Dataset, path: TrainingPath, points: Points) -> dict[str, Any]:
    """Between the first state and the last, which are the first and the last of those that were measured."""
    objective, actual = path.objective, data["actual_loss"].values
    ends = objective.stored((path.states[0], path.states[-1]))
    return barrier_attrs(data, objective, points, ends, (float(actual[0]), float(actual[-1])))


def _layer(path: TrainingPath, alphas: Floats, layers: Layers, parameters: Parameters) -> PointsSource:
    _unused("parameters", parameters, "layer")
    groups = path.groups(layers)
    return PointsSource(
        title=f"{path.name} path, one {'block' if is_word(layers, BLOCKS) else 'layer'} at a time",
        objective=path.objective,
        requests=[AllPoints(path.layer_points(groups, alphas), ("layer", "alpha"), (len(groups), len(alphas)))],
        coords={"layer": list(groups), "alpha": alphas},
        labels=block_labels(path.objective.space, groups),
        settings={"kind": path.name, "level": "layer", "alphas": alphas.tolist(), "knots": list(path.indices), "layers": list(groups)},
        known={"distance": (("layer",), [path.distance(path.names_of(group)[0]) for group in groups.values()])},
        attrs={"level": "layer", **path.attrs()},
    )


def _parameter(path: TrainingPath, alphas: Floats, layers: Layers, parameters: Parameters) -> PointsSource:
    chosen, owners = selected_parameters(path, parameters, layers)
    labels = [parameter.label for parameter in chosen]
    points = path.parameter_points(chosen, alphas)
    ends = path.parameter_points(chosen, np.array([0.0, 1.0])).values
    return PointsSource(
        title=f"{path.name} path, one single parameter at a time",
        objective=path.objective,
        requests=[AllPoints(points, ("parameter", "alpha"), (len(chosen), len(alphas)))],
        coords={"parameter": labels, "alpha": alphas},
        settings={"kind": path.name, "level": "parameter", "alphas": alphas.tolist(), "knots": list(path.indices), "parameters": labels},
        known={"distance": (("parameter",), np.abs(ends[:, 1] - ends[:, 0])), "layer": (("parameter",), owners)},
        attrs={"level": "parameter", **path.attrs()},
    )


def _unused(name: str, given: object, level: str) -> None:
    if given is not None:
        raise TrajectoryError(f'{name} has no meaning at level="{level}"; leave it out, or choose another level')
