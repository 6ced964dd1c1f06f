"""Filling an atlas: unit by unit, with the time it takes told before."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from thetascope.evaluation.single_parameters import PROJECTED_PLACES, SingleParameters, Unit, parameters_of
from thetascope.experiments.single_paths import SinglePaths
from thetascope.geometry.points import Floats
from thetascope.progress import LONG_SECONDS, duration, progress_bar, say
from thetascope.results.result import MISSING
from thetascope.results.store import Store


def fill(atlas: SinglePaths, scorer: SingleParameters, store: Store, progress: bool) -> None:
    """Go through all units that are not stored yet."""
    done = (store.data["status"].values != MISSING).all(axis=1)
    units = scorer.units(list(atlas.owners))
    left = [unit for unit in units if not all(done[atlas.rows(piece)].all() for piece in unit.pieces)]
    total = sum(len(piece) for unit in left for piece in unit.pieces)
    tabulated = sum(len(piece) for unit in left for piece in unit.pieces if scorer.is_tabulated(unit))
    seconds = projected_seconds(atlas, scorer, left) if left else 0.0
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
                store.write_rows("", atlas.rows(piece).start, values, estimated=atlas.mode == "tabulated")
                advance(len(piece))


def _changes(atlas: SinglePaths, scorer: SingleParameters, unit: Unit) -> list[dict[str, Floats]]:
    """Both paths' changes of the loss for each piece of a unit."""
    deltas = [np.concatenate([atlas.deltas(piece, kind) for kind in atlas.kinds], axis=1) for piece in unit.pieces]
    found = scorer.changes(unit, deltas)
    width = len(atlas.alphas)
    return [
        {name: part[:, k * width : (k + 1) * width] for k, name in enumerate(atlas.variables.values())} for part in found
    ]  # fmt: skip


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
