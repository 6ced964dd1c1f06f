"""The one name for arrays of numbers, for every room; and an even choice of their places."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def evenly(count: int, most: int) -> list[int]:
    """At most so many of `count` places, evenly chosen, the first and the last among them."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))
