"""The atlas: what every single parameter of a model does on its way through the training (Němcová 2021, section 6.3, for all of them)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from thetascope.errors import GeometryError, TrajectoryError
from thetascope.evaluation.backends import Engine, chosen_engine
from thetascope.evaluation.objective import Objective
from thetascope.evaluation.single_parameters import SCORED_PLACES, Piece, SingleParameters, Unit, measured_error, parameters_of
from thetascope.experiments import dry_run
from thetascope.experiments.compare_paths import midpoints
from thetascope.experiments.examination import OutPath
from thetascope.experiments.interpolate import PARAMETER_RANGE
from thetascope.experiments.patterns import patterns, shares
from thetascope.experiments.stored_study import Grid, Study
from thetascope.experiments.training_path import LayerSelection, TrainingPath
from thetascope.geometry.paths import checked_alphas, lagrange_weights
from thetascope.geometry.points import Floats
from thetascope.progress import LONG_SECONDS, duration, progress_bar, say
from thetascope.results.result import MISSING, Result
from thetascope.results.store import Store
from thetascope.trajectory import Trajectory

Mode = Literal["tabulated", "exact"]
MOST_VALUES = 2 * 10**8
"""A larger table of parameters and α is refused: it would not fit into memory."""

STORED_ROWS = 512
"""So many parameters share a chunk of the store."""

STRONGEST, DRAWN, CHECKED_PLACES = 12, 52, 5
"""The error is measured on so many parameters, at so many places of each: those that change the loss most, and others drawn."""

OTHER = {"linear": "quadratic", "quadratic": "linear"}


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
        ``impact``, the largest |loss_change|; ``distance``, from first to last value; ``layer``; and where there is a middle state
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
    atlas = _Atlas(objective, _paths(objective, trajectory, kind), kind, mode, checked_alphas(alphas, PARAMETER_RANGE), layers)
    with objective.model.running():
        chosen = chosen_engine(engine, objective)
    study = _study(atlas, chosen)
    if dry_run.asked():
        dry_run.stop(_plan(atlas, chosen, study, out))
    with study.opened(out) as store, objective.model.running():
        scorer = SingleParameters(objective, atlas.state, float(store.data["final_loss"]), chosen, store, tabulate=mode == "tabulated")
        _fill(atlas, scorer, store, progress)
        notes = scorer.runner.notes
        if "noise_floor" not in store.data.attrs:
            notes = {**notes, **_errors(atlas, chosen, store)}
        store.add(*_derived(atlas, store.data, notes))
    return study.result


def _paths(objective: Objective, trajectory: Trajectory, kind: str) -> dict[str, TrainingPath]:
    """The path that is asked for; and the other where there are the states for it."""
    asked = TrainingPath(objective, trajectory, kind)  # type: ignore[arg-type]
    try:
        other = TrainingPath(objective, trajectory, OTHER[kind])  # type: ignore[arg-type]
    except TrajectoryError:
        return {kind: asked}
    return {kind: asked, OTHER[kind]: other}


@dataclass(frozen=True)
class _Atlas:
    """What is asked for: the parameters in their order, and what each takes for values."""

    objective: Objective
    paths: Mapping[str, TrainingPath]
    kind: str
    mode: Mode
    alphas: Floats
    selection: LayerSelection

    def __post_init__(self) -> None:
        values = self.count * len(self.alphas)
        if values > MOST_VALUES:
            raise GeometryError(
                f"{self.count:,} parameters at {len(self.alphas)} values of α are {values:,} values, over the {MOST_VALUES:,} that are "
                "kept in memory; name fewer layers with layers=, or fewer alphas"
            )

    @property
    def path(self) -> TrainingPath:
        return self.paths[self.kind]

    @property
    def state(self) -> Any:
        """The final state, which is edited."""
        return self.path.states[-1]

    @cached_property
    def owners(self) -> dict[str, str]:
        """The tensors whose parameters are examined, each with its layer; complex values lie on no line of real ones."""
        space = self.objective.space
        layers = [layer for group in space.groups(self.selection).values() for layer in group]
        found = {n: layer.name for layer in layers for n in layer.parameters if space.tensors[n].floating}
        return {n: owner for n, owner in found.items() if not space.tensors[n].dtype.startswith("complex")}

    @cached_property
    def starts(self) -> dict[str, int]:
        """Where among all parameters each tensor's begin."""
        starts, total = {}, 0
        for name in self.owners:
            starts[name] = total
            total += self.state.specs[name].size
        return starts

    @property
    def count(self) -> int:
        return sum(self.state.specs[name].size for name in self.owners)

    @cached_property
    def labels(self) -> list[str]:
        found = []
        for name in self.owners:
            shape = self.state.specs[name].shape
            indices = product(*(range(n) for n in shape))
            found += [f"{name}[{','.join(map(str, index))}]" if index else name for index in indices]
        return found

    def knots(self, piece: Piece) -> Floats:
        """First, middle and last value of each parameter ``[p, 3]``; without a middle state the middle is nan."""
        quadratic = self.paths.get("quadratic")
        states = self.path.states if quadratic is None else quadratic.states
        read = [s.piece(piece.tensor, piece.start, piece.stop).double().cpu().numpy() for s in states]
        return np.stack(read if len(read) == 3 else [read[0], np.full_like(read[0], np.nan), read[1]], axis=1)

    def deltas(self, piece: Piece, kind: str) -> Floats:
        """By how much each value differs from the final one ``[p, A]``, once rounded to the dtype of the evaluation; 0 at α = 1."""
        path, dtype = self.paths[kind], self.objective.model.target_dtype(piece.tensor)
        weights, knots = lagrange_weights(path.at, self.alphas), self.knots(piece)[:, :: 4 - len(path.states)]
        values = sum(np.where(w == 0, 0.0, w * np.where(w == 0, 0.0, knots[:, b : b + 1])) for b, w in enumerate(weights.T))
        rounded, final = (torch.from_numpy(np.ascontiguousarray(v)).to(dtype).double().numpy() for v in (values, knots[:, -1:]))
        return np.asarray(rounded - final)

    @property
    def kinds(self) -> list[str]:
        return list(self.paths)

    @property
    def variables(self) -> dict[str, str]:
        """What each path's change is called."""
        return {kind: "loss_change" if kind == self.kind else f"{kind}_change" for kind in self.kinds}

    def constants(self) -> dict[str, tuple[tuple[str, ...], ArrayLike]]:
        """What needs no scoring."""
        knots = np.concatenate([self.knots(Piece(name, 0, self.state.specs[name].size)) for name in self.owners])
        layer = np.repeat(list(self.owners.values()), [self.state.specs[name].size for name in self.owners])
        return {
            "distance": (("parameter",), np.abs(knots[:, 2] - knots[:, 0])),
            "midpoint": (("parameter",), midpoints(knots)),
            "layer": (("parameter",), layer),
        }

    def attrs(self) -> dict[str, Any]:
        alphas, path = self.alphas, self.path
        reach = f"α from {alphas.min():.3g} to {alphas.max():.3g}".replace("-", "−")
        return {
            **path.attrs(),
            "mode": self.mode,
            "tensors": {name: list(self.state.specs[name].shape) for name in self.owners},
            "subtitle": f"the rest stays final; knots at steps {', '.join(str(knot['step']) for knot in path.knots())}; {reach}",
        }


def _study(atlas: _Atlas, engine: Engine) -> Study:
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


def _plan(atlas: _Atlas, engine: Engine, study: Study, out: OutPath) -> dry_run.Plan:
    """What is left of this call, for a dry run."""
    width, left = len(atlas.alphas), study.left(out)
    rows = np.unique(np.asarray(left, np.int64) // width)
    store = Store(xr.Dataset(attrs={"units": {}}), None, None)
    with atlas.objective.model.running():
        scorer = SingleParameters(atlas.objective, atlas.state, study.reference["loss"], engine, store, tabulate=atlas.mode == "tabulated")
        missing = np.zeros(atlas.count, bool)
        missing[rows] = True
        units = [u for u in scorer.units(list(atlas.owners)) if any(missing[_rows(atlas, piece)].any() for piece in u.pieces)]
        seconds = _projected(atlas, scorer, units)
        point = dry_run.plan_of_scoring("", atlas.objective, atlas.state)
    assert point.memory is not None
    table = len(atlas.kinds) * atlas.count * width * 4
    memory = dry_run.Memory(point.memory.states * len(study.states), point.memory.data, point.memory.point + table)
    return dry_run.Plan(
        study.title, len(rows), "parameters", atlas.count - len(rows), False, seconds, seconds / max(len(rows), 1), point.samples,
        f"{engine.backend.name} on {atlas.objective.device}: {engine.reason}", memory,
    )  # fmt: skip


def _fill(atlas: _Atlas, scorer: SingleParameters, store: Store, progress: bool) -> None:
    """Go through all units that are not stored yet."""
    done = (store.data["status"].values != MISSING).all(axis=1)
    units = scorer.units(list(atlas.owners))
    left = [unit for unit in units if not all(done[_rows(atlas, piece)].all() for piece in unit.pieces)]
    total = sum(len(piece) for unit in left for piece in unit.pieces)
    tabulated = sum(len(piece) for unit in left for piece in unit.pieces if scorer.is_tabulated(unit))
    seconds = _projected(atlas, scorer, left) if left else 0.0
    shown = progress and seconds > LONG_SECONDS
    how = f"{tabulated:,} of them tabulated" if atlas.mode == "tabulated" else "each scored at every value"
    say(
        f"{atlas.kind} path of every single parameter: {total:,} parameters, {how}, about {duration(seconds)} (measured on a few)",
        shown=shown,
    )
    with progress_bar("parameter_atlas", total, shown=shown) as advance:
        for unit in left:
            for piece, changes in zip(unit.pieces, _changes(atlas, scorer, unit), strict=True):
                values = {name: found.astype(store.data[name].dtype) for name, found in changes.items()}
                store.write_rows("", atlas.starts[piece.tensor] + piece.start, values, estimated=atlas.mode == "tabulated")
                advance(len(piece))


def _changes(atlas: _Atlas, scorer: SingleParameters, unit: Unit) -> list[dict[str, Floats]]:
    """Both paths' changes of the loss for each piece of a unit."""
    deltas = [np.concatenate([atlas.deltas(piece, kind) for kind in atlas.kinds], axis=1) for piece in unit.pieces]
    found = scorer.changes(unit, deltas)
    width = len(atlas.alphas)
    return [
        {name: part[:, k * width : (k + 1) * width] for k, name in enumerate(atlas.variables.values())} for part in found
    ]  # fmt: skip


def _rows(atlas: _Atlas, piece: Piece) -> slice:
    start = atlas.starts[piece.tensor] + piece.start
    return slice(start, start + len(piece))


def _projected(atlas: _Atlas, scorer: SingleParameters, units: Sequence[Unit]) -> float:
    """How long it will take: tables from a few samples, what is scored from one and from nine values of a parameter of each tensor."""
    scored = [piece for unit in units if not scorer.is_tabulated(unit) for piece in unit.pieces]
    values = SCORED_PLACES[2] if atlas.mode == "tabulated" else len(atlas.kinds) * len(atlas.alphas)
    seconds = scorer.table_seconds(units)
    for tensor in dict.fromkeys(piece.tensor for piece in scored):
        own = [piece for piece in scored if piece.tensor == tensor]
        parameter, taken = parameters_of(atlas.state, own[0], [0]), []
        final = float(atlas.state.piece(tensor, own[0].start, own[0].start + 1)[0])
        for count in (1, 9):
            trial = final + np.linspace(1e-3, 2e-3, count)[None]
            start = time.perf_counter()
            scorer.scored(parameter, trial, np.ones(trial.shape, bool))
            taken.append(time.perf_counter() - start)
        seconds += len(own) * taken[0] + max(0.0, taken[1] - taken[0]) / 8 * values * sum(map(len, own))
    return seconds


def _errors(atlas: _Atlas, engine: Engine, store: Store) -> dict[str, Any]:
    """How far the changes are off, measured on a sample in double precision, and how far the arithmetic moves a usual curve's values."""
    data = store.data
    change = data["loss_change"].values
    finite = np.flatnonzero(np.isfinite(change).all(axis=1) & (data["distance"].values > 0))
    if not len(finite):
        return {"noise_floor": 0.0}
    strongest = finite[np.argsort(-np.abs(change[finite]).max(axis=1), kind="stable")[:STRONGEST]]
    generator = np.random.default_rng(0)
    drawn = generator.choice(finite, size=min(DRAWN, len(finite)), replace=False)
    rows = np.unique(np.concatenate([strongest, drawn]))
    places = np.unique(np.linspace(0, change.shape[1] - 1, CHECKED_PLACES).round().astype(int))
    sample = []
    for row in rows:
        tensor = [name for name, start in atlas.starts.items() if start <= row][-1]
        at = int(row) - atlas.starts[tensor]
        piece = Piece(tensor, at, at + 1)
        final = atlas.knots(piece)[:, 2:]
        sample.append(
            (parameters_of(atlas.state, piece, [0])[0], (final + atlas.deltas(piece, atlas.kind))[0, places], change[row, places])
        )
    errors = measured_error(atlas.objective, atlas.state, engine, store, sample)
    variances = errors.var(axis=1, ddof=1) if len(places) > 1 else np.zeros(len(errors))
    found: dict[str, Any] = {"noise_floor": float(np.sqrt(np.median(variances)))}
    if atlas.mode == "tabulated":
        largest = float(np.abs(errors).max())
        final_loss = abs(float(data.attrs["final_loss"]))
        found["table_error"] = {
            "parameters": len(rows), "places": len(places), "largest": largest / final_loss if final_loss else largest,
            "median": float(np.median(np.abs(errors))) / (final_loss or 1.0), "unit": "share of the final loss" if final_loss else "loss",
        }  # fmt: skip
    return found


def _derived(atlas: _Atlas, data: Any, notes: Mapping[str, Any]) -> tuple[dict[str, tuple[tuple[str, ...], ArrayLike]], dict[str, Any]]:
    """Impact and pattern of each parameter."""
    change = data["loss_change"].values
    found: dict[str, tuple[tuple[str, ...], ArrayLike]] = {"impact": (("parameter",), np.abs(change).max(axis=1))}
    if len(atlas.kinds) < 2:
        return {**found, "pattern": (("parameter",), [""] * len(change))}, {**notes, "pattern_shares": {}}
    order = np.argsort(atlas.alphas)
    floor = notes.get("noise_floor", data.attrs.get("noise_floor", 0.0))
    curves: dict[str, NDArray[np.float64]] = {k: data[name].values[:, order].astype(np.float64) for k, name in atlas.variables.items()}
    names = patterns(atlas.alphas[order], curves["linear"], curves["quadratic"], floor)
    return {**found, "pattern": (("parameter",), names)}, {**notes, "pattern_shares": shares(names)}
