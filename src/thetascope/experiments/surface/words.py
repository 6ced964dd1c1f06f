"""What is said of a loss surface."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thetascope._version import DIRECTIONS
from thetascope.experiments.framework.facts import SAMPLES, Fact, Read, attribute, extreme
from thetascope.experiments.framework.phrases import number, percent, plural
from thetascope.experiments.framework.words import Words, scoring_of, tails_of
from thetascope.experiments.shared.plane_words import CELL_FACTS, cells_of, certainty_of, estimate_error


def _headline(data: xr.Dataset) -> str:
    loss = data["loss"].values
    finite = loss[np.isfinite(loss)]
    center = float(data["loss"].sel(x=0, y=0, method="nearest"))
    if not finite.size:
        return "no cell has a finite loss"
    j, i = np.unravel_index(int(np.nanargmin(np.where(np.isfinite(loss), loss, np.inf))), loss.shape)
    at = f"({float(data['x'][i]):.2g}, {float(data['y'][j]):.2g})"
    return f"the loss is {center:.3g} at the center, lowest at {at} with {finite.min():.3g}, and {finite.max():.3g} at the highest"


def _center(data: xr.Dataset) -> float:
    return float(data["loss"].sel(x=0, y=0, method="nearest"))


def _within(data: xr.Dataset, times: float) -> float:
    """The share of the finite cells whose loss is at most so many times the center's."""
    loss = data["loss"].values
    return float((loss[np.isfinite(loss)] <= times * _center(data)).mean())


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
    told = [f"Of the cells {percent(_within(data, 2))} have at most twice the center's loss of {number(center)}."] if center > 0 else []
    if (~np.isfinite(loss)).any():
        told.append(f"{plural(int((~np.isfinite(loss)).sum()), 'cell')} has no finite loss or is not scored.")
    cosine = data.attrs["directions"].get("cosine")
    if cosine is not None:
        told.append(f"The cosine of the two directions is {number(cosine)}.")
    return told + certainty_of(data) + tails_of(data)


def _lowest(axis: str) -> Read:
    """Reads a coordinate of the lowest cell."""

    def read(data: xr.Dataset) -> float | None:
        place = extreme(data["loss"].values, -1)
        if place is None:
            return None
        row, column = divmod(place, data.sizes["x"])
        return float(data["x"].values[column] if axis == "x" else data["y"].values[row])

    return read


def _wide(data: xr.Dataset) -> float | None:
    return _within(data, 2) if _center(data) > 0 and np.isfinite(data["loss"].values).any() else None


FINDINGS = (
    Fact("center_loss", float, "the loss at the center", _center),
    *CELL_FACTS,
    Fact("lowest_x", float, "where the lowest cell is along x", _lowest("x")),
    Fact("lowest_y", float, "and along y", _lowest("y")),
    Fact("share_within_twice", float, "the share of the cells with at most twice the center's loss, 0 to 1: larger is flatter", _wide),
    Fact("directions_cosine", float, "the cosine of the two directions", attribute("directions", "cosine")),
    SAMPLES,
)
WORDS = Words(
    findings=FINDINGS,
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
