"""What follows from a filled atlas: how far it is off, each parameter's impact and pattern."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thetascope.experiments.parameter_atlas.single_parameters import Piece, measured_error, parameters_of
from thetascope.experiments.parameter_atlas.single_paths import SinglePaths
from thetascope.experiments.shared.patterns import patterns, share_intervals, shares
from thetascope.results.status import ESTIMATED
from thetascope.results.store import Store
from thetascope.scoring.fast.choice import Engine

STRONGEST, DRAWN, CHECKED_PLACES = 12, 52, 5
"""The error is measured on so many parameters, at so many places of each, drawn among those that are read and not scored: on the
parameters that change the loss most, and others drawn."""


def errors(atlas: SinglePaths, engine: Engine, store: Store) -> dict[str, Any]:
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
    is_read = data["status"].values == ESTIMATED
    rows = rows[is_read[rows].any(axis=1)] if atlas.mode == "tabulated" else rows
    sample = []
    for row in rows:
        tensor = [name for name, start in atlas.starts.items() if start <= row][-1]
        at = int(row) - atlas.starts[tensor]
        piece = Piece(tensor, at, at + 1)
        final = atlas.knots(piece)[:, 2:]
        choice = np.flatnonzero(is_read[row]) if is_read[row].any() else np.arange(change.shape[1])
        places = np.sort(generator.choice(choice, CHECKED_PLACES, replace=len(choice) < CHECKED_PLACES))
        sample.append(
            (parameters_of(atlas.state, piece, [0])[0], (final + atlas.deltas(piece, atlas.kind))[0, places], change[row, places])
        )
    if not sample:
        return {"noise_floor": 0.0}
    errors = measured_error(atlas.objective, atlas.state, engine, store, sample)
    found: dict[str, Any] = {"noise_floor": float(np.sqrt(np.median(errors.var(axis=1, ddof=1))))}
    if atlas.mode == "tabulated":
        largest = float(np.abs(errors).max())
        final_loss = abs(float(data.attrs["final_loss"]))
        found["table_error"] = {
            "parameters": len(rows), "places": errors.size, "largest": largest / final_loss if final_loss else largest,
            "median": float(np.median(np.abs(errors))) / (final_loss or 1.0), "unit": "share of the final loss" if final_loss else "loss",
        }  # fmt: skip
    return found


def derived(atlas: SinglePaths, data: Any) -> tuple[dict[str, tuple[tuple[str, ...], ArrayLike]], dict[str, Any]]:
    """Impact and pattern of each parameter."""
    change = data["loss_change"].values
    found: dict[str, tuple[tuple[str, ...], ArrayLike]] = {"impact": (("parameter",), np.abs(change).max(axis=1))}
    if len(atlas.kinds) < 2:
        return {**found, "pattern": (("parameter",), [""] * len(change))}, {"pattern_shares": {}, "pattern_shares_interval": {}}
    order = np.argsort(atlas.alphas)
    floor = data.attrs.get("noise_floor", 0.0)
    curves: dict[str, NDArray[np.float64]] = {k: data[name].values[:, order].astype(np.float64) for k, name in atlas.variables.items()}
    names = patterns(atlas.alphas[order], curves["linear"], curves["quadratic"], floor)
    known = {"pattern_shares": shares(names), "pattern_shares_interval": share_intervals(names)}
    return {**found, "pattern": (("parameter",), names)}, known
