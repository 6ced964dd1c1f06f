"""Options that several experiments take, checked."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import numpy as np

from thetascope.arrays import evenly
from thetascope.errors import TrajectoryError, UsageError
from thetascope.experiments.framework.call_options import States
from thetascope.experiments.shared.training_path import checked_trajectory
from thetascope.trajectory import Trajectory


def checked_int(name: str, value: object, least: int) -> int:
    """A whole number of at least `least`.

    Raises:
        UsageError: it is something else.
    """
    try:
        if not isinstance(value, bool | np.bool_) and (number := operator.index(value)) >= least:  # type: ignore[arg-type]
            return number
    except TypeError:
        pass
    raise UsageError(f"{name} must be a whole number of at least {least}. Got {value!r} instead.")


def checked_share(name: str, value: object, such_as: float) -> float:
    """A finite share of at least 0; it may be above 1.

    Raises:
        UsageError: it is something else.
    """
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool) and 0 <= value < math.inf:
        return float(value)
    raise UsageError(f"{name} must be a finite share of at least 0, such as {such_as:g}. Got {value!r} instead.")


def two_states(trajectory: object, why: str) -> Trajectory:
    """The trajectory, which holds a first state and a last.

    Raises:
        TrajectoryError: it is none, or holds one state.
    """
    if len(checked := checked_trajectory(trajectory)) < 2:
        raise TrajectoryError(f"{why}; this trajectory has 1. Record the training's end too")
    return checked


def chosen_states(trajectory: Trajectory, states: States) -> list[int]:
    """The places of the recorded states that a call chooses: evenly so many, or those named; the first and the last are among them.

    Raises:
        UsageError: it is neither a number of at least 2 nor places in the trajectory.
    """
    count = len(trajectory)
    if states is None:
        return list(range(count))
    if not isinstance(states, Sequence | np.ndarray):
        return evenly(count, checked_int("states", states, 2))
    try:
        places = [operator.index(place) for place in states]
    except TypeError:
        places = [count]
    if any(not -count <= place < count for place in places):
        raise UsageError(f"states must be a number, or places among the {count} recorded (0 to {count - 1}). Got {states!r} instead.")
    return sorted({0, count - 1, *(place % count for place in places)})
