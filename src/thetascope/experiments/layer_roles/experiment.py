"""Robust and ambient layers: what it costs to put one layer back to its first values, or to draw it anew."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from thetascope.errors import StateError, TrajectoryError, UsageError
from thetascope.experiments.framework.call_options import Layers
from thetascope.experiments.framework.points import AllPoints, PointsSource
from thetascope.experiments.framework.source import Variables
from thetascope.experiments.layer_roles.fresh_values import FreshValues
from thetascope.experiments.shared.chosen_layers import block_labels
from thetascope.experiments.shared.training_path import TrainingPath, checked_trajectory
from thetascope.geometry.points import StoredStates
from thetascope.geometry.redraws import Redraws
from thetascope.scoring.objective import Objective
from thetascope.state import Layer
from thetascope.trajectory import Trajectory

ROBUST, AMBIENT, UNDECIDED = "robust", "ambient", "undecided"
Groups = Mapping[str, Sequence[Layer]]


def source(objective: Objective, trajectory: Trajectory, draws: int, threshold: float, seed: int, layers: Layers) -> PointsSource:
    """The points of each layer put back and drawn anew."""
    draws, seed = _checked_int("draws", draws, 1), _checked_int("seed", seed, 0)
    threshold = _checked_threshold(threshold)
    if len(checked_trajectory(trajectory)) < 2:
        raise TrajectoryError("layer_roles compares the first state with the last; this trajectory has 1. Record the training's end too")
    path = TrainingPath(objective, trajectory, "linear")
    groups = _checked_groups(path.groups(layers))
    fresh = FreshValues(objective.model.model, objective.space, path.states[0], seed)
    normally = {label: _drawn_normally(fresh, group) for label, group in groups.items()}
    ways = [_way(fresh, group, normally[label]) for label, group in groups.items()]
    settings = {"draws": draws, "threshold": threshold, "seed": seed}
    return PointsSource(
        title=f"robust and ambient layers: each re-initialised, and drawn anew {draws} times",
        objective=objective,
        requests=_requests(path, groups, fresh, draws),
        coords={"layer": list(groups), "draw": np.arange(draws), "end": ["initial", "final"]},
        labels=block_labels(objective.space, groups),
        settings={
            **settings,
            "knots": list(path.indices),
            "layers": {label: [layer.name for layer in group] for label, group in groups.items()},
            "redraw": dict(zip(groups, ways, strict=True)),
        },
        known={
            "distance": (("layer",), [path.distance(path.names_of(group)[0]) for group in groups.values()]),
            "redraw": (("layer",), ways),
        },
        attrs={
            **settings,
            "loss_name": objective.loss,
            "knots": path.knots(),
            "drawn_normally": {name: reason for reasons in normally.values() for name, reason in reasons.items()},
            "with_buffers": _with_buffers(objective, groups),
            "not_called": [layer.name for group in groups.values() for layer in group if layer.called is False],
        },
        derive=_roles(threshold),
    )


def _with_buffers(objective: Objective, groups: Groups) -> list[str]:
    """The layers whose floating buffers are put back with them, and stay when they are drawn anew."""
    if objective.buffers != "path":
        return []
    specs = objective.space.tensors
    return [label for label, group in groups.items() if any(specs[name].floating for layer in group for name in layer.buffers)]


def _requests(path: TrainingPath, groups: Groups, fresh: FreshValues, draws: int) -> list[AllPoints]:
    """The draws come first: the point that is scored again on going on shows if they are still the same."""
    members = tuple(groups.values())

    def draw(group: int, number: int) -> dict[str, Any]:
        return {name: tensor for layer in members[group] for name, tensor in fresh.draw(layer, number).items()}

    drawn = tuple(tuple(name for layer in group for name in fresh.names(layer)) for group in members)
    redraws = Redraws(path.states[-1], drawn, draws, draw, recipe=f"seed {fresh.seed}, first state {path.states[0].digest()}")
    return [
        AllPoints(redraws, ("layer", "draw"), (len(groups), draws), prefix="rerandom_"),
        AllPoints(path.layer_points(groups, np.zeros(1)), ("layer",), (len(groups),), prefix="reinit_"),
        AllPoints(StoredStates(path.states), ("end",), (2,), prefix="end_", as_recorded=True),
    ]


def _drawn_normally(fresh: FreshValues, group: Sequence[Layer]) -> dict[str, str]:
    return {name: reason for layer in group for name, reason in fresh.drawn_normally(layer).items()}


def _way(fresh: FreshValues, group: Sequence[Layer], normally: Mapping[str, str]) -> str:
    count = sum(len(fresh.names(layer)) for layer in group)
    if not normally:
        return "reset_parameters"
    return "normal" if len(normally) == count else "both"


def _roles(threshold: float) -> Callable[[Any], tuple[Variables, Mapping[str, Any]]]:
    """What follows from the scores by the rule."""

    def derived(data: Any) -> tuple[Variables, Mapping[str, Any]]:
        initial, final = (float(data["end_loss"].sel(end=end)) for end in ("initial", "final"))
        losses = data["reinit_loss"].values
        undecided = []
        if not (math.isfinite(initial) and math.isfinite(final) and initial > final):
            undecided.append(f"the training gained nothing that shares could be told of: the loss was {initial:.6g} and became {final:.6g}")
            share = np.full(len(losses), np.nan)
        else:
            share = np.where(np.isfinite(losses), (losses - final) / (initial - final), np.nan)
            undecided += [
                f'the loss with "{layer}" re-initialised is {loss}'
                for layer, loss in zip(data["layer"].values, losses, strict=True)
                if not math.isfinite(loss)
            ]
        role = [UNDECIDED if math.isnan(part) else ROBUST if part > threshold else AMBIENT for part in share]
        return {"share": (("layer",), share), "role": (("layer",), role)}, {"undecided": undecided}

    return derived


def _checked_groups(groups: dict[str, tuple[Layer, ...]]) -> dict[str, tuple[Layer, ...]]:
    empty = [label for label, group in groups.items() if not group]
    if empty or not groups:
        which = f" in {', '.join(empty)}" if empty else ""
        raise StateError(f"layers selects no layer{which}; name at least one, or leave it out for all")
    return groups


def _checked_int(name: str, value: object, least: int) -> int:
    try:
        if not isinstance(value, bool | np.bool_) and (number := operator.index(value)) >= least:  # type: ignore[arg-type]
            return number
    except TypeError:
        pass
    raise UsageError(f"{name} must be a whole number of at least {least}. Got {value!r} instead.")


def _checked_threshold(value: object) -> float:
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool) and 0 <= value < math.inf:
        return float(value)
    raise UsageError(f"threshold must be a finite share of at least 0, such as 0.25. Got {value!r} instead.")
