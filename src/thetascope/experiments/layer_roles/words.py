"""What is said of the roles of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from thetascope.experiments.framework.phrases import listed, number, percent, plural
from thetascope.experiments.framework.tables import Table, table
from thetascope.experiments.framework.words import Words, metrics_of, samples_of
from thetascope.experiments.shared.layer_words import moved_together, mover

if TYPE_CHECKING:
    pass


def _headline(data: xr.Dataset) -> str:
    data = data.sortby("share", ascending=False)
    rows = list(zip(*(data[v].values.tolist() for v in ("layer", "share", "role")), strict=True))
    robust = [f"{name} ({share:.0%})" for name, share, role in rows if role == "robust"]
    undecided = [str(name) for name, _, role in rows if role == "undecided"]
    least = float(data.attrs["threshold"])
    told = [f"robust (put back, it loses more than {least:.0%} of the gain): {', '.join(robust) or 'none'}"] + (
        [f"undecided: {', '.join(undecided)}"] if undecided else []
    )
    ambient = len(rows) - len(robust) - len(undecided)
    told += ["the rest ambient" if ambient and ambient < len(rows) else f"{ambient or 'no'} ambient"]
    if any(name in data.attrs["with_buffers"] for name, _, role in rows if role == "robust"):
        told.append("running statistics are put back too")
    return "; ".join(told)


def _how(data: xr.Dataset) -> str:
    attrs, one = data.attrs, mover(data)
    return (
        f"Each {one} alone, {moved_together(data)}, was put back to its first values (re-initialised); and its weights and biases were "
        f"drawn anew from the distribution of first values "
        f"{plural(data.sizes['draw'], 'time')} (re-randomised), all others staying final; each was scored on "
        f"{samples_of(data)}. A {one} "
        f"is called robust where re-initialising it loses more than {percent(attrs['threshold'])} of what the training had gained in "
        "loss, else ambient (Zhang, Bengio and Singer call the former critical)."
    )


def _shows(data: xr.Dataset) -> list[str]:
    names, share = data["layer"].values, data["share"].values
    order = [int(i) for i in np.argsort(-share) if np.isfinite(share[i])]
    shares = [f"{names[i]} {percent(float(share[i]))}" for i in order]
    told = [f"Re-initialising loses, of what the training had gained in loss: {listed(shares)}."]
    drawn = data["rerandom_loss"].values.mean(axis=1)
    if np.isfinite(drawn).any():
        worst = int(np.nanargmax(drawn))
        spread = data["rerandom_loss"].values[worst]
        told.append(
            f"Drawn anew, {names[worst]} costs most: loss {number(drawn[worst])} on average, {number(spread.min())} to "
            f"{number(spread.max())}."
        )
    told += [f"Undecided: {reason}." for reason in data.attrs["undecided"]]
    return told


def _table(data: xr.Dataset) -> Table:
    parts = [data["layer"].values, data["role"].values, data["share"].values, data["distance"].values, data["reinit_loss"].values]
    titles = [mover(data), "role", "share of the gain lost", "distance", "loss re-initialised"]
    for name in metrics_of(data):
        parts.append(data[f"reinit_{name}"].values)
        titles.append(f"{name.replace('_', ' ')} re-initialised")
    parts.append(data["rerandom_loss"].values.mean(axis=1))
    rows = ((str(row[0]), str(row[1]), *row[2:]) for row in zip(*parts, strict=True))
    return table("Robust and ambient layers", [*titles, "mean loss re-randomised"], rows, layer_at=0)


WORDS = Words(
    chapter="layers",
    asks="Which layers are robust, which ambient?",
    headline=_headline,
    how=_how,
    shows=_shows,
    does_not_show="Robust and ambient are two sides of one threshold: shares near it may change sides with another seed. What one layer "
    "put back costs does not add up over layers.",
    table=_table,
)
