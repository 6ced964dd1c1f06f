"""What a study recommends: the smallest number whose result is within a stated tolerance of the best or the full one.

Pure arithmetic on losses. A loss that is not finite is never within a tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thetascope.errors import TrainingError

EPOCHS_TOLERANCE = 0.05
"""Of the best loss over all epochs."""

TRAIN_SIZE_TOLERANCE = 0.1
"""Of what training on the largest size takes off the initial loss."""

TEST_SIZE_TOLERANCE = 0.05
"""Of the loss on all samples: the absolute tolerance where none is given."""


@dataclass(frozen=True)
class Recommendation:
    """A number, or None where no examined one is within the tolerance.

    Attributes:
        number: what is recommended.
        rule: a sentence that says why, with the numbers.
        limit: what was compared with: the greatest loss, or for test sizes the greatest spread, that is allowed.
    """

    number: int | None
    rule: str
    limit: float | None

    def attrs(self) -> dict[str, int | float | str | None]:
        """For a result."""
        return {"recommendation": self.number, "rule": self.rule, "limit": self.limit}


def recommended_epochs(losses: ArrayLike, tolerance: float = EPOCHS_TOLERANCE) -> Recommendation:
    """The smallest number of epochs whose loss ``[0 … n]`` is at most the best one's plus `tolerance` of its size."""
    values = np.asarray(losses, np.float64)
    if not np.isfinite(values).any():
        return Recommendation(None, "no epoch is recommended: the loss is finite after none of them", None)
    best_at = int(np.flatnonzero(values == values[np.isfinite(values)].min())[0])
    best = float(values[best_at])
    limit = best + tolerance * abs(best)
    number = _first_within(range(len(values)), values, limit)
    return Recommendation(
        number,
        f"{number} epochs: the fewest whose loss is at most {limit:.4g}, within {100 * tolerance:.3g} % of the best of "
        f"{len(values) - 1} epochs ({best:.4g} after {best_at})",
        limit,
    )


def recommended_train_size(
    sizes: Sequence[int], losses: ArrayLike, initial_loss: float, tolerance: float = TRAIN_SIZE_TOLERANCE
) -> Recommendation:
    """The smallest size whose median loss over its repeats ``[sizes, repeats]`` keeps most of what training gains.

    At most a share `tolerance` may be lost of ``initial_loss − median loss at the largest size``. A share of the
    gain and not of the loss, since the loss goes on falling with every sample, towards a value that may be 0.
    """
    medians = median_of_rows(losses)
    full = float(medians[-1])
    if not np.isfinite([full, initial_loss]).all():
        return Recommendation(None, f"no size is recommended: the median loss at the largest size, {sizes[-1]:,}, is {full:.4g}", None)
    if full >= initial_loss:
        return Recommendation(
            None,
            f"no size is recommended: training on {sizes[-1]:,} samples ends with a loss of {full:.4g}, not below the initial "
            f"{initial_loss:.4g}",
            None,
        )
    limit = full + tolerance * (initial_loss - full)
    number = _first_within(sizes, medians, limit)
    return Recommendation(
        number,
        f"{number:,} samples: the fewest examined whose median loss is at most {limit:.4g}, which keeps "
        f"{100 - 100 * tolerance:.3g} % of what training on {sizes[-1]:,} gains ({initial_loss:.4g} before, {full:.4g} after)",
        limit,
    )


def recommended_test_size(
    sizes: Sequence[int], losses: ArrayLike, full_loss: float, total: int, tolerance: float | None = None
) -> Recommendation:
    """The smallest size whose loss ``[sizes, repeats]`` spreads over the random subsets by at most `tolerance`.

    The tolerance is absolute, in units of the loss: without replacement the spread falls to 0 at the full size,
    whatever the data, so nothing can be relative to it.
    """
    limit = TEST_SIZE_TOLERANCE * abs(full_loss) if tolerance is None else tolerance
    if not np.isfinite(limit):
        return Recommendation(None, f"no size is recommended: the loss on all {total:,} samples is {full_loss:.4g}", None)
    stated = f"{100 * TEST_SIZE_TOLERANCE:.3g} % of the loss on all {total:,}, {full_loss:.4g}" if tolerance is None else "as asked for"
    repeats = np.shape(losses)[1]
    number = _first_within(sizes, spread_of_rows(losses), limit)
    rule = (
        f"whose loss has a standard deviation of at most {limit:.3g} ({stated}) over {repeats} random subsets "
        "(on all samples it is 0 by construction)"
    )
    if number is None:
        return Recommendation(None, f"no size is recommended: there is none among {', '.join(f'{size:,}' for size in sizes)} {rule}", limit)
    return Recommendation(number, f"{number:,} samples: the fewest examined {rule}", limit)


def median_of_rows(values: ArrayLike) -> NDArray[np.float64]:
    """Over the last dimension; nan where one of them is."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.median(np.asarray(values, np.float64), axis=-1), np.float64)


def spread_of_rows(values: ArrayLike) -> NDArray[np.float64]:
    """The sample standard deviation over the last dimension: exactly 0 for equal values, nan for a single one."""
    rows = np.asarray(values, np.float64)
    if rows.shape[-1] < 2:
        return np.full(rows.shape[:-1], np.nan)
    with np.errstate(invalid="ignore"):
        # deviations from the first value, because the mean of equal values may be off by a rounding
        return np.asarray(np.std(rows - rows[..., :1], axis=-1, ddof=1), np.float64)


def checked_limit(value: float) -> float:
    """A number of at least 0, or an error."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < np.inf:
        return value
    raise TrainingError(f"tolerance must be a number of at least 0. Got {value!r} instead.")


def _first_within(numbers: Sequence[int], values: NDArray[np.float64], limit: float) -> int | None:
    return next((number for number, value in zip(numbers, values, strict=True) if value <= limit), None)
