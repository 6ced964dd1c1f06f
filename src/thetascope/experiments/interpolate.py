"""Paths through a training: the straight line and Lagrange polynomials through recorded states.

Goodfellow, Vinyals and Saxe (2015) for the line; Němcová (2021), sections 4.1, 4.2, 6.2 and 6.3, for the quadratic path
and for layers and single parameters.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from thetascope.errors import TrajectoryError
from thetascope.evaluation.engine import Request
from thetascope.evaluation.objective import Objective
from thetascope.experiments.examination import Experiment, OutPath, examine
from thetascope.experiments.training_path import Kind, LayerSelection, MeasuredStates, ParameterSelection, TrainingPath, selected_parameters
from thetascope.geometry.paths import checked_alphas
from thetascope.geometry.points import Floats
from thetascope.results.result import Result
from thetascope.trajectory import Trajectory

Level = Literal["model", "layer", "parameter"]
PARAMETER_RANGE = (-0.5, 1.5)
"""Of α where single parameters move: also what might come if the training went on (Němcová 2021, section 6.3)."""


def interpolate(
    objective: Objective,
    trajectory: Trajectory,
    kind: Kind = "linear",
    level: Level = "model",
    alphas: int | ArrayLike = 41,
    layers: LayerSelection = None,
    parameters: ParameterSelection = None,
    *,
    out: OutPath = None,
    engine: str = "auto",
    progress: bool = True,
) -> Result:
    """Score the model along a path through its training.

    ``Θ(α) = Σ_i ℓ_i(α) Θ_i`` with Lagrange's ℓ_i; the n + 1 knots are the recorded states nearest to i/n of the
    training's steps, set at α = i/n. Linear is n = 1 (first and last state), quadratic n = 2 (with the middle one).

    Args:
        objective: what to score.
        trajectory: the recorded states.
        kind: "linear", "quadratic", or the degree n.
        level: what moves. "model": everything. "layer": one layer at a time, the rest stays final.
            "parameter": one single parameter at a time, the rest stays final.
        alphas: how many values of α evenly in [0, 1] (at the level of parameters in [-0.5, 1.5]), or the values.
        layers: for "layer": names or globs, one curve each; or ``{label: [names or globs]}`` for layers that move
            together. For "parameter": where to draw.
        parameters: for "parameter": labels such as "conv1.weight[0,0,1,1]", ``{tensor name: [index tuple, …]}``,
            or how many to draw in each layer (default 4, drawn with seed 0).
        out: store the result there, unit by unit; the same call then goes on where it stopped.
        engine: "auto", or the name of a backend.
        progress: say what is scored and how long it takes, and show how far it is.

    Returns:
        ``loss``, a variable a metric and ``status`` over ``alpha``, over (``layer``, ``alpha``) or over
        (``parameter``, ``alpha``). Layers and parameters have their ``distance``, Euclidean, from first to last
        state; parameters their ``layer``. At the level of the model, ``actual_loss`` and the metrics likewise over
        ``state``: measured at the recorded states themselves, with ``progress`` in [0, 1], ``step`` and ``epoch``.
        ``attrs["knots"]``: which states the path goes through.

    Raises:
        TrajectoryError: too few states for the degree, or two knots fall on the same one.
        GeometryError: alphas that are empty, repeated or not finite; a parameter that there is not.
        StateError: the states do not fit the objective's model; a layer that there is not.

    Example:
        >>> line = ts.interpolate(objective, trajectory, "linear", alphas=11)
        >>> line.data["loss"].dims, line.data["actual_loss"].dims
        (('alpha',), ('state',))
        >>> layers = ts.interpolate(objective, trajectory, "quadratic", level="layer", layers=["conv*"], alphas=5)
        >>> layers.data["loss"].dims, layers.data["layer"].values.tolist()
        (('layer', 'alpha'), ['conv1', 'conv2'])
        >>> one = ts.interpolate(objective, trajectory, level="parameter", parameters=["fc2.bias[3]"], alphas=5)
        >>> one.data["alpha"].values.tolist()
        [-0.5, 0.0, 0.5, 1.0, 1.5]
    """
    plans = {"model": _model, "layer": _layer, "parameter": _parameter}
    if level not in plans:
        raise TrajectoryError(f"level must be one of {', '.join(plans)}. Got {level!r} instead.")
    path = TrainingPath(objective, trajectory, kind)
    values = checked_alphas(alphas, PARAMETER_RANGE if level == "parameter" else (0.0, 1.0))
    experiment = plans[level](path, values, layers, parameters)
    return examine(objective, experiment, out=out, engine=engine, progress=progress)


def _model(path: TrainingPath, alphas: Floats, layers: LayerSelection, parameters: ParameterSelection) -> Experiment:
    _unused("layers", layers, "model")
    _unused("parameters", parameters, "model")
    measured = MeasuredStates(path.objective, path.trajectory, path.indices)
    return Experiment(
        name="interpolate",
        title=f"{path.name} path of the whole model",
        requests=[Request(path.model_points(alphas), ("alpha",), (len(alphas),)), measured.request()],
        coords={"alpha": alphas, "state": np.asarray(measured.indices)},
        settings={"kind": path.name, "level": "model", "alphas": alphas.tolist(), "knots": list(path.indices)},
        constants=measured.constants(),
        attrs={"level": "model", "distance": path.distance(path.parameters), **path.attrs()},
    )


def _layer(path: TrainingPath, alphas: Floats, layers: LayerSelection, parameters: ParameterSelection) -> Experiment:
    _unused("parameters", parameters, "layer")
    groups = path.objective.space.groups(layers)
    return Experiment(
        name="interpolate",
        title=f"{path.name} path, one layer at a time",
        requests=[Request(path.layer_points(groups, alphas), ("layer", "alpha"), (len(groups), len(alphas)))],
        coords={"layer": list(groups), "alpha": alphas},
        settings={"kind": path.name, "level": "layer", "alphas": alphas.tolist(), "knots": list(path.indices), "layers": list(groups)},
        constants={"distance": (("layer",), [path.distance(path.names_of(group)[0]) for group in groups.values()])},
        attrs={"level": "layer", **path.attrs()},
    )


def _parameter(path: TrainingPath, alphas: Floats, layers: LayerSelection, parameters: ParameterSelection) -> Experiment:
    chosen, owners = selected_parameters(path.objective, parameters, layers)
    labels = [parameter.label for parameter in chosen]
    points = path.parameter_points(chosen, alphas)
    ends = path.parameter_points(chosen, np.array([0.0, 1.0])).values
    return Experiment(
        name="interpolate",
        title=f"{path.name} path, one single parameter at a time",
        requests=[Request(points, ("parameter", "alpha"), (len(chosen), len(alphas)))],
        coords={"parameter": labels, "alpha": alphas},
        settings={"kind": path.name, "level": "parameter", "alphas": alphas.tolist(), "knots": list(path.indices), "parameters": labels},
        constants={"distance": (("parameter",), np.abs(ends[:, 1] - ends[:, 0])), "layer": (("parameter",), owners)},
        attrs={"level": "parameter", **path.attrs()},
    )


def _unused(name: str, given: object, level: str) -> None:
    if given is not None:
        raise TrajectoryError(f'{name} has no meaning at level="{level}"; leave it out, or choose another level')
