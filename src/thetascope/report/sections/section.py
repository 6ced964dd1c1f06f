"""What a section of the report is: an experiment's place in it, its picture and its words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.report.tables import Table
from thetascope.results import Result

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

CHAPTERS = {
    "training": "How did the training go?",
    "way": "Was the way straight?",
    "layers": "Which layers matter?",
    "parameters": "Which parameters matter?",
    "surface": "What does the surface look like?",
    "walk": "How did the optimizer walk?",
    "sure": "How sure is all this?",
}
"""In the order in which a reader asks."""


@dataclass(frozen=True)
class Section:
    """An experiment in the report.

    Attributes:
        name: in the catalog, which knows the question and the headline.
        chapter: one of CHAPTERS.
        fits: whether a result with these attrs is of this experiment.
        how: how it was computed, in one paragraph with this result's own numbers.
        reads: what can be read from it, a sentence each.
        cannot: what cannot be read from it.
        table: what the picture shows, in figures.
        tag: tells the picture's traces which layer they are of, so that choosing a layer filters them.
        over_alpha: whether the picture is over α, so that the slider marks it.
        start: the kind of picture that is shown first, where it can be switched.
        command: runs it; RUN stands for the run.
    """

    name: str
    chapter: str
    fits: Callable[[Mapping[Any, Any]], bool]
    how: Callable[[Result], str]
    reads: Callable[[Result], Sequence[str]]
    cannot: str
    command: str
    table: Callable[[Result], Table] | None = None
    tag: Callable[[Figure, Result], None] | None = None
    over_alpha: bool = False
    start: str = ""


def metrics_of(result: Result) -> list[str]:
    """What was scored besides the loss."""
    return [str(name) for name in result.data.attrs["scored"] if name not in ("loss", "loss_standard_error")]


def samples_of(result: Result) -> str:
    """On how many samples it was scored."""
    return f"{int(result.data.attrs['samples_scored']):,} samples"


def nearest(values: Any, wanted: float) -> int:
    """The place of the value nearest to `wanted`."""
    return int(np.abs(np.asarray(values, np.float64) - wanted).argmin())
