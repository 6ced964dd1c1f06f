"""Subsets of a study's samples: which sizes, how they are drawn, what they score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thetascope.errors import TrainingError
from thetascope.scoring.scores import Column

Sizes = Sequence[int] | NDArray[np.integer[Any]] | None

RESAMPLINGS = 1000
"""Of a bootstrap."""

NORMAL_95 = 1.959964
"""So many standard errors a normal distribution's central 95 % reach to each side."""

SMALLEST_SHARE = 30
"""Test samples: less than a tenth of all is examined by default only where it is at least so many."""


def checked_sizes(sizes: Sizes, total: int, what: str, default: list[int]) -> list[int]:
    """The sizes in rising order.

    Raises:
        TrainingError: they are no different whole numbers of 1 to `total`.
    """
    if sizes is None:
        return default
    given = np.asarray(sizes)
    if given.ndim != 1 or not len(given) or given.dtype.kind not in "iu":
        raise TrainingError(f"sizes must be a list of whole numbers, at least one. Got {sizes!r} instead.")
    chosen: list[int] = np.sort(given).tolist()
    if len(set(chosen)) < len(chosen):
        raise TrainingError(f"sizes must not repeat. Got {chosen} instead.")
    if chosen[0] < 1 or chosen[-1] > total:
        raise TrainingError(f"sizes must lie in 1 to {total:,}, the number of {what} samples. Got {chosen} instead.")
    return chosen


def ladder(total: int) -> list[int]:
    """1, 2, 5, 10, 20, 50, … from about a hundredth of `total` on, and `total`; none is close below it."""
    rungs = [digit * 10**power for power in range(len(str(total))) for digit in (1, 2, 5)]
    return [*(rung for rung in rungs if total / 120 <= rung <= 0.7 * total), total]


def tenths(total: int) -> list[int]:
    """Each tenth of `total`, and 1 %, 2 % and 5 % where that is enough samples to say something."""
    small = [size for size in (round(total * share / 100) for share in (1, 2, 5)) if size >= SMALLEST_SHARE]
    return sorted({*small, *(max(1, round(total * tenth / 10)) for tenth in range(1, 11))})


def from_to(sizes: Sequence[int]) -> str:
    """The lowest and the highest, for a title."""
    return f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"


def drawn_subset(total: int, size: int, seeds: tuple[int, ...]) -> NDArray[np.int64]:
    """`size` different numbers of 0 to ``total − 1`` in random order, the same for the same `seeds`."""
    return np.random.default_rng(seeds).choice(total, size, replace=False).astype(np.int64)


def subset_mean(column: Column, rows: NDArray[np.int64] | slice) -> float:
    """The weighted mean of some samples' values, as `Objective.score` takes it of all; nan where no weight is."""
    values, weights = column.values.numpy()[rows], column.weights.numpy()[rows]
    weight = float(weights.sum())
    with np.errstate(invalid="ignore"):
        return float((values * weights).sum()) / weight if weight else float("nan")


def sample_deviation(column: Column) -> float:
    """s, such that the weighted mean of n new samples has a standard error of s/√n; exactly 0 for equal values, nan under 2 samples.

    Without weights it is the standard deviation of the values; with them ``√N · sqrt(Σ w²(v − mean)² · N / (N − 1)) / Σw``.
    """
    values, weights = column.values.numpy(), column.weights.numpy()
    count, total = len(values), float(weights.sum())
    if count < 2 or not total:
        return float("nan")
    with np.errstate(invalid="ignore"):
        counted = weights > 0
        away = np.where(counted, values - values[int(counted.argmax())], 0.0)  # of equal values exactly 0
        away = away - (weights * away).sum() / total
        return float(np.sqrt((weights**2 * away**2).sum() * count / (count - 1) * count) / total)


def bootstrap_error(column: Column, sizes: Sequence[int], seed: int) -> NDArray[np.float64]:
    """The error of the weighted mean of so many new samples, for each of the rising sizes, by resampling with replacement.

    It is the longer arm of the central 95 % of the resampled means around the mean of all, over 1.96: the standard error where the
    means are normal, more where they are skewed. It is at least s/√n: where few samples carry the loss, most small subsets hold none
    of them, and agree with one another on a wrong value.
    """
    values, weights = column.values.numpy(), column.weights.numpy()
    generator, starts = np.random.default_rng(seed), [0, *sizes[:-1]]
    means = np.empty((RESAMPLINGS, len(sizes)))
    with np.errstate(invalid="ignore", divide="ignore"):
        for row in means:
            drawn = generator.integers(len(values), size=sizes[-1])  # the smaller sizes are how a larger one begins
            sums = [np.cumsum(np.add.reduceat(part[drawn], starts)) for part in (values * weights, weights)]
            row[:] = sums[0] / sums[1]
        low, high = np.nanquantile(means, [0.025, 0.975], axis=0)
        full = subset_mean(column, slice(None))
        far = np.maximum(full - low, high - full) / NORMAL_95
        return np.asarray(np.maximum(far, sample_deviation(column) / np.sqrt(sizes)), np.float64)
