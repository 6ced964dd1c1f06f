"""Interrupting a process at its n-th step on files: killed there, or told that the disk is full.

A step is what Python announces to audit hooks before it happens: opening a file to write, making, renaming, linking and removing
files and folders. What runs in other threads (zarr's, the Recorder's) counts too.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MAKING = {"open", "os.mkdir", "os.rename", "os.link", "os.truncate"}
REMOVING = {"os.remove", "os.rmdir"}


class _Watch:
    def __init__(self, folder: Path, events: set[str], at: int, act: Callable[[str], None]) -> None:
        self.folder, self.events, self.at, self.act = str(folder), events, at, act
        self.taken = 0

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in self.events or not isinstance(arguments[0], str | os.PathLike):
            return
        if not _whole(event, arguments).startswith(self.folder):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        self.taken += 1
        if self.taken == self.at:
            self.act(event)


def _whole(event: str, arguments: tuple[Any, ...]) -> str:
    """The path of a step; where it is named within an open folder, with that folder's."""
    name, within = str(os.fspath(arguments[0])), _HANDLE.get(event)
    if within is None or os.path.isabs(name) or arguments[within] < 0:
        return name
    return os.path.join(os.readlink(f"/proc/self/fd/{arguments[within]}"), name)


_HANDLE = {"os.rename": 2, "os.mkdir": 2, "os.remove": 1, "os.rmdir": 1}
"""Which argument of a step is the open folder."""
_watches: list[_Watch] = []
_hooks: list[str] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watches and (event in MAKING or event in REMOVING):
        _watches[-1].see(event, arguments)


@contextmanager
def watched(folder: Path, events: set[str], at: int, act: Callable[[str], None]) -> Iterator[_Watch]:
    """Within it, `act` at step number `at` (from 1; 0 never) below `folder`."""
    if not _hooks:
        sys.addaudithook(_hook)  # for good: it cannot be taken away
        _hooks.append("installed")
    _watches.append(_Watch(folder, events, at, act))
    try:
        yield _watches[-1]
    finally:
        _watches.clear()


def die(_event: str) -> None:
    """As the system kills a process: at once, nothing is tidied up."""
    os.kill(os.getpid(), signal.SIGKILL)


def no_space(event: str) -> None:
    """As a full disk."""
    raise OSError(errno.ENOSPC, f"No space left on device (made for a test, at {event})")


def tree(folder: Path) -> set[str]:
    """Every file and folder below `folder`, hidden ones too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
