"""Putting a folder in place whole, and tidying up after a process that was killed meanwhile."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from thetascope.errors import ResultError
from thetascope.files import Lock, leftovers, made_beside, sweep_beside

REPLACED = "replaced"
"""What the folder that is being replaced is called in the private one, where it waits for the new one to be in place."""


def put_in_place(path: Path, write: Callable[[Path], None], *, replace: bool) -> None:
    """Let `write` make a folder beside `path`, then put it in place; with `replace` for what lies there, which the caller has locked.

    A process that is killed meanwhile leaves the old folder or the new one, at `path` or where `settle` finds it.

    Raises:
        ResultError: another process or thread put something there first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    settle(path)
    with made_beside(path) as private:
        made, replaced = private / path.name, private / REPLACED
        write(made)
        if replace:
            path.rename(replaced)
        try:
            made.rename(path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise taken(path) from error
            raise
        finally:
            if replace and not path.exists():
                replaced.rename(path)


def settle(path: Path) -> None:
    """Tidy up what a killed process left beside `path`; the folder that it was replacing comes back."""
    if not path.exists():
        for leftover in leftovers(path.parent, path, of_other_starts=True):
            _bring_back(leftover / REPLACED, path)
    sweep_beside(path)


def _bring_back(replaced: Path, path: Path) -> None:
    """Put the folder that was being replaced in its place again, unless whoever replaces it is at work."""
    with suppress(OSError), Lock(replaced) as lock, lock:  # there is none, or somebody else tidied up
        if lock.acquire():
            replaced.rename(path)


def taken(path: Path) -> ResultError:
    """What is raised where another process or thread is at work."""
    return ResultError(f'another process is filling "{path}"; wait for it, or choose another out=')
