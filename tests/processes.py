"""Work in processes of their own. Nothing they do, or fail to do, lets a test wait for ever."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

SECONDS = 120
"""What runs longer hangs."""

FORKS = multiprocessing.get_context("forkserver")
_preloaded: list[str] = []


def preload(*modules: str) -> None:
    """Import these once, in the process that children are forked from; beside those that other tests want there."""
    _preloaded.extend(name for name in modules if name not in _preloaded)
    FORKS.set_forkserver_preload(_preloaded)


class Child:
    """A new process that works as ``work(said, *arguments)``; what it sends through `said` is heard here."""

    def __init__(self, work: Callable[..., object], *arguments: object) -> None:
        self._said, theirs = FORKS.Pipe()
        self._process = FORKS.Process(target=work, args=(theirs, *arguments))
        self._process.start()
        theirs.close()

    def hear(self) -> Any:
        """The next that it says; EOFError where it has ended without."""
        assert self._said.poll(SECONDS), "the process hangs"
        return self._said.recv()

    def hear_all(self) -> list[Any]:
        """What it says until its end."""
        heard = []
        try:
            while True:
                heard.append(self.hear())
        except EOFError:
            return heard

    @property
    def works(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        self._process.kill()
        self._process.join(SECONDS)

    def end(self) -> None:
        """Wait for its end."""
        self._process.join(SECONDS)
        hangs = self._process.is_alive()
        self.kill()
        self._said.close()
        assert not hangs, "the process hangs"


def apart(work: Callable[..., object], *arguments: object) -> None:
    """Do it in a new process, which other tests have loaded nothing into: not every library that forks or is forked can do so anywhere."""
    child = Child(_apart, work, arguments)
    error = child.hear()
    child.end()
    assert not error, error


def _apart(said: Connection, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    try:
        work(*arguments)
    except BaseException:  # noqa: BLE001 - the parent shows it
        said.send(traceback.format_exc())
    else:
        said.send("")


def forked(work: Callable[[], object]) -> int:
    """The number of a copy of this process that works and ends, with 1 where that raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 dislikes forks beside threads
        child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001 - nothing of the test that it is a copy of may go on
        traceback.print_exc()
    finally:
        os._exit(status)


def ended(child: int) -> int:
    """The status with which a forked process ends; one that hangs is killed."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        number, status = os.waitpid(child, os.WNOHANG)
        if number:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the process hangs")


def _process(rank: int, count: int, work: Callable[..., None], folder: Path, arguments: tuple[Any, ...]) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    # as torchrun says it to what it starts; the group is there already, so that nobody listens at the port
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0"}
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=count)
        work(*arguments)
        dist.destroy_process_group()
    except BaseException:  # noqa: BLE001 - the parent shows it
        (folder / f"error-{rank}").write_text(traceback.format_exc())


def together(folder: Path, work: Callable[..., None], *arguments: Any, count: int = 2) -> list[str]:
    """What was raised in each process of one group (gloo, over the loopback) that failed, in their order."""
    (folder / "meet").unlink(missing_ok=True)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_process, args=(rank, count, work, folder, arguments)) for rank in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join(SECONDS)
    alive = [child for child in children if child.is_alive()]
    for child in alive:
        child.kill()
    assert not alive, "a process hangs"
    return [file.read_text() for file in sorted(folder.glob("error-*"))]
