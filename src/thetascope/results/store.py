"""Results on disk: a zarr group that is filled unit by unit and is valid at every moment.

A unit's values are written first, then their checks, its status last; a chunk is put in place whole. What a killed process
left half-written is swept on opening. Chunks carry a checksum, and the whole a seal (`thetascope.results.seal`): a point that
is not what was stored counts as missing, anything else that is not is an error.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from thetascope.errors import ResultError
from thetascope.files import Lock, file_name, links_below
from thetascope.quantities import is_error
from thetascope.results.atomic_folder import settle
from thetascope.results.filled import values_at
from thetascope.results.result import Result
from thetascope.results.seal import CHECK, SEAL, Seal, prefixes, scored_names
from thetascope.results.status import ESTIMATED, EVALUATED, MISSING, NOT_FINITE, named
from thetascope.results.stored import FORMAT, by_zarr, check_format, check_is_result, locked, put, read_sealed, renamed

_HALF_WRITTEN = re.compile(r".*\.[0-9a-f]{32}\.partial")
"""What zarr calls a file before it is whole."""


def _sweep_chunks(path: Path) -> None:
    """Remove the files that a killed process had not written whole, and the folders of variables that it had just begun."""
    for leftover in path.rglob("*.partial"):
        if _HALF_WRITTEN.fullmatch(leftover.name) and leftover.is_file():
            leftover.unlink(missing_ok=True)
    for folder in path.iterdir():
        if folder.is_dir():
            with suppress(OSError):  # it holds something
                folder.rmdir()


def _finite(values: Mapping[str, ArrayLike]) -> NDArray[np.bool_]:
    """Which points have finite values; an error that is not known makes none of them a point without a value."""
    of = [np.isfinite(np.asarray(column, np.float64)) for name, column in values.items() if not is_error(name)]
    return np.asarray(np.all(of, axis=0))


@dataclass(frozen=True)
class Block:
    """Variables that are filled together: one a name, and a status, all over the same dimensions.

    `unit` points of a row of the last dimension are stored at once; or `rows` whole rows, where it is above 1.
    """

    prefix: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    names: tuple[str, ...]
    unit: int
    rows: int = 1
    dtype: str = "float64"


@dataclass(frozen=True)
class Layout:
    """What a result will hold before anything is scored. All blocks hold the same names."""

    blocks: Sequence[Block]
    coords: Mapping[str, ArrayLike]
    constants: Mapping[str, tuple[tuple[str, ...], ArrayLike]] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, tuple[tuple[str, ...], ArrayLike]] = field(default_factory=dict)

    def empty(self) -> xr.Dataset:
        """The dataset with every point missing."""
        variables: dict[str, Any] = {}
        for block in self.blocks:
            for name in (*block.names, "status"):
                if named(block.prefix, name) in variables or named(block.prefix, name) in {*self.coords, *self.labels}:
                    raise ResultError(f'two variables of this result would be called "{named(block.prefix, name)}"; rename your metric')
            for name in block.names:
                variables[named(block.prefix, name)] = (block.dims, np.full(block.shape, np.nan, block.dtype))
            variables[named(block.prefix, "status")] = (block.dims, np.zeros(block.shape, np.int8))
        variables.update({name: (dims, np.asarray(values)) for name, (dims, values) in self.constants.items()})
        units = {block.prefix: block.unit for block in self.blocks}
        scored = list(self.blocks[0].names) if self.blocks else []
        rows = {block.prefix: block.rows for block in self.blocks if block.rows > 1}
        attrs = {"thetascope_format": FORMAT, "units": units, "scored": scored, **({"unit_rows": rows} if rows else {}), **self.attrs}
        used = {dim for dims in (v[0] for v in variables.values()) for dim in dims}
        labels = {name: (dims, np.asarray(values)) for name, (dims, values) in self.labels.items()}
        return xr.Dataset(variables, coords={k: v for k, v in self.coords.items() if k in used} | labels, attrs=attrs)


class Store:
    """A result that is being filled: in memory, and on disk where there is a path."""

    def __init__(self, data: xr.Dataset, path: Path | None, lock: Lock | None, seal: Seal | None = None) -> None:
        self.data, self.path, self._lock, self._seal = data, path, lock, seal or Seal()
        self._group: Any = None
        self._arrays: dict[str, Any] = {}
        if path is not None:
            import zarr

            self._group = by_zarr(lambda: zarr.open_group(path, mode="r+", use_consolidated=False))

    @classmethod
    def create(cls, path: Path | None, layout: Layout, lock: Lock | None = None, *, replace: bool = False) -> Store:
        """Lay out a result, on disk where `path` is given; with its lock, which whoever gives one frees in any case.

        Raises:
            ResultError: something lies there already, and is not to be replaced or no result.
        """
        data = layout.empty()
        if path is None:
            return cls(data, None, None)
        lock = lock or Lock(path)
        replace = replace and path.exists()
        if replace:
            check_is_result(path)
            locked(path, lock)
        seal = put(data, path, replace=replace)
        lock.release()  # that of what was replaced
        return cls(data, path, locked(path, lock), seal)

    @classmethod
    def nowhere(cls) -> Store:
        """A store that holds nothing, for those who only want to know what scoring would take."""
        return cls(xr.Dataset(attrs={"units": {}}), None, None)

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether a result was laid out at `path`; what a killed process left beside it is tidied up first."""
        settle(path)
        return path.exists()

    @classmethod
    def open(cls, path: Path, lock: Lock | None = None) -> Store:
        """Open a stored result to go on with it; what was half-written is swept, what was not finished or is damaged is missing.

        Raises:
            ResultError: no result lies there, it is damaged beyond its points, or another process is filling it.
        """
        settle(path)
        links = links_below(path)
        if links:
            raise ResultError(
                f'"{links[0]}" is a symbolic link, so what is stored there would land elsewhere; remove it, or copy the result'
            )
        check_format(path)
        lock = locked(path, lock or Lock(path))
        try:
            _sweep_chunks(path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # damaged points are scored anew
                data, seal, derived = read_sealed(path, mine=True)
            return cls(data.drop_vars(derived, errors="ignore"), path, lock, seal)
        except BaseException:
            lock.release()
            raise

    def _array(self, name: str) -> Any:
        """A variable on disk. Each is looked up once: that takes as long as writing a chunk."""
        if name not in self._arrays:
            self._arrays[name] = self._group[file_name(name)]
        return self._arrays[name]

    def done(self, prefix: str) -> NDArray[np.bool_]:
        """Which points are stored, flat."""
        return np.asarray(self.data[named(prefix, "status")].values.ravel() != MISSING)

    def unit(self, prefix: str) -> int:
        """How many points are stored at once."""
        return int(self.data.attrs["units"][prefix])

    def values(self, prefix: str, index: int) -> dict[str, float]:
        """One stored point's values."""
        return {name: float(self.data[named(prefix, name)].values.flat[index]) for name in self.data.attrs["scored"]}

    def write(self, prefix: str, start: int, values: Mapping[str, Sequence[float]]) -> None:
        """Store one unit from flat index `start` on: the values, then their status."""
        columns: dict[str, NDArray[Any]] = {named(prefix, name): np.asarray(column, np.float64) for name, column in values.items()}
        finite = _finite(values)
        status = np.where(finite, EVALUATED, NOT_FINITE).astype(np.int8)
        shape = self.data[named(prefix, "status")].shape
        *outer, first = np.unravel_index(start, shape)
        where: Any = (*map(int, outer), slice(int(first), int(first) + len(finite)))
        for name, column in {**columns, named(prefix, "status"): status}.items():
            self.data[name].values[where] = column
        if self._group is not None:
            checks = self._checks(prefix, np.arange(start, start + len(finite)))
            self._put(
                [
                    (name, where, column)
                    for name, column in {**columns, named(prefix, CHECK): checks, named(prefix, "status"): status}.items()
                ]
            )

    def write_cells(self, prefix: str, cells: Sequence[int], values: Mapping[str, Sequence[float]]) -> None:
        """Store points that lie anywhere: the values, then their status. Chunks that others share are written whole again."""
        columns = {named(prefix, name): np.asarray(column, np.float64) for name, column in values.items()}
        finite = _finite(values)
        status = np.where(finite, EVALUATED, NOT_FINITE).astype(np.int8)
        self._put_cells(prefix, np.asarray(cells), columns, status)

    def write_rows(self, prefix: str, start: int, values: Mapping[str, NDArray[Any]], *, estimated: NDArray[np.bool_]) -> None:
        """Store whole rows ``[r, …]`` of the last dimension from row `start` on: the values, then their status."""
        where = slice(start, start + len(next(iter(values.values()))))
        finite = _finite(values)
        status = np.where(finite, np.where(estimated, ESTIMATED, EVALUATED), NOT_FINITE).astype(np.int8)
        for name, block in {**{named(prefix, name): block for name, block in values.items()}, named(prefix, "status"): status}.items():
            self.data[name].values[where] = block
        if self._group is None:
            return
        width = self.data[named(prefix, "status")].shape[-1]
        checks = self._checks(prefix, np.arange(where.start * width, where.stop * width)).reshape(-1, width)
        made = [(name, where, self.data[name].values[where]) for name in (named(prefix, name) for name in values)]
        self._put([*made, (named(prefix, CHECK), where, checks), (named(prefix, "status"), where, status)])

    def estimate(self, prefix: str, values: Mapping[str, ArrayLike], attrs: Mapping[str, Any]) -> None:
        """Fill what is not scored with estimates over the whole dimensions; what was scored stays as it is."""
        free = np.flatnonzero(~self.done(prefix))
        self.add({}, attrs)
        self.write_estimates(prefix, free, values_at(values, free))

    def write_estimates(self, prefix: str, cells: NDArray[np.int64], values: Mapping[str, NDArray[Any]]) -> None:
        """Store estimates of these points."""
        columns = {named(prefix, name): column for name, column in values.items()}
        self._put_cells(prefix, cells, columns, np.full(len(cells), ESTIMATED, np.int8))

    def _put_cells(self, prefix: str, cells: NDArray[np.int64], columns: Mapping[str, NDArray[Any]], status: NDArray[np.int8]) -> None:
        """Set the values of `cells` and write the rows that they lie in: the values, their checks, the status last."""
        for name, column in {**columns, named(prefix, "status"): status}.items():
            self.data[name].values.flat[cells] = column
        if self._group is None or not len(cells):
            return
        shape = self.data[named(prefix, "status")].shape
        rows = np.unique(cells // shape[-1])
        places: list[Any] = [(*map(int, np.unravel_index(int(row), shape[:-1])), slice(None)) for row in rows]
        checks = [self._checks(prefix, np.arange(row * shape[-1], (row + 1) * shape[-1])) for row in rows]
        made = [(name, place, self.data[name].values[place]) for name in columns for place in places]
        made += [(named(prefix, CHECK), place, check) for place, check in zip(places, checks, strict=True)]
        self._put([*made, *((named(prefix, "status"), place, self.data[named(prefix, "status")].values[place]) for place in places)])

    def _put(self, parts: Sequence[tuple[str, Any, NDArray[Any]]]) -> None:
        """Write parts of variables, in this order: whoever stores points stores their status last."""

        def put() -> None:
            for name, where, values in parts:
                self._array(name)[where] = values

        by_zarr(put)

    def _checks(self, prefix: str, cells: NDArray[np.int64]) -> NDArray[np.uint64]:
        columns = [self.data[name].values.flat[cells] for name in scored_names(self.data, prefix)]
        return self._seal.point_checks(prefix, cells, columns, self.data[named(prefix, "status")].values.flat[cells])

    def evaluated(self, prefix: str) -> NDArray[np.bool_]:
        """Which points were scored, flat; what is estimated was not."""
        status = self.data[named(prefix, "status")].values.ravel()
        return np.asarray((status == EVALUATED) | (status == NOT_FINITE))

    def add(self, variables: Mapping[str, tuple[tuple[str, ...], ArrayLike]], attrs: Mapping[str, Any]) -> None:
        """Add what is derived from the scored values, once they are complete."""
        for name in variables:
            if any(name == named(prefix, own) for prefix in prefixes(self.data) for own in self.data.attrs["scored"]):
                raise ResultError(f'"{name}" is scored and would be derived too; rename your metric')
        made = xr.Dataset({name: (dims, np.asarray(values)) for name, (dims, values) in variables.items()})
        before = self.data.attrs | {SEAL: self._seal.to_json()}
        self.data = self.data.assign(made.data_vars)
        self.data.attrs.update(attrs)
        if self._group is not None:
            self._seal = self._seal.adding(self.data, variables)
            sealed = made.assign_attrs(self.data.attrs | {SEAL: self._seal.to_json()}).drop_vars(list(variables))
            for added in [*([renamed(made.assign_attrs(before), file_name)] if variables else []), sealed]:
                by_zarr(partial(added.to_zarr, self.path, mode="a", consolidated=False, zarr_format=3))

    def close(self) -> Result:
        """Free the store and hand out the result."""
        if self._lock is not None:
            self._lock.release()
        return Result(self.data, self.path)
