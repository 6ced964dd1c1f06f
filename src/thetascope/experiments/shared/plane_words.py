"""What is said of every grid of cells."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thetascope.drawing.fields import largest_seen
from thetascope.experiments.framework.facts import Fact, attribute, largest
from thetascope.experiments.framework.phrases import number, percent
from thetascope.experiments.framework.words import metrics_of, samples_of


def cells_of(data: xr.Dataset) -> str:
    """How many cells there are, and how many of them were scored."""
    estimate = data.attrs.get("estimate")
    grid = f"a grid of {data.sizes['x']} × {data.sizes['y']} cells"
    if not estimate or estimate["evaluated"] >= estimate["cells"]:
        return f"{grid}, every cell scored on {samples_of(data)}"
    return (
        f"{grid}, {estimate['evaluated']:,} of them scored on {samples_of(data)} and the rest estimated by "
        f"{estimate.get('fitted') or 'a smooth fit'}"
    )


def certainty_of(data: xr.Dataset) -> list[str]:
    """How far estimated losses may be off, in a sentence, where there are any."""
    estimate = data.attrs.get("estimate")
    if not estimate or estimate["evaluated"] >= estimate["cells"]:
        return []
    seen, stated = estimate["error"] / estimate["safety"], percent(estimate["error"])
    told = [
        f"On {estimate['held_out']} cells that the fit had not seen, estimated losses were off by at most {percent(seen)}; "
        f"{number(estimate['safety'])} times that is stated, {stated}, where {percent(estimate['tolerance'])} was asked for. Structure "
        "narrower than the spacing of the scored cells is not seen."
    ]
    for name in metrics_of(data):
        error = estimate.get("errors", {}).get(name)
        if error is not None and np.isfinite(error):
            told.append(
                f"On the same cells the estimated {name.replace('_', ' ')} was off by at most {number(error / estimate['safety'])}."
            )
    return told


def estimate_error(data: xr.Dataset) -> str:
    """How far estimated cells were off where that was tested, in a few words."""
    estimate = data.attrs.get("estimate") or {}
    return "" if estimate.get("error") is None or not np.isfinite(estimate["error"]) else f"estimates {largest_seen(estimate)}"


CELL_FACTS = (
    Fact("lowest_loss", float, "the lowest loss of a cell", lambda data: largest(data["loss"].values, -1)),
    Fact("highest_loss", float, "the highest finite loss of a cell", lambda data: largest(data["loss"].values)),
    Fact("not_finite_cells", int, "how many cells have no finite loss", lambda data: int((~np.isfinite(data["loss"].values)).sum())),
    Fact("estimate_error", float, "the stated error of estimated cells, as a share of the loss", attribute("estimate", "error")),
)
"""Of every grid of cells."""
