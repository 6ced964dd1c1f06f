"""The one conductor: a Job says what a call would do, does it, and goes on where an earlier same call stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from thetascope.errors import ResultError, UsageError
from thetascope.experiments.framework.call_options import canonical
from thetascope.experiments.framework.plan import Plan
from thetascope.experiments.framework.same_call import check_same_call, grown_since
from thetascope.experiments.framework.source import Source
from thetascope.experiments.framework.undisturbed import Undisturbed
from thetascope.files import Lock
from thetascope.results.portions import PART, OnlyMine, Portion
from thetascope.results.result import Result
from thetascope.results.store import Layout, Store
from thetascope.results.stored import UNTIL, attributes, dataset
from thetascope.scoring.cache import FirstPoint
from thetascope.scoring.fast.choice import Engine

LONGEST_OPTION = 300
"""Options whose JSON is longer are not kept in the result: a report then cannot say how to type them."""


class Job:
    """A call of an experiment.

    Args:
        source: what is to do.
        name: of the experiment.
        key: of the call.
        options: of the call that differ from their defaults.
        path: where the result is stored, unit by unit; None keeps it in memory.
        engine: "auto", or the name of a backend.
        progress: say what is done and how long it takes, and show how far it is.
        portion: of the points that are scored; None for all.
        fresh: begin anew, in the place of what is stored.

    Where the training has gone on since the same call was stored, the result goes beside that one: its name ends in ``-until=STEP``.

    Raises:
        UsageError: a portion is asked for of what has none, or has no place to be stored.
    """

    def __init__(
        self,
        source: Source,
        name: str,
        key: str,
        options: Mapping[str, Any],
        path: Path | None,
        engine: str,
        *,
        progress: bool,
        portion: Portion | None = None,
        fresh: bool = False,
    ) -> None:
        if portion is not None:
            if source.undivided:
                raise UsageError(f"{name} cannot be scored in parts: {source.undivided}")
            if path is None:
                raise UsageError('a part is stored, so that it can be joined with the others: give the result a place, such as out="run"')
            path = portion.place(path)
        self.source, self.key, self.path, self.portion, self._fresh = source, key, path, portion, fresh
        self._name, self._options, self._engine, self._progress = name, options, engine, progress

    def plan(self) -> Plan:
        """What is left to do; a few points are scored for it, nothing is written.

        Raises:
            ResultError: what lies at the path is of another call; the message lists every difference.
        """
        source, before = self.source, Undisturbed(self.source.models())
        with before, before, source.running():
            source.prepare(self.path)
            self.path = self._beside_older(self.path)
            engine, stored = source.engine(self._engine), None
            if self.path is not None and self.path.exists() and not self._fresh:
                stored = dataset(self.path)
                engine = self._checked(self.path, stored.attrs, engine)
            plan = source.plan(stored, engine)
            return plan if self.portion is None else plan.of_portion(self.portion)

    def run(self) -> Result:
        """Do what is left, and return the result.

        Raises:
            ResultError: what lies at the path is of another call, or does not come out again.
            NotDeterministicError: two passes over one point disagree.
        """
        source, before, lock = self.source, Undisturbed(self.source.models()), Lock(self.path or Path())
        with before, before, lock, lock, source.running():
            source.prepare(self.path)
            self.path = self._beside_older(self.path)
            engine = source.engine(self._engine)
            if self.path is not None and Store.exists(self.path) and not self._fresh:
                store, engine, first = self._resumed(self.path, engine, lock)
            else:
                store, engine, first = self._laid_out(engine, lock)
            filled: Any = store if self.portion is None else OnlyMine(store, self.portion)
            notes = source.fill(filled, engine, first, progress=self._progress)
            if notes:
                store.add({}, notes)
            variables, attrs = ({}, {}) if self.portion is not None else source.derived(store.data)
            if variables or attrs:
                store.add(variables, attrs)
            result = store.close()
        result.make_state = source.named_state
        return result

    def _beside_older(self, path: Path | None) -> Path | None:
        """The place; or one beside it, where what is stored there is of the same training before it went on."""
        if path is None or self._fresh or self.portion is not None or not Store.exists(path):
            return path
        found = self.source.fingerprint(self._name)
        try:
            last = grown_since(attributes(path), found, self.key, _typed(self._options), self._states().values())
        except (ResultError, LookupError, TypeError, ValueError, AttributeError):
            return path  # what is wrong with it says whoever opens it
        return path if last is None else path.with_name(f"{path.name}{UNTIL}{last}")

    def _laid_out(self, engine: Engine, lock: Lock) -> tuple[Store, Engine, FirstPoint]:
        """A new store, with every point missing."""
        source = self.source
        first = source.first_point()
        engine = source.tuned(engine, first)
        states = [{"label": s.label, "step": s.step, "epoch": s.epoch, "digest": digest} for digest, s in self._states().items()]
        attrs = {
            "experiment": self._name,
            "title": source.title,
            "key": self.key,
            "options": _typed(self._options),
            **source.attrs,
            **source.provenance(self._name, engine, first),
            "states": states,
            **({} if self.portion is None else {PART: [self.portion.number, self.portion.count]}),
        }
        layout = Layout(source.blocks(first, engine), source.coords, source.constants(), attrs, source.labels)
        return Store.create(self.path, layout, lock, replace=self._fresh), engine, first

    def _resumed(self, path: Path, engine: Engine, lock: Lock) -> tuple[Store, Engine, FirstPoint]:
        """The stored result, with the engine, batch size and threads it was made with; something of it is scored again."""
        store = Store.open(path, lock)
        attrs = store.data.attrs
        engine = self._checked(path, attrs, engine)
        torch.set_num_threads(attrs["threads"])
        return store, engine, self.source.resumed(store)

    def _checked(self, path: Path, attrs: Mapping[Any, Any], engine: Engine) -> Engine:
        """The engine that a stored result was made with, once it is seen to be of this call."""
        if "engine" not in attrs:  # nothing was scored for it
            check_same_call(path, attrs["fingerprint"], self.source.fingerprint(self._name))
            return engine
        used = attrs["engine"]["name"]
        asked = used if self._engine == "auto" else engine.backend.name
        check_same_call(path, attrs["fingerprint"], self.source.fingerprint(self._name), (used, asked))
        return Engine.from_json(attrs["engine"])

    def _states(self) -> dict[str, Any]:
        return {state.digest(): state for state in self.source.states()}


def _typed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as far as they can be typed on a command line."""
    plain = {name: canonical(value) for name, value in options.items()}
    return {name: value for name, value in plain.items() if len(repr(value)) <= LONGEST_OPTION and not _holds_tensors(value)}


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(_holds_tensors(part) for part in value))
