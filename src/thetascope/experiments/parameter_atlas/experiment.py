"""Filling an atlas: unit by unit, with the time it takes told before (Němcová 2021, section 6.3, for all parameters)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike

from thetascope.arrays import Floats
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
from thetascope.scoring.clusters.apart import Apart
from thetascope.scoring.clusters.tasks import Probe, portable
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
        scorer = self._scorer(engine, float(store.data["final_loss"]))
        left = self._left(scorer, done)
        total = sum(len(piece) for unit in left for piece in unit.pieces)
        tabulated = sum(len(piece) for unit in left for piece in unit.pieces if scorer.is_tabulated(unit))
        seconds = projected_seconds(atlas, scorer, left) if left else 0.0
        shown = progress and seconds > LONG_SECONDS
        how = f"{tabulated:,} of them tabulated" if atlas.mode == "tabulated" else "each scored at every value"
        less = LESS if seconds > HOUR else ""
        edits = (atlas.objective, atlas.state, float(store.data["final_loss"]), engine, atlas.mode == "tabulated")
        scored = Apart(AtlasUnits(edits, self._deltas, scorer), left)
        say(f"{self.title}: {total:,} parameters{scored.told}, {how}, about {duration(seconds)} (measured on a few){less}", shown=shown)
        with progress_bar("parameters", total, shown=shown) as advance:
            for unit, (changes, notes) in scored:
                scorer.runner.notes.update(notes)
                for piece, change in zip(unit.pieces, changes, strict=True):
                    columns = np.split(change.values, len(atlas.kinds), axis=1)
                    values = {name: own.astype(store.data[name].dtype) for name, own in zip(atlas.variables.values(), columns, strict=True)}
                    is_read = np.split(change.is_read, len(atlas.kinds), axis=1)[0]
                    store.write_rows("", atlas.rows(piece).start, values, estimated=is_read)
                    advance(len(piece))
        notes = {**scorer.runner.notes, **scored.notes}
        return notes if "noise_floor" in store.data.attrs else {**notes, **errors(atlas, engine, store)}

    def derived(self, data: xr.Dataset) -> tuple[Variables, Mapping[str, Any]]:
        """Impact and pattern of each parameter."""
        return derived(self._atlas, data)

    def plan(self, stored: xr.Dataset | None, engine: Engine) -> Plan:
        """The parameters that are left; tables are timed on a few samples, the rest on a few parameters."""
        atlas, width = self._atlas, len(self._atlas.alphas)
        done = np.zeros(atlas.count, bool) if stored is None else (stored["status"].values != MISSING).all(axis=1)
        left = int((~done).sum())
        scorer = self._scorer(engine, self.reference["loss"])
        seconds = projected_seconds(atlas, scorer, self._left(scorer, done))
        point = plan_of_scoring("", self.objective, self.state)
        assert point.memory is not None
        table, states = len(atlas.kinds) * atlas.count * width * 4, len({state.digest() for state in self.states()})
        memory = Memory(point.memory.states * states, point.memory.data, point.memory.point + table)
        time = Expected(seconds, seconds, seconds / max(left, 1), "measured on a few")
        less = LESS if seconds > HOUR else ""
        how = f"{engine.backend.name} on {self.objective.device}: {engine.reason}{less}"
        return Plan(self.title, left, left, "parameters", atlas.count - left, time, point.samples, how, memory)

    def _scorer(self, engine: Engine, final_loss: float) -> SingleParameters:
        return SingleParameters(self.objective, self.state, final_loss, engine, Store.nowhere(), tabulate=self._atlas.mode == "tabulated")

    def _deltas(self, unit: Unit) -> list[Floats]:
        """By how much the values of each piece differ from the final ones, on all paths."""
        atlas = self._atlas
        return [np.concatenate([atlas.deltas(piece, kind) for kind in atlas.kinds], axis=1) for piece in unit.pieces]

    def _left(self, scorer: SingleParameters, done: np.ndarray[Any, np.dtype[np.bool_]]) -> list[Unit]:
        """The units of which some parameter is missing."""
        units = scorer.units(list(self._atlas.owners))
        return [unit for unit in units if not all(done[self._atlas.rows(piece)].all() for piece in unit.pieces)]


class AtlasUnits:
    """AtlasUnits of an atlas, to be scored here or elsewhere.

    Args:
        edits: the objective, the state that is edited and its loss, what scores what is not tabulated, and whether anything is.
        deltas: by how much the values of each piece differ, of this process; it does not travel.
        scorer: of this process, within the model's `running`; it does not travel.
    """

    def __init__(
        self,
        edits: tuple[Objective, State, float, Engine, bool],
        deltas: Callable[[Unit], list[Floats]] | None = None,
        scorer: SingleParameters | None = None,
    ) -> None:
        self._edits, self._deltas, self._scorer = edits, deltas, scorer

    def __reduce__(self) -> tuple[Any, ...]:
        objective, *rest = self._edits
        return (AtlasUnits, ((portable(objective), *rest),))

    def sent(self, unit: Unit) -> tuple[Unit, list[Floats]]:
        """A unit, and by how much its values differ."""
        assert self._deltas is not None
        return unit, self._deltas(unit)

    def __call__(self, sent: tuple[Unit, list[Floats]]) -> tuple[list[Changes], dict[str, Any]]:
        """The changes of the loss for each piece, and what a result says of how they were scored."""
        objective, state, final_loss, engine, tabulate = self._edits
        with objective.model.running() if self._deltas is None else nullcontext():
            if self._scorer is None:
                self._scorer = SingleParameters(objective, state, final_loss, engine, Store.nowhere(), tabulate=tabulate)
            return self._scorer.changes(*sent), dict(self._scorer.runner.notes)

    def probe(self) -> Probe:
        """What the final state scores."""
        objective, state, *_ = self._edits
        return Probe.of(objective, scores(objective, state))

    def named(self, unit: Unit) -> str:
        """Its parameters."""
        return f"parameters of {' and '.join(piece.tensor for piece in unit.pieces)}"


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
