"""Which files are read, and where is written: regular files in the folder that was named, and no stranger's link is followed.

Files come from strangers, and folders that others may write to hold their links. A FIFO would hang whoever opens it, a device
fill the memory, a sparse file vouch for bytes that nobody stored, a link lead to files that were not named.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from thetascope.errors import PlaceError, ThetascopeError

SPARE_HOLE = 2**20
"""So many bytes of holes a file may have that is read whole."""

SPARE_BYTES, LARGEST_RATIO = 2**24, 8
"""Of a file of tensors so many bytes need not have been written, and so many for each that was: copies leave out pages of zeros."""

_MOST_PIECES = 10_000
_READ = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"))
"""Nothing waits for the other end of a FIFO that was put there since somebody looked."""
HAS_FOLDER_HANDLES = {os.open, os.mkdir, os.rename, os.rmdir, os.stat} <= os.supports_dir_fd


def check_way(path: Path) -> None:
    """Whether no one else laid a link on the way to `path`: this user's own and the system's are followed.

    Raises:
        PlaceError: another user did.
    """
    if os.name == "nt":
        return
    whole = path.absolute()
    for place in (*reversed(whole.parents), whole):
        try:
            found = place.lstat()
        except OSError:
            return  # nothing lies there yet, or the caller may not look
        if stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, os.geteuid()):
            raise PlaceError(
                f'"{place}" is a symbolic link that another user made, so what is written there could land anywhere; '
                "remove it, or choose another place"
            )


def check_below(home: Path, path: Path) -> None:
    """Whether no link lies at `path` or between it and the folder `home` that the user named: a stranger may have packed it.

    Raises:
        PlaceError: one does.
    """
    for place in _between(home, path):
        if place.is_symlink():
            raise PlaceError(
                f'"{place}" is a symbolic link, so what belongs into "{home}" would lie elsewhere; remove it, or put there what it leads to'
            )


def _between(home: Path, path: Path) -> Iterator[Path]:
    """`path` and the folders above it up to `home`, which is left out."""
    for place in (path, *path.parents):
        if place == home:
            return
        yield place


def check_inside(path: Path, home: Path, error: type[ThetascopeError] = PlaceError) -> None:
    """Whether `path` lies below the folder `home` also once links are followed.

    Raises:
        ThetascopeError: of the type `error`: a link leads out of `home`.
    """
    if any(place.is_symlink() for place in _between(home, path)) and not path.resolve().is_relative_to(home.resolve()):
        raise error(f'"{path}" is a link that leads out of "{home}", and nothing else is read; put there what it leads to')


def open_file(path: Path, home: Path, error: type[ThetascopeError] = PlaceError) -> BinaryIO:
    """Open a regular file below the folder `home` to read it. Links are followed as long as they stay in there.

    Raises:
        ThetascopeError: of the type `error`: it is no regular file, or a link leads out of `home`.
        FileNotFoundError: there is none.
        OSError: it cannot be read.
    """
    check_inside(path, home, error)
    if not stat.S_ISREG(path.stat().st_mode):  # opening a device may do something
        raise _no_file(path, error)
    return regular(os.open(path, _READ), path, error)


def regular(descriptor: int, path: Path, error: type[ThetascopeError]) -> BinaryIO:
    """A descriptor as a file, if that is what it is of; else it is closed.

    Raises:
        ThetascopeError: of the type `error`: it is of something else.
    """
    return os.fdopen(_checked(descriptor, path, error), "rb")


def _checked(descriptor: int, path: Path, error: type[ThetascopeError]) -> int:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_file(path, error)
    return descriptor


@contextmanager
def _told(path: Path, error: type[ThetascopeError]) -> Iterator[None]:
    """What the system says of something that is no file, in our words."""
    try:
        yield
    except OSError as problem:
        if problem.errno in _NO_FILE:
            raise _no_file(path, error) from problem
        raise


def open_within(folder: int, name: str, path: Path, error: type[ThetascopeError]) -> BinaryIO:
    """Open a regular file in an open folder, by its name there; `path` is what messages call it.

    Raises:
        ThetascopeError: of the type `error`: it is a link, or no file.
        FileNotFoundError: there is none.
    """
    with _told(path, error):
        return regular(os.open(name, _READ | os.O_NOFOLLOW, dir_fd=folder), path, error)


def open_to_append(path: Path, error: type[ThetascopeError]) -> FileIO:
    """Open a regular file to write behind its end, unbuffered; it is made where there is none. No link is followed.

    Raises:
        ThetascopeError: of the type `error`: something else lies there.
        OSError: it cannot be written to.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | (_READ & ~os.O_RDONLY) | getattr(os, "O_NOFOLLOW", 0)
    with _told(path, error):
        return FileIO(_checked(os.open(path, flags, 0o666), path, error), "ab")


_NO_FILE = (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR)
"""What the system says of links, of sockets and pipes without a reader, of folders."""


def _no_file(path: Path, error: type[ThetascopeError]) -> ThetascopeError:
    return error(f'"{path}" is no regular file (a link, a device, a pipe or a folder), and nothing else is read; restore it from a copy')


def read_whole(path: Path, home: Path, most: int, error: type[ThetascopeError] = PlaceError) -> bytes:
    """The content of a regular file below `home`, of at most `most` bytes.

    Raises:
        ThetascopeError: of the type `error`: as `open_file`; or the file is larger, or says so and is mostly holes.
        OSError: there is none, or it cannot be read.
    """
    with open_file(path, home, error) as file:
        size = checked_size(file, path, error)
        if size > most:
            raise error(f'"{path}" is {size:,} bytes long; at most {most:,} are read of such a file. Restore it from a copy')
        return file.read(size)


def checked_size(file: BinaryIO, path: Path, error: type[ThetascopeError] = PlaceError) -> int:
    """The size of a file of which every byte was written.

    Raises:
        ThetascopeError: of the type `error`: it has holes, so that it may say that it holds any number of bytes.
    """
    size = os.fstat(file.fileno()).st_size
    there = bytes_there(file.fileno())
    if size > there + SPARE_HOLE:
        raise error(f'"{path}" says that it holds {size:,} bytes, of which {there:,} were ever written; restore it from a copy')
    return size


def _is_full(found: os.stat_result) -> bool:
    """Whether a file takes at least as much of the disk as it is long, so that it has no holes that matter."""
    return bool(getattr(found, "st_blocks", found.st_size) * 512 >= found.st_size)


def bytes_there(descriptor: int) -> int:
    """How many bytes of a file were written: the holes of a sparse file count nothing."""
    found = os.fstat(descriptor)
    if _is_full(found) or not hasattr(os, "SEEK_DATA"):
        return found.st_size
    there = end = 0  # it has holes, or is compressed, or has not reached the disk: the system tells which
    try:
        for _ in range(_MOST_PIECES):
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
            there += end - start
    except OSError as problem:
        if problem.errno != errno.ENXIO:  # else there are no more data
            there = found.st_size
    os.lseek(descriptor, 0, os.SEEK_SET)
    return there


def check_written(path: Path, found: os.stat_result, error: type[ThetascopeError]) -> None:
    """Whether a regular file of tensors was written, more or less: with holes alone it would vouch for any number of values.

    Args:
        path: of the file.
        found: what the system says of it.
        error: the type of what is raised.

    Raises:
        ThetascopeError: it is mostly holes.
    """
    if _is_full(found):
        return
    with regular(os.open(path, _READ), path, error) as file:
        there = bytes_there(file.fileno())
    if found.st_size > LARGEST_RATIO * there + SPARE_BYTES:
        raise error(
            f'"{path}" says that it holds {found.st_size:,} bytes, of which {there:,} were ever written: it is damaged, or made to fill '
            "the memory. Restore it from a copy (one without holes: cp --sparse=never)"
        )


def files_below(folder: Path, error: type[ThetascopeError] = PlaceError) -> dict[str, int]:
    """The files below a folder, by their paths in it, with how many bytes of each were written.

    Raises:
        ThetascopeError: of the type `error`: there is something else than files and folders, a link say.
    """
    found: dict[str, int] = {}
    left = [(folder, "")]
    while left:
        place, above = left.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    left.append((place / entry.name, f"{above}{entry.name}/"))
                elif entry.is_file(follow_symlinks=False):
                    found[above + entry.name] = _bytes_of(entry)
                else:
                    raise _no_file(Path(entry.path), error)
    return found


def _bytes_of(entry: os.DirEntry[str]) -> int:
    said = entry.stat(follow_symlinks=False)
    if _is_full(said):
        return said.st_size
    descriptor = os.open(entry.path, _READ | getattr(os, "O_NOFOLLOW", 0))
    try:
        return bytes_there(descriptor)
    finally:
        os.close(descriptor)
