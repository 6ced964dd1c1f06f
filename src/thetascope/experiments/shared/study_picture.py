"""The pictures of the preliminary studies: performance over epochs, over training sizes, and its spread over test sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.scales import least_range
from thetascope.drawing.spec import Boxes, Edge, Line, Mark, Panel, Picture, Rule, stacked
from thetascope.drawing.style import BLUE, GREY, ORANGE, SKY, VERMILION, Ints, quantities, wants_log
from thetascope.errors import ResultError

if TYPE_CHECKING:
    import xarray as xr

LOG_RATIO = 10.0
"""Losses that span more than this are drawn on a logarithmic axis, earlier than in other pictures: what matters is how those near
the lowest compare with it."""
TICK_DISTANCE = 0.09
"""Of the axis: numbers closer than this to the one before are left without a label."""
UNITS = {"study_epochs": "epochs", "study_train_size": "training samples", "study_test_size": "test samples"}
"""Of the numbers that each study compares."""


def picture(data: xr.Dataset, variable: str | None = None) -> Picture:
    """All variables below one another, or only `variable`; what is missing or not finite stays so. Its only note is the rule.

    Raises:
        ResultError: the data are of no study.
    """
    attrs, study = data.attrs, str(data.attrs["experiment"])
    if study not in UNITS:
        raise ResultError(f'this figure is of a study; got a result of "{study}"')
    x = data["epochs" if study == "study_epochs" else "size"].values.astype(np.int64)
    has_boxes, sizes = study == "study_test_size", study != "study_epochs"
    places = np.arange(len(x), dtype=np.float64) if has_boxes else x.astype(np.float64)
    found = np.flatnonzero(x == attrs.get("recommendation"))
    label = f"recommended: {attrs.get('recommendation'):,} {UNITS[study]}" if len(found) else ""
    advice = [Rule(at=float(places[k]), label=label, color=VERMILION, dash="dash", width=1.2) for k in found]
    panels = [
        Panel(
            name=name,
            marks=[*_marks(data, name, places, [f"{number:,} {UNITS[study]}" for number in x]), *advice],
            x_label=UNITS[study] + {"study_epochs": " of training", "study_test_size": " in a subset (not to scale)"}.get(study, ""),
            y_label=label_,
            x_log=sizes and not has_boxes,
            y_range=None if name == "loss" else least_range(data[name].values),
            y_log=name == "loss" and not has_boxes and wants_log(data[name].values, ratio=LOG_RATIO),
            x_ticks=(places.tolist(), tick_labels(x, every=has_boxes)) if sizes else None,
            x_whole=not sizes,
            hover="%{y:.5g}",
        )
        for name, label_ in quantities(attrs, variable).items()
    ]
    notes = (attrs.get("rule", "unfinished: nothing is recommended yet"),)
    return Picture(title=_title(study, attrs), notes=notes, parts=stacked(panels), width=6.4, height=1.9 + 2.3 * len(panels))


def _title(study: str, attrs: Mapping[Any, Any]) -> str:
    if study == "study_test_size":
        return f"Test size: one model on random subsets of {attrs['test_samples']:,} samples"
    if study == "study_train_size":
        return f"Training size: {attrs['training_epochs']} epochs on random subsets of {attrs['training_samples']:,} samples"
    return f"Epochs: one training on {attrs['training_samples']:,} samples"


def tick_labels(x: Ints, *, every: bool) -> list[str]:
    """The numbers, but those that would run into others on a logarithmic axis, unless `every` one has its place."""
    labels = [f"{size:,}" for size in x]
    share = (np.log(x) / max(np.log(x[-1] / x[0]), 1e-9)).tolist()
    last = share[0]
    for i in range(1, 1 if every else len(labels) - 1):
        if min(share[i] - last, share[-1] - share[i]) < TICK_DISTANCE:
            labels[i] = ""
        else:
            last = share[i]
    return labels


def _marks(data: xr.Dataset, name: str, places: Floats, told: list[str]) -> list[Mark]:
    """The values: themselves for epochs, with their medians for training sizes, as boxes for test sizes; and what the rule allows."""
    values, limit = np.asarray(data[name].values, np.float64).reshape(len(places), -1), data.attrs.get("limit")
    repeats, study, marks = values.shape[1], data.attrs["experiment"], list[Mark]()
    if study == "study_test_size":
        marks.append(Boxes(at=places, values=values, label=f"{repeats} random subsets (box: quartiles)", color=BLUE, face=SKY))
        full = float(data[f"full_{name}"])
        marks.append(Rule(at=full, upright=False, label="on all samples", color=ORANGE, dash="solid", width=1.2))
        if name == "loss" and limit is not None:
            marks.append(Rule(at=full - limit, to=full + limit, upright=False, label="± tolerance", color=ORANGE))
        marks += _errors(data, name, places, full)
    else:
        one = "measured after each epoch" if study == "study_epochs" else "one training"
        label = f"median of {repeats} trainings" if repeats > 1 else one
        line = np.asarray(np.median(values, axis=1), np.float64)
        marks.append(Line(x=places, y=line, label=label, told=told, marker="circle" if repeats == 1 else "", size=3))
        if repeats > 1:
            style: dict[str, Any] = {"dash": "", "marker": "circle", "face": SKY, "edge": BLUE, "size": 4.5}
            each = np.repeat(told, repeats).tolist()
            marks.append(Line(x=np.repeat(places, repeats), y=values.ravel(), label="one training", told=each, **style))
        if name == "loss" and limit is not None:
            marks.append(Rule(at=limit, upright=False, label=f"within tolerance: at most {limit:.4g}", color=GREY, width=1.2))
    bad = ~np.isfinite(values).all(axis=1)
    return [*marks, Edge(at=places[bad], label="not finite, or missing", marker="x-thin")]


def _errors(data: xr.Dataset, name: str, places: Floats, full: float) -> list[Mark]:
    """How far the value of so many new samples lies from that on all: one error to each side, by which the rule goes for the loss."""
    kinds = {"bootstrap": ("bootstrap error", "longdash"), "standard": ("standard error", "dashdot")}
    known = next((kind for kind in kinds if f"{name}_{kind}_error" in data), None)
    if known is None:
        return []
    (said, dash), error = kinds[known], np.asarray(data[f"{name}_{known}_error"].values, np.float64)
    style: dict[str, Any] = {"color": VERMILION, "dash": dash, "width": 1.4, "label": f"± {said} on new samples", "level": 4}
    told = [f"{said} on new samples {each:.4g}" for each in error]
    return [Line(x=places, y=full + sign * error, told=told, listed=sign > 0, **style) for sign in (1, -1)]
