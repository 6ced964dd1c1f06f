"""The sections on surfaces and on the plane of the training."""

from __future__ import annotations

import numpy as np

from thetascope.figures.plane_info import WALKS
from thetascope.figures.plane_info import info as plane_info
from thetascope.report.sections.section import Section, metrics_of, samples_of
from thetascope.report.tables import Table, table
from thetascope.report.words import number, percent, plural
from thetascope.results import Result


def _cells(result: Result) -> str:
    data, estimate = result.data, result.data.attrs.get("estimate")
    grid = f"a grid of {data.sizes['x']} × {data.sizes['y']} cells"
    if not estimate or estimate["evaluated"] >= estimate["cells"]:
        return f"{grid}, every cell scored on {samples_of(result)}"
    return (
        f"{grid}, {estimate['evaluated']:,} of them scored on {samples_of(result)} and the rest estimated by "
        f"{estimate.get('fitted') or 'a smooth fit'}"
    )


def _certainty(result: Result) -> list[str]:
    estimate = result.data.attrs.get("estimate")
    if not estimate or estimate["evaluated"] >= estimate["cells"]:
        return []
    return [
        f"Estimated losses are off by up to {percent(estimate['error'])}, {number(estimate['safety'])} times the largest error on "
        f"{estimate['held_out']} cells that the fit had not seen; asked for were {percent(estimate['tolerance'])}."
    ]


def _how_surface(result: Result) -> str:
    data, attrs = result.data, result.data.attrs
    x, y = ((float(data[axis].min()), float(data[axis].max())) for axis in ("x", "y"))
    return (
        f"The weights were moved in a plane: {attrs['subtitle']}. It reaches from {x[0]:g} to {x[1]:g} along x "
        f"({attrs['axis_labels']['x']}) and "
        f"from {y[0]:g} to {y[1]:g} along y, and holds {_cells(result)}."
    )


def _reads_surface(result: Result) -> list[str]:
    data = result.data
    loss = data["loss"].values
    center = float(data["loss"].sel(x=0, y=0, method="nearest"))
    finite = loss[np.isfinite(loss)]
    told = (
        [f"Of the cells {percent(float((finite <= 2 * center).mean()))} have at most twice the center's loss of {number(center)}."]
        if center > 0
        else []
    )
    if (~np.isfinite(loss)).any():
        told.append(f"{plural(int((~np.isfinite(loss)).sum()), 'cell')} has no finite loss or is not scored.")
    cosine = data.attrs["directions"].get("cosine")
    if cosine is not None:
        told.append(f"The cosine of the two directions is {number(cosine)}.")
    return told + _certainty(result)


def _how_plane(result: Result) -> str:
    data, attrs = result.data, result.data.attrs
    return (
        f"The {plural(data.sizes['state'], 'recorded state')} were centred on their mean, and their first two principal components, "
        "taken through the last "
        f"state ({attrs['center']['label']}), span the plane: {_cells(result)}. The states are projected onto it; each was also scored "
        "as it is."
    )


def _reads_plane(result: Result) -> list[str]:
    data, found = result.data, plane_info(result)
    ratio = data["explained_variance_ratio"].values
    told = [f"The two components hold {percent(float(ratio[:2].sum()))} of the variance of the states."]
    for name, text in WALKS.items():
        if name in data:
            told.append(f"A {text} would have {percent(float(data[name].values[:2].sum()))}.")
    told += [f"{sentence[:1].upper()}{sentence[1:]}." for name in ("loss", *metrics_of(result)) for sentence in [found.note(name)]]
    return told + _certainty(result)


def _table_plane(result: Result) -> Table:
    data = result.data
    columns = {"this training": data["explained_variance_ratio"].values}
    columns |= {text: data[name].values for name, text in WALKS.items() if name in data}
    rows = zip(range(1, data.sizes["component"] + 1), *columns.values(), strict=True)
    return table("Share of the variance in each principal component", ("component", *columns), rows)


SECTIONS = (
    Section(
        "surface",
        "surface",
        lambda attrs: attrs.get("experiment") == "surface",
        _how_surface,
        _reads_surface,
        "This is a cut in two directions out of very many: a network that looks round here may be steep elsewhere. Widths of two "
        "networks are "
        "comparable only where directions are normalised in the same way, and flatness alone does not say how a network will do on new "
        "data.",
        "thetascope surface RUN --objective SPEC",
        start="3d",
    ),
    Section(
        "plane",
        "walk",
        lambda attrs: attrs.get("experiment") == "trajectory_plane",
        _how_plane,
        _reads_plane,
        "The colours show the plane, and the states lie off it: the way did not lead over the heights that are seen below it. That most "
        "of the variance "
        "lies in a plane is what a random walk shows too (Antognini and Sohl-Dickstein 2018), so it says little by itself; the picture "
        "shows neither momentum nor the noise of batches.",
        "thetascope plane RUN --objective SPEC",
        table=_table_plane,
    ),
)
