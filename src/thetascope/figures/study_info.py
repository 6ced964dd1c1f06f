"""What the figures of the preliminary studies show, computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thetascope.errors import ResultError
from thetascope.figures.style import quantity_label

if TYPE_CHECKING:
    from thetascope.results import Result

Floats = NDArray[np.float64]
LOG_RATIO = 10.0
"""Losses that span more than this are drawn on a logarithmic axis."""

TICK_DISTANCE = 0.09
"""Of the axis: numbers closer than this to the one before are left without a label."""

_X_LABELS = {
    "study_epochs": "epochs of training",
    "study_train_size": "training samples",
    "study_test_size": "test samples in a subset (not to scale)",
}
UNITS = {"study_epochs": "epochs", "study_train_size": "training samples", "study_test_size": "test samples"}


@dataclass(frozen=True)
class Panel:
    """One quantity.

    Attributes:
        name: of the variable.
        label: of the axis.
        values: ``[S, R]``, all repeats; ``[S, 1]`` for epochs.
        line: ``[S]``: the values themselves for epochs, medians over repeats for training sizes, None for test sizes.
        full: the value on all test samples, for test sizes.
        band: lowest and highest value that the rule allows, where it is about this quantity; a bound may be missing.
        log: whether the axis is logarithmic.
    """

    name: str
    label: str
    values: Floats
    line: Floats | None
    full: float | None
    band: tuple[float | None, float] | None
    log: bool


@dataclass(frozen=True)
class StudyInfo:
    """All that the figure shows."""

    study: str
    title: str
    rule: str
    x_label: str
    x: NDArray[np.int64]
    repeats: int
    recommendation: int | None
    panels: tuple[Panel, ...]

    @property
    def places(self) -> Floats:
        """Where the numbers stand on the axis: boxes side by side, else the numbers themselves."""
        return np.arange(len(self.x), dtype=np.float64) if self.has_boxes else self.x.astype(np.float64)

    @property
    def has_boxes(self) -> bool:
        """Whether the repeats are drawn as boxes."""
        return self.study == "study_test_size"

    @property
    def tick_labels(self) -> list[str]:
        """The numbers, but those that would run into others on the logarithmic axis."""
        labels = [f"{size:,}" for size in self.x]
        if self.has_boxes:
            return labels
        share = (np.log(self.x) / max(np.log(self.x[-1] / self.x[0]), 1e-9)).tolist()
        last = share[0]
        for i in range(1, len(labels) - 1):
            if min(share[i] - last, share[-1] - share[i]) < TICK_DISTANCE:
                labels[i] = ""
            else:
                last = share[i]
        return labels

    @property
    def recommended_place(self) -> float | None:
        """Where the recommended number stands."""
        found = np.flatnonzero(self.x == self.recommendation)
        return float(self.places[found[0]]) if len(found) else None

    @property
    def recommended_label(self) -> str:
        """How the legend calls it."""
        return f"recommended: {self.recommendation:,} {UNITS[self.study]}"

    @property
    def line_label(self) -> str:
        """How the legend calls the line."""
        if self.study == "study_epochs":
            return "measured after each epoch"
        return f"median of {self.repeats} trainings" if self.repeats > 1 else "one training"


def info(result: Result) -> StudyInfo:
    """Gather what the figure shows; what is missing or not finite stays so.

    Raises:
        ResultError: the result is of no study.
    """
    data, attrs, study = result.data, result.data.attrs, result.experiment
    if study not in _X_LABELS:
        raise ResultError(f'this figure is of a study; got a result of "{study}"')
    x = data["epochs" if study == "study_epochs" else "size"].values.astype(np.int64)
    panels = []
    for name in attrs["scored"]:
        values: Floats = np.asarray(data[name].values, np.float64).reshape(len(x), -1)
        full = float(data[f"full_{name}"]) if study == "study_test_size" else None
        line = None if study == "study_test_size" else np.asarray(np.median(values, axis=1), np.float64)
        band = _band(study, attrs.get("limit"), full) if name == "loss" else None
        log = name == "loss" and study != "study_test_size" and _wants_log(values)
        panels.append(Panel(name, quantity_label(name, attrs["loss_name"]), values, line, full, band, log))
    return StudyInfo(
        study=study,
        title=_title(study, attrs),
        rule=attrs.get("rule", "unfinished: nothing is recommended yet"),
        x_label=_X_LABELS[study],
        x=x,
        repeats=panels[0].values.shape[1],
        recommendation=attrs.get("recommendation"),
        panels=tuple(panels),
    )


def _wants_log(values: Floats) -> bool:
    """Earlier than other figures: what matters is how losses near the lowest compare with it."""
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() > LOG_RATIO * finite.min())


def _title(study: str, attrs: Mapping[Any, Any]) -> str:
    if study == "study_test_size":
        return f"Test size: one model on random subsets of {attrs['test_samples']:,} samples"
    if study == "study_train_size":
        return f"Training size: {attrs['training_epochs']} epochs on random subsets of {attrs['training_samples']:,} samples"
    return f"Epochs: one training on {attrs['training_samples']:,} samples"


def _band(study: str, limit: float | None, full: float | None) -> tuple[float | None, float] | None:
    if limit is None:
        return None
    return (None, limit) if full is None else (full - limit, full + limit)
