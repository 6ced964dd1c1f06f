"""When was each layer finished: the final model with one layer at a time taken from each recorded state."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from thetascope.experiments.framework.call_options import Layers, States
from thetascope.experiments.framework.points import AllPoints, PointsSource
from thetascope.experiments.layer_rewind.rules import Rewound
from thetascope.experiments.shared.checked import checked_int, checked_share, chosen_states, two_states
from thetascope.experiments.shared.chosen_layers import block_labels, some_layers
from thetascope.experiments.shared.training_path import TrainingPath, places_of, recorded_requests
from thetascope.geometry.paths import lines_to_last
from thetascope.geometry.rewinds import Rewinds, same_values
from thetascope.scoring.objective import Objective
from thetascope.trajectory import Trajectory


def source(
    objective: Objective, trajectory: Trajectory, layers: Layers, states: States, barriers: bool, alphas: int, tolerance: float
) -> PointsSource:
    """The points of each layer taken from each state, the states themselves, and the lines from them to the last."""
    alphas, tolerance = checked_int("alphas", alphas, 3), checked_share("tolerance", tolerance, such_as=0.01)
    path = TrainingPath(objective, two_states(trajectory, "layer_rewind compares states with the last"), "linear")
    indices, groups = chosen_states(trajectory, states), some_layers(path.groups(layers))
    bound = [path.states[-1] if i == path.indices[-1] else objective.bind(trajectory[i]) for i in indices]
    parameters, buffers = zip(*map(path.names_of, groups.values()), strict=True)
    moving = [tuple(own + ([*held] if objective.buffers == "path" else [])) for own, held in zip(parameters, buffers, strict=True)]
    rewinds = Rewinds(tuple(bound), tuple(moving), same_values(bound, moving))
    between = np.linspace(0.0, 1.0, alphas)[1:-1]
    lines = lines_to_last(bound, between, path.parameters, path.buffers)
    whole = recorded_requests(objective, bound, "actual_")
    chosen: dict[str, Any] = {"tolerance": tolerance, "barriers": bool(barriers)} | ({"alphas": alphas} if barriers else {})
    size = {name: spec.size for name, spec in objective.space.tensors.items()}
    rules = Rewound(
        tolerance=tolerance,
        steps=np.array([trajectory.progress(i) for i in indices], np.float64),
        sizes=np.array([sum(size[name] for name in own) for own in parameters], np.float64),
        chance=objective.chance,
    )

    def derive(data: xr.Dataset) -> Any:
        return rules.of(data, (objective, whole[0].points, lines) if barriers else None)

    return PointsSource(
        title=f"each layer taken from each of {len(indices)} states",
        # lines and states come first, so that there is room to keep the losses of their samples, of which barriers have their errors
        objective=objective.keeping_losses() if barriers else objective,
        requests=[
            *whole,
            *([AllPoints(lines, ("state", "alpha"), (len(indices), len(between)), prefix="line_")] if barriers else []),
            AllPoints(rewinds, ("layer", "state"), (len(groups), len(indices))),
        ],
        coords={"layer": list(groups), "state": np.asarray(indices), **({"alpha": between} if barriers else {})},
        labels=block_labels(objective.space, groups),
        settings={
            **chosen,
            "states": indices,
            "layers": {label: [layer.name for layer in group] for label, group in groups.items()},
        },
        known={**places_of(trajectory, indices), "distance": (("layer",), [path.distance(own) for own in parameters])},
        attrs={
            **chosen,
            "loss_name": objective.loss,
            "states_recorded": len(trajectory),
            "not_called": [layer.name for group in groups.values() for layer in group if layer.called is False],
        },
        derive=derive,
        reference=bound[-1],
    )
