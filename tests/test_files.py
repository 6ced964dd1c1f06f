from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.full_disk import full_disk
from tests.leftovers import dead_process, private_name
from tests.processes import Child, ended, forked
from thetascope.errors import PlaceError
from thetascope.files import Lock, distinct_names, is_locked, sweep_beside, sweep_in, write_atomically, write_json


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
    """Not what merely looks like it: files, links, other machines', another start's, a living process's, of no known name."""
    dead = dead_process()
    swept, other = private_name(dead), private_name(dead, "b.bin")
    elsewhere = re.sub(r"-[0-9a-f]{16}-", f"-{16 * '0'}-", swept)
    for name in ("mine.partial", ".a.bin.7.partial", elsewhere, private_name(os.getppid()), swept, other):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_bytes(b"x")
    linked, file = private_name(dead), private_name(dead)
    (tmp_path / linked).symlink_to(tmp_path / "mine.partial")
    (tmp_path / file).write_bytes(b"x")
    before = set(names_in(tmp_path))
    sweep_beside(tmp_path / "a.bin")
    assert before - set(names_in(tmp_path)) == {swept}
    sweep_in(tmp_path)
    assert before - set(names_in(tmp_path)) == {swept, other}
    assert (tmp_path / "mine.partial" / "half").exists()


def test_another_user_s_folder_is_not_swept(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    name = private_name(dead_process())
    (tmp_path / name).mkdir()
    os.chown(tmp_path / name, 12345, 12345)
    sweep_in(tmp_path)
    assert names_in(tmp_path) == [name]


def test_what_is_being_written_is_not_swept(tmp_path: Path) -> None:
    def write(partial: Path) -> None:
        assert partial.name == "a.bin"
        partial.write_bytes(b"whole")
        sweep_in(tmp_path)
        sweep_beside(tmp_path / "a.bin")

    write_atomically(tmp_path / "a.bin", write)
    assert names_in(tmp_path) == ["a.bin"]


def test_what_is_half_written_lies_where_nobody_else_can_put_a_link(tmp_path: Path) -> None:
    seen = []

    def write(partial: Path) -> None:
        partial.write_bytes(b"x")
        found = partial.parent.lstat()
        assert stat.S_ISDIR(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o700
        seen.append(partial.parent.name)

    for _ in range(3):
        write_atomically(tmp_path / "a.bin", write)
    assert len({name[-24:] for name in seen}) == 3, "the names are random"
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) & 0o400


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"mine")
    (tmp_path / "a.bin").symlink_to(tmp_path / "precious")

    def write(partial: Path) -> None:
        partial.write_bytes(b"new")

    write_atomically(tmp_path / "a.bin", write)
    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert not (tmp_path / "a.bin").is_symlink()


def test_what_is_written_beside_lands_in_the_folder_that_was_there(tmp_path: Path) -> None:
    """The folder is exchanged for a link while something is written: it is an error, and nothing lands where the link leads."""
    home, away, elsewhere = tmp_path / "home", tmp_path / "away", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()

    def write(partial: Path) -> None:
        partial.write_bytes(b"x")
        home.rename(away)
        home.symlink_to(elsewhere)

    with pytest.raises(FileNotFoundError):
        write_atomically(home / "a.bin", write)
    assert names_in(elsewhere) == []


def test_a_link_of_another_user_on_the_way_is_an_error(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a link away")
    (tmp_path / "folder").mkdir()
    for name, owner in (("mine", os.geteuid()), ("theirs", 12345)):
        (tmp_path / name).symlink_to(tmp_path / "folder")
        os.chown(tmp_path / name, owner, owner, follow_symlinks=False)
    write_json(tmp_path / "mine" / "a.json", [1])
    assert json.loads((tmp_path / "folder" / "a.json").read_text()) == [1]
    with pytest.raises(PlaceError, match=r'theirs" is a symbolic link that another user made'):
        write_json(tmp_path / "theirs" / "a.json", [2])
    assert json.loads((tmp_path / "folder" / "a.json").read_text()) == [1]


@pytest.mark.parametrize("name", ["ä" * 100, "x" * 240])
def test_long_names(tmp_path: Path, name: str) -> None:
    write_json(tmp_path / name, [1])
    assert names_in(tmp_path) == [name]


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


def test_whether_a_lock_is_held(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    assert not is_locked(tmp_path)
    assert lock.acquire()
    assert is_locked(tmp_path)
    lock.release()
    assert not is_locked(tmp_path)
    assert not is_locked(tmp_path / "nowhere")


def test_folders_are_locked_one_by_one(tmp_path: Path) -> None:
    locks = [Lock(tmp_path / name) for name in "ab"]
    for name in "ab":
        (tmp_path / name).mkdir()
    assert all(lock.acquire() for lock in locks)
    for lock in locks:
        lock.release()


def hold(acquired: Connection, folder: Path) -> None:
    """Run in another process: take the lock, say so, and wait to be killed."""
    acquired.send(Lock(folder).acquire())
    acquired.recv()


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    process = Child(hold, tmp_path)
    assert process.hear() is True
    lock = Lock(tmp_path)
    assert not lock.acquire()
    process.kill()
    assert lock.acquire()
    lock.release()


@contextmanager
def forked_child() -> Iterator[None]:
    """A forked copy of this process that does nothing until the block ends, like a worker of a data loader."""
    reader, writer = os.pipe()

    def wait() -> None:
        os.close(writer)
        os.read(reader, 1)

    child = forked(wait)
    os.close(reader)
    try:
        yield
    finally:
        os.close(writer)
        ended(child)


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
    assert ended(forked(lock.release)) == 0
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
