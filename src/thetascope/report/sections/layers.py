"""The sections on layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.report.sections.section import Section, metrics_of, nearest, samples_of
from thetascope.report.tables import Table, table
from thetascope.report.words import listed, number, percent, plural, step_of
from thetascope.results import Result

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def _of_layers(attrs: Any, *, linear: bool) -> bool:
    found = attrs.get("experiment") == "interpolate" and attrs.get("level") == "layer"
    return bool(found and (attrs.get("degree") == 1) == linear)


def _together(result: Result) -> str:
    """What of a layer moves: where buffers are the path's, a BatchNorm's statistics do, and may matter more than its weights."""
    moves = result.data.attrs["buffers"] == "path"
    return "its weights and biases and, where it has them, its running statistics (BatchNorm's)" if moves else "its weights and biases"


def _how(result: Result) -> str:
    attrs, data = result.data.attrs, result.data
    return (
        f"One layer at a time, {_together(result)}, was moved along its {attrs['kind']} path through the states of "
        f"{listed([step_of(knot) for knot in attrs['knots']])}, while all other layers stayed as they were at the end. Each of "
        f"{plural(data.sizes['layer'], 'layer')} was scored at {data.sizes['alpha']} values of α on {samples_of(result)}."
    )


def _reads(result: Result) -> list[str]:
    data = result.data
    names, start = data["layer"].values, nearest(data["alpha"].values, 0.0)
    losses, distances = data["loss"].values[:, start], data["distance"].values
    order = np.argsort(-losses)
    told = [f"Put back to their first values they cost, in order: {listed([f'{names[i]} (loss {number(losses[i])})' for i in order])}."]
    far = int(np.nanargmax(distances))
    told.append(f"{names[far]} travelled the farthest, {number(distances[far])}; {names[order[0]]} matters most on this path.")
    return told


def _table(result: Result) -> Table:
    data = result.data
    start, metrics = nearest(data["alpha"].values, 0.0), metrics_of(result)
    columns = [data[name].values[:, start] for name in ("loss", *metrics)]
    rows = zip(map(str, data["layer"].values), data["distance"].values, *columns, data["loss"].values.max(axis=1), strict=True)
    titles = ("layer", "distance", *(f"{name.replace('_', ' ')} at α = 0" for name in ("loss", *metrics)), "highest loss on the way")
    return table("Each layer put back to its first values, the rest final", titles, rows, layer_at=0)


def tag_by_group(figure: Figure, owners: list[str]) -> None:
    """Curves are grouped by their number; each takes its owner's name."""
    for trace in figure.data:
        group = trace.legendgroup or ""
        if group.isdigit() and int(group) < len(owners):
            trace.meta = {"layer": owners[int(group)]}


def _tag(figure: Figure, result: Result) -> None:
    tag_by_group(figure, [str(name) for name in result.data["layer"].values])


def _how_roles(result: Result) -> str:
    attrs = result.data.attrs
    return (
        f"Each layer alone, {_together(result)}, was put back to its first values (re-initialised); and its weights and biases were "
        f"drawn anew from the distribution of first values "
        f"{plural(result.data.sizes['draw'], 'time')} (re-randomised), all others staying final; each was scored on "
        f"{samples_of(result)}. A layer "
        f"is called robust where re-initialising it loses more than {percent(attrs['threshold'])} of what the training had gained in "
        "loss, else ambient (Zhang, Bengio and Singer call the former critical)."
    )


def _reads_roles(result: Result) -> list[str]:
    data = result.data
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


def _table_roles(result: Result) -> Table:
    data = result.data
    parts = [data["layer"].values, data["role"].values, data["share"].values, data["distance"].values, data["reinit_loss"].values]
    titles = ["layer", "role", "share of the gain lost", "distance", "loss re-initialised"]
    for name in metrics_of(result):
        parts.append(data[f"reinit_{name}"].values)
        titles.append(f"{name.replace('_', ' ')} re-initialised")
    parts.append(data["rerandom_loss"].values.mean(axis=1))
    rows = ((str(row[0]), str(row[1]), *row[2:]) for row in zip(*parts, strict=True))
    return table("Robust and ambient layers", [*titles, "mean loss re-randomised"], rows, layer_at=0)


def _tag_roles(figure: Figure, result: Result) -> None:
    """Every bar and every dot carries its layer as an id."""
    from thetascope.figures.layer_roles_info import info

    names = [row.name for row in info(result).rows]
    for trace in figure.data:
        each, rest = divmod(0 if trace.y is None else len(trace.y), len(names))
        if not rest and (trace.type == "bar" or trace.mode == "markers"):
            trace.ids = [name for name in names for _ in range(each)]


CANNOT = (
    "A layer that matters little alone may matter together with others, and the distance of a layer is not its importance: layers differ "
    "in "
    "size and in scale. Between seeds of the training the order of layers that cost about the same changes."
)

SECTIONS = (
    Section(
        "layers",
        "layers",
        lambda attrs: _of_layers(attrs, linear=True),
        _how,
        _reads,
        CANNOT,
        "thetascope interpolate RUN --objective SPEC --level layer",
        table=_table,
        tag=_tag,
        over_alpha=True,
    ),
    Section(
        "layers-quadratic",
        "layers",
        lambda attrs: _of_layers(attrs, linear=False),
        _how,
        _reads,
        f"{CANNOT} The curve also passes through the middle state's layer, which the rest of the final model has never met.",
        "thetascope interpolate RUN --objective SPEC --level layer --kind quadratic",
        table=_table,
        tag=_tag,
        over_alpha=True,
    ),
    Section(
        "roles",
        "layers",
        lambda attrs: attrs.get("experiment") == "layer_roles",
        _how_roles,
        _reads_roles,
        "Robust and ambient are two sides of one threshold: shares near it may change sides with another seed. What one layer put back "
        "costs "
        "does not add up over layers.",
        "thetascope layers RUN --objective SPEC",
        table=_table_roles,
        tag=_tag_roles,
    ),
)
