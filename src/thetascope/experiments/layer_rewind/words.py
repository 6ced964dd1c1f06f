"""What is said of when each layer was finished."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from thetascope.arrays import Floats
from thetascope.drawing.moments import short_moment
from thetascope.experiments.framework.facts import SAMPLES, Fact, at_place, attribute, by_name, extreme, largest, name_at
from thetascope.experiments.framework.phrases import UNKNOWN, give_or_take, listed, number, percent, plural, what_errors
from thetascope.experiments.framework.tables import Table, table
from thetascope.experiments.framework.words import Words, metrics_of, samples_of, scoring_of, tails_of
from thetascope.experiments.layer_rewind.rules import within
from thetascope.experiments.shared.barrier_words import ERRORS
from thetascope.experiments.shared.layer_words import moved_together, mover
from thetascope.experiments.shared.recorded import recorded_sentences

NAMED = 6
"""So many layers at most are named with their own moments; of more the first and the last."""


def cost(data: xr.Dataset) -> Floats:
    """The excess ``[L, T]`` as a share of the gain; itself where the training gained nothing."""
    excess, gain = np.asarray(data["excess"].values, np.float64), float(data.attrs["gain"])
    return excess / gain if gain > 0 else excess


def way_shares(data: xr.Dataset) -> Floats:
    """Of each layer: its part of the squared distance from the first state to the last; nan where there is none."""
    squares = np.asarray(data["distance"].values, np.float64) ** 2
    with np.errstate(invalid="ignore"):
        return np.asarray(squares / squares.sum(), np.float64)


def headline(data: xr.Dataset) -> str:
    """When the layers were finished, and since when the training is connected to its end."""
    told = [_finished(data)]
    if data.attrs["connected_from"] is not None:
        told.append(_connected(data, int(columns_of(data, data.attrs["connected_from"]))))
    return "; ".join(told)


def columns_of(data: xr.Dataset, states: Any) -> Any:
    """The column of each of some states."""
    return np.searchsorted(data["state"].values, states)


def _finished(data: xr.Dataset) -> str:
    one, last = mover(data), data.sizes["state"] - 1
    names, places = data["layer"].values.astype(str), columns_of(data, data["finished"].values)
    resolved = data["resolved"].values.astype(bool)
    moments = [_moment(data, place, last) for place in range(last + 1)]
    if len(names) == 1:
        return f"the {one} {names[0]} was finished {moments[places[0]]}{_unsure(resolved)}"
    if len(set(places)) == 1:
        return f"all {plural(len(names), one)} were finished {moments[places[0]]}{_unsure(resolved)}"
    groups = [(place, names[places == place].tolist(), resolved[places == place]) for place in sorted(set(places.tolist()))]
    if len(names) > NAMED:
        (first, early, sure), (end, late, known) = groups[0], groups[-1]
        parts = [
            f"{_called(early, one)} {moments[first]}{_unsure(sure)}, last {_called(late, one)} {moments[end]}{_unsure(known)}",
            f"half of all {one}s by {short_moment(data, int(np.quantile(places, 0.5, method='higher')))}",
        ]
        return f"first finished was {parts[0]}; {parts[1]}" if len(early) == 1 else f"first finished were {parts[0]}; {parts[1]}"
    told = [f"{listed(of_one)} {moments[place]}{_unsure(sure)}" for place, of_one, sure in groups]
    return f"these {one}s were finished: {', '.join(told)}"


def _moment(data: xr.Dataset, place: int, last: int) -> str:
    if place == 0:
        return "from the start"
    return "only at the end" if place == last else f"after {short_moment(data, place)}"


def _called(names: list[str], one: str) -> str:
    return names[0] if len(names) == 1 else plural(len(names), one)


def _unsure(resolved: Any) -> str:
    return "" if bool(np.all(resolved)) else " at the earliest"


def _connected(data: xr.Dataset, place: int) -> str:
    if place == data.sizes["state"] - 1:
        return "no earlier state is linearly connected to the end"
    since = "from its start" if place == 0 else f"from {short_moment(data, place)} on"
    return f"the training is linearly connected to its end {since}"


def _how(data: xr.Dataset) -> str:
    attrs, one, count = data.attrs, mover(data), data.sizes["state"]
    chosen = f"{count} of the {attrs['states_recorded']:,}" if count < attrs["states_recorded"] else f"all {count}"
    unknown = f" (here costs are {UNKNOWN}, so that the share alone decides)"
    known = " of the paired difference" if np.isfinite(data["excess_se"]).any() else unknown
    lines = (
        f" The straight line from each state to the last was scored at {attrs['alphas'] - 2} points between its ends, all weights moving."
        if attrs["barriers"] else ""
    )  # fmt: skip
    return (
        f"Each {one} alone, {moved_together(data)}, was taken from {chosen} recorded states, all others staying final, and scored on "
        f"{samples_of(data)}. A {one} is finished at the earliest state from which on this costs at most {percent(attrs['tolerance'])} "
        f"of what the training gained ({number(attrs['gain'])}, from the {'chance' if attrs['gain_from'] == 'chance' else 'first'} loss "
        f"to the final one), or {ERRORS:g} standard errors{known}.{lines}"
        f"{scoring_of(data, 'running statistics are taken with their layers')}"
    )  # fmt: skip


def _shows(data: xr.Dataset) -> list[str]:
    attrs, one, told = data.attrs, mover(data), list[str]()
    names, shares = data["layer"].values.astype(str), cost(data)
    excess, error = data["excess"].values, data["excess_se"].values
    if np.isfinite(shares).any():
        i, t = np.unravel_index(int(np.nanargmax(shares)), shares.shape)
        of_gain = f", {percent(float(shares[i, t]))} of the gain" if attrs["gain"] > 0 else ""
        told.append(
            f"Most it costs to take {names[i]} from {short_moment(data, int(t))}: the loss is "
            f"{give_or_take(excess[i, t], error[i, t])} higher than the final {number(attrs['final_loss'])} "
            f"({what_errors(error[i, t])}){of_gain}."
        )
    unsure = names[~data["resolved"].values.astype(bool)].tolist()
    if unsure:
        told.append(
            f"For {listed(unsure)} two standard errors are more than the tolerance: finished at the earliest, with these samples; more of "
            "them may show it finished later."
        )
    late = [f"{names[i]} ({percent(float(shares[i].min()))})" for i in range(len(names)) if _is_better(data, i)]
    if late and attrs["gain"] > 0:
        told.append(f"Some states have a better {one} than the end, by the share of the gain in brackets: {listed(late)}.")
    told += _rising(data, names, shares)
    told.append(
        f"After their {one}s were finished lie {percent(attrs['frozen_share'])} of all parameters times steps: so much freezing them could "
        "have spared at most, if it had changed nothing else."
    )
    if attrs["connected_from"] is not None:
        barriers, errors = data["barrier_to_end"].values, data["barrier_to_end_se"].values
        if np.isfinite(barriers).any():
            highest = int(np.nanargmax(barriers))
            told.append(
                f"The highest barrier to the end is {give_or_take(barriers[highest], errors[highest])}, from {short_moment(data, highest)} "
                f"({what_errors(errors[highest]).replace(', paired', '')})."
            )
    if attrs["gain"] <= 0 or not np.isfinite(attrs["gain"]):
        told.append(f"The training gained nothing that shares could be told of: its final loss is {number(attrs['final_loss'])}.")
    return told + recorded_sentences(data, "actual_loss") + tails_of(data)


def _is_better(data: xr.Dataset, i: int) -> bool:
    """Whether some state's layer makes a lower loss than the final one, by more than counts as nothing."""
    excess, error = data["excess"].values[i], data["excess_se"].values[i]
    return bool(((excess < 0) & ~within(-excess, error, data.attrs["least"])).any())


def _rising(data: xr.Dataset, names: Any, shares: Floats) -> list[str]:
    """Layers that cost more from a later state than from the first, by two errors of each."""
    error = np.nan_to_num(data["excess_se"].values) / (data.attrs["gain"] if data.attrs["gain"] > 0 else 1.0)
    found = []
    for i, name in enumerate(names):
        later = int(np.nanargmax(shares[i])) if np.isfinite(shares[i]).any() else 0
        if later > 0 and shares[i, later] - shares[i, 0] > ERRORS * np.hypot(error[i, later], error[i, 0]) + data.attrs["tolerance"]:
            told = [f"{short_moment(data, t)}: {number(shares[i, t])}" for t in (later, 0)]
            found.append(f"{name} ({', '.join(told)})")
    what = "share of the gain" if data.attrs["gain"] > 0 else "excess loss"
    return [f"Costs do not only fall: more than from the first state it costs to take {listed(found, 4)} ({what})."] if found else []


def _table(data: xr.Dataset) -> Table:
    one, places = mover(data), columns_of(data, data["finished"].values)
    first, at = data["excess"].values[:, 0], np.arange(data.sizes["layer"])
    columns: list[Any] = [
        data["layer"].values.astype(str),
        [short_moment(data, place) for place in places],
        ["yes" if resolved else "no" for resolved in data["resolved"].values],
        data["excess"].values[at, places],
        data["excess_se"].values[at, places],
        first,
        first / data.attrs["gain"] if data.attrs["gain"] > 0 else np.full(len(first), np.nan),
        way_shares(data),
    ]
    titles = [
        one, "finished", "resolved", "excess loss there", "its standard error",
        "excess loss of its first values", "share of the gain", "share of the squared way",
    ]  # fmt: skip
    for name in metrics_of(data):
        columns.append(data[name].values[:, 0])
        titles.append(f"{name.replace('_', ' ')} with its first values")
    return table("When each layer was finished", titles, zip(*columns, strict=True), layer_at=0)


def _when_finished(data: xr.Dataset, name: str) -> dict[str, Any] | None:
    """What is known of the state in which each layer was finished."""
    if "finished" not in data or name not in data.variables:
        return None
    found = data[name].values[columns_of(data, data["finished"].values)]
    return dict(zip(data["layer"].values.astype(str).tolist(), found, strict=True))


def _when_connected(data: xr.Dataset, name: str) -> Any:
    """The same of the state since which the training is linearly connected to its end."""
    state = data.attrs.get("connected_from")
    return None if state is None or name not in data.variables else data[name].values[columns_of(data, state)]


def _first(data: xr.Dataset) -> dict[str, float]:
    return dict(zip(data["layer"].values.astype(str).tolist(), data["excess"].values[:, 0].tolist(), strict=True))


def _costly(data: xr.Dataset) -> str | None:
    place = extreme(data["excess"].values)
    return None if place is None else name_at(data, "layer", place // data.sizes["state"])


def _highest(data: xr.Dataset) -> float | None:
    return largest(data["barrier_to_end"].values) if "barrier_to_end" in data else None


FINDINGS = (
    Fact(
        "finished_step/<layer>",
        int,
        "the training step of the state in which the layer was finished",
        lambda data: _when_finished(data, "step"),
    ),
    Fact("finished_progress/<layer>", float, "the same as a share of the training, 0 to 1", lambda data: _when_finished(data, "progress")),
    Fact("finished_resolved/<layer>", bool, "whether two standard errors are within the tolerance there", by_name("resolved")),
    Fact("first_excess/<layer>", float, "the loss with the layer's first values, less the last state's", _first),
    Fact("excess_max", float, "the largest of such differences over layers and states", lambda data: largest(data["excess"].values)),
    Fact("excess_max_layer", str, "the layer where it is", _costly),
    Fact("frozen_share", float, "the share of parameters times steps after their layers were finished, 0 to 1", attribute("frozen_share")),
    Fact(
        "connected_step",
        int,
        "the step since which the training is linearly connected to its end",
        lambda data: _when_connected(data, "step"),
    ),
    Fact("connected_progress", float, "the same as a share of the training, 0 to 1", lambda data: _when_connected(data, "progress")),
    Fact("first_barrier", float, "the barrier between the first state and the last", at_place("barrier_to_end", 0)),
    Fact("highest_barrier", float, "the highest barrier between a state and the last", _highest),
    Fact("initial_loss", float, "the loss of the first state", at_place("actual_loss", 0)),
    Fact("final_loss", float, "the loss of the last state", at_place("actual_loss", -1)),
    Fact("gain", float, "what the training gained in loss, from the lower of its first loss and chance", attribute("gain")),
    SAMPLES,
)
WORDS = Words(
    findings=FINDINGS,
    curves=("excess",),
    chapter="layers",
    asks="When was each layer finished?",
    headline=headline,
    how=_how,
    shows=_shows,
    does_not_show="A layer is finished for the others as they became: had it been frozen there, they would have learned otherwise. What "
    "single layers cost does not add up over layers. Other seeds of the training finish at other times, which the standard errors do "
    "not cover: they are of the samples.",
    table=_table,
)
