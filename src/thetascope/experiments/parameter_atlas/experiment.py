"""Filling an atlas: unit by unit, with the time it takes told before (Němcová 2021, section 6.3, for all parameters)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike

from thetascope.errors import TrajectoryError
from thetascope.experiments.framework.call_options import Layers
from thetascope.experiments.framework.plan import Memory, Plan, plan_of_scoring
from thetascope.experiments.framework.source import ReferenceSource, Variables
from thetascope.experiments.framework.timing import Expected
from thetascope.experiments.parameter_atlas.derived import derived, errors
from thetascope.experiments.parameter_atlas.single_parameters import PROJECTED_PLACES, Changes, SingleParameters, Unit, parameters_of
from thetascope.experiments.parameter_atlas.single_paths import OTHER, Mode, SinglePaths, both_paths
from thetascope.experiments.shared.training_path import PARAMETER_RANGE
from thetascope.geometry.paths import checked_alphas
from thetascope.progress import LONG_SECONDS, duration, progress_bar, say
from thetascope.results.status import MISSING
from thetascope.results.store import Block, Store
from thetascope.scoring.cache import FirstPoint
from thetascope.scoring.fast.choice import Engine, chosen_engine
from thetascope.scoring.objective import Objective
from thetascope.state import State
from thetascope.training.training import scores
from thetascope.trajectory import Trajectory

STORED_ROWS = 512
"""So many parameters share a chunk of the store."""

HOUR = 3600.0
"""What takes longer is said together with what would make it shorter."""
LESS = "; layers= of fewer layers, or an objective with samples=, takes less"


def source(objective: Objective, trajectory: Trajectory, kind: str, alphas: int | ArrayLike, mode: Mode, layers: Layers) -> AtlasSource:
    """The paths of all single parameters."""
    if kind not in OTHER or mode not in ("tabulated", "exact"):
        raise TrajectoryError(f'kind must be linear or quadratic, mode "tabulated" or "exact". Got {kind!r} and {mode!r} instead.')
    paths = both_paths(objective, trajectory, kind)
    return AtlasSource(SinglePaths(objective, paths, kind, mode, checked_alphas(alphas, PARAMETER_RANGE), layers))


class AtlasSource(ReferenceSource):
    """The changes of the loss of every single parameter at every α; the final state is the reference."""

    reference_name = "final"

    def __init__(self, atlas: SinglePaths) -> None:
        self._atlas, self.objective, self.state = atlas, atlas.objective, atlas.state
        self.title = f"{atlas.kind} path of every single parameter"
        self.reference = scores(atlas.objective, atlas.state)
        self.coords: Mapping[str, ArrayLike] = {"parameter": atlas.labels, "alpha": atlas.alphas}
        self.settings = {"kind": atlas.kind, "mode": atlas.mode, "alphas": atlas.alphas.tolist(), "tensors": list(atlas.owners)}
        self.attrs = {**atlas.attrs(), "final_loss": self.reference["loss"]}

    def engine(self, name: str) -> Engine:
        """What scores that which is not tabulated; the oracle tabulates nothing."""
        return chosen_engine(name, self.objective, "edits")

    def states(self) -> Sequence[State]:
        """Those of both paths."""
        return [state for path in self._atlas.paths.values() for state in path.states]

    def constants(self) -> Variables:
        """The reference, and what is known of the paths."""
        return {**super().constants(), **self._atlas.constants()}

    def blocks(self, first: FirstPoint, engine: Engine) -> Sequence[Block]:
        """Rows of all α, many at once; in single precision for models that are scored in it."""
        atlas = self._atlas
        wide = any(self.objective.model.target_dtype(name) == torch.float64 for name in atlas.owners)
        shape, dtype = (atlas.count, len(atlas.alphas)), "float64" if wide else "float32"
        return [Block("", ("parameter", "alpha"), shape, tuple(atlas.variables.values()), len(atlas.alphas), STORED_ROWS, dtype)]

    def fill(self, store: Store, engine: Engine, first: FirstPoint, *, progress: bool) -> Mapping[str, Any]:
        """Go through all units that are not stored yet, then measure how far the values are off."""
        atlas, done = self._atlas, (store.data["status"].values != MISSING).all(axis=1)
        if done.all() and "noise_floor" in store.data.attrs:
            return {}
        scorer = self._scorer(engine, store, float(store.data["final_loss"]))
        left = self._left(scorer, done)
        total = sum(len(piece) for unit in left for piece in unit.pieces)
        tabulated = sum(len(piece) for unit in left for piece in unit.pieces if scorer.is_tabulated(unit))
        seconds = projected_seconds(atlas, scorer, left) if left else 0.0
        shown = progress and seconds > LONG_SECONDS
        how = f"{tabulated:,} of them tabulated" if atlas.mode == "tabulated" else "each scored at every value"
        less = LESS if seconds > HOUR else ""
        say(f"{self.title}: {total:,} parameters, {how}, about {duration(seconds)} (measured on a few){less}", shown=shown)
        with progress_bar("parameters", total, shown=shown) as advance:
            for unit in left:
                for piece, changes in zip(unit.pieces, _changes(atlas, scorer, unit), strict=True):
                    values = {name: found.values.astype(store.data[name].dtype) for name, found in changes.items()}
                    store.write_rows("", atlas.rows(piece).start, values, estimated=changes["loss_change"].is_read)
                    advance(len(piece))
        return scorer.runner.notes if "noise_floor" in store.data.attrs else {**scorer.runner.notes, **errors(atlas, engine, store)}

    def derived(self, data: xr.Dataset) -> tuple[Variables, Mapping[str, Any]]:
        """Impact and pattern of each parameter."""
        return derived(self._atlas, data)

    def plan(self, stored: xr.Dataset | None, engine: Engine) -> Plan:
        """The parameters that are left; tables are timed on a few samples, the rest on a few parameters."""
        atlas, width = self._atlas, len(self._atlas.alphas)
        done = np.zeros(atlas.count, bool) if stored is None else (stored["status"].values != MISSING).all(axis=1)
        left = int((~done).sum())
        scorer = self._scorer(engine, Store.nowhere(), self.reference["loss"])
        seconds = projected_seconds(atlas, scorer, self._left(scorer, done))
        point = plan_of_scoring("", self.objective, self.state)
        assert point.memory is not None
        table, states = len(atlas.kinds) * atlas.count * width * 4, len({state.digest() for state in self.states()})
        memory = Memory(point.memory.states * states, point.memory.data, point.memory.point + table)
        time = Expected(seconds, seconds, seconds / max(left, 1), "measured on a few")
        less = LESS if seconds > HOUR else ""
        how = f"{engine.backend.name} on {self.objective.device}: {engine.reason}{less}"
        return Plan(self.title, left, left, "parameters", atlas.count - left, time, point.samples, how, memory)

    def _scorer(self, engine: Engine, store: Store, final_loss: float) -> SingleParameters:
        return SingleParameters(self.objective, self.state, final_loss, engine, store, tabulate=self._atlas.mode == "tabulated")

    def _left(self, scorer: SingleParameters, done: np.ndarray[Any, np.dtype[np.bool_]]) -> list[Unit]:
        """The units of which some parameter is missing."""
        units = scorer.units(list(self._atlas.owners))
        return [unit for unit in units if not all(done[self._atlas.rows(piece)].all() for piece in unit.pieces)]


def _changes(atlas: SinglePaths, scorer: SingleParameters, unit: Unit) -> list[dict[str, Changes]]:
    """Both paths' changes of the loss for each piece of a unit."""
    deltas = [np.concatenate([atlas.deltas(piece, kind) for kind in atlas.kinds], axis=1) for piece in unit.pieces]
    of_kinds = [slice(k * len(atlas.alphas), (k + 1) * len(atlas.alphas)) for k in range(len(atlas.kinds))]
    return [
        {name: Changes(part.values[:, own], part.is_read[:, own]) for name, own in zip(atlas.variables.values(), of_kinds, strict=False)}
        for part in scorer.changes(unit, deltas)
    ]


def projected_seconds(atlas: SinglePaths, scorer: SingleParameters, units: Sequence[Unit]) -> float:
    """How long it will take: tables from a few samples, what is scored from one and from nine values of a parameter of each tensor."""
    scored = [piece for unit in units if not scorer.is_tabulated(unit) for piece in unit.pieces]
    values = PROJECTED_PLACES if atlas.mode == "tabulated" else len(atlas.kinds) * len(atlas.alphas)
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
