"""Recorders and results used by several at once: threads, processes, forks, data loaders with workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import thetascope as ts
from tests.faults.scenarios import Examining, same_bits
from tests.processes import Child, apart, ended, forked, preload
from tests.recording.tiny import assert_same, fill, filled, values
from thetascope.errors import RecordingError, ResultError, ThetascopeError
from thetascope.files import Lock

preload("tests.faults.scenarios", "thetascope.testing.killable", "thetascope.recording.recorder", "zarr", "xarray")


def finishes(work: Callable[[], object], seconds: float = 60.0) -> None:
    """Run `work` in a thread and see that it does not hang."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed on
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"
    if errors:
        raise errors[0]


# --- two processes ----------------------------------------------------------------------------------------


def act(said: Connection, folder: Path, start: float) -> None:
    time.sleep(max(0.0, start - time.time()))
    try:
        Examining().act(folder)
        said.send("done")
    except ThetascopeError as error:
        said.send(str(error))


@pytest.mark.slow
@pytest.mark.promise("two at once")
@pytest.mark.parametrize("rounds", [2, pytest.param(25, marks=pytest.mark.faults_long)])
def test_two_examinations_of_one_result(tmp_path: Path, rounds: int, counted: Callable[[int], None]) -> None:
    scenario = Examining()
    expected = scenario.expected(tmp_path / "expected")
    for number in range(rounds):
        folder = tmp_path / str(number)
        folder.mkdir()
        scenario.prepare(folder)
        start = time.time() + 0.3
        children = [Child(act, folder, start) for _ in range(2)]
        said = [child.hear() for child in children]
        for child in children:
            child.end()
        assert "done" in said
        assert all(text == "done" or "another process is filling" in text for text in said), said
        same_bits(ts.load_result(folder / "out" / "line").data, expected[0])
        scenario.check_finished(folder, (expected[0], expected[1], 3 * expected[2]))
        counted(1)


@pytest.mark.promise("two at once")
def test_a_result_that_is_being_filled_is_not_replaced(tmp_path: Path) -> None:
    scenario = Examining()
    scenario.expected(tmp_path / "r")
    place = tmp_path / "r" / "out" / "line"
    result = ts.load_result(place)
    lock = Lock(place)
    assert lock.acquire()
    with pytest.raises(ResultError, match="another process is filling"):
        result.save(place)
    lock.release()
    result.save(place)


def fork_and_wait(said: Connection, folder: Path) -> None:
    lock = Lock(folder)
    assert lock.acquire()

    def wait() -> None:
        said.send(os.getpid())  # from here on it is what a worker is: what Python does after a fork is done
        time.sleep(30)

    forked(wait)
    time.sleep(30)


@pytest.mark.promise("two at once")
def test_a_worker_that_outlives_a_killed_process_holds_no_lock(tmp_path: Path) -> None:
    process = Child(fork_and_wait, tmp_path)
    worker = process.hear()
    lock = Lock(tmp_path)
    assert not lock.acquire()
    process.kill()
    try:
        assert lock.acquire(), "only the worker lives, and it does not hold the lock"
        lock.release()
    finally:
        os.kill(worker, signal.SIGKILL)


# --- the Recorder -----------------------------------------------------------------------------------------


@pytest.mark.promise("concurrency")
def test_in_a_thread(tmp_path: Path) -> None:
    def work() -> None:
        model = filled(0)
        with ts.Recorder(tmp_path / "run", model) as recorder:
            for step in range(1, 6):
                fill(model, step)
                recorder.record(step=step)

    finishes(work)
    for step, state in enumerate(ts.Trajectory(tmp_path / "run")):
        assert_same(state, values(filled(step)))


@pytest.mark.promise("concurrency")
def test_from_several_threads(tmp_path: Path, counted: Callable[[int], None]) -> None:
    """Each record is one of the steps, whole; none is lost."""
    with ts.Recorder(tmp_path / "run", filled(0)) as recorder:

        def work() -> None:
            for _ in range(10):
                recorder.record(metrics={"m": 1.0})

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    trajectory = ts.Trajectory(tmp_path / "run")
    assert trajectory.steps == list(range(41))
    assert all(state.digest() for state in trajectory)
    counted(40)


def record_beside_a_loader(folder: Path, context: str) -> None:
    data = TensorDataset(torch.randn(24, 2), torch.zeros(24))
    model = filled(0)

    def work() -> None:
        with ts.Recorder(folder / "run", model) as recorder:
            for epoch in range(1, 4):
                loader = DataLoader(data, batch_size=4, num_workers=2, multiprocessing_context=context)
                for number, _ in enumerate(loader):
                    fill(model, 10 * epoch + number)
                    recorder.record(step=10 * epoch + number)

    finishes(work)


@pytest.mark.promise("hangs")
@pytest.mark.promise("concurrency")
@pytest.mark.parametrize("context", ["fork", "forkserver"])
def test_beside_data_loaders_with_workers(tmp_path: Path, context: str) -> None:
    apart(record_beside_a_loader, tmp_path, context)
    trajectory = ts.Trajectory(tmp_path / "run")
    assert len(trajectory) == 19
    for state in trajectory:
        assert_same(state, values(filled(state.step or 0)))


def fork_while_another_thread_records(folder: Path) -> None:
    with ts.Recorder(folder / "run", filled(0)) as recorder:
        held, done = threading.Event(), threading.Event()

        class Slow(dict[str, float]):
            def items(self) -> Any:
                held.set()
                done.wait(30)
                return super().items()

        thread = threading.Thread(target=lambda: recorder.record(step=1, metrics=Slow(m=1.0)))
        thread.start()
        assert held.wait(30)

        def told() -> None:
            with pytest.raises(RecordingError, match="belongs to the process that opened it"):
                recorder.record(step=7)
            recorder.close()

        child = forked(told)
        done.set()
        thread.join(60)
        assert not thread.is_alive()
        assert ended(child) == 0, "it recorded"
        recorder.record(step=8)


@pytest.mark.promise("hangs")
@pytest.mark.promise("concurrency")
def test_a_fork_while_another_thread_records_does_not_hang(tmp_path: Path) -> None:
    """The child is told that the recorder is not its own, although its copy of the recorder is in the middle of a record for ever."""
    apart(fork_while_another_thread_records, tmp_path)
    assert ts.Trajectory(tmp_path / "run").steps == [0, 1, 8]
