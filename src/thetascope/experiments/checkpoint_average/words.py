"""What is said of averages of checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from thetascope.drawing.moments import short_moment
from thetascope.experiments.framework.facts import SAMPLES, Fact, Read, attribute, by_name, extreme
from thetascope.experiments.framework.phrases import give_or_take, listed, number, plural, what_errors
from thetascope.experiments.framework.tables import Table, table
from thetascope.experiments.framework.words import Words, metrics_of, scoring_of, tails_of
from thetascope.experiments.shared.barrier_words import ERRORS
from thetascope.experiments.shared.recorded import recorded_sentences


def place_of(data: xr.Dataset, label: str) -> int:
    """The place of an average."""
    return int(np.flatnonzero(data["average"].values.astype(str) == label)[0])


def name_of(data: xr.Dataset, label: str) -> str:
    """An average in words."""
    if label.startswith("window-"):
        return f"the average of the last {plural(int(label.removeprefix('window-')), 'state')}"
    if label.startswith("decay-"):
        return f"the exponential average with a decay of {label.removeprefix('decay-')}"
    if label == "soup":
        size = int(data["size"].values[place_of(data, "soup")])
        return f"the greedy soup of {size} states" if size > 1 else "the greedy soup, which is the best single state alone,"
    return f"the best single state ({when(data)})" if label == "best" else "the last state"


def when(data: xr.Dataset) -> str:
    """The best single state, by its epoch or step, else by its number."""
    return short_moment(data, int(np.flatnonzero(data["state"].values == data.attrs["best"])[0]))


def verdict(excess: float, error: float) -> str:
    """How a loss compares with that of the last state, by two standard errors of the difference."""
    if not np.isfinite(excess):
        return "has no finite loss"
    if excess == 0:
        return "has the loss of the last state"
    beyond = abs(excess) - (ERRORS * error if np.isfinite(error) else 0.0)
    if beyond <= 0:
        return "cannot be told from the last state by its loss"
    return "has a lower loss than the last state" if excess < 0 else "has a higher loss than the last state"


def _of(data: xr.Dataset, label: str) -> tuple[float, float, float]:
    """The loss, its difference from the last state's, and the error of that."""
    loss, excess, error = (float(data[name].values[place_of(data, label)]) for name in ("loss", "excess", "excess_se"))
    return loss, excess, error


def _gain(data: xr.Dataset, label: str) -> str:
    loss, excess, error = _of(data, label)
    last = float(data["loss"].values[place_of(data, "last")])
    return f"loss {number(last)} → {number(loss)}, difference {give_or_take(excess, error)} ({what_errors(error)})"


def _headline(data: xr.Dataset) -> str:
    chosen = str(data.attrs["chosen"])
    _, excess, error = _of(data, "chosen")
    told = f"{name_of(data, chosen)} {verdict(excess, error)}: {_gain(data, 'chosen')}"
    if "accuracy" in data:
        accuracy = data["accuracy"].values
        told += f", accuracy {number(accuracy[place_of(data, 'last')])} → {number(accuracy[place_of(data, 'chosen')])}"
    return told + _where(data)


def _where(data: xr.Dataset) -> str:
    held = data.attrs["held_out"]
    return ", on samples that did not choose it" if held is not None else ", on the samples that chose it, which flatters it"


def _how(data: xr.Dataset) -> str:
    attrs, held = data.attrs, data.attrs["held_out"]
    on = (
        f"What is chosen was chosen on {attrs['samples_choosing']:,} samples; all numbers are of {attrs['samples_scored']:,} others."
        if held is not None
        else f"All was chosen and scored on the same {attrs['samples_scored']:,} samples."
    )
    soup = (
        " The greedy soup takes the states in order of their loss, and keeps each that does not make the loss of the average higher."
        if attrs["greedy"]
        else ""
    )
    sizes, count = listed([str(size) for size in attrs["windows"]]), data.sizes["state"]
    return f"The weights of the last {sizes} of {count} recorded states were averaged.{soup} {on}{scoring_of(data)}"


def _shows(data: xr.Dataset) -> list[str]:
    told, names = [], data["average"].values.astype(str).tolist()
    excess, error = data["excess"].values, data["excess_se"].values
    for label in [name for name in names if name not in ("last", "chosen")]:
        place = place_of(data, label)
        text = name_of(data, label)
        told.append(f"{text[:1].upper()}{text[1:]} {verdict(excess[place], error[place])}: {give_or_take(excess[place], error[place])}.")
    heights = data["valley_height"].values
    if np.isfinite(heights).any():
        widest = int(np.argmax(np.where(np.isfinite(heights), data["size"].values, 0)))
        rises = heights[widest] > 0
        told.append(
            f"The losses of the last {plural(int(data['size'].values[widest]), 'state')} lie on average {number(abs(heights[widest]))} "
            f"{'above' if rises else 'below'} that of their average{': so much the noise of the last steps costs' if rises else ''}."
        )
    if data.attrs["held_out"] is not None:
        place = place_of(data, "chosen")
        own, there = float(data["excess"].values[place]), float(data["choice_excess"].values[place])
        told.append(f"On the samples that chose it, the chosen average's difference is {number(there)}; on the others {number(own)}.")
    return told + recorded_sentences(data, "actual_loss") + tails_of(data)


def _table(data: xr.Dataset) -> Table:
    names = [name for name in data["average"].values.astype(str).tolist() if name != "chosen"]
    at = [place_of(data, name) for name in names]
    marks = [f"{name}{' (chosen)' if name == data.attrs['chosen'] else ''}" for name in names]
    columns: list[Any] = [
        marks,
        *(data[name].values[at] for name in ("size", "loss", "excess", "excess_se", "choice_loss", "valley_height")),
    ]
    titles = [
        "average",
        "states",
        "loss",
        "difference from the last state",
        "its standard error",
        "loss where chosen",
        "height of the valley",
    ]
    for name in metrics_of(data):
        columns.append(data[name].values[at])
        titles.append(name.replace("_", " "))
    rows = ((str(row[0]), int(row[1]), *row[2:]) for row in zip(*columns, strict=True))
    return table("Averages of the recorded states", titles, rows)


def _at(name: str, label: str) -> Read:
    """Reads a variable of one average; None where there is none of that label yet."""
    return lambda data: data[name].values[place_of(data, label)] if label in data["average"].values.astype(str) else None


def _best_window(data: xr.Dataset) -> Any:
    """How many states the window has that is best where things are chosen; None where the windows' losses are not known."""
    windows = np.flatnonzero(data["kind"].values.astype(str) == "window")
    losses = data["choice_loss" if "choice_loss" in data else "loss"].values[windows]
    place = extreme(losses, -1)
    return None if place is None else data["size"].values[windows[place]]


def _of_best(data: xr.Dataset, name: str) -> Any:
    """What is known of the best single state."""
    if "best" not in data.attrs or name not in data.variables:
        return None
    return data[name].values[np.flatnonzero(data["state"].values == data.attrs["best"])[0]]


def _gained(data: xr.Dataset) -> Any:
    excess = _at("excess", "chosen")(data)
    return None if excess is None else 0.0 - excess


FINDINGS = (
    Fact("chosen", str, "the average that was chosen", attribute("chosen")),
    Fact("chosen_loss", float, "its loss", _at("loss", "chosen")),
    Fact("last_loss", float, "the loss of the last state, on the same samples", _at("loss", "last")),
    Fact("gain", float, "by how much the chosen average's loss is lower than the last state's", _gained),
    Fact("gain_standard_error", float, "its paired standard error over samples", _at("excess_se", "chosen")),
    Fact("best_window", int, "how many of the last states the best window averages", _best_window),
    Fact("best_step", int, "the training step of the best single state", lambda data: _of_best(data, "step")),
    Fact("held_out", bool, "whether the numbers are of samples that did not choose", lambda data: data.attrs["held_out"] is not None),
    Fact("loss/<average>", float, "the loss of each average", by_name("loss", "average")),
    Fact("excess/<average>", float, "the same, less the last state's loss", by_name("excess", "average")),
    SAMPLES,
)
WORDS = Words(
    findings=FINDINGS,
    chapter="training",
    asks="What is an average of checkpoints worth?",
    headline=_headline,
    how=_how,
    shows=_shows,
    does_not_show="The differences are of one training: another seed has others. Where the learning rate falls to 0 the last steps make "
    "little noise, so that there is little to average away; averages gain most where it stays high.",
    table=_table,
)
