"""What is said of an experiment's results: the question, the answer, what it shows and what it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from thetascope.drawing.captions import buffers_note, tails_note
from thetascope.experiments.framework.phrases import sentence
from thetascope.experiments.framework.tables import Table
from thetascope.results.status import is_error

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
        over_alpha: whether the picture is over α, so that the report's slider marks it.
        start: the kind of picture that is shown first, where it can be switched.
    """

    chapter: str
    asks: Said
    headline: Callable[[xr.Dataset], str]
    how: Callable[[xr.Dataset], str]
    shows: Callable[[xr.Dataset], Sequence[str]]
    does_not_show: Said
    table: Callable[[xr.Dataset], Table] | None = None
    error: Callable[[xr.Dataset], str] | None = None
    over_alpha: bool = False
    start: str = ""

    def of(self, attrs: Mapping[Any, Any]) -> Words:
        """These words for a call's options or a result's attributes."""
        asks, caveat = (said if isinstance(said, str) else said(attrs) for said in (self.asks, self.does_not_show))
        return replace(self, asks=asks, does_not_show=caveat)

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


def is_straight(attrs: Mapping[Any, Any]) -> bool:
    """Whether a path is the straight line, by a call's options or a result's attributes."""
    return attrs.get("degree", attrs.get("kind", "linear")) in (1, "linear")


def metrics_of(data: xr.Dataset) -> list[str]:
    """What was scored besides the loss."""
    return [str(name) for name in data.attrs["scored"] if name != "loss" and not is_error(str(name))]


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
