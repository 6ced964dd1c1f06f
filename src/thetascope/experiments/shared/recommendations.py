"""What a study recommends: the smallest number whose result is within a stated tolerance of the best or the full one.

Pure arithmetic on losses. A loss that is not finite is never within a tolerance. Where only the largest size would do, or none does,
nothing is recommended: the rule then begins with "Undecided" and says why.
"""

from __future__ import annotations

import math
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

UNDECIDED = "Undecided: "
"""How a rule begins that recommends nothing because what was examined is too little to tell."""


@dataclass(frozen=True)
class Recommendation:
    """A number, or None where no examined one is within the tolerance.

    Attributes:
        number: what is recommended.
        rule: a sentence that says why, with the numbers.
        limit: what was compared with: the greatest loss, or for test sizes the greatest error, that is allowed.
    """

    number: int | None
    rule: str
    limit: float | None

    def attrs(self) -> dict[str, int | float | str | None]:
        """For a result."""
        return {"recommendation": self.number, "rule": self.rule, "limit": self.limit}


def recommended_epochs(losses: ArrayLike, tolerance: float = EPOCHS_TOLERANCE) -> Recommendation:
    """The fewest epochs from which on the loss ``[0 … n]`` stays at most the best one's plus `tolerance` of its size.

    A loss that comes within the tolerance and leaves it again does not count; None where the last one lies outside.
    """
    values = np.asarray(losses, np.float64)
    last = len(values) - 1
    if not np.isfinite(values).any():
        return Recommendation(None, "no epoch is recommended: the loss is finite after none of them", None)
    best_at = int(np.flatnonzero(values == values[np.isfinite(values)].min())[0])
    best = float(values[best_at])
    limit = best + tolerance * abs(best)
    outside = np.flatnonzero(~(values <= limit))
    number = int(outside[-1]) + 1 if len(outside) else 0
    if number > last:
        reached = f"is lowest after {best_at} of {last} epochs ({best:.4g}) but does not stay within {100 * tolerance:.3g} % of that"
        return Recommendation(None, f"{UNDECIDED}the loss {reached}: after the last epoch it is {values[-1]:.4g}", limit)
    told = (
        f"{number} epochs: the fewest after which the loss stays at most {limit:.4g}, within {100 * tolerance:.3g} % of the best of "
        f"{last} epochs ({best:.4g} after {best_at})"
    )
    if number == last > 0:
        told += "; they are all that were run, so whether it stays there, or falls further, is not known"
    return Recommendation(number, told, limit)


def recommended_train_size(
    sizes: Sequence[int], losses: ArrayLike, initial_loss: float, tolerance: float = TRAIN_SIZE_TOLERANCE
) -> Recommendation:
    """The smallest size whose median loss over its repeats ``[sizes, repeats]`` keeps most of what training gains.

    At most a share `tolerance` may be lost of ``initial_loss − median loss at the largest size``. A share of the
    gain and not of the loss, since the loss goes on falling with every sample, towards a value that may be 0. None where
    only the largest size does: it keeps all of its own gain by construction, and more samples may gain more.
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
    kept = f"{100 - 100 * tolerance:.3g} % of what training on {sizes[-1]:,} gains ({initial_loss:.4g} before, {full:.4g} after)"
    if number == sizes[-1]:
        smaller = f"even {sizes[-2]:,} samples keep less than" if len(sizes) > 1 else "no smaller size was examined that may keep"
        return Recommendation(None, f"{UNDECIDED}{smaller} {kept}; whether more samples would gain more is not known", limit)
    return Recommendation(
        number, f"{number:,} samples: the fewest examined whose median loss is at most {limit:.4g}, which keeps {kept}", limit
    )


def recommended_test_size(
    sizes: Sequence[int], errors: ArrayLike, full_loss: float, total: int, tolerance: float | None = None, *, bootstrap: bool = False
) -> Recommendation:
    """The smallest size whose error of the loss on new samples ``[sizes]`` is at most `tolerance`.

    None where even the largest size has a greater one (there are too few samples), and where only the largest has not.

    Args:
        sizes: that were examined, rising.
        errors: of the loss on so many new samples: standard errors, or of a bootstrap.
        full_loss: on all samples.
        total: how many these are.
        tolerance: in units of the loss; None: a share of the loss on all samples.
        bootstrap: whether the errors are of a bootstrap.
    """
    limit = TEST_SIZE_TOLERANCE * abs(full_loss) if tolerance is None else tolerance
    values = np.asarray(errors, np.float64)
    if not np.isfinite(limit) or not np.isfinite(values).any():
        known = f"the loss on all {total:,} samples is {full_loss:.4g}" + (", its error not known" if np.isfinite(limit) else "")
        return Recommendation(None, f"no size is recommended: {known}", None)
    number = _first_within(sizes, values, limit)
    kind = "bootstrap error" if bootstrap else "standard error"
    stated = "as asked for" if tolerance is not None else f"{100 * TEST_SIZE_TOLERANCE:.3g} % of the loss on all {total:,}, {full_loss:.4g}"
    if number is not None and number < sizes[-1]:
        told = f"{number:,} samples: the fewest examined whose loss, on new samples, has a {kind} of at most {limit:.3g} ({stated})"
        return Recommendation(number, told, limit)
    allowed = f"{100 * TEST_SIZE_TOLERANCE:.3g} %" if tolerance is None else f"{limit:.3g}"
    tried = len(sizes) - (1 if number is None else 2)
    if tried < 0:
        told = f"only {sizes[0]:,} of your {total:,} test samples were examined; they vary by at most {allowed}, and fewer may do"
        return Recommendation(None, UNDECIDED + told, limit)
    which = f"all {total:,} of your test samples" if sizes[tried] == total else f"{sizes[tried]:,} of your {total:,} test samples"
    share = f", {100 * values[tried] / abs(full_loss):.3g} % of the loss" if full_loss else ""
    told = f"even {which} vary by more than {allowed} ({kind} on new samples {values[tried]:.3g}{share})"
    needed = samples_needed(sizes[-1], float(values[-1]), limit)
    if number is not None:
        told += f"; of the sizes examined only the largest, {sizes[-1]:,}, varies by less"
    elif needed is not None:
        told += f"; about {float(f'{needed:.2g}'):,.0f} are needed"
    return Recommendation(None, UNDECIDED + told, limit)


def samples_needed(size: int, error: float, limit: float) -> int | None:
    """How many samples have an error of `limit` where `size` have `error`, which falls as one over the square root; None: no number has."""
    if error == 0:
        return 1
    if not (limit > 0 and np.isfinite(error)):
        return None
    return max(1, math.ceil(size * (error / limit) ** 2 * (1 - 1e-12)))


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
