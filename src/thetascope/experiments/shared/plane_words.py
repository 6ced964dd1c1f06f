"""What is said of every grid of cells."""

from __future__ import annotations

import xarray as xr

from thetascope.experiments.framework.phrases import number, percent
from thetascope.experiments.framework.words import samples_of


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
    return [
        f"On {estimate['held_out']} cells that the fit had not seen, estimated losses were off by at most {percent(seen)}; "
        f"{number(estimate['safety'])} times that is stated, {stated}, where {percent(estimate['tolerance'])} was asked for. Structure "
        "narrower than the spacing of the scored cells is not seen."
    ]


def estimate_error(data: xr.Dataset) -> str:
    """How far estimated cells may be off, in a few words."""
    error = (data.attrs.get("estimate") or {}).get("error")
    return "" if error is None else f"estimates within {100 * error:.2g} %"
