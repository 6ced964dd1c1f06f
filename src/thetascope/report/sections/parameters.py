"""The sections on single parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.report.sections.layers import tag_by_group
from thetascope.report.sections.section import Section, samples_of
from thetascope.report.tables import Table, table
from thetascope.report.words import listed, number, percent, plural, step_of
from thetascope.results import Result

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

ENOUGH = 5
"""Parameters for a rank correlation."""


def _how(result: Result) -> str:
    data, attrs = result.data, result.data.attrs
    alphas = data["alpha"].values
    return (
        f"Each of {plural(data.sizes['parameter'], 'single weight')} from {plural(len(np.unique(data['layer'].values)), 'layer')} was "
        "moved alone along "
        f"its {attrs['kind']} path through the states of {listed([step_of(knot) for knot in attrs['knots']])}, all else final, and "
        "scored at "
        f"{data.sizes['alpha']} values of α from {alphas.min():g} to {alphas.max():g} on {samples_of(result)}. Outside [0, 1] it shows "
        "what might "
        "come if the weight went on."
    )


def _reads(result: Result) -> list[str]:
    data = result.data
    spread, distance = np.ptp(data["loss"].values, axis=1), data["distance"].values
    names = data["parameter"].values
    order = np.argsort(-spread)
    told = [f"The loss moves most with {listed([f'{names[i]} (by {number(spread[i])})' for i in order[:3]])}."]
    finite = np.isfinite(spread) & np.isfinite(distance)
    if finite.sum() >= ENOUGH and np.ptp(spread[finite]) > 0 and np.ptp(distance[finite]) > 0:
        from scipy.stats import spearmanr

        found = float(spearmanr(distance[finite], spread[finite]).statistic)
        told.append(f"The distance that a weight travelled and its effect on the loss have a rank correlation of {number(found)}.")
    return told


def _table(result: Result) -> Table:
    data = result.data
    parts = (data["parameter"].values, data["layer"].values, data["distance"].values, np.ptp(data["loss"].values, axis=1))
    rows = [(str(p), str(layer), d, s) for p, layer, d, s in zip(*parts, strict=True)]
    rows.sort(key=lambda row: -np.nan_to_num(row[3], nan=np.inf))
    return table(
        "Single weights, those that move the loss most first", ("weight", "layer", "distance", "range of the loss"), rows, layer_at=1
    )


def _tag(figure: Figure, result: Result) -> None:
    tag_by_group(figure, [str(name) for name in result.data["layer"].values])


def _how_patterns(result: Result) -> str:
    data, attrs = result.data, result.data.attrs
    return (
        f"Each of {plural(data.sizes['parameter'], 'single weight')} was moved alone along its straight and along its quadratic path, "
        "and scored at "
        f"{data.sizes['alpha']} values of α on {samples_of(result)}. Each pair of curves was put under the first of these rules that it "
        "meets: wave (the straight path's loss rises, the quadratic one's has an inner maximum and an inner minimum), bump (the straight "
        "one falls and rises again, the quadratic one has a maximum between two minima), flat (the straight one falls throughout, the "
        "quadratic one has a flat stretch inside), ascending–concave and descending–convex (the straight one rises, or falls, "
        "throughout; the quadratic one is concave, or convex); else under other. The names tell the shape, "
        "not the size. Unresolved are those whose loss varies by less than the "
        f"measured noise of the arithmetic, {number(attrs['noise_floor'])}."
    )


def _reads_patterns(result: Result) -> list[str]:
    data = result.data
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


def _table_patterns(result: Result) -> Table:
    data = result.data
    parts = [data[name].values for name in ("parameter", "layer", "pattern", "midpoint", "distance")]
    rows = ((str(row[0]), str(row[1]), str(row[2]), *row[3:]) for row in zip(*parts, strict=True))
    return table("Patterns of single weights", ("weight", "layer", "pattern", "midpoint", "distance"), rows, layer_at=1)


def _tag_patterns(figure: Figure, result: Result) -> None:
    """The bars carry the shares of each layer."""
    data = result.data
    patterns, owners = data["pattern"].values.astype(str), data["layer"].values.astype(str)
    for trace in figure.data:
        if trace.type == "bar":
            of_layers = {str(owner): [float((patterns[owners == owner] == name).mean()) for name in trace.y] for owner in np.unique(owners)}
            trace.meta = {"x_of_layers": of_layers}


def _how_atlas(result: Result) -> str:
    data = result.data
    alphas = data["alpha"].values
    return (
        f"Each of {plural(data.sizes['parameter'], 'parameter')} alone was set to {len(alphas)} places on its path, from α = "
        f"{alphas.min():g} to "
        f"{alphas.max():g}, all else final, and the change of the loss against the final state's was scored on {samples_of(result)}."
    )


def _reads_atlas(result: Result) -> list[str]:
    data = result.data
    impact = np.nan_to_num(data["impact"].values)
    order = np.argsort(-impact)[:3]
    names = data["parameter"].values
    told = [f"The largest impacts are those of {listed([f'{names[i]} ({number(impact[i])})' for i in order])}."]
    few = int(np.searchsorted(np.cumsum(np.sort(impact)[::-1]), 0.5 * impact.sum())) + 1
    told.append(f"Half of all impact lies with {plural(few, 'parameter')}, {percent(few / len(impact))} of them.")
    return told


def _table_atlas(result: Result) -> Table:
    data = result.data
    owners, impact, distance = (data[name].values for name in ("layer", "impact", "distance"))
    chosen = [(str(owner), owners == owner) for owner in dict.fromkeys(owners.tolist())]
    rows = [(o, int(w.sum()), np.median(impact[w]), impact[w].max(), impact[w].sum(), np.median(distance[w])) for o, w in chosen]
    titles = ("layer", "parameters", "median impact", "largest impact", "impact in all", "median distance")
    return table("Impact of single parameters by layer", titles, rows, layer_at=0)


def _of(attrs: Any, experiment: str) -> bool:
    return bool(attrs.get("experiment") == experiment and attrs.get("level") == "parameter")


SECTIONS = (
    Section(
        "parameters",
        "parameters",
        lambda attrs: _of(attrs, "interpolate"),
        _how,
        _reads,
        "These are a few weights of many, drawn at random where none were named. One weight's curve says nothing of two that move "
        "together, and "
        "where the range of the loss is near the noise of the arithmetic the shape is that of the noise.",
        "thetascope interpolate RUN --objective SPEC --level parameter",
        table=_table,
        tag=_tag,
        over_alpha=True,
    ),
    Section(
        "patterns",
        "parameters",
        lambda attrs: _of(attrs, "compare_paths"),
        _how_patterns,
        _reads_patterns,
        "Both curves of a weight are one function seen through two parametrisations, so that a pattern tells about the pace of the "
        "weight as much as "
        "about the loss. The rules have tolerances; a weight near one may fall on either side.",
        "thetascope compare RUN --objective SPEC --level parameter",
        table=_table_patterns,
        tag=_tag_patterns,
    ),
    Section(
        "atlas",
        "parameters",
        lambda attrs: attrs.get("experiment") == "parameter_atlas",
        _how_atlas,
        _reads_atlas,
        "Each parameter moves alone: what two of them do together is not the sum of what each does, and impacts do not add up to that of "
        "a layer.",
        "thetascope atlas RUN --objective SPEC",
        table=_table_atlas,
    ),
)
