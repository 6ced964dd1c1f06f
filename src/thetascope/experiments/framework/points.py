"""Points as work for a Job: all are scored, or, of what may be estimated, some."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from thetascope.arrays import Floats
from thetascope.experiments.framework.plan import Plan, memory_of
from thetascope.experiments.framework.source import ScoringSource, Variables
from thetascope.experiments.framework.timing import Expected, Remaining, expected
from thetascope.experiments.framework.tolerance import ROUND, TESTS, estimated, worth_estimating
from thetascope.geometry.edits import ScalarEdits
from thetascope.geometry.points import PointSet
from thetascope.geometry.smooth import first_cells
from thetascope.progress import LONG_SECONDS, duration, progress_bar, say
from thetascope.results.filled import Filled
from thetascope.results.status import MISSING, named
from thetascope.results.store import Block, Store
from thetascope.scoring.cache import FirstPoint
from thetascope.scoring.clusters.away import place_for
from thetascope.scoring.determinism import check_determinism, recheck, recheck_reference
from thetascope.scoring.fast.choice import Engine, chosen_engine
from thetascope.scoring.fast.tuning import Work, tuned
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.scoring.runner import Request, Runner, pending_units, shares_layers, stored_key, unit_size, units_of
from thetascope.scoring.sampling import choose
from thetascope.scoring.scores import Reference
from thetascope.state import State


@dataclass(frozen=True)
class AllPoints(Request):
    """Points of which every one is scored.

    `remade`: they are made anew when a call is gone on with, so that one of them is scored again to see whether they are the same.
    """

    remade: bool = False

    def unit(self, first: FirstPoint, *, resident: bool, shares: bool) -> int:
        """How many are stored at once."""
        return unit_size(self, first.seconds, resident=resident, shares=shares)

    def work(self, store: Filled | None, size: int = 1) -> Remaining:
        """What is still to score: whole units; without a store all of it, in units of `size`."""
        units = list(units_of(self, size) if store is None else pending_units(self, store))
        left = sum(len(unit) for unit in units)
        return Remaining(self, units, left, left)

    def fill(self, store: Filled, runner: Runner) -> None:
        """Score what is not stored yet."""
        runner.everything(self)


@dataclass(frozen=True)
class EstimatedGrid(AllPoints):
    """A grid of which some cells are scored and the rest is estimated, the loss within `tolerance` (relative)."""

    tolerance: float = 0.01

    def unit(self, first: FirstPoint, *, resident: bool, shares: bool) -> int:
        """A row: a round of cells lies anywhere, and of chunks of few cells a row would be many files, all written again."""
        return self.shape[-1]

    def work(self, store: Filled | None, size: int = 1) -> Remaining:
        """The cells that are not there, at most."""
        done = np.zeros(len(self.points), bool) if store is None else store.done(self.prefix)
        ny, nx = self.shape
        cells, left = [[int(cell)] for cell in first_cells(nx, ny) if not done[cell]], int((~done).sum())
        return Remaining(self, cells, left, min(left, len(cells) + TESTS * ROUND) if worth_estimating((ny, nx)) else left)

    def fill(self, store: Filled, runner: Runner) -> None:
        """Score some cells and estimate the rest; cells that are stored already are not scored again."""
        before = store.done(self.prefix)
        if before.all():
            return
        new = 0

        def score(cells: Sequence[int]) -> dict[str, Floats]:
            nonlocal new
            known = store.evaluated(self.prefix)
            left = [cell for cell in cells if not known[cell]]
            runner.cells(self, left)
            new += len(left)
            values = [store.values(self.prefix, cell) for cell in cells]
            return {name: np.array([value[name] for value in values]) for name in values[0]}

        found = estimated((self.shape[0], self.shape[1]), self.tolerance, score)
        said = {
            "tolerance": self.tolerance, "evaluated": found.evaluated, "cells": len(self.points), "error": found.errors["loss"],
            "errors": dict(found.errors), "held_out": found.held_out, "safety": found.safety,
            "full_grid": found.evaluated == len(self.points), "reason": found.reason, "fitted": found.fitted,
        }  # fmt: skip
        store.estimate(self.prefix, found.values, {"estimate": said})
        rest = int((~before).sum()) - new
        runner.advance(rest, "the rest estimated" if rest else "")


def grid_points(points: PointSet, shape: tuple[int, int], tolerance: float | None) -> AllPoints:
    """A grid over (``y``, ``x``), of which every cell is scored, or some where a tolerance is given."""
    return AllPoints(points, ("y", "x"), shape) if tolerance is None else EstimatedGrid(points, ("y", "x"), shape, tolerance=tolerance)


@dataclass(eq=False)
class PointsSource(ScoringSource):
    """Points to score, their labels, and what is known without scoring.

    Args:
        title: one line for people.
        objective: what scores.
        requests: the points.
        coords: labels of the dimensions.
        labels: what else is said of what lies along a dimension.
        settings: everything that decides which points these are.
        known: variables that need no scoring.
        attrs: what else the result should say.
        derive: computes further variables and attrs from the finished dataset.
        reference: the state whose losses those of all points are compared with, sample by sample; by default that which
            the rest of a point comes from.
    """

    title: str
    objective: Objective
    requests: Sequence[AllPoints]
    coords: Mapping[str, ArrayLike]
    settings: Mapping[str, Any]
    known: Variables = field(default_factory=dict)
    labels: Variables = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    derive: Callable[[xr.Dataset], tuple[Variables, Mapping[str, Any]]] | None = None
    reference: State | None = None

    def __post_init__(self) -> None:
        points = self.requests[0].points
        self.objective = self.objective.against(self.reference or points.basis[getattr(points, "anchor", -1)])

    def prepare(self, path: Path | None) -> None:
        """How many samples are drawn, where the objective leaves that open; kept with the run, or beside the result."""
        if self.objective.chosen is not None:
            runs = list(dict.fromkeys(state.run for state in self.states() if state.run is not None))
            homes = runs if path is None else [*runs, path.parent]
            keep = next((run for run in runs if path is not None and run in path.parents), None if path is None else path.parent)
            choose(self.objective, [(request.points, request.as_recorded) for request in self.requests], homes, keep)

    @property
    def undivided(self) -> str:
        """Cells that are estimated follow from those that were scored before."""
        estimated = any(isinstance(request, EstimatedGrid) for request in self.requests)
        return "which cells are scored within a tolerance depends on the others; leave tolerance out" if estimated else ""

    def engine(self, name: str) -> Engine:
        """The one that is named, else what suits points that share layers, or share none."""
        if any(isinstance(request.points, ScalarEdits) for request in self.requests):
            return chosen_engine(name, self.objective, "edits")
        return chosen_engine(name, self.objective, "shared" if any(map(shares_layers, self.requests)) else "whole")

    def states(self) -> Sequence[State]:
        """All basis states."""
        return [state for request in self.requests for state in request.points.basis]

    def identity(self) -> Mapping[str, Any]:
        """The points themselves."""
        return {"grid": {request.prefix or "points": request.points.digest() for request in self.requests}}

    def first_point(self) -> FirstPoint:
        """Of the first point; what points are compared with is found before."""
        compared = self.objective.compared
        self.objective.guard([self.requests[0].points.basis[0], *([] if compared is None else [compared])])
        self._know_reference()
        return check_determinism(self.objective, self.requests[0])

    def _know_reference(self) -> None:
        """Score the state that points are compared with, once; what it scores need not be scored again."""
        self.objective.cache.remember(self._compared, self._reference.values_of_itself)

    @property
    def _compared(self) -> Hashable:
        """What the state that points are compared with is remembered by."""
        assert self.objective.compared is not None
        return stored_key(self.objective, AllPoints(self.objective.stored((self.objective.compared,)), ("state",), (1,)), 0)

    @property
    def _reference(self) -> Reference:
        found = self.objective.reference
        assert found is not None
        return found

    def recheck(self, store: Filled) -> FirstPoint:
        """One stored point, scored again: that which the others are compared with, if it is stored; the first one where none is.

        Where nothing is left to score, that point alone is, and compared with nothing.
        """
        finished = all(store.done(request.prefix).all() for request in self.requests)
        objective = self.objective.against(None) if finished else self.objective
        same = self._compared
        for request in () if any(request.remade for request in self.requests) else self.requests:
            for k in np.flatnonzero(store.evaluated(request.prefix)).tolist():
                if request.points.is_stored(k) and stored_key(self.objective, request, k) == same:
                    stored = store.values(request.prefix, k)
                    return self._seen_again(objective, request, k, stored) if finished else recheck_reference(objective, stored)
        if not finished:
            self._know_reference()
        for request in self.requests:
            done = np.flatnonzero(store.evaluated(request.prefix))
            if len(done):
                return self._seen_again(objective, request, int(done[0]), store.values(request.prefix, int(done[0])))
        return self.first_point()

    @staticmethod
    def _seen_again(objective: Objective, request: AllPoints, k: int, stored: dict[str, float]) -> FirstPoint:
        """A stored point scored again, with the names that were stored."""
        return replace(recheck(objective, request, k, stored), names=tuple(stored))

    def tuned(self, engine: Engine, first: FirstPoint) -> Engine:
        """Tuned on the most points that are asked for at once."""
        work = Work(sum(len(request.points) for request in self.requests), first.seconds, first.samples)
        return tuned(engine, self.objective, max(self.requests, key=lambda request: len(request.points)).points, work)

    def blocks(self, first: FirstPoint, engine: Engine) -> Sequence[Block]:
        """One a request."""
        return [
            Block(r.prefix, r.dims, r.shape, first.names, unit) for r, unit in zip(self.requests, self._units(first, engine), strict=True)
        ]

    def constants(self) -> Variables:
        """What is known."""
        return self.known

    def fill(self, store: Filled, engine: Engine, first: FirstPoint, *, progress: bool) -> Mapping[str, Any]:
        """Say how long it takes, and score request by request."""
        works = [request.work(store) for request in self.requests]
        least, left = sum(work.least for work in works), sum(work.left for work in works)
        total = sum(len(request.points) for request in self.requests)
        there = sum(int((store.data[named(request.prefix, "status")].values != MISSING).sum()) for request in self.requests)
        shown, ahead = progress and left * first.seconds > LONG_SECONDS, list[int]()
        runner = Runner(self.objective, store, engine, ahead.append, place_for(self.objective))
        if shown:
            time = expected(runner, works, first.seconds, fast=_is_fast(engine), stored=True)
            points = f"{left:,}" if least == left else f"{least:,} to {left:,}"
            stored = f" ({there:,} of {total:,} are stored already)" if there else ""
            shown = time.seconds > LONG_SECONDS  # full passes would take longer, but this does not
            say(
                f"{self.title}: {points} points to score{stored} on {first.samples:,} samples with the {engine.backend.name} engine on "
                f"{self.objective.device}{runner.place.told}, {time} ({duration(time.each)} a point, {time.measured_on})",
                shown=shown,
            )
        with progress_bar("scoring", left, shown=shown, most=least < left) as advance:
            advance(sum(ahead))
            runner.advance = advance
            for request in self.requests:
                request.fill(store, runner)
        return runner.notes

    def derived(self, data: xr.Dataset) -> tuple[Variables, Mapping[str, Any]]:
        """What `derive` makes of the scores, and what they were compared with."""
        variables, attrs = ({}, {}) if self.derive is None else self.derive(data)
        if "reference" in data.attrs:  # it was finished before
            return variables, attrs
        reference, state = self._reference, self.objective.compared
        assert state is not None
        of = {"label": state.label, "step": state.step, "loss": reference.means["loss"], "top_share": reference.top_share}
        return variables, {**attrs, "reference": {**of, "units": "samples" if reference.per_sample else "batches"}}

    def plan(self, stored: xr.Dataset | None, engine: Engine) -> Plan:
        """What is left; a few points are scored to tell how long that takes."""
        first = self.first_point()
        there = 0 if stored is None else sum(int((stored[named(r.prefix, "status")].values != MISSING).sum()) for r in self.requests)
        todo = sum(len(request.points) for request in self.requests) - there
        if stored is None:
            engine = self.tuned(engine, first)
        time, least = Expected(0.0, 0.0, first.seconds, ""), 0
        if todo:
            works = [request.work(None, unit) for request, unit in zip(self.requests, self._units(first, engine), strict=True)]
            time = expected(Runner(self.objective, Store.nowhere(), engine), works, first.seconds, fast=_is_fast(engine), stored=False)
            share = todo / (todo + there)
            time = replace(time, least=time.least * share, seconds=time.seconds * share)
            least = min(todo, sum(work.least for work in works))
        how, memory = f"{engine.backend.name} on {self.objective.device}: {engine.reason}", memory_of(self.objective, self.requests)
        return Plan(self.title, least, todo, "points", there, time, first.samples, how, memory)

    def _units(self, first: FirstPoint, engine: Engine) -> list[int]:
        """How many points of each request are stored at once."""
        resident, shares = self.objective.batches.resident, _is_fast(engine)
        return [request.unit(first, resident=resident, shares=shares) for request in self.requests]


def _is_fast(engine: Engine) -> bool:
    return engine.backend is not EagerBackend
