"""Robust and ambient layers: what it costs to put one layer back to its first values, or to draw it anew."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from thetascope.errors import StateError, TrajectoryError, UsageError
from thetascope.evaluation.engine import Request
from thetascope.evaluation.objective import Objective
from thetascope.experiments.examination import Experiment, OutPath, Variables, examine
from thetascope.experiments.fresh_values import FreshValues
from thetascope.experiments.training_path import LayerSelection, TrainingPath, checked_trajectory
from thetascope.geometry.paths import stored_points
from thetascope.geometry.redraws import Redraws
from thetascope.results.result import Result
from thetascope.state import Layer
from thetascope.trajectory import Trajectory

ROBUST, AMBIENT, UNDECIDED = "robust", "ambient", "undecided"
Groups = Mapping[str, Sequence[Layer]]


def layer_roles(
    objective: Objective,
    trajectory: Trajectory,
    draws: int = 5,
    threshold: float = 0.25,
    seed: int = 0,
    layers: LayerSelection = None,
    *,
    out: OutPath = None,
    engine: str = "auto",
    progress: bool = True,
) -> Result:
    """Tell the layers that the training depends on from those it hardly does.

    One layer at a time, all else final, is

    - *re-initialised*: put back to its first values, its floating buffers with it (where the objective takes buffers
      from the path);
    - *re-randomised*: its parameters drawn anew, `draws` times, by its module's own ``reset_parameters``; what that does
      not draw, from a normal distribution with the mean and standard deviation of the first values, tensor by tensor.
      Its buffers stay final. A tied tensor is drawn once, with the layer that owns it. A draw depends on
      `seed`, its number and the layer's name, and on nothing else: not on which other layers are examined.

    ``share = (reinit_loss − final_loss) / (initial_loss − final_loss)`` is how much of what the training gained is lost
    by re-initialising. A layer with a share above `threshold` is *robust*, one with less *ambient*: so calls them Němcová
    (2021, sections 4.1 and 6.2), and robust means that the layer's training shows in the result, not that it stands
    disturbance. Zhang, Bengio and Singer ("Are All Layers Created Equal?", 2019) call the former *critical*.

    Args:
        objective: what to score.
        trajectory: the recorded states, of which the first and the last are used.
        draws: how many times each layer is drawn anew.
        threshold: the share above which a layer is robust.
        seed: of the draws.
        layers: names or globs, or ``{label: [names or globs]}`` for layers that are put back together.
        out: store the result there, unit by unit; the same call then goes on where it stopped.
        engine: "auto", or the name of a backend.
        progress: say what is scored and how long it takes, and show how far it is.

    Returns:
        Over ``layer``: ``reinit_loss``, the metrics likewise, ``reinit_status``; ``distance``, Euclidean, from first to
        last state; ``share``, nan where it is undecided; ``role``: "robust", "ambient", or "undecided" where the
        training gained nothing or a value is not finite (``attrs["undecided"]`` says which); ``redraw``: how the layer was drawn,
        "reset_parameters", "normal" or "both" (``attrs["drawn_normally"]``: which tensors, and why).
        ``attrs["with_buffers"]``: the layers whose running statistics are put back with them, and stay when they are drawn anew.
        Over (``layer``, ``draw``): ``rerandom_loss``, the metrics likewise, ``rerandom_status``.
        Over ``end`` ("initial", "final"): ``end_loss``, the metrics likewise, ``end_status``: the two states as recorded.
        ``attrs["not_called"]``: layers that no forward pass called; a parent may still use their tensors.

    Raises:
        UsageError: draws, threshold or seed are off.
        TrajectoryError: the trajectory holds only one state.
        StateError: the states do not fit the objective's model; a layer that there is not.

    Example:
        >>> result = ts.layer_roles(objective, trajectory, draws=2)
        >>> result.data["role"].dims, result.data["rerandom_loss"].dims
        (('layer',), ('layer', 'draw'))
        >>> set(result.data["role"].values.tolist()) <= {"robust", "ambient", "undecided"}
        True
    """
    draws, seed = _checked_int("draws", draws, 1), _checked_int("seed", seed, 0)
    threshold = _checked_threshold(threshold)
    if len(checked_trajectory(trajectory)) < 2:
        raise TrajectoryError("layer_roles compares the first state with the last; this trajectory has 1. Record the training's end too")
    path = TrainingPath(objective, trajectory, "linear")
    groups = _checked_groups(objective.space.groups(layers))
    fresh = FreshValues(objective.model.model, objective.space, path.states[0], seed)
    normally = {label: _drawn_normally(fresh, group) for label, group in groups.items()}
    ways = [_way(fresh, group, normally[label]) for label, group in groups.items()]
    settings = {"draws": draws, "threshold": threshold, "seed": seed}
    experiment = Experiment(
        name="layer_roles",
        title=f"robust and ambient layers: each re-initialised, and drawn anew {draws} times",
        requests=_requests(path, groups, fresh, draws),
        coords={"layer": list(groups), "draw": np.arange(draws), "end": ["initial", "final"]},
        settings={
            **settings,
            "knots": list(path.indices),
            "layers": {label: [layer.name for layer in group] for label, group in groups.items()},
            "redraw": dict(zip(groups, ways, strict=True)),
        },
        constants={
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
        derived=_roles(threshold),
    )
    return examine(objective, experiment, out=out, engine=engine, progress=progress)


def _with_buffers(objective: Objective, groups: Groups) -> list[str]:
    """The layers whose floating buffers are put back with them, and stay when they are drawn anew."""
    if objective.buffers != "path":
        return []
    specs = objective.space.tensors
    return [label for label, group in groups.items() if any(specs[name].floating for layer in group for name in layer.buffers)]


def _requests(path: TrainingPath, groups: Groups, fresh: FreshValues, draws: int) -> list[Request]:
    """The draws come first: the point that is scored again on going on shows if they are still the same."""
    members = tuple(groups.values())

    def draw(group: int, number: int) -> dict[str, Any]:
        return {name: tensor for layer in members[group] for name, tensor in fresh.draw(layer, number).items()}

    drawn = tuple(tuple(name for layer in group for name in fresh.names(layer)) for group in members)
    redraws = Redraws(path.states[-1], drawn, draws, draw, recipe=f"seed {fresh.seed}, first state {path.states[0].digest()}")
    return [
        Request(redraws, ("layer", "draw"), (len(groups), draws), prefix="rerandom_"),
        Request(path.layer_points(groups, np.zeros(1)), ("layer",), (len(groups),), prefix="reinit_"),
        Request(stored_points(path.states, tuple(path.states[0])), ("end",), (2,), prefix="end_", as_recorded=True),
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
