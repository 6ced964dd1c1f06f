"""What is said of the patterns of single parameters."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thetascope.experiments.framework.facts import FINAL_LOSS, SAMPLES, Fact, attribute
from thetascope.experiments.framework.phrases import listed, number, percent, plural
from thetascope.experiments.framework.tables import Table, table
from thetascope.experiments.framework.words import Words, samples_of, scoring_of, tails_of
from thetascope.experiments.shared.pattern_words import PATTERN_FACTS, interval_of
from thetascope.experiments.shared.patterns import FEWEST_POINTS, RESOLVED


def _headline(data: xr.Dataset) -> str:
    shares = {name: share for name, share in data.attrs["pattern_shares"].items() if share}
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    told = ", ".join(f"{name} {share:.0%}{interval_of(data.attrs, name)}" for name, share in ordered)
    return f"of {plural(data.sizes['parameter'], 'single weight')} the two paths make these patterns: {told}"


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
        f"not the size. Unresolved are those whose loss varies by less than {number(RESOLVED)} standard deviations of the noise of the "
        f"arithmetic: of the curve's own, or of that which was measured on some curves, {number(attrs['noise_floor'])}"
        f"{f', and curves of fewer than {FEWEST_POINTS} points' if data.sizes['alpha'] < FEWEST_POINTS else ''}."
        f"{scoring_of(data, 'buffers were those of the last state')}"
    )


def _shows(data: xr.Dataset) -> list[str]:
    shares = sorted(((share, name) for name, share in data.attrs["pattern_shares"].items() if share), reverse=True)
    said = [f"{name} {percent(share)}{interval_of(data.attrs, name)}" for share, name in shares]
    told = [f"Of {plural(data.sizes['parameter'], 'weight')}: {listed(said)}."]
    if data.attrs.get("pattern_shares_interval"):
        told.append("In brackets: the central 95 % of each share when as many weights are drawn anew among these (bootstrap).")
    middle = data["midpoint"].values
    if np.isfinite(middle).any():
        told.append(
            f"Half-way through the training a weight had gone {percent(float(np.nanmedian(middle)))} of its way (median). Where that is "
            "near "
            "100 %, the quadratic path overshoots between α = 0.5 and 1."
        )
    return told + tails_of(data)


def _table(data: xr.Dataset) -> Table:
    parts = [data[name].values for name in ("parameter", "layer", "pattern", "midpoint", "distance")]
    rows = ((str(row[0]), str(row[1]), str(row[2]), *row[3:]) for row in zip(*parts, strict=True))
    return table("Patterns of single weights", ("weight", "layer", "pattern", "midpoint", "distance"), rows, layer_at=1)


def _middle(data: xr.Dataset) -> float | None:
    middle = data["midpoint"].values
    return float(np.nanmedian(middle)) if np.isfinite(middle).any() else None


FINDINGS = (
    Fact("parameters", int, "how many single parameters were moved", lambda data: data.sizes["parameter"]),
    *PATTERN_FACTS,
    Fact("median_midpoint", float, "the median share of its way that a parameter had gone by the middle state", _middle),
    Fact("noise_floor", float, "the noise of the arithmetic in the loss, one standard deviation", attribute("noise_floor")),
    FINAL_LOSS,
    SAMPLES,
)
WORDS = Words(
    findings=FINDINGS,
    chapter="parameters",
    asks="How do a parameter's two paths differ?",
    headline=_headline,
    how=_how,
    shows=_shows,
    does_not_show="Both curves of a weight are one function seen through two parametrisations, so that a pattern tells about the pace of "
    "the weight as much as about the loss. The rules have tolerances; a weight near one may fall on either side. The intervals tell how "
    "much hangs on which weights were drawn, not what another training would show.",
    table=_table,
)
