"""What is said of an atlas."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thetascope.arrays import Floats
from thetascope.experiments.framework.facts import SAMPLES, Fact, attribute, extreme, largest, name_at
from thetascope.experiments.framework.phrases import listed, number, percent, plural
from thetascope.experiments.framework.tables import Table, table
from thetascope.experiments.framework.words import Words, samples_of
from thetascope.experiments.parameter_atlas.picture_info import share_of
from thetascope.experiments.shared.pattern_words import PATTERN_FACTS, interval_of


def _headline(data: xr.Dataset) -> str:
    impact, final = data["impact"].values, float(data.attrs["final_loss"])
    finite = impact[np.isfinite(impact)]
    if not finite.size:
        return "no parameter has a finite curve"
    most = data["parameter"].values[np.nanargmax(impact)]
    told = f", the median parameter by {np.median(finite) / final:.2g}" if final else ""
    share = f"{finite.max() / final:.2g} of the final loss" if final else f"{finite.max():.2g}"
    return f"of {impact.size:,} parameters {most} changes the loss most, by {share}{told}"


def _how(data: xr.Dataset) -> str:
    alphas = data["alpha"].values
    return (
        f"Each of {plural(data.sizes['parameter'], 'parameter')} alone was set to {len(alphas)} places on its path, from α = "
        f"{alphas.min():g} to "
        f"{alphas.max():g}, all else final, and the change of the loss against the final state's was scored on {samples_of(data)}."
    )


def _shows(data: xr.Dataset) -> list[str]:
    impact = np.nan_to_num(data["impact"].values)
    order = np.argsort(-impact)[:3]
    names = data["parameter"].values
    told = [f"The largest impacts are those of {listed([f'{names[i]} ({number(impact[i])})' for i in order])}."]
    few = half_of_impact(impact)
    told.append(f"Half of all impact lies with {plural(few, 'parameter')}, {percent(few / len(impact))} of them.")
    shares = sorted(((share, name) for name, share in data.attrs.get("pattern_shares", {}).items() if share), reverse=True)
    if shares:
        said = [f"{name} {percent(share)}{interval_of(data.attrs, name)}" for share, name in shares]
        known = "; in brackets the 95 % interval of a bootstrap over the parameters" if data.attrs.get("pattern_shares_interval") else ""
        told.append(f"The patterns of the two paths: {listed(said)}{known}.")
    return told


def half_of_impact(impact: Floats) -> int:
    """How many parameters, those with the largest impacts, make up half of all."""
    return int(np.searchsorted(np.cumsum(np.sort(impact)[::-1]), 0.5 * impact.sum())) + 1


def _table(data: xr.Dataset) -> Table:
    owners, impact, distance = (data[name].values for name in ("layer", "impact", "distance"))
    chosen = [(str(owner), owners == owner) for owner in dict.fromkeys(owners.tolist())]
    rows = [(o, int(w.sum()), np.median(impact[w]), impact[w].max(), impact[w].sum(), np.median(distance[w])) for o, w in chosen]
    titles = ("layer", "parameters", "median impact", "largest impact", "impact in all", "median distance")
    return table("Impact of single parameters by layer", titles, rows, layer_at=0)


def _error(data: xr.Dataset) -> str:
    measured = data.attrs.get("table_error")
    if not measured:
        return ""
    return (
        f"values read off by at most {share_of(measured)} at {measured['places']:,} tested places of {measured['parameters']:,} parameters"
    )


def _median(data: xr.Dataset) -> float | None:
    impact = data["impact"].values
    finite = impact[np.isfinite(impact)]
    return float(np.median(finite)) if finite.size else None


FINDINGS = (
    Fact("parameters", int, "how many parameters there are", lambda data: data.sizes["parameter"]),
    Fact(
        "most_changing_parameter",
        str,
        "the parameter with the largest impact",
        lambda data: name_at(data, "parameter", extreme(data["impact"].values)) if "impact" in data else None,
    ),
    Fact(
        "largest_impact",
        float,
        "its impact: the largest absolute change of the loss on its path",
        lambda data: largest(data["impact"].values) if "impact" in data else None,
    ),
    Fact("median_impact", float, "the median impact of a parameter", lambda data: _median(data) if "impact" in data else None),
    Fact(
        "half_impact_parameters",
        int,
        "how few parameters make up half of all impact",
        lambda data: half_of_impact(np.nan_to_num(data["impact"].values)) if "impact" in data else None,
    ),
    Fact("final_loss", float, "the loss of the last state", attribute("final_loss")),
    Fact("table_error", float, "the largest error that was seen of values read off tables", attribute("table_error", "largest")),
    *PATTERN_FACTS,
    SAMPLES,
)
WORDS = Words(
    findings=FINDINGS,
    chapter="parameters",
    asks="Which of all single parameters matter?",
    headline=_headline,
    how=_how,
    shows=_shows,
    does_not_show="Each parameter moves alone: what two of them do together is not the sum of what each does, and impacts do not add up "
    "to that of a layer.",
    table=_table,
    error=_error,
)
