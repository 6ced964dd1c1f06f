"""A study's result, filled training by training: laid out, or opened again and checked, as `examination` does for points."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from thetascope.errors import ResultError
from thetascope.evaluation.engine import Request
from thetascope.evaluation.objective import Objective
from thetascope.evaluation.preserve import preserved_threads
from thetascope.evaluation.probing import probe
from thetascope.experiments.examination import OutPath
from thetascope.experiments.provenance import check_same_call, provenance_attrs
from thetascope.geometry.paths import stored_points
from thetascope.results.result import MISSING, Result
from thetascope.results.store import Block, Layout, Store
from thetascope.results.stored import dataset
from thetascope.state import State


@dataclass(frozen=True)
class Grid:
    """The dimensions of what is scored with their labels, and how many points, or whole rows, are stored at once.

    `names` are what is stored of each point; by default the loss and the metrics.
    """

    dims: tuple[str, ...]
    labels: Mapping[str, ArrayLike | range]
    unit: int = 1
    rows: int = 1
    dtype: str = "float64"
    names: tuple[str, ...] | None = None

    @property
    def coords(self) -> dict[str, Any]:
        """The labels as arrays."""
        return {dim: np.asarray(self.labels[dim]) for dim in self.dims}

    def block(self, names: tuple[str, ...]) -> Block:
        """For a layout."""
        shape = tuple(len(self.coords[dim]) for dim in self.dims)
        return Block("", self.dims, shape, self.names or names, self.unit, self.rows, self.dtype)


@dataclass
class Study:
    """A study before it is run, and its result after.

    Args:
        name: of the function that users call.
        title: one line for people.
        objective: what scores the models.
        state: whose scores show whether the model and the data still give what they gave when a result was stored.
        reference: these scores.
        reference_name: what stands before their names in the result: "initial" or "full".
        identity: what a stored result must agree with to be gone on with, beside the objective and the state.
        grid: what is scored.
        attrs: what else the result should say.
        constants: variables that need no scoring.
        engine: what scores.
        states: those that it is about, where it is more than `state`.
    """

    name: str
    title: str
    objective: Objective
    state: State
    reference: Mapping[str, float]
    reference_name: str
    identity: Mapping[str, Any]
    grid: Grid
    attrs: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, tuple[tuple[str, ...], ArrayLike]] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=lambda: {"name": "eager", "reason": "each trained model is scored with a full pass"})
    states: tuple[State, ...] = ()
    seconds: float = 0.0
    """How long one scoring takes; known once it is opened."""
    _closed: Result | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The loss and the metrics."""
        return tuple(self.reference)

    @property
    def result(self) -> Result:
        """What was found; there once `opened` has ended."""
        assert self._closed is not None
        return self._closed

    @contextmanager
    def opened(self, out: OutPath) -> Iterator[Store]:
        """The store to fill: a new one, or that of an earlier same call, with the batch size and threads that it records.

        Raises:
            ResultError: what lies at `out` is of another call, or does not come out again.
            NotDeterministicError: two passes over the state disagree.
        """
        path, fingerprint = None if out is None else Path(out), self._fingerprint()
        with preserved_threads():
            store = self._laid_out(path, fingerprint) if path is None or not Store.exists(path) else self._gone_on(path, fingerprint)
            try:
                yield store
            finally:
                self._closed = store.close()

    def left(self, out: OutPath) -> list[int]:
        """Which points no earlier same call has stored; nothing is scored or written.

        Raises:
            ResultError: what lies at `out` is of another call.
        """
        if out is None or not Path(out).exists():
            return list(range(int(np.prod([len(self.grid.coords[dim]) for dim in self.grid.dims]))))
        data = dataset(Path(out))
        check_same_call(Path(out), data.attrs["fingerprint"], self._fingerprint())
        return [int(at) for at in np.flatnonzero(data["status"].values == MISSING)]

    def _fingerprint(self) -> dict[str, Any]:
        return {"experiment": self.name, **self.objective.fingerprint(), "state": self.state.digest(), **self.identity}

    def check_again(self, stored: Mapping[str, float], found: Mapping[str, float]) -> None:
        """Whether what was stored came out again.

        Raises:
            ResultError: it did not.
        """
        tolerance = 1e-9 if "float64" in str(self.objective.dtype) else 1e-5
        if not all(_same(stored[name], found[name], tolerance) for name in self.names):
            old, new = (", ".join(f"{name}={values[name]:.9g}" for name in self.names) for values in (stored, found))
            raise ResultError(
                f"a stored score does not come out again: stored {old}, now {new}. The model's code, a library or the machine changed "
                "what it computes; choose another out="
            )

    def _gone_on(self, path: Path, fingerprint: Mapping[str, Any]) -> Store:
        store = Store.open(path)
        try:
            attrs = store.data.attrs
            check_same_call(path, attrs["fingerprint"], fingerprint)
            torch.set_num_threads(attrs["threads"])
            self.objective.batches.rebatched(attrs["batch_size"])
            start = time.perf_counter()
            found = {name: float(value) for name, value in self.objective.score(self.state).items()}
            self.seconds = time.perf_counter() - start
            self.check_again({name: float(store.data[f"{self.reference_name}_{name}"]) for name in self.names}, found)
        except BaseException:
            store.close()
            raise
        return store

    def _laid_out(self, path: Path | None, fingerprint: Mapping[str, Any]) -> Store:
        with self.objective.model.running():
            probed = probe(self.objective, Request(stored_points([self.state], tuple(self.state)), ("state",), (1,), as_recorded=True))
        self.seconds = probed.seconds
        states = [{"label": s.label, "step": s.step, "epoch": s.epoch, "digest": s.digest()} for s in self.states or (self.state,)]
        attrs = {
            "experiment": self.name,
            "title": self.title,
            "loss_name": self.objective.loss,
            **self.attrs,
            **provenance_attrs(self.objective, fingerprint, self.engine, probed.samples),
            "states": states,
        }
        constants: dict[str, tuple[tuple[str, ...], ArrayLike]] = {f"{self.reference_name}_{n}": ((), v) for n, v in self.reference.items()}
        constants |= self.constants
        return Store.create(path, Layout([self.grid.block(self.names)], self.grid.coords, constants, attrs))


def _same(a: float, b: float, tolerance: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
