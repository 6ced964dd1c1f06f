"""Writing that is whole or not at all, and locks that die with their process."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet

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


def partial_of(path: Path) -> Path:
    """Where this process makes what will lie at `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")


def write_atomically(path: Path, write: Callable[[Path], None], *, sweep: bool = True) -> None:
    """Let `write` fill a file beside `path`, then put it in place in one step.

    Whatever happens, `path` holds its old content or its new one. What a killed process left beside it ends in ``.partial``;
    the next write to the same `path` removes it (not with `sweep` off, which spares listing a large folder).
    """
    if sweep:
        sweep_beside(path)
    partial = partial_of(path)
    try:
        write(partial)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, whole or not at all."""
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    def write(partial: Path) -> None:
        partial.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def sweep_partial(folder: Path) -> None:
    """Remove what a killed writer left half-written in `folder` and below it."""
    for leftover in folder.rglob(f"*{PARTIAL}"):
        leftover.unlink(missing_ok=True)


def sweep_beside(path: Path) -> None:
    """Remove what processes that are gone left half-made of `path`: files, and folders."""
    head = f".{path.name}."
    for name in os.listdir(path.parent) if path.parent.is_dir() else ():
        process = name.removeprefix(head).removesuffix(PARTIAL)
        if name == f"{head}{process}{PARTIAL}" and process.isdecimal() and not _is_alive(int(process)):
            leftover = path.parent / name
            shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink(missing_ok=True)


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


def _sync_directory(folder: Path) -> None:
    """Make a rename in `folder` durable where the system allows to sync a directory."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
