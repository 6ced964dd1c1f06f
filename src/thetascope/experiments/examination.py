"""What all experiments share: open or lay out the result, score what is missing, say what it costs, add provenance."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from thetascope.evaluation.backends import Engine, chosen_engine
from thetascope.evaluation.backends.eager import EagerBackend
from thetascope.evaluation.engine import Request, Runner, pending_units, shares_layers, unit_size, units_of
from thetascope.evaluation.objective import Objective
from thetascope.evaluation.preserve import preserved_threads
from thetascope.evaluation.probing import Probe, probe, recheck
from thetascope.evaluation.tuning import tuned
from thetascope.experiments import dry_run
from thetascope.experiments.pacing import Expected, Work, expected
from thetascope.experiments.provenance import check_same_call, provenance_attrs
from thetascope.experiments.tolerance import ROUND, TESTS, estimated, worth_estimating
from thetascope.geometry.points import Floats
from thetascope.geometry.smooth import first_cells
from thetascope.progress import LONG_SECONDS, duration, progress_bar, say
from thetascope.results.result import MISSING, Result
from thetascope.results.store import Block, Layout, Store
from thetascope.results.stored import dataset
from thetascope.state import State

Variables = Mapping[str, tuple[tuple[str, ...], ArrayLike]]
GRID = ("y", "x")
OutPath = str | os.PathLike[str] | None


@dataclass(frozen=True)
class Experiment:
    """An experiment before it is run: the points, their labels, and what is known without scoring.

    Args:
        name: of the function that users call; results keep it, and figures are found by it.
        title: one line for people.
        requests: the points to score.
        coords: labels of the dimensions.
        settings: everything that decides which points these are; a stored result with other settings is not
            gone on with.
        constants: variables that need no scoring.
        attrs: what else the result should say.
        tolerance: how far the loss may be off, relatively, in cells of a grid over (``y``, ``x``) that are estimated rather
            than scored; None scores all.
        derived: computes further variables and attrs from the finished dataset.
    """

    name: str
    title: str
    requests: Sequence[Request]
    coords: Mapping[str, ArrayLike]
    settings: Mapping[str, Any]
    constants: Variables = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float | None = None
    derived: Callable[[Any], tuple[Variables, Mapping[str, Any]]] | None = None


def examine(objective: Objective, experiment: Experiment, *, out: OutPath, engine: str, progress: bool) -> Result:
    """Score all points of `experiment` and return the result.

    With `out` the result is stored unit by unit; the same call goes on where an earlier one stopped.

    Raises:
        ResultError: what lies at `out` is of another call; the message lists every difference.
        NotDeterministicError: two passes over one point disagree.
    """
    fingerprint = _fingerprint(objective, experiment)
    path = None if out is None else Path(out)
    with preserved_threads(), objective.model.running():
        shared = any(shares_layers(request) for request in experiment.requests)
        chosen = chosen_engine(engine, objective, layers_are_shared=shared)
        if dry_run.asked():
            dry_run.stop(_plan(objective, experiment, path, fingerprint, chosen, named=engine != "auto"))
        if path is not None and Store.exists(path):
            store, probed = _gone_on(objective, experiment, path, fingerprint, None if engine == "auto" else chosen.backend.name)
            chosen = Engine.from_json(store.data.attrs["engine"])
        else:
            probed = probe(objective, experiment.requests[0])
            chosen = _settled(chosen, objective, experiment, probed)
            provenance = _provenance(objective, fingerprint, experiment, chosen.to_json(), probed)
            store = Store.create(path, _layout(objective, experiment, probed, provenance, shares=_is_fast(chosen)))
        try:
            notes = _score(objective, experiment, store, probed, progress, chosen)
            if notes:
                store.add({}, notes)
            if experiment.derived is not None:
                store.add(*experiment.derived(store.data))
        finally:
            result = store.close()
    return result


def _settled(engine: Engine, objective: Objective, experiment: Experiment, probed: Probe) -> Engine:
    """The engine with the settings that are fastest for this experiment, where that is worth a measurement."""
    work = probed.seconds * sum(len(request.points) for request in experiment.requests)
    return tuned(engine, objective, max(experiment.requests, key=lambda request: len(request.points)).points, work)


def _is_fast(engine: Engine) -> bool:
    return engine.backend is not EagerBackend


def _plan(
    objective: Objective, experiment: Experiment, path: Path | None, fingerprint: Mapping[str, Any], engine: Engine, *, named: bool
) -> dry_run.Plan:
    """What is left of this call, for a dry run; nothing is written, and a stored result is only read."""
    stored = dataset(path) if path is not None and path.exists() else None
    if path is not None and stored is not None:
        before = {**stored.attrs["fingerprint"], "engine": stored.attrs["engine"]["name"]}
        check_same_call(path, before, {**fingerprint, "engine": engine.backend.name if named else before["engine"]})
        engine = Engine.from_json(stored.attrs["engine"])
    probed = probe(objective, experiment.requests[0])
    there = 0 if stored is None else sum(int((stored[f"{r.prefix}status"].values != MISSING).sum()) for r in experiment.requests)
    todo = sum(len(request.points) for request in experiment.requests) - there
    if stored is None:
        engine = _settled(engine, objective, experiment, probed)
    time, least = Expected(0.0, 0.0, probed.seconds, ""), 0
    if todo:
        runner = Runner(objective, Store.nowhere(), engine)
        sizes = (unit_size(r, probed.seconds, resident=objective.batches.resident, shares=_is_fast(engine)) for r in experiment.requests)
        works = [_work(experiment, request, None, size) for request, size in zip(experiment.requests, sizes, strict=True)]
        time = expected(runner, works, probed.seconds, fast=_is_fast(engine), stored=False)
        share = todo / (todo + there)
        time = replace(time, least=time.least * share, seconds=time.seconds * share)
        least = min(todo, sum(work.least for work in works))
    how, memory = f"{engine.backend.name} on {objective.device}: {engine.reason}", dry_run.memory_of(objective, experiment.requests)
    return dry_run.Plan(experiment.title, least, todo, "points", there, time, probed.samples, how, memory)


def _gone_on(
    objective: Objective, experiment: Experiment, path: Path, fingerprint: Mapping[str, Any], backend: str | None
) -> tuple[Store, Probe]:
    """Open the stored result, with the engine, batch size and threads it was made with, and check one of its points."""
    store = Store.open(path)
    try:
        attrs = store.data.attrs
        stored = {**attrs["fingerprint"], "engine": attrs["engine"]["name"]}
        check_same_call(path, stored, {**fingerprint, "engine": backend or stored["engine"]})
        torch.set_num_threads(attrs["threads"])
        for batches in (objective.batches, objective.calibration):
            batches.rebatched(attrs["batch_size"])
        for request in experiment.requests:
            done = np.flatnonzero(store.evaluated(request.prefix))
            if len(done):
                row = int(done[0])
                probed = recheck(objective, request, row, store.values(request.prefix, row))
                break
        else:
            probed = probe(objective, experiment.requests[0])
        if objective.batches.batch_size != attrs["batch_size"]:  # less memory than there was
            store.add({}, {"batch_size": objective.batches.batch_size, "memory_ran_out": True})
        return store, probed
    except BaseException:
        store.close()
        raise


def _score(objective: Objective, experiment: Experiment, store: Store, probed: Probe, progress: bool, engine: Engine) -> dict[str, Any]:
    works = [_work(experiment, request, store) for request in experiment.requests]
    least, left = sum(work.least for work in works), sum(work.left for work in works)
    total = sum(len(request.points) for request in experiment.requests)
    shown, ahead = progress and left * probed.seconds > LONG_SECONDS, list[int]()
    runner = Runner(objective, store, engine, ahead.append)
    if shown:
        time = expected(runner, works, probed.seconds, fast=_is_fast(engine), stored=True)
        points = f"{left:,}" if least == left else f"{least:,} to {left:,}"
        stored = f" ({total - left:,} of {total:,} are stored already)" if left < total else ""
        shown = time.seconds > LONG_SECONDS  # full passes would take longer, but this does not
        say(
            f"{experiment.title}: {points} points to score{stored} on {probed.samples:,} samples with the "
            f"{engine.backend.name} engine on {objective.device}, {time} ({duration(time.each)} a point, {time.measured_on})",
            shown=shown,
        )
    with progress_bar(experiment.name, left, shown=shown, most=least < left) as advance:
        advance(sum(ahead))
        runner.advance = advance
        for request in experiment.requests:
            tolerance = _tolerance(experiment, request)
            if tolerance is not None:
                before = int(store.done(request.prefix).sum())
                scored = _estimate(request, store, runner, tolerance)
                rest = len(request.points) - before - scored
                advance(rest, "the rest estimated" if rest else "")
            else:
                runner.everything(request)
    return runner.notes


def _tolerance(experiment: Experiment, request: Request) -> float | None:
    """How far off a request's points may be estimated; None where all are scored."""
    return experiment.tolerance if request.dims == GRID else None


def _work(experiment: Experiment, request: Request, store: Store | None, size: int = 1) -> Work:
    """What is still to score: whole units; where cells are estimated those that are not there, at most. Without a store all of it."""
    if _tolerance(experiment, request) is not None:
        done = np.zeros(len(request.points), bool) if store is None else store.done(request.prefix)
        ny, nx = request.shape
        begin = first_cells(nx, ny)
        cells, left = [[int(cell)] for cell in begin if not done[cell]], int((~done).sum())
        return Work(request, cells, left, min(left, len(cells) + TESTS * ROUND) if worth_estimating((ny, nx)) else left)
    units = list(units_of(request, size) if store is None else pending_units(request, store))
    left = sum(len(unit) for unit in units)
    return Work(request, units, left, left)


def _estimate(request: Request, store: Store, runner: Runner, tolerance: float) -> int:
    """Score some cells of a grid and estimate the rest; cells that are stored already are not scored again. How many were scored."""
    new = 0
    if store.done(request.prefix).all():
        return new

    def score(cells: Sequence[int]) -> dict[str, Floats]:
        nonlocal new
        known = store.evaluated(request.prefix)
        left = [cell for cell in cells if not known[cell]]
        runner.cells(request, left)
        new += len(left)
        values = [store.values(request.prefix, cell) for cell in cells]
        return {name: np.array([value[name] for value in values]) for name in values[0]}

    found = estimated((request.shape[0], request.shape[1]), tolerance, score)
    said = {
        "tolerance": tolerance, "evaluated": found.evaluated, "cells": len(request.points), "error": found.errors["loss"],
        "errors": dict(found.errors), "held_out": found.held_out, "safety": found.safety,
        "full_grid": found.evaluated == len(request.points), "reason": found.reason, "fitted": found.fitted,
    }  # fmt: skip
    store.estimate(request.prefix, found.values, {"estimate": said})
    return new


def _layout(objective: Objective, experiment: Experiment, probed: Probe, provenance: Mapping[str, Any], *, shares: bool) -> Layout:
    resident = objective.batches.resident
    units = [
        # a round of cells lies anywhere, so each row is one chunk: of chunks of few cells, a row would be many files, all written again
        unit_size(request, probed.seconds, resident=resident, shares=shares)
        if _tolerance(experiment, request) is None
        else request.shape[-1]
        for request in experiment.requests
    ]
    blocks = [Block(r.prefix, r.dims, r.shape, probed.names, unit) for r, unit in zip(experiment.requests, units, strict=True)]
    attrs = {"experiment": experiment.name, "title": experiment.title, **experiment.attrs, **provenance}
    return Layout(blocks, experiment.coords, experiment.constants, attrs)


def _fingerprint(objective: Objective, experiment: Experiment) -> dict[str, Any]:
    states: dict[str, State] = {state.digest(): state for request in experiment.requests for state in request.points.basis}
    return {
        "experiment": experiment.name,
        **objective.fingerprint(),
        "grid": {request.prefix or "points": request.points.digest() for request in experiment.requests},
        "states": list(states),
        "settings": dict(experiment.settings),
    }


def _provenance(
    objective: Objective,
    fingerprint: Mapping[str, Any],
    experiment: Experiment,
    engine: Mapping[str, Any],
    probed: Probe,
) -> dict[str, Any]:
    states = {s.digest(): s for request in experiment.requests for s in request.points.basis}
    recorded = [{"label": s.label, "step": s.step, "epoch": s.epoch, "digest": digest} for digest, s in states.items()]
    return {**provenance_attrs(objective, fingerprint, engine, probed.samples), "states": recorded}
