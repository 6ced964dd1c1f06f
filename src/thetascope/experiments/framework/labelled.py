"""Several objectives, called by labels such as "train" and "test", scored at the same points as one piece of work for a Job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from torch import nn

from thetascope.errors import ObjectiveError, UsageError
from thetascope.experiments.framework.phrases import listed
from thetascope.experiments.framework.plan import Memory, Plan
from thetascope.experiments.framework.points import PointsSource
from thetascope.experiments.framework.source import ScoringSource, Source, Variables
from thetascope.experiments.framework.timing import Expected
from thetascope.results.filled import Filled
from thetascope.results.labelled import DATA, Part, joined_attrs, only, with_attrs
from thetascope.results.store import Block
from thetascope.scoring.cache import FirstPoint
from thetascope.scoring.fast.choice import Engine
from thetascope.scoring.objective import Objective
from thetascope.state import State

Objectives = Mapping[str, Objective]


def checked_objectives(given: Mapping[Any, Any]) -> dict[str, Objective]:
    """The objectives by their labels, all of one model.

    Raises:
        ObjectiveError: there are fewer than two, a label is no word, one is no objective, or they are of different models.
    """
    if len(given) < 2:
        there = f"only {next(iter(given))!r}" if given else "none"
        raise ObjectiveError(
            f'a mapping of objectives needs two or more, such as {{"train": …, "test": …}}. Got {there}: pass one objective as it is.'
        )
    for label, objective in given.items():
        if not isinstance(label, str) or not label.strip() or "=" in label:
            raise ObjectiveError(f'objectives are called by words such as "train", without "=". Got {label!r} instead.')
        if not isinstance(objective, Objective):
            raise ObjectiveError(f'the objective "{label}" must be a ts.Objective. Got {type(objective).__name__} instead.')
    (first, one), *others = given.items()
    for label, other in others:
        different = one.model.space.compare(other.model.space.tensors)
        if different:
            raise ObjectiveError(
                f'the objectives "{first}" and "{label}" are of different models: that of "{label}" {different.describe()}. '
                "Make them with the same model and other data"
            )
    return dict(given)


def labelled_source(make: Callable[[Objective], Source], objectives: Objectives) -> LabelledSource:
    """The work with several objectives; `make` gives that with one of them.

    Raises:
        UsageError: what is scored is no set of points.
    """
    sources = dict[str, PointsSource]()
    for label, objective in objectives.items():
        source = make(objective)
        if not isinstance(source, PointsSource):
            raise UsageError("this experiment takes one objective, not several by label; call it once for each")
        sources[label] = source
    return LabelledSource(sources)


class LabelledSource(ScoringSource):
    """The same points, scored by several objectives: the result has a first dimension ``data``.

    The engine is chosen for the first of them, and used for all.
    """

    def __init__(self, sources: Mapping[str, PointsSource]) -> None:
        self._sources = sources
        (self._label, first), *others = sources.items()
        self._first = first
        for label, other in others:
            self._share(label, other)
        self.title = first.title
        for label, source in sources.items():
            source.title = f"{source.title}, {label} data"
        self.objective, self.labels, self.settings = first.objective, first.labels, first.settings
        self.coords: Mapping[str, ArrayLike] = {DATA: list(sources), **first.coords}
        self.attrs = joined_attrs({label: source.attrs for label, source in sources.items()})
        self._firsts = dict[str, FirstPoint]()

    def _share(self, label: str, other: PointsSource) -> None:
        """Let the other score the very points of the first, whose states are held once then.

        Raises:
            ObjectiveError: they would be other points.
        """
        first, wrong = self._first, ""
        if first.objective.buffers != other.objective.buffers:
            wrong = f'buffers are "{first.objective.buffers}" and "{other.objective.buffers}"'
        elif [_described(r) for r in first.requests] != [_described(r) for r in other.requests] or first.settings != other.settings:
            wrong = "the same call leads to other points with each"
        elif [s.digest() for s in first.states()] != [s.digest() for s in other.states()]:
            wrong = "the same call leads to other states or directions with each"
        if wrong:
            raise ObjectiveError(
                f'the objectives "{self._label}" and "{label}" would not be scored at the same points: {wrong}. Make them with the same '
                "model and options, and other data"
            )
        other.requests = first.requests
        assert first.objective.compared is not None
        other.objective = other.objective.against(first.objective.compared)

    @property
    def undivided(self) -> str:
        """As the first is."""
        return self._first.undivided

    def models(self) -> Sequence[nn.Module]:
        """Those of all objectives."""
        return [model for source in self._sources.values() for model in source.models()]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Nothing here: each of the objectives runs while it is its turn."""
        yield

    def prepare(self, path: Path | None) -> None:
        """Of each."""
        for source in self._sources.values():
            with source.running():
                source.prepare(path)

    def engine(self, name: str) -> Engine:
        """That of the first."""
        with self._first.running():
            return self._first.engine(name)

    def states(self) -> Sequence[State]:
        """Those of the first; all are about the same."""
        return self._first.states()

    def fingerprint(self, experiment: str) -> dict[str, Any]:
        """By label that which a call with this objective alone would have."""
        return {label: source.fingerprint(experiment) for label, source in self._sources.items()}

    def provenance(self, experiment: str, engine: Engine, first: FirstPoint) -> dict[str, Any]:
        """What is the same for all once, the rest by label."""
        parts = {label: source.provenance(experiment, engine, self._firsts[label]) for label, source in self._sources.items()}
        created = parts[self._label]["created"]
        return joined_attrs({label: {**self._sources[label].attrs, **part, "created": created} for label, part in parts.items()})

    def first_point(self) -> FirstPoint:
        """Of each; that of the first."""
        for label, source in self._sources.items():
            with source.running():
                self._note(label, source.first_point())
        return self._firsts[self._label]

    def _note(self, label: str, found: FirstPoint) -> None:
        """Keep what a first point showed; all must show the same variables.

        Raises:
            ObjectiveError: they do not.
        """
        self._firsts[label] = found
        names = self._firsts.get(self._label, found).names
        if set(names) != set(found.names):
            differ = sorted({*names} ^ {*found.names})
            raise ObjectiveError(
                f'the objectives "{self._label}" and "{label}" score different things: one lacks {", ".join(differ)}. Give both the '
                "same metrics, and samples= to both or to none"
            )

    def resumed(self, store: Filled) -> FirstPoint:
        """Of each with its own batch size."""
        for label, source in self._sources.items():
            with source.running():
                self._note(label, source.resumed(Part(store, label)))
        return self._firsts[self._label]

    def recheck(self, store: Filled) -> FirstPoint:
        """Of each."""
        for label, source in self._sources.items():
            with source.running():
                self._note(label, source.recheck(Part(store, label)))
        return self._firsts[self._label]

    def tuned(self, engine: Engine, first: FirstPoint) -> Engine:
        """As the first is."""
        with self._first.running():
            return self._first.tuned(engine, first)

    def blocks(self, first: FirstPoint, engine: Engine) -> Sequence[Block]:
        """Those of the first, with the labels in front."""
        count = len(self._sources)
        return [
            replace(block, dims=(DATA, *block.dims), shape=(count, *block.shape), names=first.names)
            for block in self._first.blocks(first, engine)
        ]

    def constants(self) -> Variables:
        """What is known without scoring, which no objective has a part in."""
        return self._first.constants()

    def fill(self, store: Filled, engine: Engine, first: FirstPoint, *, progress: bool) -> Mapping[str, Any]:
        """One after the other."""
        for label, source in self._sources.items():
            part = Part(store, label)
            with source.running():
                notes = source.fill(part, engine, self._firsts[label], progress=progress)
            part.add({}, notes)
        return {}

    def derived(self, data: xr.Dataset) -> tuple[Variables, Mapping[str, Any]]:
        """Of each, put together."""
        attrs = dict[Any, Any](data.attrs)
        columns, dims = dict[str, list[Any]](), dict[str, tuple[str, ...]]()
        for label in data[DATA].values.astype(str).tolist():
            source = self._sources[label]
            with source.running():
                variables, own = source.derived(only(data, label))
            attrs = with_attrs(attrs, label, own)
            for name, (along, values) in variables.items():
                dims[name] = (DATA, *along)
                columns.setdefault(name, []).append(np.asarray(values))
        changed = {name: value for name, value in attrs.items() if name not in data.attrs or data.attrs[name] is not value}
        return {name: (dims[name], np.stack(values)) for name, values in columns.items()}, changed

    def plan(self, stored: xr.Dataset | None, engine: Engine) -> Plan:
        """All of them together."""
        plans = dict[str, Plan]()
        for label, source in self._sources.items():
            with source.running():
                plans[label] = source.plan(None if stored is None else only(stored, label), engine)
        every, one = list(plans.values()), plans[self._label]
        times, todo = [plan.time for plan in every], sum(plan.todo for plan in every)
        left = [plan.time for plan in every if plan.todo]
        seconds = sum(time.seconds for time in times)
        time = Expected(
            sum(time.least for time in times),
            seconds,
            seconds / todo if todo else one.time.each,
            left[0].measured_on if left else one.time.measured_on,
            most=any(time.most for time in times),
        )
        found = [plan.memory for plan in every if plan.memory is not None]
        memory = Memory(max(m.states for m in found), sum(m.data for m in found), max(m.point for m in found)) if found else None
        samples = {label: plan.samples for label, plan in plans.items() if isinstance(plan.samples, int)}
        least, there = sum(plan.least for plan in every), sum(plan.stored for plan in every)
        title = f"{self.title}, {listed(list(plans))} data"
        return Plan(title, least, todo, one.unit, there, time, samples, one.engine, memory)


def _described(request: Any) -> tuple[Any, ...]:
    return (request.prefix, request.dims, request.shape, request.as_recorded, request.points.digest())
