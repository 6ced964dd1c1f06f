"""Whole results on disk: written, replaced, read, and checked against their seal."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from thetascope.errors import ResultError
from thetascope.files import Lock, file_name, is_locked, named_by
from thetascope.results.atomic_folder import put_in_place, settle, taken
from thetascope.results.metadata import LARGEST_HEADER, chunks_of
from thetascope.results.seal import CHECK, SEAL, Seal, prefixes, scored_names, uncovered
from thetascope.results.status import MISSING, named
from thetascope.safe_paths import read_whole
from thetascope.shown import warn
from thetascope.uninterrupted import uninterrupted

FORMAT = 4

T = TypeVar("T")

HEADER = "zarr.json"

UNTIL = "-until="
"""Stands in the name of a result before the last step of a training that had grown since the same call was stored."""


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
    try:
        dataset(path)
    except ResultError as error:
        raise _no_result(path) from error
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
    if not (path / HEADER).is_file():
        return
    found = _header(path).get("thetascope_format")
    if type(found) is not int:
        raise ResultError(
            f'"{path}" has result format {str(found)[:40]}, which no version writes: it is no thetascope result, or it is damaged'
        )
    if found < FORMAT:
        raise ResultError(
            f'"{path}" has result format {found}, which an earlier version wrote, and this one reads format {FORMAT}: '
            "remove it and make the result anew (--fresh does both), or install the version that wrote it"
        )
    if found > FORMAT:
        raise ResultError(f'"{path}" has result format {found}, and this version reads format {FORMAT}: install a newer thetascope')


def check_is_result(path: Path) -> None:
    """Refuse to replace what is no result; one of another version, or one that is damaged, is.

    Raises:
        ResultError: it is none.
    """
    if not (path / HEADER).is_file() or type(_header(path).get("thetascope_format")) is not int:
        raise _no_result(path)


def _no_result(path: Path) -> ResultError:
    return ResultError(f'"{path}" exists and is no thetascope result; choose another place')


def attributes(path: Path) -> dict[str, Any]:
    """What a stored result says of itself, read without its arrays.

    Raises:
        ResultError: it is none, or damaged.
    """
    check_format(path)
    return _header(path)


def _header(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_whole(path / HEADER, path, LARGEST_HEADER, ResultError).decode())["attributes"]
        return dict(found)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ResultError:
    return ResultError(f'the result at "{path}" is damaged ({type(error).__name__}: {error}); restore or remove it')


def read_sealed(path: Path, *, mine: bool = False) -> tuple[xr.Dataset, Seal, list[str]]:
    """A stored dataset, its seal, and what in it was derived and is not as it was sealed.

    Where another process is filling or replacing it (it is not `mine`, whose lock the caller holds), what is half-written is
    no damage: it is read again, and what is still so counts as missing.

    Raises:
        ResultError: there is none, or it is damaged.
    """
    for pause in PAUSES:
        time.sleep(pause)
        before = _version(path)
        filled = not mine and is_locked(path)
        problem: ResultError | None = None
        try:
            found = _read(path)
        except ResultError as error:
            problem = error
        if (problem is None and not found.damaged and not found.derived) or not (filled or _version(path) != before):
            break
    if problem is not None:
        if filled:
            raise ResultError(f'"{path}" cannot be read while another process fills it; read it again ({problem})') from problem
        raise problem
    if filled:
        return found.data.drop_vars(found.derived, errors="ignore"), found.seal, []
    if found.damaged:
        warn(
            f'{found.damaged:,} points stored at "{path}" are damaged and count as missing; the call that made them scores them anew',
            stacklevel=4,
        )
    return found.data, found.seal, found.derived


PAUSES = (0.0, 0.02, 0.1, 0.3)
"""Seconds before each reading of a result that another process is at work on."""


@dataclass(frozen=True)
class _Found:
    data: xr.Dataset
    seal: Seal
    derived: list[str]
    damaged: int


def _version(path: Path) -> tuple[int, ...]:
    """Of the folder and its header: others are there once something was replaced, or derived and added."""
    with suppress(OSError):
        folder, header = path.stat(), (path / HEADER).stat()
        return (folder.st_ino, header.st_ino, header.st_mtime_ns)
    return ()


def _read(path: Path) -> _Found:
    if not path.exists():
        raise ResultError(f'"{path}" does not exist; results are stored with out=PATH or result.save(PATH)')
    if not (path / HEADER).is_file():
        raise ResultError(f'"{path}" is no stored result: it holds no {HEADER}')
    check_format(path)
    from thetascope.results.held_files import HeldFiles

    try:
        with HeldFiles(path) as files:
            data = by_zarr(lambda: xr.open_zarr(files, consolidated=False, chunks=None, zarr_format=3).load())
        return _unsealed(renamed(data, named_by), path)
    except ResultError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error


def _unsealed(data: xr.Dataset, path: Path) -> _Found:
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
        raise ResultError(f'no point stored at "{path}" belongs to it: "{HEADER}" is another result\'s; restore or remove it')
    known = {*seal.variables, *seal.derived}
    left = [name for name in uncovered(data) if name not in known]  # a killed process added it and did not come to seal it
    return _Found(data.drop_vars([*left, *(named(prefix, CHECK) for prefix in prefixes(data))]), seal, derived, damaged)


def put(data: xr.Dataset, path: Path, *, replace: bool) -> Seal:
    """Write `data` beside `path`, then put it in place in one step."""
    data = data.drop_encoding()
    sealed = Seal().over(data)
    checks = {named(prefix, CHECK): (data[named(prefix, "status")].dims, sealed.all_checks(data, prefix)) for prefix in prefixes(data)}
    whole = renamed(data.assign(checks).assign_attrs({SEAL: sealed.to_json()}), file_name)

    def write(partial: Path) -> None:
        by_zarr(lambda: whole.to_zarr(partial, mode="w-", consolidated=False, zarr_format=3, encoding=_encoding(whole)))

    put_in_place(path, write, replace=replace)
    return sealed


def renamed(data: xr.Dataset, name: Callable[[str], str]) -> xr.Dataset:
    """The dataset whose variables are called as their files, with `file_name`; or as their users do, with `named_by`."""
    return data.rename({old: new for old in map(str, data.data_vars) if (new := name(old)) != old})


def _encoding(data: xr.Dataset) -> dict[str, dict[str, Any]]:
    """A chunk a unit, so that no two units share one; a checksum on each."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    encoding: dict[str, dict[str, Any]] = {}
    statuses = {prefix: data[named(prefix, "status")].dims for prefix in prefixes(data)}
    for name, variable in data.data_vars.items():
        encoding[str(name)] = {"compressors": (ZstdCodec(), Crc32cCodec())}
        chunk = chunks_of(str(name), variable.dims, variable.shape, statuses, data.attrs)
        if chunk is not None:
            encoding[str(name)]["chunks"] = chunk
    return encoding


def locked(path: Path, lock: Lock) -> Lock:
    """The lock of the result at `path`, taken.

    Raises:
        ResultError: another process holds it, or there is no folder.
    """
    if not path.is_dir():
        raise ResultError(f'"{path}" does not exist or is a file; results are folders')
    for pause in (0.0, 0.01, 0.05):  # a reader that asks whether it is being filled holds it for a moment
        time.sleep(pause)
        if lock.acquire():
            return lock
    raise taken(path)


def by_zarr(work: Callable[[], T]) -> T:
    """What `work` gives, which reads or writes by zarr: every chunk is written, also one of fill values; labels are stored as zarr and
    xarray store them. zarr waits for a thread of its own, so that no interrupt may reach it."""
    import zarr
    from zarr.errors import UnstableSpecificationWarning

    def done() -> T:
        with zarr.config.set({"array.write_empty_chunks": True}), warnings.catch_warnings():
            warnings.simplefilter("ignore", UnstableSpecificationWarning)
            return work()

    return uninterrupted(done, "zarr was still at work")
