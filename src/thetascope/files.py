"""Writing that is whole or not at all, and locks that die with their process."""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from weakref import WeakSet

from thetascope.safe_paths import HAS_FOLDER_HANDLES, check_way

PARTIAL = ".partial"


_CODES = {"%": "%25", "/": "%2F", "\\": "%5C"}


def file_name(name: str) -> str:
    """A user's `name` as that of a file: no part of it leads to another folder."""
    return "".join(_CODES.get(letter, letter) for letter in name)


def named_by(file: str) -> str:
    """The user's name of which `file_name` made this one."""
    for letter, code in reversed(_CODES.items()):
        file = file.replace(code, letter)
    return file


@contextmanager
def made_beside(path: Path) -> Iterator[Path]:
    """A private folder beside `path`, in which this process makes what will lie there; it is gone afterwards.

    It is made under a name that nobody can guess, by a call that fails where something lies, and no other user may enter it:
    nobody can lay a link in the way. What a killed process leaves of it `sweep_beside` removes.

    Raises:
        PlaceError: another user's link lies on the way.
    """
    check_way(path.parent)
    folder = path.parent / f".{_head(path)}.{os.getpid()}-{_machine()}-{secrets.token_hex(8)}{PARTIAL}"
    _making.add(str(folder))
    try:
        folder.mkdir(0o700)
        yield folder
    finally:
        _removed(folder)
        _making.discard(str(folder))


def write_atomically(path: Path, write: Callable[[Path], None], *, sweep: bool = True) -> None:
    """Let `write` fill a file of the same name in a private folder beside `path`, then put it in place in one step.

    Whatever happens, `path` holds its old content or its new one; a link that lay there is replaced, not followed. What a killed
    process left beside it the next write to the same `path` removes (not with `sweep` off, which spares listing a large folder).

    Raises:
        PlaceError: another user's link lies on the way.
        OSError: the file cannot be written.
    """
    if sweep:
        sweep_beside(path)
    with made_beside(path) as folder:
        partial = folder / path.name
        write(partial)
        with _handle(folder) as inside, _handle(path.parent) as place:
            written = os.open(partial if inside is None else path.name, _WRITTEN, dir_fd=inside)
            try:
                os.fsync(written)
            finally:
                os.close(written)
            if inside is None or place is None:
                partial.replace(path)
            else:
                os.rename(path.name, path.name, src_dir_fd=inside, dst_dir_fd=place)
                os.fsync(place)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, whole or not at all."""
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    def write(partial: Path) -> None:
        partial.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def leftovers(folder: Path, path: Path | None = None, *, of_other_starts: bool = False) -> list[Path]:
    """What processes of this user and this machine that are gone left half-made in `folder`; or of `path` in it alone.

    Folders that merely look alike are nobody's leftovers: of another user, of a machine or a start of it that is not this one, of
    a process that lives. With `of_other_starts` also those of other machines, or of this one before it was last started: whether their
    processes live cannot be known from here, so they are not to be removed.
    """
    found = []
    for name in os.listdir(folder) if folder.is_dir() else ():
        said = _PARTIAL_NAME.fullmatch(name)
        if not said or (path is not None and said["head"] != _head(path)):
            continue
        place, process, here = folder / name, int(said["process"]), said["machine"] == _machine()
        try:
            status = place.lstat()
        except OSError:
            continue
        alive = here and (str(place) in _making if process == os.getpid() else _is_alive(process))
        if stat.S_ISDIR(status.st_mode) and (os.name == "nt" or status.st_uid == os.geteuid()) and not alive and (here or of_other_starts):
            found.append(place)
    return found


def sweep_beside(path: Path) -> None:
    """Remove what processes that are gone left half-made of `path`."""
    for leftover in leftovers(path.parent, path):
        _removed(leftover)


def sweep_in(folder: Path) -> None:
    """Remove what processes that are gone left half-made in `folder`."""
    for leftover in leftovers(folder):
        _removed(leftover)


_PARTIAL_NAME = re.compile(
    rf"\.(?P<head>.*)\.(?P<process>[0-9]{{1,10}})-(?P<machine>[0-9a-f]{{16}})-[0-9a-f]{{16}}{re.escape(PARTIAL)}", re.DOTALL
)
_LONGEST_HEAD = 150
_WRITTEN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) if os.name != "nt" else os.O_RDWR
_making: set[str] = set()
"""The private folders of this process."""


def _head(path: Path) -> str:
    """What the private folder of `path` is called after: its name, or what stands for a long one."""
    name = path.name
    return name if len(os.fsencode(name)) <= _LONGEST_HEAD else sha256(os.fsencode(name)).hexdigest()


@cache
def _machine() -> str:
    """This machine since its last start, and the space in which its processes are numbered (a container has one of its own)."""
    said = [platform.node()]
    for file in ("/proc/sys/kernel/random/boot_id", "/etc/machine-id"):
        with suppress(OSError):
            said.append(Path(file).read_text(encoding="utf-8"))
    with suppress(OSError):
        said.append(os.readlink("/proc/self/ns/pid"))
    return sha256("\0".join(said).encode()).hexdigest()[:16]


def _removed(folder: Path) -> None:
    """Remove a private folder. After an error, threads of zarr may go on writing to it for a moment."""
    for pause in (0.0, 0.01, 0.05, 0.2, 0.5, 1.0):
        time.sleep(pause)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


@contextmanager
def _handle(folder: Path) -> Iterator[int | None]:
    """A folder, open: what is done in it lands in this one, whatever is put in its place; None where the system has no such thing."""
    if not HAS_FOLDER_HANDLES:
        yield None
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_alive(process: int) -> bool:
    if os.name == "nt":
        return True  # os.kill would end it there
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def links_below(folder: Path) -> list[Path]:
    """The symbolic links in `folder` and below it: what is written there may land elsewhere."""
    found = []
    for place, folders, files in os.walk(folder):
        found += [path for name in (*folders, *files) if (path := Path(place, name)).is_symlink()]
    return found


class Lock:
    """An exclusive lock on a folder, freed by the system when its process dies, however it dies.

    It belongs to the process that took it: a forked child (a data loader's worker, say) closes its copy at once, so that a
    worker that outlives a killed process does not keep the folder locked.

    Take it within ``with lock, lock:``, so that it is free after an interrupt at any line. The ``with`` itself takes nothing: between its
    taking and its first line an interrupt may come. It is written twice because an interrupt may come as the first one frees it.
    """

    _descriptor: int | None = None
    _process = 0

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def acquire(self) -> bool:
        """Take the lock; False where somebody else holds it."""
        try:
            import fcntl
        except ImportError:  # Windows cannot lock a folder itself
            return self._acquire_file()
        while True:
            self._hold(os.open(self._folder, os.O_RDONLY))
            try:
                fcntl.flock(self._descriptor or 0, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(self._descriptor or 0), os.stat(self._folder)):
                    return True
            except BlockingIOError:
                self._close()
                return False
            except BaseException:
                self.release()
                raise
            self.release()  # another folder was put in its place meanwhile

    def _acquire_file(self) -> bool:
        import msvcrt

        descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            os.close(descriptor)
            return False
        self._hold(descriptor)
        return True

    def _hold(self, descriptor: int) -> None:
        global _watches_forks  # noqa: PLW0603 - once a process
        if not _watches_forks and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_close_copies)
            _watches_forks = True
        self._descriptor, self._process = descriptor, os.getpid()
        _held.add(self)

    def release(self) -> None:
        """Free the lock, also where a process that was forked unseen still has the folder open."""
        if self._descriptor is not None and os.getpid() == self._process and os.name != "nt":
            import fcntl

            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # first: what is interrupted from here on holds no lock
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        _held.discard(self)
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_locked(folder: Path) -> bool:
    """Whether somebody holds the lock of a folder. Those who ask do not see one another."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)
    return False


_held: WeakSet[Lock] = WeakSet()
_watches_forks = False


def _close_copies() -> None:
    """In a forked child: close its copies of the locks that its parent holds, which keeps the parent's."""
    for lock in list(_held):
        lock.release()


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """The names of files or folders; those that are called the same with their parents' names as far as these differ."""
    parts = [path.absolute().parts for path in paths]
    names = []
    for place, own in enumerate(parts):
        others = [other for other in parts[:place] + parts[place + 1 :] if other != own]
        length = next((n for n in range(1, len(own)) if all(other[-n:] != own[-n:] for other in others)), len(own))
        names.append(Path(*own[-length:]).as_posix())
    return [name if names.count(name) == 1 else f"{name} ({names[:place].count(name) + 1})" for place, name in enumerate(names)]
