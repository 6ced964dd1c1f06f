"""What is said of the paths of single parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from thetascope.experiments.framework.facts import FINAL_LOSS, SAMPLES, Fact, extreme, largest, name_at
from thetascope.experiments.framework.phrases import listed, number, plural, step_of
from thetascope.experiments.framework.tables import Table, table
from thetascope.experiments.framework.words import Words, samples_of, scoring_of, tails_of

ENOUGH = 5
"""Parameters for a rank correlation."""


def _headline(data: xr.Dataset) -> str:
    spread = np.ptp(data["loss"].values, axis=1)
    most = data["parameter"].values[spread.argmax()]
    return f"of {len(spread)} parameters {most} moves the loss most, by {spread.max():.2g}"


def _how(data: xr.Dataset) -> str:
    attrs = data.attrs
    alphas = data["alpha"].values
    return (
        f"Each of {plural(data.sizes['parameter'], 'single weight')} from {plural(len(np.unique(data['layer'].values)), 'layer')} was "
        "moved alone along "
        f"its {attrs['kind']} path through the states of {listed([step_of(knot) for knot in attrs['knots']])}, all else final, and "
        "scored at "
        f"{data.sizes['alpha']} values of α from {alphas.min():g} to {alphas.max():g} on {samples_of(data)}. Outside [0, 1] it shows "
        "what might "
        "come if the weight went on."
        f"{scoring_of(data, 'buffers were those of the last state')}"
    )


def _shows(data: xr.Dataset) -> list[str]:
    spread, distance = np.ptp(data["loss"].values, axis=1), data["distance"].values
    names = data["parameter"].values
    order = np.argsort(-spread)
    told = [f"The loss moves most with {listed([f'{names[i]} (by {number(spread[i])})' for i in order[:3]])}."]
    finite = np.isfinite(spread) & np.isfinite(distance)
    if finite.sum() >= ENOUGH and np.ptp(spread[finite]) > 0 and np.ptp(distance[finite]) > 0:
        from scipy.stats import spearmanr

        found = float(spearmanr(distance[finite], spread[finite]).statistic)
        told.append(f"The distance that a weight travelled and its effect on the loss have a rank correlation of {number(found)}.")
    return told + tails_of(data)


def _table(data: xr.Dataset) -> Table:
    parts = (data["parameter"].values, data["layer"].values, data["distance"].values, np.ptp(data["loss"].values, axis=1))
    rows = [(str(p), str(layer), d, s) for p, layer, d, s in zip(*parts, strict=True)]
    rows.sort(key=lambda row: -np.nan_to_num(row[3], nan=np.inf))
    return table(
        "Single weights, those that move the loss most first", ("weight", "layer", "distance", "range of the loss"), rows, layer_at=1
    )


def _ranges(data: xr.Dataset) -> Any:
    return np.ptp(np.asarray(data["loss"].values, np.float64), axis=1)


FINDINGS = (
    Fact("parameters", int, "how many single parameters were moved", lambda data: data.sizes["parameter"]),
    Fact(
        "most_moving_parameter",
        str,
        "the parameter that moves the loss most",
        lambda data: name_at(data, "parameter", extreme(_ranges(data))),
    ),
    Fact("largest_range", float, "by how much: the highest loss on its path less the lowest", lambda data: largest(_ranges(data))),
    Fact("median_range", float, "the median of that over the parameters", lambda data: np.median(_ranges(data))),
    FINAL_LOSS,
    SAMPLES,
)
WORDS = Words(
    findings=FINDINGS,
    chapter="parameters",
    asks="What do single parameters do?",
    headline=_headline,
    how=_how,
    shows=_shows,
    does_not_show="These are a few weights of many, drawn at random where none were named. One weight's curve says nothing of two that "
    "move together, and where the range of the loss is near the noise of the arithmetic the shape is that of the noise.",
    table=_table,
)
