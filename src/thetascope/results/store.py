"""Results on disk: a zarr group that is filled unit by unit and is valid at every moment.

A unit's values are written first, its status last; a chunk is put in place whole. What a killed process left
half-written is swept on opening. Chunks carry a checksum.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from thetascope.errors import ResultError
from thetascope.files import PARTIAL, Lock, sweep_partial
from thetascope.results.result import ESTIMATED, EVALUATED, MISSING, NOT_FINITE, Result

FORMAT = 1


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

    def empty(self) -> xr.Dataset:
        """The dataset with every point missing."""
        variables: dict[str, Any] = {}
        for block in self.blocks:
            for name in block.names:
                variables[block.prefix + name] = (block.dims, np.full(block.shape, np.nan, block.dtype))
            variables[block.prefix + "status"] = (block.dims, np.zeros(block.shape, np.int8))
        variables.update({name: (dims, np.asarray(values)) for name, (dims, values) in self.constants.items()})
        units = {block.prefix: block.unit for block in self.blocks}
        scored = list(self.blocks[0].names) if self.blocks else []
        rows = {block.prefix: block.rows for block in self.blocks if block.rows > 1}
        attrs = {"thetascope_format": FORMAT, "units": units, "scored": scored, **({"unit_rows": rows} if rows else {}), **self.attrs}
        used = {dim for dims in (v[0] for v in variables.values()) for dim in dims}
        return xr.Dataset(variables, coords={k: v for k, v in self.coords.items() if k in used}, attrs=attrs)


class Store:
    """A result that is being filled: in memory, and on disk where there is a path."""

    def __init__(self, data: xr.Dataset, path: Path | None, lock: Lock | None) -> None:
        self.data, self.path, self._lock = data, path, lock
        self._group: Any = None
        if path is not None:
            import zarr

            self._group = zarr.open_group(path, mode="r+", use_consolidated=False)

    @classmethod
    def create(cls, path: Path | None, layout: Layout) -> Store:
        """Lay out a result, on disk where `path` is given."""
        data = layout.empty()
        if path is None:
            return cls(data, None, None)
        path.parent.mkdir(parents=True, exist_ok=True)
        _put(data, path)
        return cls(data, path, _locked(path))

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open a stored result to go on with it; what was half-written is swept, what was not finished is missing.

        Raises:
            ResultError: no result lies there, it is damaged, or another process is filling it.
        """
        lock = _locked(path)
        try:
            sweep_partial(path)
            data = read(path)
            for name in data.data_vars:
                if str(name).endswith("status"):
                    _forget_unfinished(data, str(name))
            return cls(data, path, lock)
        except BaseException:
            lock.release()
            raise

    def done(self, prefix: str) -> NDArray[np.bool_]:
        """Which points are stored, flat."""
        return np.asarray(self.data[prefix + "status"].values.ravel() != MISSING)

    def unit(self, prefix: str) -> int:
        """How many points are stored at once."""
        return int(self.data.attrs["units"][prefix])

    def values(self, prefix: str, index: int) -> dict[str, float]:
        """One stored point's values."""
        return {name: float(self.data[prefix + name].values.flat[index]) for name in self.data.attrs["scored"]}

    def write(self, prefix: str, start: int, values: Mapping[str, Sequence[float]]) -> None:
        """Store one unit from flat index `start` on: the values, then their status."""
        columns = {prefix + name: np.asarray(column, np.float64) for name, column in values.items()}
        finite = np.all([np.isfinite(column) for column in columns.values()], axis=0)
        columns[prefix + "status"] = np.where(finite, EVALUATED, NOT_FINITE).astype(np.int8)
        shape = self.data[prefix + "status"].shape
        *outer, first = np.unravel_index(start, shape)
        where: Any = (*map(int, outer), slice(int(first), int(first) + len(finite)))
        for name, column in columns.items():  # the status comes last
            self.data[name].values[where] = column
            if self._group is not None:
                with _zarr_settings():
                    self._group[name][where] = column

    def write_cells(self, prefix: str, cells: Sequence[int], values: Mapping[str, Sequence[float]]) -> None:
        """Store points that lie anywhere: the values, then their status. Chunks that others share are written whole again."""
        columns = {prefix + name: np.asarray(column, np.float64) for name, column in values.items()}
        finite = np.all([np.isfinite(column) for column in columns.values()], axis=0)
        columns[prefix + "status"] = np.where(finite, EVALUATED, NOT_FINITE).astype(np.int8)
        for name, column in columns.items():
            self._put_cells(name, np.asarray(cells), column)

    def write_rows(self, prefix: str, start: int, values: Mapping[str, NDArray[Any]], *, estimated: bool) -> None:
        """Store whole rows ``[r, …]`` of the last dimension from row `start` on: the values, then their status."""
        where = slice(start, start + len(next(iter(values.values()))))
        finite = np.all([np.isfinite(block) for block in values.values()], axis=0)
        columns = {prefix + name: block for name, block in values.items()}
        columns[prefix + "status"] = np.where(finite, ESTIMATED if estimated else EVALUATED, NOT_FINITE).astype(np.int8)
        for name, block in columns.items():
            self.data[name].values[where] = block
            if self._group is not None:
                with _zarr_settings():
                    self._group[name][where] = self.data[name].values[where]

    def estimate(self, prefix: str, values: Mapping[str, ArrayLike], attrs: Mapping[str, Any]) -> None:
        """Fill what is not scored with estimates over the whole dimensions; what was scored stays as it is."""
        status = prefix + "status"
        free = np.flatnonzero(self.data[status].values.ravel() == MISSING)
        for name, field_ in values.items():
            self._put_cells(prefix + name, free, np.asarray(field_, np.float64).ravel()[free])
        self.add({}, attrs)
        self._put_cells(status, free, np.full(len(free), ESTIMATED, np.int8))

    def _put_cells(self, name: str, cells: NDArray[np.int64], column: NDArray[Any]) -> None:
        array = self.data[name].values
        array.flat[cells] = column
        if self._group is not None and len(cells):
            stored, last = self._group[name], array.shape[-1]
            with _zarr_settings():
                for row in np.unique(cells // last):
                    where = np.unravel_index(int(row), array.shape[:-1])
                    index: Any = (*map(int, where), slice(None))
                    stored[index] = array[index]

    def evaluated(self, prefix: str) -> NDArray[np.bool_]:
        """Which points were scored, flat; what is estimated was not."""
        status = self.data[prefix + "status"].values.ravel()
        return np.asarray((status == EVALUATED) | (status == NOT_FINITE))

    def add(self, variables: Mapping[str, tuple[tuple[str, ...], ArrayLike]], attrs: Mapping[str, Any]) -> None:
        """Add what is derived from the scored values, once they are complete."""
        made = xr.Dataset({name: (dims, np.asarray(values)) for name, (dims, values) in variables.items()})
        self.data = self.data.assign(made.data_vars)
        self.data.attrs.update(attrs)
        if self.path is not None:
            with _zarr_settings():
                made.assign_attrs(self.data.attrs).to_zarr(self.path, mode="a", consolidated=False, zarr_format=3)

    def close(self) -> Result:
        """Free the store and hand out the result."""
        if self._lock is not None:
            self._lock.release()
        return Result(self.data, self.path)


def save(data: xr.Dataset, path: Path) -> Path:
    """Write a whole dataset to `path`; an older result there is replaced once the new one is complete."""
    if path.exists() and not _is_result(path):
        raise ResultError(f'"{path}" exists and is no thetascope result; choose another place')
    path.parent.mkdir(parents=True, exist_ok=True)
    _put(data, path)
    return path


def load_result(path: str | Path) -> Result:
    """Load a stored result, finished or not.

    Raises:
        ResultError: no result lies there, it is damaged, or of a newer format.

    Example:
        >>> path = ts.interpolate(objective, trajectory, alphas=5).save("results/line")
        >>> ts.load_result(path).data["loss"].sizes["alpha"]
        5
    """
    return Result(read(Path(path)), Path(path))


def read(path: Path) -> xr.Dataset:
    """Read a stored dataset into memory."""
    if not path.exists():
        raise ResultError(f'"{path}" does not exist; results are stored with out=PATH or result.save(PATH)')
    if not (path / "zarr.json").is_file():
        raise ResultError(f'"{path}" is no stored result: it holds no zarr.json')
    try:
        with _zarr_settings():
            data: xr.Dataset = xr.open_zarr(path, consolidated=False, chunks=None).load()
    except Exception as error:
        raise ResultError(f'the result at "{path}" is damaged ({type(error).__name__}: {error}); restore or remove it') from error
    version = data.attrs.get("thetascope_format")
    if version != FORMAT:
        raise ResultError(
            f'"{path}" has result format {version}; this thetascope reads {FORMAT}. Load it with the version that wrote it, or remove it'
        )
    return data


def _put(data: xr.Dataset, path: Path) -> None:
    """Write `data` beside `path`, then put it in place in one step."""
    partial = path.with_name(f".{path.name}{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    with _zarr_settings():
        data.drop_encoding().to_zarr(partial, mode="w", consolidated=False, zarr_format=3, encoding=_encoding(data))
    if path.exists():
        replaced = path.with_name(f".{path.name}.replaced{PARTIAL}")
        shutil.rmtree(replaced, ignore_errors=True)
        path.rename(replaced)
        partial.rename(path)
        shutil.rmtree(replaced)
    else:
        partial.rename(path)


def _encoding(data: xr.Dataset) -> dict[str, dict[str, Any]]:
    """A chunk a unit, so that no two units share one; a checksum on each."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    encoding: dict[str, dict[str, Any]] = {}
    units, rows = data.attrs.get("units", {}), data.attrs.get("unit_rows", {})
    for name, variable in data.data_vars.items():
        encoding[str(name)] = {"compressors": (ZstdCodec(), Crc32cCodec())}
        for prefix, unit in units.items():
            if f"{prefix}status" in data and data[f"{prefix}status"].dims == variable.dims and str(name).startswith(prefix):
                outer = [1 for _ in variable.dims[:-1]]
                outer[-1:] = [min(rows.get(prefix, 1), variable.shape[-2])] if outer else []
                encoding[str(name)]["chunks"] = (*outer, unit)
    return encoding


def _forget_unfinished(data: xr.Dataset, status_name: str) -> None:
    """A point whose status says evaluated or estimated but whose value was lost (a power cut) counts as missing."""
    prefix = status_name.removesuffix("status")
    status = data[status_name]
    for name in data.attrs["scored"]:
        lost = np.isin(status.values, (EVALUATED, ESTIMATED)) & ~np.isfinite(data[prefix + name].values)
        status.values[lost] = MISSING


def _is_result(path: Path) -> bool:
    try:
        read(path)
    except ResultError:
        return False
    return True


def _locked(path: Path) -> Lock:
    if not path.is_dir():
        raise ResultError(f'"{path}" does not exist or is a file; results are folders')
    lock = Lock(path)
    if not lock.acquire():
        raise ResultError(f'another process is filling "{path}"; wait for it, or choose another out=')
    return lock


@contextmanager
def _zarr_settings() -> Iterator[None]:
    """Every chunk is written, also one of fill values; labels are stored as zarr and xarray store them."""
    import zarr
    from zarr.errors import UnstableSpecificationWarning

    with zarr.config.set({"array.write_empty_chunks": True}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UnstableSpecificationWarning)
        yield
