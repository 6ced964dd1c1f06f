"""The atlas: what every single parameter of a model does on its way through the training (Němcová 2021, section 6.3, for all of them)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike

from thetascope.errors import TrajectoryError
from thetascope.evaluation.backends import Engine, chosen_engine
from thetascope.evaluation.objective import Objective
from thetascope.evaluation.single_parameters import SingleParameters
from thetascope.experiments import dry_run
from thetascope.experiments.atlas_findings import derived, errors
from thetascope.experiments.atlas_scoring import fill, projected_seconds
from thetascope.experiments.examination import OutPath
from thetascope.experiments.interpolate import PARAMETER_RANGE
from thetascope.experiments.pacing import Expected
from thetascope.experiments.single_paths import OTHER, Mode, SinglePaths, both_paths
from thetascope.experiments.stored_study import Grid, Study
from thetascope.experiments.training_path import LayerSelection
from thetascope.geometry.paths import checked_alphas
from thetascope.results.result import Result
from thetascope.results.store import Store
from thetascope.trajectory import Trajectory

STORED_ROWS = 512
"""So many parameters share a chunk of the store."""


def parameter_atlas(
    objective: Objective,
    trajectory: Trajectory,
    kind: Literal["linear", "quadratic"] = "linear",
    alphas: int | ArrayLike = 41,
    mode: Mode = "tabulated",
    layers: LayerSelection = None,
    *,
    out: OutPath = None,
    engine: str = "auto",
    progress: bool = True,
) -> Result:
    """Move every single parameter of the model along its path, one at a time, while the rest stays final.

    All weights of one output of a linear layer move the same number, so the loss of a sample, tabulated once as a function of that
    number, serves them all ("tabulated"; see `thetascope.evaluation.tabulation`). Other parameters are scored at a few places
    each and read in between. How far all this is off is measured: on the parameters that change the loss most and on others that are
    drawn, against double precision. "exact" scores every parameter at every α instead, which takes days where the table takes minutes.

    Args:
        objective: what to score.
        trajectory: the recorded states; at least 3 for the quadratic path and for patterns.
        kind: "linear" or "quadratic": the path.
        alphas: how many values of α evenly in [-0.5, 1.5], or the values.
        mode: "tabulated" or "exact".
        layers: names or globs: only these.
        out: store the result there; the same call then goes on where it stopped.
        engine: "auto", or the name of a backend; "eager" tabulates nothing.
        progress: say what is done and show how far it is.

    Returns:
        ``loss_change`` over (``parameter``, ``alpha``): the loss minus that of the final state, in single precision for models that
        are scored in it; ``status`` (3 where tabulated or read between scored places, 1 where scored). Over ``parameter``:
        ``impact``, its largest size; ``distance``, from first to last value; ``layer``; and where there is a middle state
        ``midpoint`` and ``pattern`` (as in `compare_paths`), for which the other path's change is kept too, as
        ``quadratic_change`` or ``linear_change``. ``attrs``: ``final_loss``, ``table_error`` (measured, as a share of the final
        loss), ``noise_floor``, ``pattern_shares``, ``tensors`` (their shapes, in the order of ``parameter``).

    Raises:
        TrajectoryError: too few states for the path, or another kind or mode.
        GeometryError: alphas that are off, or more values than fit into memory.
        StateError: the states do not fit the objective's model; a layer that there is not.

    Example:
        >>> atlas = ts.parameter_atlas(objective, trajectory, alphas=9, layers=["fc2"], progress=False)
        >>> int(atlas.data.sizes["parameter"]), bool((atlas.data["loss_change"].sel(alpha=1.0) == 0).all())
        (330, True)
    """
    if kind not in OTHER or mode not in ("tabulated", "exact"):
        raise TrajectoryError(f'kind must be linear or quadratic, mode "tabulated" or "exact". Got {kind!r} and {mode!r} instead.')
    atlas = SinglePaths(objective, both_paths(objective, trajectory, kind), kind, mode, checked_alphas(alphas, PARAMETER_RANGE), layers)
    with objective.model.running():
        chosen = chosen_engine(engine, objective)
    study = _study(atlas, chosen)
    if dry_run.asked():
        dry_run.stop(_plan(atlas, chosen, study, out))
    with study.opened(out) as store, objective.model.running():
        scorer = SingleParameters(objective, atlas.state, float(store.data["final_loss"]), chosen, store, tabulate=mode == "tabulated")
        fill(atlas, scorer, store, progress)
        notes = scorer.runner.notes
        if "noise_floor" not in store.data.attrs:
            notes = {**notes, **errors(atlas, chosen, store)}
        store.add(*derived(atlas, store.data, notes))
    return study.result


def _study(atlas: SinglePaths, engine: Engine) -> Study:
    """The result to fill, as it will be laid out."""
    objective = atlas.objective
    wide = any(objective.model.target_dtype(name) == torch.float64 for name in atlas.owners)
    names = tuple(atlas.variables.values())
    grid = Grid(
        ("parameter", "alpha"), {"parameter": atlas.labels, "alpha": atlas.alphas}, len(atlas.alphas), STORED_ROWS,
        "float64" if wide else "float32", names,
    )  # fmt: skip
    states = {state.digest(): state for path in atlas.paths.values() for state in path.states}
    identity = {
        "settings": {"kind": atlas.kind, "mode": atlas.mode, "alphas": atlas.alphas.tolist(), "tensors": list(atlas.owners)},
        "states": list(states),
        "engine": engine.backend.name,
    }
    scored = {name: float(value) for name, value in objective.score(atlas.state).items() if name != "samples"}
    attrs = {**atlas.attrs(), "final_loss": scored["loss"]}
    title = f"{atlas.kind} path of every single parameter"
    return Study(
        "parameter_atlas", title, objective, atlas.state, scored, "final", identity, grid, attrs, atlas.constants(), engine.to_json(),
        tuple(states.values()),
    )  # fmt: skip


def _plan(atlas: SinglePaths, engine: Engine, study: Study, out: OutPath) -> dry_run.Plan:
    """What is left of this call, for a dry run."""
    width, left = len(atlas.alphas), study.left(out)
    rows = np.unique(np.asarray(left, np.int64) // width)
    store = Store.nowhere()
    with atlas.objective.model.running():
        scorer = SingleParameters(atlas.objective, atlas.state, study.reference["loss"], engine, store, tabulate=atlas.mode == "tabulated")
        missing = np.zeros(atlas.count, bool)
        missing[rows] = True
        units = [u for u in scorer.units(list(atlas.owners)) if any(missing[atlas.rows(piece)].any() for piece in u.pieces)]
        seconds = projected_seconds(atlas, scorer, units)
        point = dry_run.plan_of_scoring("", atlas.objective, atlas.state)
    assert point.memory is not None
    table = len(atlas.kinds) * atlas.count * width * 4
    memory = dry_run.Memory(point.memory.states * len(study.states), point.memory.data, point.memory.point + table)
    time = Expected(seconds, seconds, seconds / max(len(rows), 1), "measured on a few")
    how = f"{engine.backend.name} on {atlas.objective.device}: {engine.reason}"
    return dry_run.Plan(study.title, len(rows), len(rows), "parameters", atlas.count - len(rows), time, point.samples, how, memory)
