"""Critical and ambient layers: what it costs to put one layer back to its first values, or to draw it anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from thetascope.experiments.framework.call_options import Layers
from thetascope.experiments.framework.points import AllPoints, PointsSource
from thetascope.experiments.layer_roles.fresh_values import CONSTANT, FreshValues
from thetascope.experiments.layer_roles.initialisation import Init, Initialisation
from thetascope.experiments.layer_roles.verdicts import roles
from thetascope.experiments.shared.checked import checked_int, checked_share, two_states
from thetascope.experiments.shared.chosen_layers import block_labels, some_layers
from thetascope.experiments.shared.training_path import TrainingPath, recorded_requests
from thetascope.geometry.redraws import Redraws
from thetascope.scoring.objective import Objective
from thetascope.state import Layer
from thetascope.trajectory import Trajectory

Groups = Mapping[str, Sequence[Layer]]


def source(
    objective: Objective, trajectory: Trajectory, draws: int, threshold: float, seed: int, layers: Layers, init: Init | None
) -> PointsSource:
    """The points of each layer put back and drawn anew."""
    draws, seed = checked_int("draws", draws, 1), checked_int("seed", seed, 0)
    threshold = checked_share("threshold", threshold, such_as=0.25)
    path = TrainingPath(objective, two_states(trajectory, "layer_roles compares the first state with the last"), "linear")
    groups = some_layers(path.groups(layers))
    initialisation = None if init is None else Initialisation(init, objective.model.model, objective.space, seed)
    fresh = FreshValues(objective.model.model, objective.space, path.states[0], seed, initialisation)
    drawn_from = [_drawn_from(fresh, group) for group in groups.values()]
    distinct = [1 if all(map(fresh.is_one, group)) else draws for group in groups.values()]
    settings = {"draws": draws, "threshold": threshold, "seed": seed}
    return PointsSource(
        title=f"critical and ambient layers: each re-initialised, and drawn anew {draws} times",
        objective=objective,
        requests=_requests(path, groups, fresh, draws, distinct),
        coords={"layer": list(groups), "draw": np.arange(draws), "end": ["initial", "final"]},
        labels=block_labels(objective.space, groups),
        settings={
            **settings,
            "knots": list(path.indices),
            "layers": {label: [layer.name for layer in group] for label, group in groups.items()},
            "drawn_from": dict(zip(groups, drawn_from, strict=True)),
            "init": None if initialisation is None else initialisation.digest,
        },
        known={
            "distance": (("layer",), [path.distance(path.names_of(group)[0]) for group in groups.values()]),
            "drawn_from": (("layer",), drawn_from),
            "redraw": (("layer",), drawn_from),  # as it was called at first
            "distinct_draws": (("layer",), distinct),
        },
        attrs={
            **settings,
            "loss_name": objective.loss,
            "knots": path.knots(),
            "drawn_normally": {
                name: why for group in groups.values() for layer in group for name, why in fresh.drawn_normally(layer).items()
            },
            "with_buffers": _with_buffers(objective, groups),
            "not_called": [layer.name for group in groups.values() for layer in group if layer.called is False],
        },
        derive=lambda data: roles(data, threshold=threshold, chance=objective.chance),
    )


def _with_buffers(objective: Objective, groups: Groups) -> list[str]:
    """The layers whose floating buffers are put back with them, and stay when they are drawn anew."""
    if objective.buffers != "path":
        return []
    specs = objective.space.tensors
    return [label for label, group in groups.items() if any(specs[name].floating for layer in group for name in layer.buffers)]


def _requests(path: TrainingPath, groups: Groups, fresh: FreshValues, draws: int, distinct: Sequence[int]) -> list[AllPoints]:
    """The draws come first: the point that is scored again on going on shows if they are still the same."""
    members = tuple(groups.values())
    drawn = tuple(tuple(name for layer in group for name in fresh.names(layer)) for group in members)
    same = frozenset(place for place, count in enumerate(distinct) if count == 1 < draws)
    redraws = Redraws(path.states[-1], drawn, draws, partial(_drawn, fresh, members), _recipe(path, groups, fresh), same)
    return [
        AllPoints(redraws, ("layer", "draw"), (len(groups), draws), prefix="rerandom_", remade=True),
        AllPoints(path.layer_points(groups, np.zeros(1)), ("layer",), (len(groups),), prefix="reinit_"),
        *recorded_requests(path.objective, path.states, "end_", "end"),
    ]


def _drawn(fresh: FreshValues, members: Sequence[Sequence[Layer]], group: int, number: int) -> dict[str, Any]:
    """The tensors of a group in one draw."""
    return {name: tensor for layer in members[group] for name, tensor in fresh.draw(layer, number).items()}


def _recipe(path: TrainingPath, groups: Groups, fresh: FreshValues) -> str:
    """What decides the values of every draw."""
    kinds = {name: source.kind for group in groups.values() for layer in group for name, source in fresh.sources(layer).items()}
    init = None if fresh.init is None else fresh.init.digest
    return f"seed {fresh.seed}, first state {path.states[0].digest()}, init {init}, {sorted(kinds.items())}"


def _drawn_from(fresh: FreshValues, group: Sequence[Layer]) -> str:
    """What the tensors of a group are drawn from; constants count where there is nothing else."""
    kinds = dict.fromkeys(source.kind for layer in group for source in fresh.sources(layer).values())
    return " and ".join(kind for kind in kinds if kind != CONSTANT) or CONSTANT
