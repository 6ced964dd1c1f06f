"""How much the arithmetic alone moves a loss: measured against the same points in double precision."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import torch

from thetascope.arrays import Floats
from thetascope.geometry.edits import ScalarEdits
from thetascope.scoring.fast.choice import chosen_engine
from thetascope.scoring.objective import Objective

CURVES, PLACES = 8, 5
"""So many curves, at so many places each, are scored in double precision too."""


def noise_floor(objective: Objective, edits: ScalarEdits, losses: Floats) -> float:
    """The standard deviation of the rounding errors along a curve in the losses ``[E, A]`` of `edits`.

    From the differences to double precision at a few points of a few curves: the root mean square of the deviations
    within a curve, because a shift that a whole curve shares is no noise along it. Curves that do not vary at all
    (a parameter without effect) say nothing of it. A model in double precision has the rounding of a float64 sum.
    """
    space = objective.model.space
    if all(objective.model.target_dtype(name) == torch.float64 for name in space.parameters):
        return float(4 * np.finfo(np.float64).eps * np.median(np.abs(losses)))
    exact = objective.exact(edits.state)
    if exact.dtype != torch.float64:  # the model insists on its own
        coarsest = max(torch.finfo(objective.model.target_dtype(name)).eps for name in space.parameters)
        return float(4 * coarsest * np.median(np.abs(losses)))
    curves = np.unique(np.linspace(0, losses.shape[0] - 1, CURVES).round().astype(int))
    places = np.unique(np.linspace(0, losses.shape[1] - 1, PLACES).round().astype(int))
    rows = [int(e * losses.shape[1] + a) for e in curves for a in places]
    with exact.model.running():
        engine = chosen_engine("auto", exact, "edits")
        same: dict[Hashable, int] = {}  # many curves go through the state itself, which one pass is enough for
        first = [same.setdefault(edits.identity(k), k) for k in rows]
        scored = dict.fromkeys(first)
        sums = dict(zip(scored, engine.backend(exact, edits).evaluate(list(scored)), strict=True))
    difference = losses.ravel()[rows] - np.array([sums[k].means()["loss"] for k in first])
    variances = difference.reshape(len(curves), len(places)).var(axis=1, ddof=1)
    variances = variances[np.isfinite(variances) & (variances > 0)]
    return float(np.sqrt(variances.mean())) if len(variances) else 0.0
