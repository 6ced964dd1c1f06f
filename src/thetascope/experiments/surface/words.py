"""What is said of a loss surface."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thetascope._version import DIRECTIONS
from thetascope.experiments.framework.phrases import number, percent, plural
from thetascope.experiments.framework.words import Words, scoring_of, tails_of
from thetascope.experiments.shared.plane_words import cells_of, certainty_of, estimate_error


def _headline(data: xr.Dataset) -> str:
    loss = data["loss"].values
    finite = loss[np.isfinite(loss)]
    center = float(data["loss"].sel(x=0, y=0, method="nearest"))
    if not finite.size:
        return "no cell has a finite loss"
    j, i = np.unravel_index(int(np.nanargmin(np.where(np.isfinite(loss), loss, np.inf))), loss.shape)
    at = f"({float(data['x'][i]):.2g}, {float(data['y'][j]):.2g})"
    return f"loss {center:.3g} at the center, lowest {finite.min():.3g} at {at}, highest {finite.max():.3g}"


def _how(data: xr.Dataset) -> str:
    attrs = data.attrs
    x, y = ((float(data[axis].min()), float(data[axis].max())) for axis in ("x", "y"))
    old = ""
    if attrs["directions"]["kind"] == "random" and attrs["directions"].get("version") != DIRECTIONS:
        old = " Another version drew these directions: this one draws others from the same seed."
    return (
        f"The weights were moved in a plane: {attrs['subtitle']}.{old} It reaches from {x[0]:g} to {x[1]:g} along x "
        f"({attrs['axis_labels']['x']}) and "
        f"from {y[0]:g} to {y[1]:g} along y, and holds {cells_of(data)}.{scoring_of(data, 'buffers were those of the center', 'center')}"
    )


def _shows(data: xr.Dataset) -> list[str]:
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
    return told + certainty_of(data) + tails_of(data)


WORDS = Words(
    chapter="surface",
    asks="What does the surface around the trained model look like?",
    headline=_headline,
    how=_how,
    shows=_shows,
    does_not_show="This is a cut in two directions out of very many: a network that looks round here may be steep elsewhere. Widths of "
    "two networks are comparable only where directions are normalised in the same way, and flatness alone does not say how "
    "a network will do on new data.",
    error=estimate_error,
)
