"""Subsets of a study's samples: which sizes, how they are drawn, what they score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thetascope.errors import TrainingError
from thetascope.scoring.scores import Column

Sizes = Sequence[int] | NDArray[np.integer[Any]] | None

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
