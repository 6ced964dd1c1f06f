"""What is said of the roles of layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from thetascope.arrays import Floats
from thetascope.experiments.framework.facts import FINAL_LOSS, SAMPLES, Fact, Read, attribute, by_name, extreme, largest, name_at
from thetascope.experiments.framework.phrases import UNKNOWN, listed, number, percent, plural, what_errors
from thetascope.experiments.framework.tables import Table, table
from thetascope.experiments.framework.words import Words, metrics_of, samples_of, scoring_of, tails_of
from thetascope.experiments.shared.layer_words import moved_together, mover

MOST = 8
"""So many critical layers are named."""

SOURCES = {"init": "the init that was passed", "constant": "nothing, their first values being constant"}


def _headline(data: xr.Dataset) -> str:
    data = data.sortby("share", ascending=False)
    names, roles = data["layer"].values.astype(str), data["role"].values.astype(str)
    told = [_worst(data)] if np.isfinite(data["share"]).any() else []
    critical = [_critical(*row) for row in zip(names, roles, data["critical_in"].values.astype(str), strict=True) if row[1] == "critical"]
    few = f"{listed(critical[:MOST])}{f' and {len(critical) - MOST} more' if len(critical) > MOST else ''}"
    told.append(f"critical: {few}" if critical else "no layer is critical")
    undecided, ambient = int((roles == "undecided").sum()), int((roles == "ambient").sum())
    told += [f"undecided: {undecided}"] * bool(undecided) + [f"ambient: {ambient}"] * bool(ambient)
    return "; ".join([*told, *(["running statistics are put back too"] if data.attrs["with_buffers"] else [])])


def _worst(data: xr.Dataset) -> str:
    """What the layer costs that costs most."""
    layer, final = str(data["layer"].values[0]), data.attrs["reference"]["loss"]
    told = f"resetting {layer} to its first values costs most: loss {number(final)} → {number(data['reinit_loss'].values[0])}"
    if "reinit_accuracy" in data:
        accuracy = float(data["end_accuracy"].sel(end="final"))
        told += f", accuracy {number(accuracy)} → {number(data['reinit_accuracy'].values[0])}"
    return told


def _critical(layer: str, _role: str, where: str) -> str:
    return layer if where == "both" else f"{layer} (in {where} only)"


def _how(data: xr.Dataset) -> str:
    attrs, one = data.attrs, mover(data)
    return (
        f"Each {one} alone, {moved_together(data)}, was put back to its first values (re-initialised); and its weights and biases were "
        f"drawn anew as the model was initialised "
        f"{plural(data.sizes['draw'], 'time')} (re-randomised: {_drawn(data)}), all others staying final; each was scored on "
        f"{samples_of(data)}. A {one} "
        f"is critical where that loses more than {percent(attrs['threshold'])} of what the training had gained, in loss or in accuracy, "
        f"by two standard errors{_known_errors(data)}; ambient where it loses less by two; else undecided."
        f"{scoring_of(data, 'running statistics are put back with their layers')}"
    )


def _known_errors(data: xr.Dataset) -> str:
    return (
        " of the paired differences" if np.isfinite(data["excess_se"]).any() else f"; here costs are {UNKNOWN}, so that they alone decide"
    )


def _drawn(data: xr.Dataset) -> str:
    """What layers were drawn from, the most frequent first."""
    kinds, counts = np.unique(data["drawn_from"].values.astype(str), return_counts=True)
    told = [f"{plural(int(counts[i]), mover(data))} from {SOURCES.get(kinds[i], kinds[i])}" for i in np.argsort(-counts, kind="stable")]
    return listed(told)


def _shows(data: xr.Dataset) -> list[str]:
    names, share = data["layer"].values, data["share"].values
    order = [int(i) for i in np.argsort(-share) if np.isfinite(share[i])]
    error = data["excess_se"].values / data.attrs["gain"] if order else data["excess_se"].values
    shares = [f"{names[i]} {percent(float(share[i]))}{f' ± {percent(2 * error[i])}' if np.isfinite(error[i]) else ''}" for i in order]
    known = what_errors(error)
    told = [f"Re-initialising loses, of what the training had gained in loss ({known}): {listed(shares)}."] if shares else []
    told += _beyond(share)
    drawn = data["rerandom_loss"].values.mean(axis=1)
    if np.isfinite(drawn).any():
        worst = int(np.nanargmax(drawn))
        spread = data["rerandom_loss"].values[worst]
        told.append(
            f"Drawn anew, {names[worst]} costs most: loss {number(drawn[worst])} on average, {number(spread.min())} to "
            f"{number(spread.max())}."
        )
    told += [f"Undecided: {reason}." for reason in data.attrs["undecided"]]
    return told + tails_of(data)


def _beyond(share: Floats) -> list[str]:
    """Why shares lie outside 0 to 100 %."""
    over, under = int((share > 1).sum()), int((share < 0).sum())
    told = [f"{plural(over, 'layer')} above 100 %: put back alone, the model is worse than it began."] if over else []
    return told + ([f"{plural(under, 'layer')} below 0 %: put back, the model is better than in the end."] if under else [])


def _table(data: xr.Dataset) -> Table:
    where = [f" in {c} only" if c not in ("", "both") else "" for c in data["critical_in"].values.astype(str)]
    roles = [f"{role}{only}" for role, only in zip(data["role"].values.astype(str), where, strict=True)]
    numbers = [data[name].values for name in ("share", "share_accuracy", "excess", "excess_se", "distance", "reinit_loss")]
    parts: list[Any] = [data["layer"].values, roles, *numbers]
    titles = [
        mover(data),
        "role",
        "share of the gain in loss lost",
        "of that in accuracy",
        "excess loss",
        "its standard error",
        "distance",
        "loss re-initialised",
    ]
    for name in metrics_of(data):
        parts.append(data[f"reinit_{name}"].values)
        titles.append(f"{name.replace('_', ' ')} re-initialised")
    parts += [data["rerandom_loss"].values.mean(axis=1), data["drawn_from"].values]
    rows = ((str(row[0]), str(row[1]), *row[2:-1], str(row[-1])) for row in zip(*parts, strict=True))
    return table("Critical and ambient layers", [*titles, "mean loss re-randomised", "drawn from"], rows, layer_at=0)


def _count(role: str) -> Read:
    """Reads how many layers have a role."""
    return lambda data: int((data["role"].values.astype(str) == role).sum()) if "role" in data else None


def _end(data: xr.Dataset, end: str) -> float:
    return float(data["end_loss"].sel(end=end))


def _known(data: xr.Dataset, name: str) -> Any:
    """By layer, where any is known."""
    return by_name(name)(data) if name in data and np.isfinite(data[name].values).any() else None


def _redrawn(data: xr.Dataset) -> dict[str, float]:
    return dict(zip(data["layer"].values.astype(str).tolist(), data["rerandom_loss"].values.mean(axis=1).tolist(), strict=True))


FINDINGS = (
    Fact("critical_layers", int, "how many layers are critical", _count("critical")),
    Fact("ambient_layers", int, "how many layers are ambient", _count("ambient")),
    Fact("undecided_layers", int, "how many layers are neither for sure", _count("undecided")),
    Fact(
        "most_costly_layer",
        str,
        "the layer that costs most when it is re-initialised",
        lambda data: name_at(data, "layer", extreme(data["reinit_loss"].values)),
    ),
    Fact("most_costly_loss", float, "the loss with that layer re-initialised", lambda data: largest(data["reinit_loss"].values)),
    Fact("initial_loss", float, "the loss of the first state", lambda data: _end(data, "initial")),
    FINAL_LOSS,
    Fact("gain", float, "what the training gained in loss, from the lower of its first loss and chance", attribute("gain")),
    Fact("gain_accuracy", float, "what it gained in accuracy over chance", attribute("gain_accuracy")),
    Fact("role/<layer>", str, "critical, ambient or undecided", by_name("role")),
    Fact("share/<layer>", float, "the share of the gain in loss that re-initialising the layer loses", by_name("share")),
    Fact("share_accuracy/<layer>", float, "the same in accuracy", lambda data: _known(data, "share_accuracy")),
    Fact("excess/<layer>", float, "the loss with the layer re-initialised, less the last state's", by_name("excess")),
    Fact("excess_standard_error/<layer>", float, "its paired standard error over samples", by_name("excess_se")),
    Fact("rerandom_loss/<layer>", float, "the mean loss with the layer drawn anew", _redrawn),
    SAMPLES,
)
WORDS = Words(
    findings=FINDINGS,
    chapter="layers",
    asks="Which layers are critical, which ambient?",
    headline=_headline,
    how=_how,
    shows=_shows,
    does_not_show="Critical and ambient are two sides of one threshold: shares near it may change sides with another seed of the training, "
    "which the standard errors do not cover: they are of the samples. What one layer "
    "put back costs does not add up over layers.",
    table=_table,
)
