"""What is said of the way of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from thetascope.experiments.framework.facts import Fact, at_place, attribute, by_name, largest
from thetascope.experiments.framework.phrases import listed, number, percent, plural
from thetascope.experiments.framework.tables import Table, table
from thetascope.experiments.framework.words import Words
from thetascope.experiments.shared.places import STRAIGHT
from thetascope.experiments.trajectory_geometry.panels import Clock
from thetascope.experiments.trajectory_geometry.sentences import ROUNDED, far, is_on_line, most_off, when

if TYPE_CHECKING:
    import xarray as xr

EXAMPLES = 3
"""So many layers are named."""


def _headline(data: xr.Dataset) -> str:
    attrs = data.attrs
    if not attrs["chord"] > 0:
        return "the last state is the first one again" if float(data["arc"][-1]) > 0 else "no parameter moved"
    longer, turning = f"{number(round(attrs['tortuosity'], 3))} times as long as", _turning(data)
    if is_on_line(data):
        told = "the optimizer went straight from the first state to the last"
        return told if attrs["tortuosity"] < 1 + STRAIGHT else f"the way is {longer} the straight line, and on it"
    told = f"the way is {longer} the straight line, and up to {percent(most_off(data))} of the line's length off it"
    return f"{told}; successive steps have a mean cosine of {number(round(turning, 2))}" if np.isfinite(turning) else told


def _turning(data: xr.Dataset) -> float:
    known = data["turning"].values
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else np.nan


def _how(data: xr.Dataset) -> str:
    return (
        f"The {plural(data.sizes['state'], 'recorded state')} were read as points in the space of {data.attrs['parameters']:,} parameters; "
        "buffers such as running statistics are not counted. Nothing was scored, so this knows neither losses nor data. Tortuosity is the "
        "length of the way through all states over the distance of its ends: 1 straight on, π/2 on a half circle, √T for T steps at right "
        "angles."
    )


def _shows(data: xr.Dataset) -> list[str]:
    attrs, clock = data.attrs, Clock.of(data)
    arc, chord = float(data["arc"][-1]), attrs["chord"]
    told = [f"The way through the states is {number(arc)} long, and its ends lie {number(chord)} apart."]
    if not chord > 0:
        return told
    share, half = data["share"].values, int(np.argmax(data["share"].values >= 0.5))
    if is_on_line(data):
        told.append(f"No state lies off the straight line between the ends by more than {ROUNDED}.")
    else:
        at = int(np.nanargmax(data["off_line"].values))
        told.append(
            f"The training left the straight line between the ends by up to {percent(most_off(data))} of its length, {when(clock, at)}."
        )
    span = clock.at[-1] - clock.at[0]
    if half and span > 0:
        spent = (clock.at[half] - clock.at[0]) / span
        told.append(
            f"{percent(float(share[half]))} of the way from the first state to the last was done {when(clock, half)}, after "
            f"{percent(float(spent))} of the {clock.label}s."
        )
    beyond = float(np.nanmax(share))
    if beyond > 1.01:
        told.append(f"It went past its end and came back: up to {percent(beyond)} of the way.")
    lengths = data["step_length"].values[1:]
    longest = 1 + int(np.argmax(lengths))
    told.append(
        f"The longest step between two states, {number(lengths.max())}, led to the state {when(clock, longest)}; the last one was "
        f"{number(lengths[-1])}."
    )
    return told + _angles(data) + _layers(data)


def _angles(data: xr.Dataset) -> list[str]:
    """How steps lie to one another."""
    turning, pairs = _turning(data), data.attrs["mean_cosine"]
    if not np.isfinite(turning):
        return []
    told = f"Successive steps have a mean cosine of {number(round(turning, 3))}, all pairs of steps one of {number(round(pairs, 3))}"
    if turning > 0.1 and pairs < 0.5 * turning:
        return [f"{told}: neighbouring steps agree more than distant ones."]
    return [f"{told}: successive steps turn back on one another." if turning < -0.1 else f"{told}."]


def _layers(data: xr.Dataset) -> list[str]:
    """Which went farthest, measured by their first lengths, and which make up the way."""
    names, moved, shares = data["layer"].values.astype(str), data["relative_distance"].values, data["squared_share"].values
    if len(names) < 2:
        return []
    known = [i for i in np.argsort(-np.nan_to_num(moved, nan=-1.0)).tolist() if np.isfinite(moved[i])]
    told = []
    if known:
        named = [f"{names[i]} ({far(float(moved[i]))})" for i in known[:EXAMPLES]]
        told.append(f"Measured by the length of their first values, these layers went farthest: {listed(named)}.")
    largest = int(np.nanargmax(shares))
    return [*told, f"{names[largest]} alone is {percent(float(shares[largest]))} of the squared way."]


def _table(data: xr.Dataset) -> Table:
    clock = Clock.of(data)
    names = ("arc", "share", "off_line", "to_end", "step_length", "turning", "heading")
    titles = (
        clock.label,
        "way so far",
        "share of the way",
        "off the line",
        "left to go",
        "step",
        "cosine with the step before",
        "with what was left",
    )
    return table("Each state on its way", titles, zip(data[clock.label].values, *(data[name].values for name in names), strict=True))


def _straightness(data: xr.Dataset) -> float | None:
    length = float(data["arc"].values[-1])
    return data.attrs["chord"] / length if length > 0 else None


def _off_line(data: xr.Dataset) -> float | None:
    return most_off(data) if data.attrs["chord"] > 0 else None


FINDINGS = (
    Fact("length", float, "the length of the way through all states, in parameter space", at_place("arc", -1)),
    Fact("displacement", float, "how far its ends lie apart", attribute("chord")),
    Fact("straightness", float, "displacement over length: 1 straight on, 0 back at its start", _straightness),
    Fact("tortuosity", float, "length over displacement", attribute("tortuosity")),
    Fact("off_line_max", float, "the largest distance of a state off the straight line, in lengths of the line", _off_line),
    Fact("turning", float, "the mean cosine of successive steps between states", _turning),
    Fact("mean_cosine", float, "the mean cosine of all pairs of steps", attribute("mean_cosine")),
    Fact("longest_step", float, "the longest step between two successive states", lambda data: largest(data["step_length"].values[1:])),
    Fact("last_step", float, "the last such step", at_place("step_length", -1)),
    Fact("recorded_states", int, "how many recorded states there are", lambda data: data.sizes["state"]),
    Fact("parameters", int, "how many parameters are measured", attribute("parameters")),
    Fact("relative_distance/<layer>", float, "how far the layer went, in lengths of its first values", by_name("relative_distance")),
    Fact("squared_share/<layer>", float, "the layer's share of the squared displacement, 0 to 1", by_name("squared_share")),
)
WORDS = Words(
    findings=FINDINGS,
    chapter="training",
    asks="What path did the optimizer take?",
    headline=_headline,
    how=_how,
    shows=_shows,
    does_not_show="Lengths depend on how often states were recorded: between two of them the optimizer may have gone to and fro, so that "
    "the way is at least so long. Distances weigh all parameters alike, whatever they do: a layer that a norm follows can move far and "
    "change nothing. Neither says whether the loss fell.",
    table=_table,
)
