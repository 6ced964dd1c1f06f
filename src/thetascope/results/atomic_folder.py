"""Putting a folder in place whole, and tidying up after a process that was killed meanwhile."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from thetascope.errors import ResultError
from thetascope.files import PARTIAL, Lock, partial_of, sweep_beside

_claimed: set[str] = set()
"""What threads of this process are making."""


def put_in_place(path: Path, write: Callable[[Path], None], *, replace: bool) -> None:
    """Let `write` make a folder beside `path`, then put it in place; with `replace` for what lies there, which the caller has locked.

    A process that is killed meanwhile leaves the old folder or the new one, at `path` or where `settle` finds it.

    Raises:
        ResultError: another process or thread put something there first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    settle(path)
    partial = partial_of(path)
    if str(partial) in _claimed:
        raise _taken(path)
    _claimed.add(str(partial))
    try:
        _remove(partial)
        partial.mkdir()
        write(partial)
        if replace:
            path.rename(_replaced(path))
        try:
            partial.rename(path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise _taken(path) from error
            raise
        if replace:
            _replaced(path).rename(partial)  # half removed it may no longer look like what lay at `path`
    finally:
        if replace and not path.exists():
            _replaced(path).rename(path)
        _remove(partial)
        _claimed.discard(str(partial))


def _remove(partial: Path) -> None:
    """Remove what was not finished. After an error, threads of zarr may go on writing to it for a moment."""
    for pause in (0.0, 0.01, 0.05, 0.2, 0.5, 1.0):
        time.sleep(pause)
        shutil.rmtree(partial, ignore_errors=True)
        if not partial.exists():
            return


def settle(path: Path) -> None:
    """Tidy up what a killed process left beside `path`; the folder that it was replacing comes back."""
    sweep_beside(path)
    replaced = _replaced(path)
    if not replaced.is_dir():
        return
    lock = Lock(replaced)
    try:
        if not lock.acquire():
            return  # somebody is at work
        if path.exists():
            shutil.rmtree(replaced)
        else:
            replaced.rename(path)
    except FileNotFoundError:
        return  # somebody else tidied up
    finally:
        lock.release()


def _replaced(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced{PARTIAL}")


def _taken(path: Path) -> ResultError:
    return ResultError(f'another process is filling "{path}"; wait for it, or choose another out=')
