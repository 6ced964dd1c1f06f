"""Smooth fields on a grid from few of their cells: which to begin with, what is fitted to them, where to look next.

The first cells are those nearest to Chebyshev's extrema on both axes (Clenshaw and Curtis), so that what is fitted is always the
value of a cell. What is fitted are radial basis functions of several kinds, of the values or of their logarithms: the mean loss of
a network with ReLUs is smooth but not analytic, and polynomials through least squares needed half as many cells again when tried.
Further ones lie where the kinds disagree, weighed by how far the next known cell is: a basin is narrow beside the plane around it,
and further Chebyshev points, densest along the borders, needed a third more cells when tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from thetascope.arrays import Floats

Cells = NDArray[np.int64]
Flags = NDArray[np.bool_]
Kernel = Literal["cubic", "quintic", "thin_plate_spline"]

POINTS = 5
"""Chebyshev points an axis to begin with."""


def first_cells(nx: int, ny: int) -> Cells:
    """The cells nearest to a grid of Chebyshev points, flat (``j · nx + i``) and in order."""
    at = -np.cos(np.pi * np.arange(POINTS) / (POINTS - 1))
    return np.unique(_nearest(at, ny)[:, None] * nx + _nearest(at, nx))


def _nearest(at: Floats, count: int) -> Cells:
    return np.round((at + 1) / 2 * (count - 1)).astype(np.int64)


@dataclass(frozen=True)
class Kind:
    """What is fitted: a radial basis function, of the values or of their logarithms."""

    kernel: Kernel
    logarithmic: bool

    def __str__(self) -> str:
        return f"{self.kernel.replace('_', ' ')} radial basis functions{' of the logarithm' if self.logarithmic else ''}"


KERNELS: tuple[Kernel, ...] = ("cubic", "quintic", "thin_plate_spline")


def kinds(values: Floats) -> list[Kind]:
    """What may be fitted to these values; the likeliest first. Logarithms need positive values."""
    ways = (True, False) if (values > 0).all() else (False,)
    return [Kind(kernel, logarithmic) for logarithmic in ways for kernel in KERNELS]


def fitted(kind: Kind, shape: tuple[int, int], cells: Cells, values: Floats) -> Floats:
    """What the cells' values say of the whole grid, ``[ny, nx]``; the cells themselves are met exactly."""
    from scipy.interpolate import RBFInterpolator

    wanted = np.log(values) if kind.logarithmic else values
    axes = [np.linspace(-1, 1, count) for count in shape if count > 1]  # a line is fitted along itself
    at = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
    field = np.asarray(RBFInterpolator(at[cells], wanted, kernel=kind.kernel)(at), np.float64).reshape(shape)
    with np.errstate(over="ignore"):
        return np.exp(field) if kind.logarithmic else field


def spread_out(scores: Floats, free: Flags, count: int) -> Cells:
    """The `count` free cells where `scores` ``[ny, nx]`` is largest, none too close to another."""
    ny, nx = scores.shape
    left = np.where(free, scores, -np.inf)
    reach = max(1, round(np.sqrt(nx * ny / (8 * count))))
    chosen: list[int] = []
    for _ in range(count):
        best = int(np.argmax(left))
        if not np.isfinite(left.flat[best]):
            break
        chosen.append(best)
        j, i = divmod(best, nx)
        left[max(0, j - reach) : j + reach + 1, max(0, i - reach) : i + reach + 1] = -np.inf
    return np.array(chosen, np.int64)


def gaps(free: Flags) -> Floats:
    """How far each cell ``[ny, nx]`` is from the next that is not free, where each axis has length 2."""
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(free, sampling=[2 / max(count - 1, 1) for count in free.shape]), np.float64)
