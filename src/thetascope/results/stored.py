"""Whole results on disk: written, replaced, read, and checked against their seal."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from thetascope.errors import ResultError
from thetascope.files import Lock, file_name, named_by
from thetascope.results.atomic_folder import put_in_place, settle
from thetascope.results.seal import CHECK, SEAL, Seal, prefixes, scored_names, uncovered
from thetascope.results.status import MISSING, named
from thetascope.shown import warn

FORMAT = 4

SPARE_BYTES, LARGEST_RATIO = 2**24, 1000
"""A result may take so much memory, and so many times its files' size: real ones compress by ten."""


def save(data: xr.Dataset, path: Path) -> Path:
    """Write a whole dataset to `path`; an older result there is replaced once the new one is complete.

    Raises:
        ResultError: something else lies there, or another process is filling the result that does.
    """
    settle(path)
    if not path.exists():
        put(data, path, replace=False)
        return path
    check_format(path)
    if not _is_result(path):
        raise ResultError(f'"{path}" exists and is no thetascope result; choose another place')
    with Lock(path) as lock, lock:
        locked(path, lock)
        put(data, path, replace=True)
    return path


def dataset(path: Path) -> xr.Dataset:
    """Read a stored dataset into memory."""
    with suppress(OSError):  # on a medium that cannot be written, say
        settle(path)
    data, _, damaged = read_sealed(path)
    if damaged:
        raise ResultError(f'the result at "{path}" is damaged: {", ".join(damaged)} differ from what was stored; restore or remove it')
    return data


def check_format(path: Path) -> None:
    """Refuse what this version does not read, before anything else of it is read; what has no header is nobody's result.

    Raises:
        ResultError: another version wrote it, or none did.
    """
    if not (path / "zarr.json").is_file():
        return
    try:
        found = json.loads((path / "zarr.json").read_bytes())["attributes"].get("thetascope_format")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, error) from error
    if type(found) is not int:
        raise ResultError(
            f'"{path}" has result format {str(found)[:40]}, which no version writes: it is no thetascope result, or it is damaged'
        )
    if found < FORMAT:
        raise ResultError(
            f'"{path}" has result format {found}, which an earlier version wrote, and this one reads format {FORMAT}: '
            "remove it and make the result anew (the same command or call does), or install the version that wrote it"
        )
    if found > FORMAT:
        raise ResultError(f'"{path}" has result format {found}, and this version reads format {FORMAT}: install a newer thetascope')


def _damaged(path: Path, error: Exception) -> ResultError:
    return ResultError(f'the result at "{path}" is damaged ({type(error).__name__}: {error}); restore or remove it')


def read_sealed(path: Path) -> tuple[xr.Dataset, Seal, list[str]]:
    """A stored dataset, its seal, and what in it was derived and is not as it was sealed."""
    if not path.exists():
        raise ResultError(f'"{path}" does not exist; results are stored with out=PATH or result.save(PATH)')
    if not (path / "zarr.json").is_file():
        raise ResultError(f'"{path}" is no stored result: it holds no zarr.json')
    check_format(path)
    try:
        with zarr_settings():
            _check_size(path)
            data: xr.Dataset = xr.open_zarr(path, consolidated=False, chunks=None, zarr_format=3).load()
        data = renamed(data, named_by)
    except ResultError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error
    try:
        return _unsealed(data, path)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, error) from error


def _unsealed(data: xr.Dataset, path: Path) -> tuple[xr.Dataset, Seal, list[str]]:
    seal = Seal(**data.attrs.pop(SEAL))
    broken, derived = seal.broken(data)
    if broken:
        raise ResultError(
            f'the result at "{path}" is damaged: {", ".join(broken)} differ from what was stored (altered, or another result\'s); '
            "restore or remove it"
        )
    damaged = stored = 0
    for prefix in prefixes(data):
        status = data[named(prefix, "status")]
        wrong = (status.values != MISSING) & (data[named(prefix, CHECK)].values != seal.all_checks(data, prefix))
        damaged, stored = damaged + int(wrong.sum()), stored + int((status.values != MISSING).sum())
        status.values[wrong] = MISSING
        for name in scored_names(data, prefix):
            data[name].values[status.values == MISSING] = np.nan
    if damaged == stored > 1:
        raise ResultError(f'no point stored at "{path}" belongs to it: "zarr.json" is another result\'s; restore or remove it')
    if damaged:
        warn(
            f'{damaged:,} points stored at "{path}" are damaged and count as missing; the call that made them scores them anew',
            stacklevel=5,
        )
    known = {*seal.variables, *seal.derived}
    left = [name for name in uncovered(data) if name not in known]  # a killed process added it and did not come to seal it
    return data.drop_vars([*left, *(named(prefix, CHECK) for prefix in prefixes(data))]), seal, derived


def _check_size(path: Path) -> None:
    """Before anything is read: a header may promise any number of values."""
    import zarr

    held = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    group = zarr.open_group(path, mode="r", zarr_format=3, use_consolidated=False)
    promised = sum(array.nbytes for _, array in group.arrays())
    if promised > SPARE_BYTES + LARGEST_RATIO * held:
        raise ResultError(f'"{path}" promises {promised:,} bytes and holds {held:,}: it is damaged, or made to fill the memory')


def put(data: xr.Dataset, path: Path, *, replace: bool) -> Seal:
    """Write `data` beside `path`, then put it in place in one step."""
    data = data.drop_encoding()
    sealed = Seal().over(data)
    checks = {named(prefix, CHECK): (data[named(prefix, "status")].dims, sealed.all_checks(data, prefix)) for prefix in prefixes(data)}
    whole = renamed(data.assign(checks).assign_attrs({SEAL: sealed.to_json()}), file_name)

    def write(partial: Path) -> None:
        with zarr_settings():
            whole.to_zarr(partial, mode="w-", consolidated=False, zarr_format=3, encoding=_encoding(whole))

    put_in_place(path, write, replace=replace)
    return sealed


def renamed(data: xr.Dataset, name: Callable[[str], str]) -> xr.Dataset:
    """The dataset whose variables are called as their files, with `file_name`; or as their users do, with `named_by`."""
    return data.rename({old: new for old in map(str, data.data_vars) if (new := name(old)) != old})


def _encoding(data: xr.Dataset) -> dict[str, dict[str, Any]]:
    """A chunk a unit, so that no two units share one; a checksum on each."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    encoding: dict[str, dict[str, Any]] = {}
    units, rows = data.attrs.get("units", {}), data.attrs.get("unit_rows", {})
    for name, variable in data.data_vars.items():
        encoding[str(name)] = {"compressors": (ZstdCodec(), Crc32cCodec())}
        for prefix, unit in units.items():
            if named(prefix, "status") in data and data[named(prefix, "status")].dims == variable.dims and str(name).startswith(prefix):
                outer = [1 for _ in variable.dims[:-1]]
                outer[-1:] = [min(rows.get(prefix, 1), variable.shape[-2])] if outer else []
                encoding[str(name)]["chunks"] = (*outer, unit)
    return encoding


def _is_result(path: Path) -> bool:
    try:
        dataset(path)
    except ResultError:
        return False
    return True


def locked(path: Path, lock: Lock) -> Lock:
    """The lock of the result at `path`, taken.

    Raises:
        ResultError: another process holds it, or there is no folder.
    """
    if not path.is_dir():
        raise ResultError(f'"{path}" does not exist or is a file; results are folders')
    if not lock.acquire():
        raise ResultError(f'another process is filling "{path}"; wait for it, or choose another out=')
    return lock


@contextmanager
def zarr_settings() -> Iterator[None]:
    """Every chunk is written, also one of fill values; labels are stored as zarr and xarray store them."""
    import zarr
    from zarr.errors import UnstableSpecificationWarning

    with zarr.config.set({"array.write_empty_chunks": True}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UnstableSpecificationWarning)
        yield
