"""What a Job works on: a source says what is to score, how that is laid out and filled, and what follows from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import xarray as xr
from numpy.typing import ArrayLike
from torch import nn

from thetascope.errors import ResultError, UsageError
from thetascope.experiments.framework.plan import Plan
from thetascope.experiments.framework.provenance import basic_attrs, provenance_attrs
from thetascope.geometry.points import StoredStates
from thetascope.results.filled import Filled
from thetascope.results.store import Block, Store
from thetascope.scoring.cache import FirstPoint
from thetascope.scoring.determinism import check_determinism, recheck
from thetascope.scoring.fast.choice import Engine
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.scoring.runner import Request
from thetascope.state import State

Variables = Mapping[str, tuple[tuple[str, ...], ArrayLike]]


class Source(ABC):
    """Remaining for a Job: points to score, trainings to run, an atlas to fill, states to measure.

    Attributes:
        title: one line for people.
        coords: labels of the dimensions.
        labels: further coordinates, such as the block that a layer lies in.
        settings: everything that decides what is done; a stored result with other settings is not gone on with.
        attrs: what else the result should say.
    """

    title: str
    coords: Mapping[str, ArrayLike]
    labels: Variables = MappingProxyType({})
    settings: Mapping[str, Any]
    attrs: Mapping[str, Any]

    @contextmanager
    def running(self) -> Iterator[None]:
        """What holds while it is planned or filled."""
        yield

    @property
    def undivided(self) -> str:
        """Why it cannot be scored in parts by several processes; empty where it can, and `fill` takes a part of a store too."""
        return "it is not made of points that can be scored apart from one another"

    def models(self) -> Sequence[nn.Module]:
        """The caller's models, which are afterwards what they were."""
        return ()

    def prepare(self, path: Path | None) -> None:
        """Whatever must be known before anything is done; `path` is where the result is stored."""
        return

    @abstractmethod
    def engine(self, name: str) -> Engine:
        """The engine that the name asks for."""

    @abstractmethod
    def states(self) -> Sequence[State]:
        """The recorded states that it is about."""

    def identity(self) -> Mapping[str, Any]:
        """What a stored result must agree with to be gone on with, beside the states, the settings and the objective, if there is one."""
        return {}

    def scoring(self) -> Mapping[str, Any]:
        """What a stored result must agree with of what scores; nothing where nothing does."""
        return {}

    def fingerprint(self, experiment: str) -> dict[str, Any]:
        """Everything that a stored result must agree with to be gone on with, but for the engine."""
        return {
            "experiment": experiment,
            **self.scoring(),
            "states": list(dict.fromkeys(state.digest() for state in self.states())),
            "settings": dict(self.settings),
            **self.identity(),
        }

    def provenance(self, experiment: str, engine: Engine, first: FirstPoint) -> dict[str, Any]:
        """What the result says of where it comes from, but for its states."""
        return basic_attrs(self.fingerprint(experiment))

    @abstractmethod
    def first_point(self) -> FirstPoint:
        """What scoring a first point shows: whether it can be trusted, which variables there are, how long it takes."""

    def resumed(self, store: Filled) -> FirstPoint:
        """The same of something that was stored, done again as it was."""
        return self.recheck(store)

    @abstractmethod
    def recheck(self, store: Filled) -> FirstPoint:
        """What doing something again shows that was stored; it must come out again."""

    def tuned(self, engine: Engine, first: FirstPoint) -> Engine:
        """The engine with the settings that are fastest for this work, where that is worth a measurement."""
        return engine

    @abstractmethod
    def blocks(self, first: FirstPoint, engine: Engine) -> Sequence[Block]:
        """What will be filled, and how much of it is stored at once."""

    def constants(self) -> Variables:
        """Variables that need no scoring."""
        return {}

    @abstractmethod
    def fill(self, store: Store, engine: Engine, first: FirstPoint, *, progress: bool) -> Mapping[str, Any]:
        """Do what is not stored yet; what the result should say of how that went."""

    def derived(self, data: xr.Dataset) -> tuple[Variables, Mapping[str, Any]]:
        """Variables and attributes that follow from the finished scores."""
        return {}, {}

    def named_state(self, data: xr.Dataset, label: str) -> State:
        """A state that the result names.

        Raises:
            ResultError: it names none.
        """
        raise ResultError(f'a result of "{data.attrs["experiment"]}" is of points alone: it names no state')

    @abstractmethod
    def plan(self, stored: xr.Dataset | None, engine: Engine) -> Plan:
        """What is left to do; `stored` is what an earlier same call left."""


class ScoringSource(Source):
    """A source that scores a model on data.

    Attributes:
        objective: what scores.
    """

    objective: Objective

    def models(self) -> Sequence[nn.Module]:
        """The objective's."""
        return [self.objective.model.model]

    @contextmanager
    def running(self) -> Iterator[None]:
        """The model is what it is in a pass, and afterwards what it was."""
        with self.objective.model.running():
            yield

    def scoring(self) -> Mapping[str, Any]:
        """The objective."""
        return self.objective.fingerprint()

    def provenance(self, experiment: str, engine: Engine, first: FirstPoint) -> dict[str, Any]:
        """What the result says of where it comes from, but for its states."""
        return provenance_attrs(self.objective, self.fingerprint(experiment), engine.to_json(), first.samples)

    def resumed(self, store: Filled) -> FirstPoint:
        """The first point of something that was stored, scored again with the batch size that it was made with."""
        batches, attrs = self.objective.batches, store.data.attrs
        batches.rebatched(attrs["batch_size"])
        first = self.recheck(store)
        if batches.batch_size != attrs["batch_size"]:  # less memory than there was
            store.add({}, {"batch_size": batches.batch_size, "memory_ran_out": True})
        return first


class ReferenceSource(ScoringSource):
    """A source whose reference is one state: its scores stand in the result, and show whether model and data still give the same.

    Attributes:
        state: that state, bound to the objective's model.
        reference: its scores.
        reference_name: what stands before their names in the result.
    """

    state: State
    reference: Mapping[str, float]
    reference_name: str

    def states(self) -> Sequence[State]:
        """That state alone."""
        return [self.state]

    def engine(self, name: str) -> Engine:
        """Full passes of the oracle.

        Raises:
            UsageError: another one is asked for.
        """
        return only_eager(name, "each trained model is scored with a full pass")

    def first_point(self) -> FirstPoint:
        """Of that state."""
        with self.objective.model.running():
            return check_determinism(self.objective, self._request)

    def recheck(self, store: Filled) -> FirstPoint:
        """Whether the stored scores of that state come out again."""
        stored = {name: float(store.data[f"{self.reference_name}_{name}"]) for name in self.reference}
        with self.objective.model.running():
            return recheck(self.objective, self._request, 0, stored)

    def constants(self) -> Variables:
        """The reference."""
        return {f"{self.reference_name}_{name}": ((), value) for name, value in self.reference.items()}

    @property
    def _request(self) -> Request:
        return Request(StoredStates((self.state,)), ("state",), (1,), as_recorded=True)


def only_eager(name: str, reason: str) -> Engine:
    """The oracle, for what nothing else scores.

    Raises:
        UsageError: another engine is asked for.
    """
    if name not in ("auto", "eager"):
        raise UsageError(f'engine must be "auto" or "eager" here, for {reason}. Got "{name}" instead.')
    return Engine(EagerBackend, reason)
