"""Files that stay open between reads, so that a state whose tensors are asked for one by one is opened once."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from thetascope.errors import CheckpointError
from thetascope.safe_paths import check_written

MOST_FILES, MOST_BYTES = 64, 2**28
"""So many files are kept open, and so many bytes of such as cannot be mapped and are held in memory; the newest one in any case."""


@dataclass(frozen=True)
class _Open:
    seen: tuple[int, ...]
    content: Any
    held: int


class OpenFiles:
    """What was made of files, by who asks: dropped once a file is another on the disk, or the longest not used where there are many."""

    def __init__(self) -> None:
        self._open: OrderedDict[Hashable, _Open] = OrderedDict()
        self._lock = RLock()

    def content(self, path: Path, asked: Hashable, load: Callable[[], tuple[Any, int]]) -> Any:
        """What `load` makes of a file, which says how many bytes of it are held in memory.

        Args:
            path: of the file.
            asked: what else decides what is made of it.
            load: called where the file is not open, or was written to since.

        Raises:
            CheckpointError: the file is not there any more, or is no file; and what `load` raises.
        """
        key = (os.path.abspath(path), asked)
        with self._lock:
            seen = _signature(path)
            found = self._open.get(key)
            if found is None or found.seen != seen:
                self._open.pop(key, None)
                content, held = load()
                self._open[key] = found = _Open(seen, content, held)
                self._shrink()
            self._open.move_to_end(key)
            return found.content

    def clear(self) -> None:
        """Close all."""
        with self._lock:
            self._open.clear()

    def _shrink(self) -> None:
        while len(self._open) > 1 and (len(self._open) > MOST_FILES or sum(each.held for each in self._open.values()) > MOST_BYTES):
            self._open.popitem(last=False)


def check_file(path: Path) -> os.stat_result:
    """What the system says of a file that can be read as often as one likes: no folder, no device, no pipe, not of holes alone.

    Raises:
        CheckpointError: it is none.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise CheckpointError(f'"{path}" does not exist or is no file; restore it, or leave this state out') from error
    if not stat.S_ISREG(found.st_mode):
        raise CheckpointError(f'"{path}" does not exist or is no file')
    check_written(path, found, CheckpointError)
    return found


def _signature(path: Path) -> tuple[int, ...]:
    found = check_file(path)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


OPEN_FILES = OpenFiles()
"""Of this process."""
