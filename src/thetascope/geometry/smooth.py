"""Smooth fields on a grid from few of their cells: nested Chebyshev points, and what is fitted to them.

The points are Chebyshev's extrema on both axes (Clenshaw and Curtis), a finer grid holding the coarser one; each is moved to the
nearest cell, so that what is fitted is always the value of a cell. What is fitted are radial basis functions of several kinds,
of the values or of their logarithms: the mean loss of a network with ReLUs is smooth but not analytic, and polynomials through
least squares needed half as many cells again when tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from thetascope.geometry.points import Floats

Cells = NDArray[np.int64]
Flags = NDArray[np.bool_]
Kernel = Literal["cubic", "quintic", "thin_plate_spline"]

FIRST_LEVEL, LAST_LEVEL = 3, 7
"""2^level + 1 points an axis: 9 to begin with, at most 129."""


def nested_cells(nx: int, ny: int) -> tuple[Cells, Cells]:
    """The cells to begin with, and the further ones in the order in which they refine them (flat, ``j · nx + i``).

    Each finer grid comes first with every second of its points, which lie between those of the coarser one.
    """
    taken: dict[int, None] = {}
    begin = 0
    generator = np.random.default_rng(0)
    for level in range(FIRST_LEVEL, LAST_LEVEL + 1):
        count = 2**level
        at = -np.cos(np.pi * np.arange(count + 1) / count)
        columns, rows = _nearest(at, nx), _nearest(at, ny)
        for parities in ((0,), (1,)):
            if level == FIRST_LEVEL and parities == (1,):
                continue
            both = [(a, b) for a in range(count + 1) for b in range(count + 1) if level == FIRST_LEVEL or (a + b) % 2 in parities]
            fresh = [cell for cell in dict.fromkeys(int(rows[b] * nx + columns[a]) for a, b in both) if cell not in taken]
            taken.update(dict.fromkeys(fresh if level == FIRST_LEVEL else generator.permutation(fresh).astype(int).tolist()))
        begin = begin or len(taken)
    order = np.array(list(taken), np.int64)
    return np.sort(order[:begin]), order[begin:]


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

    ny, nx = shape
    wanted = np.log(values) if kind.logarithmic else values
    rows, columns = np.divmod(np.arange(nx * ny), nx)
    at = np.stack([2 * columns / max(nx - 1, 1) - 1, 2 * rows / max(ny - 1, 1) - 1], axis=1)
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
