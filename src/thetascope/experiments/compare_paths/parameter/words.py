"""What is said of the patterns of single parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from thetascope.experiments.framework.phrases import listed, number, percent, plural
from thetascope.experiments.framework.tables import Table, table
from thetascope.experiments.framework.words import Words, samples_of

if TYPE_CHECKING:
    pass


def _headline(data: xr.Dataset) -> str:
    shares = {name: share for name, share in data.attrs["pattern_shares"].items() if share}
    return ", ".join(f"{name} {share:.0%}" for name, share in sorted(shares.items(), key=lambda item: -item[1]))


def _how(data: xr.Dataset) -> str:
    attrs = data.attrs
    return (
        f"Each of {plural(data.sizes['parameter'], 'single weight')} was moved alone along its straight and along its quadratic path, "
        "and scored at "
        f"{data.sizes['alpha']} values of α on {samples_of(data)}. Each pair of curves was put under the first of these rules that it "
        "meets: wave (the straight path's loss rises, the quadratic one's has an inner maximum and an inner minimum), bump (the straight "
        "one falls and rises again, the quadratic one has a maximum between two minima), flat (the straight one falls throughout, the "
        "quadratic one has a flat stretch inside), ascending–concave and descending–convex (the straight one rises, or falls, "
        "throughout; the quadratic one is concave, or convex); else under other. The names tell the shape, "
        "not the size. Unresolved are those whose loss varies by less than the "
        f"measured noise of the arithmetic, {number(attrs['noise_floor'])}."
    )


def _shows(data: xr.Dataset) -> list[str]:
    shares = sorted(((share, name) for name, share in data.attrs["pattern_shares"].items() if share), reverse=True)
    told = [f"Of {plural(data.sizes['parameter'], 'weight')}: {listed([f'{name} {percent(share)}' for share, name in shares])}."]
    middle = data["midpoint"].values
    if np.isfinite(middle).any():
        told.append(
            f"Half-way through the training a weight had gone {percent(float(np.nanmedian(middle)))} of its way (median). Where that is "
            "near "
            "100 %, the quadratic path overshoots between α = 0.5 and 1."
        )
    return told


def _table(data: xr.Dataset) -> Table:
    parts = [data[name].values for name in ("parameter", "layer", "pattern", "midpoint", "distance")]
    rows = ((str(row[0]), str(row[1]), str(row[2]), *row[3:]) for row in zip(*parts, strict=True))
    return table("Patterns of single weights", ("weight", "layer", "pattern", "midpoint", "distance"), rows, layer_at=1)


WORDS = Words(
    chapter="parameters",
    asks="How do a parameter's two paths differ?",
    headline=_headline,
    how=_how,
    shows=_shows,
    does_not_show="Both curves of a weight are one function seen through two parametrisations, so that a pattern tells about the pace of "
    "the weight as much as about the loss. The rules have tolerances; a weight near one may fall on either side.",
    table=_table,
)
