"""What is said of the path of the whole model."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from thetascope.drawing.moments import clock_of
from thetascope.experiments.framework.facts import SAMPLES, Fact, at_place, attribute, extreme, largest
from thetascope.experiments.framework.phrases import UNKNOWN, listed, number, step_of
from thetascope.experiments.framework.words import (
    Words,
    by_metric,
    is_straight,
    metrics_of,
    nearest,
    samples_of,
    scoring_of,
    tails_of,
)
from thetascope.experiments.shared.barrier_words import barrier_note, barrier_sentence
from thetascope.experiments.shared.places import middle_sentence, most_off, way_sentences
from thetascope.experiments.shared.recorded import recorded_sentences


def _headline(data: xr.Dataset) -> str:
    loss, alphas = data["loss"].values, data["alpha"].values
    barrier = barrier_note(data.attrs)
    path = "straight line" if data.attrs["degree"] == 1 else f"path of degree {data.attrs['degree']}"
    return (
        f"along the {path} the loss goes from {loss[0]:.3g} to {loss[-1]:.3g}, lowest at α = {alphas[loss.argmin()]:.2f}"
        f"{f', {barrier}' if barrier else ''}"
    )


def _how(data: xr.Dataset) -> str:
    attrs, count = data.attrs, data.sizes["alpha"]
    knots = attrs["knots"]
    if attrs["degree"] == 1:
        way = (
            f"the straight line Θ(α) = (1 − α) Θ₀ + α Θ₁ from the state of {step_of(knots[0])}, α = 0, "
            f"to that of {step_of(knots[-1])}, α = 1"
        )
    else:
        through = listed([f"{step_of(knot)} at α = {knot['alpha']:g}" for knot in knots])
        way = f"the polynomial of degree {attrs['degree']} that passes through the states of {through}"
    return (
        f"All weights together were moved along {way}, and the model was scored at {count} values of α on {samples_of(data)}. "
        f"The recorded states were scored in the same way. Each stands by place, {_placed(data)}, and hollow at its "
        f"{PLACED[clock_of(attrs)]}.{scoring_of(data)}"
    )


PLACED = {"step": "share of the training's steps", "epoch": "share of the training's epochs", "state": "place in the list, evenly"}
"""Where recorded states stand by the clock."""


def _placed(data: xr.Dataset) -> str:
    if data.attrs["degree"] == 1:
        return "at its share of the way, where a plumb line from it meets the straight line"
    return "at the place of the path that is nearest to it"


def _shows(data: xr.Dataset) -> list[str]:
    alphas = data["alpha"].values
    told = [*way_sentences(data), *filter(None, [middle_sentence(data)])]
    for name in metrics_of(data):
        values = data[name].values
        told.append(f"The {name.replace('_', ' ')} goes from {number(values[nearest(alphas, 0)])} to {number(values[nearest(alphas, 1)])}.")
    lowest, last = float(data["loss"].min()), float(data["loss"][nearest(alphas, 1)])
    if lowest < last * 0.99:
        told.append(f"The last state is not the lowest point on this path: {number(lowest)} is, against {number(last)}.")
    if "distance" in data.attrs:
        told.append(f"The two ends lie {number(data.attrs['distance'])} apart in parameter space.")
    actual, inside = data["actual_loss"].values, data["loss"].values[(alphas > 0) & (alphas < 1)]
    told += barrier_sentence(data.attrs, (float(actual[0]), float(actual[-1])), float(inside.max(initial=-np.inf)))
    told += recorded_sentences(data, "actual_loss")
    if "loss_standard_error" in data:
        error = data["loss_standard_error"].values
        known = np.isfinite(error).any()
        told.append(f"The loss has a standard error of up to {number(np.nanmax(error))}: other samples would move it by so much." if known
                    else f"The losses are {UNKNOWN}.")  # fmt: skip
    return told + tails_of(data)


def _alpha_at(data: xr.Dataset, name: str, sign: int = 1) -> float | None:
    """The α where a variable is largest, or smallest."""
    place = extreme(data[name].values, sign) if name in data else None
    return None if place is None else float(data["alpha"].values[place])


def _excess(data: xr.Dataset) -> Any:
    return data["excess"].values if "excess" in data else []


FINDINGS = (
    Fact("initial_loss", float, "the loss of the first state", at_place("actual_loss", 0)),
    Fact("final_loss", float, "the loss of the last state", at_place("actual_loss", -1)),
    Fact("initial_metric/<metric>", float, "each metric of the first state", by_metric("actual_", 0)),
    Fact("final_metric/<metric>", float, "each metric of the last state", by_metric("actual_", -1)),
    Fact("lowest_loss", float, "the lowest loss on the path", lambda data: largest(data["loss"].values, -1)),
    Fact("lowest_at", float, "the α where it is", lambda data: _alpha_at(data, "loss", -1)),
    Fact("has_barrier", bool, "whether there is a barrier, by two standard errors and 1 % of the gain", attribute("has_barrier")),
    Fact(
        "barrier", float, "the barrier: the largest rise of the loss above the straight line between the ends' losses", attribute("barrier")
    ),
    Fact("barrier_standard_error", float, "its standard error over samples", attribute("barrier_se")),
    Fact("barrier_at", float, "the α where it is", attribute("barrier_at")),
    Fact("barrier_over_mean", float, "the highest loss above the mean of the ends' losses", attribute("barrier_over_mean")),
    Fact("gain", float, "what the training gained in loss, from the lower of its first loss and chance", attribute("barrier_gain")),
    Fact("excess_max", float, "the largest difference from the last state's loss on the path", lambda data: largest(_excess(data))),
    Fact("excess_max_at", float, "the α where it is", lambda data: _alpha_at(data, "excess")),
    Fact("distance", float, "how far the path's ends lie apart in parameter space", attribute("distance")),
    Fact("off_line_max", float, "how far the training left the straight line, in lengths of the line", most_off),
    SAMPLES,
)
WORDS = Words(
    findings=FINDINGS,
    chapter="way",
    asks=lambda attrs: "Was the way straight?" if is_straight(attrs) else "Is a curved way closer?",
    headline=_headline,
    how=_how,
    shows=_shows,
    does_not_show=lambda attrs: (
        "A loss that falls without a barrier proves little: it is found between unrelated states "
        "too (Tao, Li and Zhan, ICML 2024), and says neither that the loss is convex nor that the training was easy."
        if is_straight(attrs)
        else "The path meets the measured losses at its own states because it was laid through them. Between them it is one curve among "
        "many, and outside [0, 1] it runs away."
    ),
)
