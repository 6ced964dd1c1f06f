"""What is said of the plane of a training."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thetascope.arrays import Floats
from thetascope.drawing.moments import moments_of
from thetascope.experiments.framework.facts import SAMPLES, Fact, Read, attribute, largest
from thetascope.experiments.framework.phrases import number, percent, plural
from thetascope.experiments.framework.tables import Table, table
from thetascope.experiments.framework.words import Words, metrics_of, scoring_of, tails_of
from thetascope.experiments.shared.plane_words import CELL_FACTS, cells_of, certainty_of, estimate_error
from thetascope.experiments.trajectory_plane.walks import WALKS, cosine_of
from thetascope.experiments.trajectory_plane.walks import info as plane_info


def _headline(data: xr.Dataset) -> str:
    ours, walk = (float(data[name].values[:2].sum()) for name in ("explained_variance_ratio", "random_walk_ratio"))
    off, cosine = _off(data), cosine_of(data)
    walks = f"a random walk's {walk:.0%}"
    if np.isfinite(cosine):
        correlated = float(data["correlated_walk_ratio"].values[:2].sum())
        walks += f", and {correlated:.0%} if its successive steps have the training's mean cosine, {number(round(cosine, 2))}"
    told = f"the plane holds {ours:.0%} of the variance ({walks})"
    if not np.isfinite(off).any():
        return told
    worst = int(np.nanargmax(off))
    when = moments_of(data, "")[worst]
    return f"{told}, the small steps less: of what is left to go at {when}, {off[worst]:.0%} lie off it"


def _off(data: xr.Dataset) -> Floats:
    """Of what is left to go at each state: the share that lies off the plane."""
    return np.asarray((data["off_plane"] / data["distance"].where(data["distance"] > 0)).values, np.float64)


def _how(data: xr.Dataset) -> str:
    attrs = data.attrs
    return (
        f"The {plural(data.sizes['state'], 'recorded state')} were centred on their mean, and their first two principal components, "
        "taken through the last "
        f"state ({attrs['center']['label']}), span the plane: {cells_of(data)}. The states are projected onto it; each was also scored "
        f"where it is, off the plane.{scoring_of(data, 'buffers were those of the center', 'center')}"
    )


def _shows(data: xr.Dataset) -> list[str]:
    found = plane_info(data)
    ratio = data["explained_variance_ratio"].values
    told = [f"The two components hold {percent(float(ratio[:2].sum()))} of the variance of the states."]
    for name, text in WALKS.items():
        if name in data and np.isfinite(data[name].values[:2]).all():
            told.append(f"A {text} would have {percent(float(data[name].values[:2].sum()))}.")
    if found.correlated:
        told.append(f"{found.correlated[:1].upper()}{found.correlated[1:]}; the walk with this cosine is the one to compare it with.")
    told += [f"{sentence[:1].upper()}{sentence[1:]}." for name in ("loss", *metrics_of(data)) for sentence in [found.note(name)]]
    return told + certainty_of(data) + tails_of(data)


def _table(data: xr.Dataset) -> Table:
    columns = {"this training": data["explained_variance_ratio"].values}
    columns |= {text: data[name].values for name, text in WALKS.items() if name in data}
    rows = zip(range(1, data.sizes["component"] + 1), *columns.values(), strict=True)
    return table("Share of the variance in each principal component", ("component", *columns), rows)


def _explained(name: str) -> Read:
    """Reads the share of the variance in the first two components."""
    return lambda data: float(data[name].values[:2].sum()) if name in data else None


FINDINGS = (
    Fact("explained_variance", float, "the share of the states' variance in the plane, 0 to 1", _explained("explained_variance_ratio")),
    Fact("random_walk_variance", float, "the same of a random walk of independent steps of these lengths", _explained("random_walk_ratio")),
    Fact("correlated_walk_variance", float, "of one with the training's mean cosine of steps", _explained("correlated_walk_ratio")),
    Fact("mean_cosine", float, "the mean cosine of successive steps", attribute("mean_cosine")),
    Fact(
        "off_plane_max",
        float,
        "the largest share of what was left to go at a state that lies off the plane",
        lambda data: largest(_off(data)),
    ),
    Fact("final_loss", float, "the loss of the center, the last state", attribute("reference", "loss")),
    *CELL_FACTS,
    SAMPLES,
)
WORDS = Words(
    findings=FINDINGS,
    chapter="walk",
    asks="How did the optimizer walk?",
    headline=_headline,
    how=_how,
    shows=_shows,
    does_not_show="The colours show the plane, and the states lie off it: the way did not lead over the heights that are seen below it. "
    "That most of the variance lies in a plane is what a random walk shows too (Antognini and Sohl-Dickstein 2018), the more so one whose "
    "steps are correlated, as momentum makes them; so it says little by itself. The picture does not show the noise of batches.",
    table=_table,
    error=estimate_error,
)
