"""What was recorded during the training, as the first article of the report."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from thetascope.drawing.history import MOST_PANELS, History, history
from thetascope.drawing.history import picture as history_picture
from thetascope.experiments.framework.phrases import number, plural, step_of
from thetascope.recording.log import Record
from thetascope.report.embedding import packed
from thetascope.report.pictures import PagePicture, picture_of
from thetascope.report.run import Run
from thetascope.results.dataframes import unrun
from thetascope.shown import encoded

QUESTION = "What was measured while it trained?"


def training_article_parts(run: Run) -> dict[str, Any]:
    """The parts of the article on the recorded metrics."""
    measured = [record for record in run.records if record.metrics]
    if not run.is_recorded:
        return {"name": "training", "question": QUESTION, "problems": (run.problem,)}
    if not measured:
        told = "No metrics were recorded. A training loop gives them with recorder.record(step=…, metrics={“train_loss”: …})."
        return {"name": "training", "question": QUESTION, "problems": (told,)}
    found = history([r.step for r in measured], [r.epoch for r in measured], [r.metrics for r in measured])
    first, last = run.records[0], run.records[-1]
    places = [step_of({"step": record.step, "epoch": record.epoch}) for record in (first, last)]
    return {
        "name": "training",
        "question": QUESTION,
        "headline": _headline(found),
        "how": f"The training loop gave these values to the recorder while it trained, from {places[0]} to {places[1]}; they are shown "
        f"as they were given. {plural(len(run.records), 'moment')} were recorded, and the states of {len(run.stored)} of them are kept.",
        "shows": tuple(_shows(found)),
        "does_not_show": "How the values were measured only the training loop knows: a training loss is often a mean over an epoch in "
        "which the weights moved. The experiments below measure anew, all in the same way.",
        "picture": _picture(found, measured),
    }


def _curves(found: History) -> dict[str, Any]:
    return {name: values for curves in list(found.kinds.values())[:MOST_PANELS] for name, values in curves.items()}


def _ends(values: Any) -> tuple[float, float] | None:
    known = values[np.isfinite(values)]
    return (float(known[0]), float(known[-1])) if len(known) else None


def _headline(found: History) -> str:
    told = [(name, _ends(values)) for name, values in _curves(found).items()]
    return ", ".join(f"{name.replace('_', ' ')} {number(ends[0])} → {number(ends[1])}" for name, ends in told[:3] if ends)


def _shows(found: History) -> list[str]:
    told = []
    for name, values in _curves(found).items():
        if not np.isfinite(values).any():
            told.append(f"{name.replace('_', ' ')} has no finite value.")
            continue
        is_loss = name.rsplit("_", 1)[-1] == "loss"
        best = int(np.nanargmin(values) if is_loss else np.nanargmax(values))
        extreme = "lowest" if is_loss else "highest"
        plain = name.replace("_", " ")
        told.append(f"The {extreme} {plain} is {number(values[best])}, at {found.x_label} {found.x[best]:g}.")
        ends = _ends(values)
        if is_loss and ends and ends[1] > 1.05 * values[best] > 0:
            told.append(f"At the end it is {ends[1] / values[best]:.2f} times that: the training went on past its best {plain}.")
    return told


def _picture(found: History, records: Sequence[Record]) -> PagePicture:
    names = list(dict.fromkeys(name for record in records for name in record.metrics))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", "epoch", *map(unrun, names)])
    writer.writerows([record.step, record.epoch, *(record.metrics.get(name) for name in names)] for record in records)
    return replace(picture_of(history_picture(found), "training"), csv=packed(encoded(text.getvalue())))
