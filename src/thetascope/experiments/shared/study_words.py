"""What is said of every study of sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from thetascope.arrays import Floats
from thetascope.experiments.framework.facts import SAMPLES, Fact, attribute, extreme, largest
from thetascope.experiments.framework.phrases import number
from thetascope.experiments.framework.tables import Table, table
from thetascope.experiments.framework.words import metrics_of
from thetascope.experiments.shared.recommendations import median_of_rows, spread_of_rows
from thetascope.experiments.shared.study_picture import UNITS

FEW = 10
"""Of fewer trainings a standard deviation is itself off by a quarter and more."""


def headline_of(data: xr.Dataset) -> str:
    """The rule of the recommendation."""
    return str(data.attrs["rule"])


def shown_by(data: xr.Dataset) -> list[str]:
    """The lowest median, and the spread over repeated trainings."""
    study = str(data.attrs["experiment"])
    losses = np.asarray(data["loss"].values, np.float64).reshape(len(data["loss"]), -1)
    at, repeats = data["epochs" if study == "study_epochs" else "size"].values, losses.shape[1]
    if not np.isfinite(losses).all():
        return []
    medians = np.median(losses, axis=1)
    best, what = int(medians.argmin()), "median loss" if repeats > 1 else "loss"
    told = [f"The lowest {what}, {number(medians[best])}, is found at {at[best]:,} {UNITS[study]}."]
    if repeats > 1:
        spread, rough = spread_of_rows(losses), "; of so few it is itself known roughly only" if repeats < FEW else ""
        told.append(
            f"The standard deviation of the loss over {repeats} trainings goes from {number(spread[0])} at {at[0]:,} to "
            f"{number(spread[-1])} at {at[-1]:,}{rough}."
        )
    return told


def table_of(data: xr.Dataset) -> Table:
    """Medians and ranges at each size."""
    study = str(data.attrs["experiment"])
    unit = "epochs" if study == "study_epochs" else "size"
    columns, titles = [data[unit].values], [UNITS[study]]
    for name in ("loss", *metrics_of(data)):
        values = np.asarray(data[name].values, np.float64).reshape(len(columns[0]), -1)
        plain = name.replace("_", " ")
        if values.shape[1] == 1:
            columns.append(values[:, 0])
            titles.append(plain)
        else:
            columns += [np.median(values, axis=1), values.min(axis=1), values.max(axis=1)]
            titles += [f"median {plain}", f"lowest {plain}", f"highest {plain}"]
    return table(str(data.attrs["title"]), titles, zip(*columns, strict=True))


def _losses(data: xr.Dataset) -> Floats:
    """The median loss at each size, or after each epoch."""
    return median_of_rows(np.asarray(data["loss"].values, np.float64).reshape(len(data["loss"]), -1))


def _lowest_at(data: xr.Dataset) -> Any:
    place = extreme(_losses(data), -1)
    sizes = data["epochs" if data.attrs["experiment"] == "study_epochs" else "size"].values
    return None if place is None else sizes[place]


RECOMMENDED = (
    Fact("recommendation", int, "the number that is recommended; not there where none is", attribute("recommendation")),
    Fact("limit", float, "what is allowed: the highest loss, or of test sizes the largest error", attribute("limit")),
    Fact("tolerance", float, "the tolerance that the recommendation is within", attribute("tolerance")),
)
"""Of every study."""

TRAINED = (
    *RECOMMENDED,
    Fact(
        "initial_loss", float, "the loss before the training", lambda data: data["initial_loss"].item() if "initial_loss" in data else None
    ),
    Fact("lowest_loss", float, "the lowest loss, of several trainings the lowest median", lambda data: largest(_losses(data), -1)),
    Fact("lowest_at", int, "after how many epochs, or with how many samples, that is", _lowest_at),
    Fact("last_loss", float, "the loss, or median loss, after the most epochs or with the most samples", lambda data: _losses(data)[-1]),
    SAMPLES,
)
"""Of studies that train."""
