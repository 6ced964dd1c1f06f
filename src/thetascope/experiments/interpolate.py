"""Paths through a training: the straight line and Lagrange polynomials through recorded states.

Goodfellow, Vinyals and Saxe (2015) for the line; Němcová (2021), sections 4.1 and 4.2, for the quadratic path.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike

from thetascope.errors import TrajectoryError
from thetascope.evaluation.engine import Request
from thetascope.evaluation.objective import Objective
from thetascope.experiments.examination import Experiment, OutPath, examine
from thetascope.geometry.paths import checked_alphas, model_path, stored_points
from thetascope.results.result import Result
from thetascope.state import State
from thetascope.trajectory import Trajectory

Kind = Literal["linear", "quadratic"] | int
_DEGREES = {"linear": 1, "quadratic": 2}
MEASURED_LIMIT = 101
"""At most so many recorded states are scored beside a path, evenly chosen, the first and the last among them."""


def interpolate(
    objective: Objective,
    trajectory: Trajectory,
    kind: Kind = "linear",
    level: Literal["model"] = "model",
    alphas: int | ArrayLike = 41,
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
        trajectory: the recorded states; only the knots are interpolated, the others are scored as they are.
        kind: "linear", "quadratic", or the degree n.
        level: "model": everything moves.
        alphas: how many values of α evenly in [0, 1], or the values.
        out: store the result there, unit by unit; the same call then goes on where it stopped.
        engine: "auto", or the name of a backend.
        progress: say what is scored and how long it takes, and show how far it is.

    Returns:
        Over ``alpha``: ``loss``, a variable a metric, ``status``. Over ``state``: ``actual_loss`` and the metrics
        likewise, measured at the recorded states themselves, with their ``progress`` in [0, 1], ``step`` and
        ``epoch``. ``attrs["knots"]``: which states were used; ``attrs["distance"]``: Euclidean, first to last.

    Raises:
        TrajectoryError: too few states for the degree, or two knots fall on the same one.
        GeometryError: alphas that are empty, repeated or not finite.
        StateError: the states do not fit the objective's model.
    """
    if level != "model":
        raise TrajectoryError(f'level must be "model". Got {level!r} instead.')
    if not isinstance(trajectory, Trajectory):
        raise TrajectoryError(
            f"expected a ts.Trajectory, got {type(trajectory).__name__}; make one with ts.Trajectory(run) or .from_states([…])"
        )
    degree, values = _degree(kind), checked_alphas(alphas)
    knots = knot_indices(trajectory, degree)
    measured = _measured_indices(len(trajectory), knots)
    bound = {index: objective.bind(trajectory[index]) for index in sorted({*knots, *measured})}
    space = objective.model.space
    moving = [n for n in space.parameters if space.tensors[n].floating]
    buffers = [n for n in space.buffers if space.tensors[n].floating]
    at = np.linspace(0.0, 1.0, degree + 1)
    path = model_path([bound[i] for i in knots], at, values, moving, buffers)
    states = stored_points([bound[i] for i in measured], tuple(space.tensors))
    name = kind if isinstance(kind, str) else f"degree {degree}"
    experiment = Experiment(
        name="interpolate",
        title=f"{name} path of the whole model",
        requests=[
            Request(path, ("alpha",), (len(values),)),
            Request(states, ("state",), (len(measured),), prefix="actual_", as_recorded=True),
        ],
        coords={
            "alpha": values,
            "state": np.asarray(measured),
        },
        settings={"kind": name, "level": level, "alphas": values.tolist(), "knots": list(knots)},
        constants={
            "progress": (("state",), [trajectory.progress(i) for i in measured]),
            "step": (("state",), [trajectory.steps[i] for i in measured]),
            "epoch": (("state",), [trajectory.epochs[i] for i in measured]),
        },
        attrs={
            "kind": name,
            "degree": degree,
            "level": level,
            "loss_name": objective.loss,
            "knots": [_knot(trajectory, i, float(a)) for i, a in zip(knots, at, strict=True)],
            "distance": _distance(bound[knots[0]], bound[knots[-1]], moving),
            "states_recorded": len(trajectory),
        },
    )
    return examine(objective, experiment, out=out, engine=engine, progress=progress)


def _degree(kind: Kind) -> int:
    if isinstance(kind, str) and kind in _DEGREES:
        return _DEGREES[kind]
    if isinstance(kind, int) and not isinstance(kind, bool) and kind >= 1:
        return kind
    raise TrajectoryError(f'kind must be "linear", "quadratic" or a degree of at least 1. Got {kind!r} instead.')


def knot_indices(trajectory: Trajectory, degree: int) -> tuple[int, ...]:
    """The states nearest to i/n of the training, ties earlier.

    Raises:
        TrajectoryError: there are too few, or two knots fall on the same state.
    """
    if len(trajectory) < degree + 1:
        raise TrajectoryError(
            f"a path of degree {degree} needs {degree + 1} recorded states; this trajectory has {len(trajectory)}: steps {trajectory.steps}"
        )
    knots = tuple(trajectory.index_at(i / degree) for i in range(degree + 1))
    if len(set(knots)) < len(knots):
        wanted = ", ".join(f"{i / degree:.3g}" for i in range(degree + 1))
        there = ", ".join(f"{trajectory.progress(i):.3g}" for i in range(len(trajectory)))
        raise TrajectoryError(
            f"a path of degree {degree} needs different states near progress {wanted}; recorded were {there} (steps "
            f"{trajectory.steps}). Record more states, or choose a lower degree"
        )
    return knots


def _measured_indices(count: int, knots: Sequence[int]) -> list[int]:
    even = np.linspace(0, count - 1, min(count, MEASURED_LIMIT)).round().astype(int)
    return sorted({*even.tolist(), *knots})


def _knot(trajectory: Trajectory, index: int, alpha: float) -> dict[str, Any]:
    return {
        "alpha": alpha,
        "state": index,
        "step": trajectory.steps[index],
        "epoch": trajectory.epochs[index],
        "progress": trajectory.progress(index),
    }


def _distance(first: State, last: State, names: Sequence[str]) -> float:
    """Euclidean distance over all parameters, in float64."""
    squares = []
    for name in names:
        wide = torch.complex128 if last[name].is_complex() else torch.float64
        squares.append(torch.linalg.vector_norm(last[name].to(wide) - first[name].to(wide)).item() ** 2)
    return math.sqrt(math.fsum(squares))
