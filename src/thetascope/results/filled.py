"""What points are stored in, as those who score them see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import xarray as xr


class Filled(Protocol):
    """What points are stored in: a whole `Store`, or a part of one."""

    @property
    def data(self) -> xr.Dataset:
        """What is there."""
        ...

    def done(self, prefix: str) -> NDArray[np.bool_]:
        """Which points are stored, flat."""
        ...

    def evaluated(self, prefix: str) -> NDArray[np.bool_]:
        """Which points were scored, flat."""
        ...

    def unit(self, prefix: str) -> int:
        """How many points are stored at once."""
        ...

    def values(self, prefix: str, index: int) -> dict[str, float]:
        """One stored point's values."""
        ...

    def write(self, prefix: str, start: int, values: Mapping[str, Sequence[float]]) -> None:
        """Store one unit from flat index `start` on."""
        ...

    def write_cells(self, prefix: str, cells: Sequence[int], values: Mapping[str, Sequence[float]]) -> None:
        """Store points that lie anywhere."""
        ...

    def estimate(self, prefix: str, values: Mapping[str, ArrayLike], attrs: Mapping[str, Any]) -> None:
        """Fill what is not scored with estimates over the whole dimensions."""
        ...

    def write_estimates(self, prefix: str, cells: NDArray[np.int64], values: Mapping[str, NDArray[Any]]) -> None:
        """Store estimates of these points."""
        ...

    def add(self, variables: Mapping[str, tuple[tuple[str, ...], ArrayLike]], attrs: Mapping[str, Any]) -> None:
        """Add what is derived, or attributes."""
        ...


def values_at(values: Mapping[str, ArrayLike], cells: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """The values over the whole dimensions at some cells, flat."""
    return {name: np.asarray(field, np.float64).ravel()[cells] for name, field in values.items()}
