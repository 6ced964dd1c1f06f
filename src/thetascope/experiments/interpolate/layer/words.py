"""What is said of the paths of single layers."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thetascope.experiments.framework.facts import FINAL_LOSS, SAMPLES, Fact, by_name, extreme, largest, name_at
from thetascope.experiments.framework.phrases import give_or_take, listed, number, plural, step_of, what_errors
from thetascope.experiments.framework.tables import Table, table
from thetascope.experiments.framework.words import Words, is_straight, metrics_of, nearest, samples_of, scoring_of, tails_of
from thetascope.experiments.shared.layer_words import moved_together, mover


def _headline(data: xr.Dataset) -> str:
    start = data["loss"].values[:, 0]
    return (
        f"put back, {data['layer'].values[start.argmax()]} costs most: with its first values the loss is {start.max():.3g}{_against(data)}"
    )


def _against(data: xr.Dataset) -> str:
    final = (data.attrs.get("reference") or {}).get("loss")
    return "" if final is None else f", against {final:.3g} in the end"


def _how(data: xr.Dataset) -> str:
    attrs, one = data.attrs, mover(data)
    return (
        f"One {one} at a time, {moved_together(data)}, was moved along its {attrs['kind']} path through the states of "
        f"{listed([step_of(knot) for knot in attrs['knots']])}, while all other {one}s stayed as they were at the end. Each of "
        f"{plural(data.sizes['layer'], one)} was scored at {data.sizes['alpha']} values of α on {samples_of(data)}.{scoring_of(data)}"
    )


def _shows(data: xr.Dataset) -> list[str]:
    names, start = data["layer"].values, nearest(data["alpha"].values, 0.0)
    losses, distances = data["loss"].values[:, start], data["distance"].values
    order = np.argsort(-losses)
    told = [f"Put back to their first values they cost, in order: {listed([f'{names[i]} (loss {number(losses[i])})' for i in order])}."]
    far = int(np.nanargmax(distances))
    told.append(f"{names[far]} travelled the farthest, {number(distances[far])}; {names[order[0]]} matters most on this path.")
    return told + _largest(data) + tails_of(data)


def _largest(data: xr.Dataset) -> list[str]:
    """Where a layer costs most, with the error of the difference."""
    if "excess" not in data or not np.isfinite(excess := data["excess"].values).any():
        return []
    layer, at = np.unravel_index(int(np.nanargmax(np.where(np.isfinite(excess), excess, np.nan))), excess.shape)
    error = data["excess_se"].values[layer, at]
    return [
        f"The largest excess over the final loss is {give_or_take(excess[layer, at], error)} ({what_errors(error)}): "
        f"{data['layer'].values[layer]} at α = {data['alpha'].values[at]:.2f}."
    ]


def _table(data: xr.Dataset) -> Table:
    start, metrics = nearest(data["alpha"].values, 0.0), metrics_of(data)
    columns = [data[name].values[:, start] for name in ("loss", *metrics)]
    rows = zip(map(str, data["layer"].values), data["distance"].values, *columns, data["loss"].values.max(axis=1), strict=True)
    titles = (mover(data), "distance", *(f"{name.replace('_', ' ')} at α = 0" for name in ("loss", *metrics)), "highest loss on the way")
    return table(f"Each {mover(data)} put back to its first values, the rest final", titles, rows, layer_at=0)


def _reset(data: xr.Dataset, name: str) -> dict[str, float]:
    """A variable where each layer has its first values."""
    if name not in data:
        return {}
    start = nearest(data["alpha"].values, 0.0)
    return dict(zip(data["layer"].values.astype(str).tolist(), data[name].values[:, start].tolist(), strict=True))


def _place(data: xr.Dataset) -> tuple[int, int] | None:
    """The layer and the α where the excess is largest."""
    place = extreme(data["excess"].values) if "excess" in data else None
    return None if place is None else divmod(place, data.sizes["alpha"])


def _costly(data: xr.Dataset) -> str | None:
    return name_at(data, "layer", extreme(list(_reset(data, "loss").values())))


def _largest_excess(data: xr.Dataset) -> float | None:
    return largest(data["excess"].values) if "excess" in data else None


FINDINGS = (
    Fact("most_costly_layer", str, "the layer whose first values cost most", _costly),
    Fact("most_costly_loss", float, "the loss with its first values", lambda data: largest(list(_reset(data, "loss").values()))),
    FINAL_LOSS,
    Fact("reset_loss/<layer>", float, "the loss with this layer's first values, all else final", lambda data: _reset(data, "loss")),
    Fact("reset_excess/<layer>", float, "the same, less the last state's loss", lambda data: _reset(data, "excess")),
    Fact("distance/<layer>", float, "how far the layer's ends lie apart in parameter space", by_name("distance")),
    Fact("excess_max", float, "the largest difference from the last state's loss on any layer's path", _largest_excess),
    Fact("excess_max_layer", str, "the layer where it is", lambda data: (place := _place(data)) and name_at(data, "layer", place[0])),
    Fact("excess_max_at", float, "the α where it is", lambda data: (place := _place(data)) and data["alpha"].values[place[1]]),
    SAMPLES,
)
CAVEAT = (
    "A layer that matters little alone may matter together with others, and the distance of a layer is not its importance: layers differ "
    "in size and in scale. Between seeds of the training the order of layers that cost about the same changes."
)
WORDS = Words(
    findings=FINDINGS,
    chapter="layers",
    asks=lambda attrs: "Which layers matter, on a straight way?" if is_straight(attrs) else "And on a curved way?",
    headline=_headline,
    how=_how,
    shows=_shows,
    does_not_show=lambda attrs: (
        CAVEAT
        if is_straight(attrs)
        else f"{CAVEAT} The curve also passes through the middle state's layer, which the rest of the final model has never met."
    ),
    table=_table,
)
