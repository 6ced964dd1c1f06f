"""The straight line against the quadratic path against what happened (Němcová 2021, section 6.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from thetascope.arrays import Floats
from thetascope.errors import TrajectoryError
from thetascope.experiments.compare_paths.noise import noise_floor
from thetascope.experiments.framework.call_options import Layers, Parameters
from thetascope.experiments.framework.points import AllPoints, PointsSource
from thetascope.experiments.framework.source import Variables
from thetascope.experiments.shared.patterns import patterns, share_intervals, shares
from thetascope.experiments.shared.training_path import (
    PARAMETER_RANGE,
    MeasuredStates,
    TrainingPath,
    midpoints,
    selected_parameters,
)
from thetascope.geometry.edits import ScalarEdits
from thetascope.geometry.paths import checked_alphas
from thetascope.scoring.objective import Objective
from thetascope.trajectory import Trajectory

KINDS = ("linear", "quadratic")
PLACE = {"linear": "share", "quadratic": "nearest"}
"""What says where on each path a recorded state is."""


def source(
    objective: Objective, trajectory: Trajectory, level: str, alphas: int | ArrayLike, layers: Layers, parameters: Parameters
) -> PointsSource:
    """The points of both paths."""
    levels = {"model": _model, "parameter": _parameter}
    if level not in levels:
        raise TrajectoryError(f"level must be one of {', '.join(levels)}. Got {level!r} instead.")
    if level == "model" and (layers is not None or parameters is not None):
        raise TrajectoryError('layers and parameters have no meaning at level="model"; leave them out, or choose level="parameter"')
    paths = {kind: TrainingPath(objective, trajectory, kind) for kind in ("quadratic", "linear")}
    values = checked_alphas(alphas, PARAMETER_RANGE if level == "parameter" else (0.0, 1.0))
    return levels[level](paths, values, layers, parameters)


def _model(paths: Mapping[str, TrainingPath], alphas: Floats, layers: Layers, parameters: Parameters) -> PointsSource:
    quadratic = paths["quadratic"]
    measured = MeasuredStates(quadratic.objective, quadratic.trajectory, quadratic.indices)
    whereabouts = measured.places(quadratic.indices)
    known: Variables = {**measured.constants(), **whereabouts}
    progress = np.asarray(measured.constants()["progress"][1])
    # a state without a place, as one that is not finite, is compared with nothing: any point does
    places = {kind: np.where(np.isfinite(at := whereabouts[PLACE[kind]][1]), at, progress) for kind in KINDS}
    count = len(measured.indices)
    return PointsSource(
        title="linear and quadratic path against what was measured",
        objective=quadratic.objective,
        requests=[
            *(AllPoints(paths[k].model_points(alphas), ("alpha",), (len(alphas),), prefix=f"{k}_") for k in KINDS),
            *(AllPoints(paths[k].model_points(places[k]), ("state",), (count,), prefix=f"{k}_by_place_") for k in KINDS),
            *measured.requests(),
        ],
        coords={"alpha": alphas, "state": np.asarray(measured.indices)},
        settings={"level": "model", "alphas": alphas.tolist(), "knots": list(quadratic.indices)},
        known=known,
        attrs={"level": "model", "distance": quadratic.distance(quadratic.parameters), **quadratic.attrs(), "kind": "linear and quadratic"},
        derive=_crossings_and_gaps,
    )


def _parameter(paths: Mapping[str, TrainingPath], alphas: Floats, layers: Layers, parameters: Parameters) -> PointsSource:
    quadratic = paths["quadratic"]
    chosen, owners = selected_parameters(quadratic, parameters, layers)
    labels = [parameter.label for parameter in chosen]
    knots = quadratic.parameter_points(chosen, np.array([0.0, 0.5, 1.0])).values
    shape, dims = (len(chosen), len(alphas)), ("parameter", "alpha")
    objective, edits = quadratic.objective, {kind: paths[kind].parameter_points(chosen, alphas) for kind in KINDS}
    return PointsSource(
        title="linear and quadratic path of single parameters",
        objective=objective,
        requests=[AllPoints(edits[kind], dims, shape, prefix=f"{kind}_") for kind in KINDS],
        coords={"parameter": labels, "alpha": alphas},
        settings={"level": "parameter", "alphas": alphas.tolist(), "knots": list(quadratic.indices), "parameters": labels},
        known={
            "distance": (("parameter",), np.abs(knots[:, 2] - knots[:, 0])),
            "midpoint": (("parameter",), midpoints(knots)),
            "layer": (("parameter",), owners),
        },
        attrs={"level": "parameter", **quadratic.attrs(), "kind": "linear and quadratic"},
        derive=lambda data: _patterns(data, objective, edits["linear"]),
    )


def _patterns(data: Any, objective: Objective, edits: ScalarEdits) -> tuple[Variables, dict[str, Any]]:
    floor = data.attrs.get("noise_floor")  # known where the result was finished before
    if floor is None:
        floor = noise_floor(objective, edits, data["linear_loss"].values)
    order = np.argsort(data["alpha"].values)
    alphas = data["alpha"].values[order]
    found = patterns(alphas, data["linear_loss"].values[:, order], data["quadratic_loss"].values[:, order], floor)
    known = {"pattern_shares": shares(found), "pattern_shares_interval": share_intervals(found), "noise_floor": floor}
    return {"pattern": (("parameter",), found)}, known


def _crossings_and_gaps(data: Any) -> tuple[Variables, dict[str, Any]]:
    order = np.argsort(data["alpha"].values)
    alphas, progress, actual = data["alpha"].values[order], data["progress"].values, data["actual_loss"].values
    knots = {knot["progress"]: knot["alpha"] for knot in data.attrs["knots"]}
    free = ~np.isin(progress, list(knots))
    found: dict[str, Any] = {"crossings": {}, "gaps": {"states": int(free.sum())}}
    for kind in KINDS:
        path = data[f"{kind}_loss"].values[order]
        own = knots if kind == "quadratic" else {0.0: 0.0, 1.0: 1.0}
        found["crossings"][kind] = crossings(alphas, path, progress, actual, own)
        found["gaps"][kind] = log_gap(np.interp(progress[free], alphas, path), actual[free])
        placed = free & np.isfinite(data[PLACE[kind]].values)
        found["gaps"][f"{kind}_by_place"] = log_gap(data[f"{kind}_by_place_loss"].values[placed], actual[placed])
    return {}, found


def log_gap(path: Floats, measured: Floats) -> float:
    """Mean of |log10(path / measured)|: 0.3 is a factor of two. nan without values or where one is not positive."""
    if not len(path) or not (np.minimum(path, measured) > 0).all():
        return float("nan")
    return float(np.abs(np.log10(path / measured)).mean())


def crossings(alphas: Floats, path: Floats, progress: Floats, measured: Floats, knots: Mapping[float, float]) -> list[dict[str, Any]]:
    """Where two curves, linear between their points, cross inside (0, 1).

    Args:
        alphas: ``[K]`` of the path, rising.
        path: ``[K]`` its loss.
        progress: ``[T]`` of the measured states, rising.
        measured: ``[T]`` their loss.
        knots: the path's knots: the progress of each one's state, and the α at which the path passes through it. Where
            both are equal the curves meet there by construction; where the state was recorded a little off they
            cross between the two, which counts as by construction too.

    Returns:
        For each ``{"alpha": …, "loss": …, "by_construction": bool}``, in order. A curve that touches at a knot without
        changing sides counts there too.
    """
    exact = [alpha for at, alpha in knots.items() if at == alpha]
    grid = np.union1d(np.union1d(alphas, progress), exact)
    grid = grid[(grid >= max(alphas[0], progress[0])) & (grid <= min(alphas[-1], progress[-1]))]
    here, there = np.interp(grid, alphas, path), np.interp(grid, progress, measured)
    side = np.sign(here - there)
    side[np.isin(grid, exact)] = 0.0  # they meet there up to the last bits, whatever these are
    places = [float(grid[i]) for i in np.flatnonzero(side == 0)]
    for i in np.flatnonzero(side[:-1] * side[1:] < 0):
        before, after = here[i] - there[i], here[i + 1] - there[i + 1]
        places.append(float(grid[i] + before / (before - after) * (grid[i + 1] - grid[i])))
    return [
        {
            "alpha": place,
            "loss": float(np.interp(place, progress, measured)),
            "by_construction": any(min(at, alpha) <= place <= max(at, alpha) for at, alpha in knots.items()),
        }
        for place in sorted(places)
        if 0.0 < place < 1.0
    ]
