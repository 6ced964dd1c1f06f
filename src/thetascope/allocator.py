"""Memory that is let go and wanted again at once.

glibc gives large blocks back to the system as soon as they are let go, and the values between the layers of a network are such: a pass
of a small network over batches of 1000 images asked for 141,000 pages anew, which took 40 % of its time when tried. A command
is a process of our own, so it keeps them; in the process of its caller the library changes no settings. Between copies of a large
model it is the other way round: what one left is of no use to the next, and goes back to the system.
"""

from __future__ import annotations

import ctypes
import platform
from functools import cache

LARGE = 2**27
"""So many bytes are worth giving back, and reading again instead of keeping."""

KEPT_BYTES = 2**28
"""Blocks up to this size, and so much at the end of the heap, are kept."""

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""As malloc.h names them for mallopt."""


@cache
def _glibc() -> ctypes.CDLL | None:
    """None where there is another C library; asked once, since to know it the interpreter's own file is read."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def keep_freed_memory() -> None:
    """Have glibc keep what is let go; nothing where there is another C library."""
    library = _glibc()
    if library is not None and hasattr(library, "mallopt"):
        library.mallopt(MMAP_THRESHOLD, KEPT_BYTES)
        library.mallopt(TRIM_THRESHOLD, KEPT_BYTES)


def give_back(size: int) -> None:
    """Let the system have what was let go, where so many bytes come next.

    glibc keeps it, and as tensors are aligned, one does not fit where another of its size lay: each copy of a model would add to the last.
    """
    library = _glibc() if size >= LARGE else None
    if library is not None:
        library.malloc_trim(0)
