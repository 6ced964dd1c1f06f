"""What a result found: one sentence for people, and numbers and words by key for programs. No torch, no model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thetascope.experiments.framework.catalog import experiment_of
from thetascope.experiments.framework.declaration import words_of
from thetascope.experiments.framework.facts import Value
from thetascope.experiments.framework.phrases import plural, sentence
from thetascope.experiments.framework.words import Words
from thetascope.results.labelled import labels_of, only
from thetascope.results.showing import showable
from thetascope.results.status import status_counts

if TYPE_CHECKING:
    import xarray as xr


def words_for(data: xr.Dataset) -> Words | None:
    """The words of a result; None where it is of no experiment that is known."""
    experiment = experiment_of(data.attrs)
    return None if experiment is None else words_of(experiment, data.attrs)


def headline_of(data: xr.Dataset) -> str:
    """What it found, in one sentence with its numbers; of several objectives in one each. An unfinished result says that it is one."""
    data = showable(data)
    words, counts = words_for(data), status_counts(data)
    if counts["missing"]:
        return f"This result is not finished: {counts['missing']:,} of {plural(sum(counts.values()), 'point')} are missing."
    if words is None:
        return sentence(str(data.attrs.get("title", data.attrs.get("experiment", ""))))
    labels = labels_of(data)
    if not labels:
        return sentence(words.headline(data))
    parts = {label: only(data, label) for label in labels}
    told = {label: found.headline(part) for label, part in parts.items() if (found := words_for(part)) is not None}
    return " ".join(sentence(f"on {label} data: {text}") for label, text in told.items())


def findings_of(data: xr.Dataset) -> dict[str, Value]:
    """What it found, by the keys of its experiment's facts; of several objectives by ``label/key``. What is not known is left out."""
    data = showable(data)
    words, labels = words_for(data), labels_of(data)
    if words is None:
        return {}
    if labels:
        return {f"{label}/{key}": value for label in labels for key, value in findings_of(only(data, label)).items()}
    return {key: value for fact in words.findings for key, value in fact.of(data).items()}
