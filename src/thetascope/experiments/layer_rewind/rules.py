"""When a layer was finished, and since when a training is linearly connected to its end: what follows from the scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.style import Bools
from thetascope.experiments.shared.barrier_words import ERRORS
from thetascope.experiments.shared.barriers import ROUNDING, barrier_of, sampling_error
from thetascope.experiments.shared.gains import Gain, gain_in_loss

if TYPE_CHECKING:
    import xarray as xr

    from thetascope.experiments.framework.source import Variables
    from thetascope.geometry.points import PointSet
    from thetascope.scoring.objective import Objective

Lines = tuple["Objective", "PointSet", "PointSet"]
"""What scores, the states, and the points on the lines from them to the last, state by state."""


@dataclass(frozen=True)
class Rewound:
    """The rules.

    Attributes:
        tolerance: the share of the gain that counts as nothing.
        steps: ``[T]`` of the states, or their share of the way.
        sizes: ``[L]``, how many parameters each layer has.
        chance: what is scored without looking at inputs.
    """

    tolerance: float
    steps: Floats
    sizes: Floats
    chance: Mapping[str, float]

    def of(self, data: xr.Dataset, lines: Lines | None) -> tuple[Variables, dict[str, Any]]:
        """What follows from the scores; `lines` where barriers are asked for."""
        states, losses = data["state"].values, np.asarray(data["actual_loss"].values, np.float64)
        gain = gain_in_loss(float(losses[0]), float(losses[-1]), self.chance)
        least = self.least(gain, losses)
        excess, error = (np.asarray(data[name].values, np.float64) for name in ("excess", "excess_se"))
        first = np.array([earliest(within(*row, least)) for row in zip(excess, error, strict=True)])
        at = np.arange(len(first))
        variables: dict[str, Any] = {
            "finished": (("layer",), states[first]),
            "resolved": (("layer",), ERRORS * np.nan_to_num(error[at, first]) <= least),
        }
        attrs: dict[str, Any] = {"final_loss": float(losses[-1]), **gain.attrs, "frozen_share": self.frozen_share(first)}
        attrs |= {"connected_from": None, "least": least}
        if lines is not None:
            found = data.attrs.get("barriers_to_end") or _barriers(data, losses, lines)  # what is derived is not kept, what is said is
            barriers, errors = np.array(found, np.float64).T
            attrs["barriers_to_end"] = found
            variables |= {"barrier_to_end": (("state",), barriers), "barrier_to_end_se": (("state",), errors)}
            attrs["connected_from"] = int(states[earliest(within(barriers, errors, least))])
        return variables, attrs

    def least(self, gain: Gain, losses: Floats) -> float:
        """What costs no more than this counts as nothing; of a training without a gain what rounding does."""
        return self.tolerance * gain.value if gain.positive else ROUNDING * float(np.nan_to_num(np.abs(losses[[0, -1]]), posinf=0.0).max())

    def frozen_share(self, finished: Floats) -> float:
        """The share of parameters times steps after each layer was finished, ``finished`` ``[L]`` by the place of the state."""
        left = (self.steps[-1] - self.steps[finished]) / (self.steps[-1] - self.steps[0])
        return float((left * self.sizes).sum() / self.sizes.sum())


def within(costs: Floats, errors: Floats, least: float) -> Bools:
    """Which costs count as nothing: those under two errors, where these are known, or under `least`; nan does not."""
    with np.errstate(invalid="ignore"):
        return np.asarray(costs <= np.maximum(ERRORS * np.nan_to_num(errors, posinf=0.0), least))


def earliest(fine: Bools) -> int:
    """The first place from which on all are fine; the last place, the final state itself, always is."""
    wrong = np.flatnonzero(~fine[:-1])
    return int(wrong[-1]) + 1 if len(wrong) else 0


def _barriers(data: xr.Dataset, losses: Floats, lines: Lines) -> list[list[float]]:
    """The barrier from each state to the last, and its standard error."""
    objective, states, points = lines
    alphas, between = np.asarray(data["alpha"].values, np.float64), np.asarray(data["line_loss"].values, np.float64)
    last, size, pairs = len(losses) - 1, len(alphas), list[list[float]]()
    for t in range(last):
        found = barrier_of(alphas, between[t], float(losses[t]), float(losses[-1]))
        rows = range(t * size, (t + 1) * size)
        pairs.append([found.height, sampling_error(objective, found, alphas, (states, (t, last)), (points, rows))])
    return [*pairs, [0.0, 0.0]]
