"""The barrier of a path: how far the loss on it rises above the straight line between the losses of its ends, and how sure that is.

Entezari et al. (2022) for the barrier; Frankle et al. (2020) and Ainsworth et al. (2023) for the rise above the mean of the ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.experiments.shared.barrier_words import ERRORS, SHARE
from thetascope.experiments.shared.gains import gain_in_loss

if TYPE_CHECKING:  # pictures look at these rules too, and load no torch
    from thetascope.geometry.points import PointSet
    from thetascope.scoring.objective import Objective

DRAWS = 200
"""Of the bootstrap."""
RIVALS = 5
"""So many α's at most, those with the highest values, compete for the maximum in each draw."""
ROUNDING = 1e-6
"""Where there is no gain that a share could be taken of, so much of the ends' losses is no barrier."""


@dataclass(frozen=True)
class Barrier:
    """What the losses on a path say; nan where no α lies between the ends, or a loss is not finite.

    Attributes:
        height: the largest value of the loss above the straight line between the ends' losses, which is never negative.
        at: the α where it is; 0 where none lies above that line.
        over_mean: the largest loss, the ends' among them, above the mean of the ends' losses.
        rivals: the places in `alphas` of the highest values, the highest first.
    """

    height: float
    at: float
    over_mean: float
    rivals: tuple[int, ...]


def barrier_of(alphas: Floats, losses: Floats, first: float, last: float) -> Barrier:
    """The barrier of the losses ``[A]`` at `alphas`, of which those within (0, 1) count, between the losses of the ends."""
    inside = np.flatnonzero((alphas > 0) & (alphas < 1))
    if not len(inside):
        return Barrier(math.nan, math.nan, math.nan, ())
    with np.errstate(invalid="ignore"):
        heights = losses[inside] - line(alphas[inside], first, last)
        over_mean = float(np.max([first, last, *losses[inside]]) - (first + last) / 2)
    order = inside[np.argsort(-heights, kind="stable")]
    if np.isnan(heights).any():
        return Barrier(math.nan, math.nan, over_mean, ())
    highest = float(heights.max())
    return Barrier(max(highest, 0.0), float(alphas[order[0]]) if highest > 0 else 0.0, over_mean, tuple(order[:RIVALS].tolist()))


def line(alphas: Floats, first: Any, last: Any) -> Any:
    """The straight line between the losses of the ends."""
    return first + alphas * (last - first)  # of equal ends exactly these


def barrier_error(alphas: Floats, losses: Floats, weights: Floats, seed: int = 0) -> float:
    """The standard error of the barrier: by a bootstrap over samples, each draw with its own maximum.

    Args:
        alphas: ``[K]`` of the places that compete.
        losses: ``[2 + K, N]`` of each sample: at the first end, at the last, and at `alphas`.
        weights: ``[N]`` of the samples.
        seed: of the draws.
    """
    count = losses.shape[1]
    if count < 2 or not len(alphas):
        return math.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        heights = (losses[2:] - line(alphas[:, None], losses[0], losses[1])) * weights
        generator, found = np.random.default_rng(seed), np.empty(DRAWS)
        for draw in range(DRAWS):
            drawn = np.bincount(generator.integers(count, size=count), minlength=count).astype(np.float64)
            found[draw] = np.maximum((heights @ drawn / (weights @ drawn)).max(), 0.0)
        return float(found.std(ddof=1))


def sampling_error(
    objective: Objective, found: Barrier, alphas: Floats, ends: tuple[PointSet, Sequence[int]], path: tuple[PointSet, Sequence[int]]
) -> float:
    """The standard error of a barrier from the losses of the samples; nan where there is no barrier, or losses are not those of samples.

    Args:
        objective: under the experiment's policy for buffers.
        found: the barrier.
        alphas: ``[A]``.
        ends: points, and which of them are the first end and the last.
        path: points, and which of them are at `alphas`.
    """
    if not found.rivals or not math.isfinite(found.height):
        return math.nan
    at_ends, at_rivals = objective.losses_at(*ends), objective.losses_at(path[0], [path[1][place] for place in found.rivals])
    if at_ends is None or at_rivals is None:
        return math.nan
    every = np.concatenate([at_ends[0].numpy(), at_rivals[0].numpy()])
    return barrier_error(alphas[list(found.rivals)], every, at_ends[1].numpy())


def is_barrier(height: float, error: float, gain: float, ends: Sequence[float]) -> bool | None:
    """Whether a barrier is one: more than two standard errors, where they are known, and than a share of the gain; None if it is nan."""
    if math.isnan(height):
        return None
    least = SHARE * gain if math.isfinite(gain) and gain > 0 else ROUNDING * max(map(abs, ends))
    return height > max(least, ERRORS * error if math.isfinite(error) else 0.0)


def barrier_attrs(data: Any, objective: Objective, path: PointSet, ends: PointSet, losses: tuple[float, float]) -> dict[str, Any]:
    """What a result says of the barrier of its path over ``alpha``; what it says already is not found again.

    Args:
        data: the scores.
        objective: under the experiment's policy for buffers.
        path: the points at ``alpha``.
        ends: the states at both ends, the last two points.
        losses: of the ends, under the same policy.
    """
    names = ("barrier", "barrier_se", "barrier_at", "barrier_over_mean", "has_barrier", "barrier_gain")
    if all(name in data.attrs for name in names):
        return {name: data.attrs[name] for name in names}
    alphas = np.asarray(data["alpha"].values, np.float64)
    found = barrier_of(alphas, np.asarray(data["loss"].values, np.float64), *losses)
    error = sampling_error(objective, found, alphas, (ends, (0, 1)), (path, range(len(alphas))))
    gain = gain_in_loss(*losses, objective.chance).value
    said = is_barrier(found.height, error, gain, losses)
    return dict(zip(names, (found.height, error, found.at, found.over_mean, said, gain), strict=True))
