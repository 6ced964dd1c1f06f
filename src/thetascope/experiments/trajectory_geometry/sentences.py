"""What the words of a way share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from thetascope.experiments.framework.phrases import number, percent
from thetascope.experiments.shared.places import STRAIGHT
from thetascope.experiments.trajectory_geometry.panels import Clock

if TYPE_CHECKING:
    import xarray as xr

ROUNDED = "0.01 % of its length"


def most_off(data: xr.Dataset) -> float:
    """The largest distance off the line, in lengths of the line."""
    return float(np.nanmax(data["off_line"].values) / data.attrs["chord"])


def is_on_line(data: xr.Dataset) -> bool:
    """Whether no state is off the straight line by a distance that one would see."""
    return most_off(data) <= STRAIGHT


def far(distance: float) -> str:
    """A relative distance: a share, or how many times."""
    return percent(distance) if distance < 2 else f"{number(round(distance, 1))} times"


def when(clock: Clock, k: int) -> str:
    """At which state."""
    return f"at {clock.told[k].replace(', epoch', ' (epoch')}{')' if ', epoch' in clock.told[k] else ''}"
