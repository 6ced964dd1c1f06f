"""What is said of an experiment's results: the question, the answer, what it shows and what it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from thetascope.drawing.captions import buffers_note, tails_note
from thetascope.experiments.framework.facts import Fact, Read
from thetascope.experiments.framework.phrases import listed, sentence
from thetascope.experiments.framework.tables import Row, Table, cell
from thetascope.quantities import is_error
from thetascope.results.labelled import attrs_of, labels_in, labels_of, only

CHAPTERS = {
    "training": "How did the training go?",
    "way": "Was the way straight?",
    "layers": "Which layers matter?",
    "parameters": "Which parameters matter?",
    "surface": "What does the surface look like?",
    "walk": "How did the optimizer walk?",
    "sure": "How sure is all this?",
}
"""Of the report, in the order in which a reader asks."""

Said = str | Callable[[Mapping[Any, Any]], str]
"""A text, or what makes it of a call's options or a result's attributes."""


@dataclass(frozen=True)
class Words:
    """The words of an experiment, or of one level of it. All functions take the result's dataset.

    Attributes:
        chapter: one of CHAPTERS.
        asks: the question that it answers.
        headline: the answer in one line, with the result's numbers.
        how: how it was computed, in one paragraph with the result's own numbers.
        shows: what can be read from it, a sentence each.
        does_not_show: what cannot.
        table: what the picture shows, in figures.
        error: what is known of the error of values that were estimated.
        findings: what it finds, as numbers and words with keys, which `Result.findings` gives and trackers log.
        curves: variables over (layer, state) that trackers log as a curve for each layer. Those over recorded states alone all are curves.
    """

    chapter: str
    asks: Said
    headline: Callable[[xr.Dataset], str]
    how: Callable[[xr.Dataset], str]
    shows: Callable[[xr.Dataset], Sequence[str]]
    does_not_show: Said
    table: Callable[[xr.Dataset], Table] | None = None
    error: Callable[[xr.Dataset], str] | None = None
    findings: tuple[Fact, ...] = ()
    curves: tuple[str, ...] = ()

    def of(self, attrs: Mapping[Any, Any]) -> Words:
        """These words for a call's options or a result's attributes; of several objectives they are said by label."""
        labels = labels_in(attrs)
        known = attrs_of(attrs, labels[0]) if labels else attrs
        asks, caveat = (said if isinstance(said, str) else said(known) for said in (self.asks, self.does_not_show))
        if not labels:
            return replace(self, asks=asks, does_not_show=caveat)
        return replace(
            self,
            asks=asks,
            does_not_show=f"{caveat} What is scored is the loss on {listed(labels)} data alone: weight decay or another "
            "regulariser is not in it.",
            headline=lambda data: " / ".join(_by_label(data, self.headline)),
            how=lambda data: " ".join(_by_label(data, self.how)),
            shows=lambda data: _sentences(data, self.shows),
            table=None if self.table is None else partial(_joined_table, made=self.table),
            error=None if self.error is None else partial(_joined_error, told=self.error),
        )

    @property
    def question(self) -> str:
        """The question, once it is known of which call."""
        assert isinstance(self.asks, str)
        return self.asks

    @property
    def caveat(self) -> str:
        """What it does not show, once it is known of which call."""
        assert isinstance(self.does_not_show, str)
        return self.does_not_show


def _by_label(data: xr.Dataset, tell: Callable[[xr.Dataset], str]) -> list[str]:
    """What is told of each objective, with its label in front."""
    return [f"{label}: {tell(only(data, label))}" for label in labels_of(data)]


def _sentences(data: xr.Dataset, tell: Callable[[xr.Dataset], Sequence[str]]) -> list[str]:
    """The sentences of each objective with its label in front; what is true of all stands once."""
    told = {label: tell(only(data, label)) for label in labels_of(data)}
    of_all = [sentence for sentence in next(iter(told.values())) if all(sentence in others for others in told.values())]
    return [f"{label}: {sentence}" for label, own in told.items() for sentence in own if sentence not in of_all] + of_all


def _joined_table(data: xr.Dataset, made: Callable[[xr.Dataset], Table]) -> Table:
    """The tables of all objectives as one, with a column for the label."""
    tables = {label: made(only(data, label)) for label in labels_of(data)}
    first = next(iter(tables.values()))
    rows = tuple(Row((cell(label), *row.cells), row.layer) for label, one in tables.items() for row in one.rows)
    notes = [f"{label}: {one.note}" for label, one in tables.items() if one.note]
    return Table(first.caption, ("data", *first.titles), rows, note=" ".join(notes))


def _joined_error(data: xr.Dataset, told: Callable[[xr.Dataset], str]) -> str:
    """What is known of the error of estimates, by label."""
    errors = {label: told(only(data, label)) for label in labels_of(data)}
    return "; ".join(f"{label}: {error}" for label, error in errors.items() if error)


def is_straight(attrs: Mapping[Any, Any]) -> bool:
    """Whether a path is the straight line, by a call's options or a result's attributes."""
    return attrs.get("degree", attrs.get("kind", "linear")) in (1, "linear")


def metrics_of(data: xr.Dataset) -> list[str]:
    """What was scored besides the loss."""
    return [str(name) for name in data.attrs["scored"] if name != "loss" and not is_error(str(name))]


def by_metric(prefix: str, place: int) -> Read:
    """Reads the value of each metric at a place of its variable over one dimension, ``prefix`` + its name."""
    return lambda data: {
        name: data[f"{prefix}{name}"].values[place]
        for name in metrics_of(data)
        if f"{prefix}{name}" in data and data[f"{prefix}{name}"].size
    }


def samples_of(data: xr.Dataset) -> str:
    """On how many samples it was scored."""
    return f"{int(data.attrs['samples_scored']):,} samples"


def scoring_of(data: xr.Dataset, moving: str = "running statistics move along the path", held: str = "last state") -> str:
    """What was done with buffers, in sentences after the others; nothing for a model without any."""
    note = buffers_note(data.attrs, moving, held, were=True)
    return f" {sentence(note)}" if note else ""


def tails_of(data: xr.Dataset) -> list[str]:
    """That few samples carry much of the loss, where they do."""
    return [sentence(note) for note in [tails_note(data.attrs)] if note]


def nearest(values: Any, wanted: float) -> int:
    """The place of the value nearest to `wanted`."""
    return int(np.abs(np.asarray(values, np.float64) - wanted).argmin())
