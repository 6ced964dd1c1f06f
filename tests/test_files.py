from __future__ import annotations

import json
import multiprocessing
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.full_disk import full_disk
from thetascope.files import Lock, distinct_names, sweep_partial, write_atomically, write_json


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- writing ----------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    seen: list[bytes | None] = []

    def write(partial: Path) -> None:
        partial.write_bytes(b"half")
        seen.append(file.read_bytes() if file.exists() else None)
        partial.write_bytes(b"whole")

    write_atomically(file, write)
    file.write_bytes(b"old")
    write_atomically(file, write)
    assert seen == [None, b"old"]
    assert file.read_bytes() == b"whole"
    assert names_in(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_content(tmp_path: Path, error: BaseException) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"old")

    def write(partial: Path) -> None:
        partial.write_bytes(b"half")
        raise error

    with pytest.raises(type(error)):
        write_atomically(file, write)
    assert file.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.bin"]


def test_a_writer_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "a.bin", lambda partial: None)
    assert names_in(tmp_path) == []


def test_what_a_killed_writer_leaves_is_swept_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    kept = ["whole", "partial", "deep/a.partial.txt"]
    for name in [*kept, ".a.bin.7.partial", "deep/er/.b.8.partial"]:
        (tmp_path / name).write_bytes(b"x")
    sweep_partial(tmp_path)
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()} == set(kept)


def test_the_name_of_a_file_being_written_is_one_that_is_swept(tmp_path: Path) -> None:
    def write(partial: Path) -> None:
        partial.write_bytes(b"half")
        assert partial.parent == tmp_path
        sweep_partial(tmp_path)
        assert not partial.exists()
        partial.write_bytes(b"whole")

    write_atomically(tmp_path / "a.bin", write)


def test_json_round_trip(tmp_path: Path) -> None:
    content = {"θ": [1, 2.5, None, True], "nested": {"a": "ä"}}
    write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == content
    assert "θ" in text


def test_a_full_disk_leaves_the_old_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [1])
    with pytest.raises(OSError, match="File too large"), full_disk(100):
        write_json(tmp_path / "a.json", list(range(1000)))
    assert json.loads((tmp_path / "a.json").read_text()) == [1]
    assert names_in(tmp_path) == ["a.json"]


# --- locks ------------------------------------------------------------------------------------------------


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    one, other = Lock(tmp_path), Lock(tmp_path)
    assert one.acquire()
    assert not other.acquire()
    other.release()  # it holds nothing, and frees nothing
    assert not other.acquire()
    one.release()
    one.release()
    assert other.acquire()
    assert not one.acquire()
    other.release()


def test_folders_are_locked_one_by_one(tmp_path: Path) -> None:
    locks = [Lock(tmp_path / name) for name in "ab"]
    for name in "ab":
        (tmp_path / name).mkdir()
    assert all(lock.acquire() for lock in locks)
    for lock in locks:
        lock.release()


def hold(folder: Path, acquired: Connection) -> None:
    """Run in another process: take the lock, say so, and wait to be killed."""
    acquired.send(Lock(folder).acquire())
    acquired.recv()


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=hold, args=(tmp_path, theirs))
    process.start()
    assert ours.recv() is True
    lock = Lock(tmp_path)
    assert not lock.acquire()
    process.kill()
    process.join()
    assert lock.acquire()
    lock.release()


@contextmanager
def forked_child() -> Iterator[None]:
    """A forked copy of this process that does nothing until the block ends, like a worker of a data loader."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 dislikes forks beside threads
        child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    try:
        yield
    finally:
        os.close(writer)
        os.waitpid(child, 0)


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock, other = Lock(tmp_path), Lock(tmp_path)
    assert lock.acquire()
    with forked_child():
        lock.release()
        assert other.acquire()
        other.release()


def test_a_forked_child_does_not_free_the_lock(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    assert lock.acquire()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        lock.release()
        os._exit(0)
    os.waitpid(child, 0)
    assert not Lock(tmp_path).acquire()
    lock.release()


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["x/a", "x/b"], ["a", "b"]),
        (["x/a", "y/a", "y/b"], ["x/a", "y/a", "b"]),
        (["s/x/a", "t/x/a", "t/y/a"], ["s/x/a", "t/x/a", "y/a"]),
        (["x/a", "x/a"], ["a (1)", "a (2)"]),
        (["/a", "/x/a"], ["/a", "x/a"]),
        ([], []),
    ],
)
def test_files_are_told_apart_by_as_little_as_that_takes(paths: list[str], names: list[str]) -> None:
    assert distinct_names(list(map(Path, paths))) == names
