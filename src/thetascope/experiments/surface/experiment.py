"""The loss surface around a state: a plane through parameter space, scored on a grid.

Random directions normalised filter by filter: Li, Xu, Taylor, Studer and Goldstein (2018), section 4; Němcová (2021),
sections 4.3 and 6.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from thetascope._version import DIRECTIONS
from thetascope.errors import GeometryError
from thetascope.experiments.framework.call_options import Layers
from thetascope.experiments.framework.phrases import plural
from thetascope.experiments.framework.points import PointsSource
from thetascope.experiments.framework.tolerance import checked_tolerance
from thetascope.experiments.shared.chosen_layers import is_word
from thetascope.experiments.shared.plane_view import PlaneView, measured, moving_names, principal_view, short
from thetascope.geometry.directions import (
    Direction,
    Normalize,
    Units,
    combined_direction,
    lengths,
    own_direction,
    random_directions,
)
from thetascope.geometry.planes import Axis, checked_grid
from thetascope.scoring.memory import halving
from thetascope.scoring.objective import Objective
from thetascope.scoring.output_units import output_units
from thetascope.state import TRAINABLE, State, frozen_parameters
from thetascope.trajectory import Trajectory

Directions = Literal["random", "pca"] | tuple[Direction, Direction]


def source(
    objective: Objective,
    trajectory_or_state: Trajectory | Mapping[str, Tensor],
    directions: Directions,
    through: Sequence[Mapping[str, Tensor]] | None,
    normalize: Normalize,
    orthogonal: bool,
    x: Axis,
    y: Axis,
    seed: int,
    tolerance: float | None,
    layers: Layers,
) -> PointsSource:
    """The cells of the plane."""
    xs, ys = checked_grid(x, y)
    trajectory = trajectory_or_state if isinstance(trajectory_or_state, Trajectory) else None
    center = objective.bind(trajectory_or_state[-1] if isinstance(trajectory_or_state, Trajectory) else trajectory_or_state)
    names = moving_names(objective, layers, list(_bound(objective, trajectory or [center])))
    if through is not None:
        if directions != "random":
            raise GeometryError("through= gives the plane by states and directions= by directions; pass one of them")
        view = _through_states(objective, center, names, through, flat=len(ys) == 1 and ys[0] == 0)
    elif isinstance(directions, str) and directions == "random":
        frozen = {}
        if layers is None or is_word(layers, TRAINABLE):
            states = list(_bound(objective, trajectory or [center]))
            frozen = frozen_parameters(objective.model.model, objective.model.space, states)
            frozen = {name: why for name, why in frozen.items() if name in names}
        view = _random(objective, center, names, frozen, normalize, orthogonal, seed)
    elif isinstance(directions, str) and directions == "pca":
        view = principal_view(objective, trajectory, names)
    elif layers is not None:
        raise GeometryError("directions of one's own say themselves what moves: leave layers= out, or names out of the directions")
    else:
        view = _own(objective, center, names, directions)
    return PointsSource(
        title="loss surface",
        objective=objective,
        reference=view.center,
        requests=[view.request(xs, ys, checked_tolerance(tolerance))],
        coords={"x": xs, "y": ys},
        settings={
            "tolerance": tolerance,
            "x": list(x),
            "y": list(y),
            "moving": None if layers is None else names,
            **{name: view.attrs()["directions"].get(name) for name in ("kind", "normalize", "orthogonal", "seed", "version")},
        },
        attrs=view.attrs(),
    )


def _bound(objective: Objective, states: Iterable[State]) -> Iterator[State]:
    return (objective.bind(state) for state in states)


def _random(
    objective: Objective,
    center: State,
    names: Sequence[str],
    frozen: Mapping[str, str],
    normalize: Normalize,
    orthogonal: bool,
    seed: int,
) -> PlaneView:
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise GeometryError(f"seed must be a whole number. Got {seed!r} instead.")
    free, units = [name for name in names if name not in frozen], dict[str, Units]()
    if normalize == "filter":
        with objective.model.running():
            units = halving(objective, lambda: output_units(objective.model, objective.batches, objective.model.tensors_of(center)))
    pair = random_directions(center, free, normalize=normalize, orthogonal=orthogonal, seed=seed, units=units)
    how = {"filter": "normalised filter by filter", "layer": "normalised tensor by tensor", None: "not normalised"}[normalize]
    unit = "1 = the weights' own length" if normalize else "in units of the draw"
    alone = sum(_single_weights(units.get(name, Units(center.specs[name].shape))) for name in pair[0].specs) if normalize == "filter" else 0
    moved, of = (sum(center.specs[name].size for name in some) for some in (pair[0].specs, names))
    stay = f"; {plural(len(frozen), 'frozen tensor')} kept" if frozen else ""
    one = f"; {plural(alone, 'filter')} of one weight {'stay in direction 2' if orthogonal else 'only change in size'}" if alone else ""
    return PlaneView(
        objective,
        center,
        free,
        pair,
        through_states=False,
        kind="random",
        labels=(f"random direction 1 ({unit})", f"random direction 2 ({unit})"),
        subtitle=f"around {short(center)}; random directions {how}{', orthogonal' if orthogonal else ''}, seed {seed}{stay}{one}",
        details={
            "normalize": normalize,
            "orthogonal": orthogonal,
            "seed": seed,
            "version": DIRECTIONS,
            **measured(pair),
            "frozen": dict(frozen),
            "parameters_moved": moved,
            "parameters": of,
            "filters_of_one_weight": alone,
            "units_along": {name: list(found.dims) for name, found in units.items() if name in pair[0].specs},
        },
    )


def _single_weights(units: Units) -> int:
    return units.count if units.size == 1 else 0


def _own(objective: Objective, center: State, names: Sequence[str], directions: object) -> PlaneView:
    if not (isinstance(directions, tuple | list) and len(directions) == 2 and all(isinstance(d, Mapping) for d in directions)):
        raise GeometryError(
            'directions must be "random", "pca" or two mappings of parameter names to tensors. '
            f"Got {directions if isinstance(directions, str) else type(directions).__name__!r} instead."
        )
    pair = (_canonical(objective, directions[0]), _canonical(objective, directions[1]))
    one, other = (own_direction(given, center, names, f"direction {i}") for i, given in enumerate(pair, 1))
    return PlaneView(
        objective,
        center,
        names,
        (one, other),
        through_states=False,
        kind="own",
        labels=("direction 1", "direction 2"),
        subtitle=f"around {short(center)}; directions of one's own, as given",
        details=measured((one, other)),
    )


def _canonical(objective: Objective, direction: Direction) -> dict[str, Tensor]:
    """The direction under the names that register its tensors first; a tied tensor may be given under each of its names."""
    found: dict[str, Tensor] = {}
    for name, tensor in direction.items():
        own = objective.model.space.ties.get(name, name)
        if own in found and not torch.equal(found[own], tensor):
            raise GeometryError(f'"{name}" and "{own}" are one tied tensor, and the direction gives them different values; give it once')
        found[own] = tensor
    return found


def _through_states(
    objective: Objective, center: State, names: Sequence[str], through: Sequence[Mapping[str, Tensor]], *, flat: bool
) -> PlaneView:
    if isinstance(through, Mapping) or not isinstance(through, Sequence) or len(through) not in (1, 2):
        raise GeometryError("through must hold one state (a line) or two (a plane) besides the center")
    others = tuple(objective.bind(state) for state in through)
    if len(others) == 1 and not flat:
        raise GeometryError("through one other state leads a line, which has no second axis: pass y=(0, 0, 1), or name two states")
    ways = [combined_direction((other, center), (1.0, -1.0), names, f"the way to {other.label}") for other in others]
    norms, between = lengths(ways[0], ways[-1])
    norms = norms[: len(ways)]
    if not all(norms):
        raise GeometryError(f"{others[norms.index(0.0)].label} equals the center, so no way leads to it; name another state")
    angle = between if len(ways) == 2 else None
    if angle is not None and abs(angle) > 1 - 1e-9:
        raise GeometryError("the center and the two states lie on one line, so they span no plane; name another state")
    labels = [f"from {short(center)} (0) to {short(other)} (1)" for other in others]
    return PlaneView(
        objective,
        center,
        names,
        others,
        through_states=True,
        kind="states",
        labels=(labels[0], labels[1] if len(labels) == 2 else ""),
        subtitle=f"{'the plane' if len(others) == 2 else 'the line'} through {', '.join(short(s) for s in (center, *others))}",
        marks=tuple(zip((1.0, 0.0), (0.0, 1.0), map(short, others), strict=False)),
        details={"norms": norms, "cosine": angle},
    )
