"""What is said of the ways of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from thetascope.experiments.framework.facts import Fact, by_name, extreme, name_at
from thetascope.experiments.framework.phrases import listed, number, percent, plural
from thetascope.experiments.framework.tables import Table, table
from thetascope.experiments.framework.words import Words
from thetascope.experiments.shared.layer_words import mover
from thetascope.experiments.trajectory_geometry.sentences import far

if TYPE_CHECKING:
    import xarray as xr


def _names(data: xr.Dataset) -> list[str]:
    return list(data["layer"].values.astype(str))


def _crooked(data: xr.Dataset) -> list[int]:
    """The layers that moved, the most tortuous first."""
    tortuosity = data["tortuosity"].values
    return [i for i in np.argsort(-np.nan_to_num(tortuosity, nan=-1.0)).tolist() if np.isfinite(tortuosity[i])]


def _headline(data: xr.Dataset) -> str:
    crooked, names, moved = _crooked(data), _names(data), data["relative_distance"].values
    if not crooked:
        return f"no {mover(data)} ended elsewhere than it began"
    ways = data["tortuosity"].values
    turns = f"{number(round(float(ways[crooked[0]]), 2))} times as long as its straight line"
    one = mover(data)
    told = f"{one} {names[crooked[0]]} went the most crooked way, {turns}" if len(names) > 1 else f"the way of {names[0]} is {turns}"
    if not np.isfinite(moved).any():
        return told
    best = int(np.nanargmax(moved))
    return f"{one} {names[best]} moved {'farthest, ' * (len(names) > 1)}by {far(float(moved[best]))} of its first length; {told}"


def _how(data: xr.Dataset) -> str:
    one = mover(data)
    return (
        f"The {plural(data.sizes['state'], 'recorded state')} were read, and the way of each of {plural(data.sizes['layer'], one)} was "
        "measured by itself: its weights and biases as one point, seen from the straight line between its own first and last values. "
        "Nothing was scored."
    )


def _shows(data: xr.Dataset) -> list[str]:
    names, moved, shares = _names(data), data["relative_distance"].values, data["squared_share"].values
    known = [i for i in np.argsort(-np.nan_to_num(moved, nan=-1.0)).tolist() if np.isfinite(moved[i])]
    told = []
    if known:
        order = listed([f"{names[i]} ({far(float(moved[i]))})" for i in known])
        told.append(f"By the length of their first values they moved, in order: {order}.")
    if np.isfinite(shares).any():
        largest = np.argsort(-np.nan_to_num(shares)).tolist()
        told.append(f"Of the squared way they make up: {listed([f'{names[i]} {percent(float(shares[i]))}' for i in largest])}.")
    crooked = _crooked(data)
    if len(crooked) > 1:
        most, least = crooked[0], crooked[-1]
        ways = data["tortuosity"].values
        told.append(
            f"{names[most]} went {number(round(float(ways[most]), 2))} times the length of its straight line, {names[least]} "
            f"{number(round(float(ways[least]), 2))} times."
        )
    still = [name for i, name in enumerate(names) if not float(data["arc"].values[i, -1]) > 0]
    return [*told, *([f"{listed(still)} did not move."] if still else [])]


def _table(data: xr.Dataset) -> Table:
    one = mover(data)
    columns = ("relative_distance", "squared_share", "tortuosity", "mean_cosine")
    titles = (
        one,
        "way",
        "distance of its ends",
        "distance / first length",
        "share of the squared way",
        "tortuosity",
        "mean cosine of steps",
    )
    ends = (data["arc"].values[:, -1], data["from_start"].values[:, -1])
    rows = zip(_names(data), *ends, *(data[name].values for name in columns), strict=True)
    return table(f"The way of each {one}", titles, rows, layer_at=0)


def _at_end(data: xr.Dataset, name: str) -> dict[str, float]:
    """A variable over (layer, state), at the last state."""
    return dict(zip(_names(data), data[name].values[:, -1].tolist(), strict=True))


FINDINGS = (
    Fact(
        "farthest_layer",
        str,
        "the layer that went farthest, in lengths of its first values",
        lambda data: name_at(data, "layer", extreme(data["relative_distance"].values)),
    ),
    Fact(
        "most_tortuous_layer",
        str,
        "the layer with the most tortuous way",
        lambda data: name_at(data, "layer", extreme(data["tortuosity"].values)),
    ),
    Fact("length/<layer>", float, "the length of the layer's way", lambda data: _at_end(data, "arc")),
    Fact("displacement/<layer>", float, "how far its ends lie apart", lambda data: _at_end(data, "from_start")),
    Fact("relative_distance/<layer>", float, "the same, in lengths of its first values", by_name("relative_distance")),
    Fact("squared_share/<layer>", float, "the layer's share of the squared displacement, 0 to 1", by_name("squared_share")),
    Fact("tortuosity/<layer>", float, "its length over its displacement", by_name("tortuosity")),
    Fact("mean_cosine/<layer>", float, "the mean cosine of all pairs of its steps", by_name("mean_cosine")),
    Fact("recorded_states", int, "how many recorded states there are", lambda data: data.sizes["state"]),
)
WORDS = Words(
    findings=FINDINGS,
    curves=("step_length", "turning", "relative_from_start"),
    chapter="training",
    asks="How far did each layer move?",
    headline=_headline,
    how=_how,
    shows=_shows,
    does_not_show="A layer that moved far need not matter, nor one that moved little be idle: layers differ in size and in scale, and what "
    "a norm divides out can grow for nothing. A layer that begins at 0 has no first length to compare with.",
    table=_table,
)
