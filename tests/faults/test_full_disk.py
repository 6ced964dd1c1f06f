"""A disk that is full, whenever that is: a clear error, what was there stays valid, the same call goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import thetascope as ts
from tests.faults.scenarios import SCENARIOS, Examining, same_bits
from tests.faults.steps import MAKING, no_space, watched
from tests.full_disk import full_disk
from tests.recording.tiny import filled
from thetascope.errors import ThetascopeError

ERRORS = (OSError, ThetascopeError)
SHORT = {"store": 8, "save": 8, "figures and exports": 2, "recorder": 10}


def fail_at_each_step(name: str, tmp_path: Path, chosen: Callable[[int], range]) -> int:
    """Let the n-th step fail for the chosen n; how many failures there were."""
    scenario: Any = SCENARIOS[name]
    expected = scenario.expected(tmp_path / "expected")
    (tmp_path / "whole").mkdir()
    scenario.prepare(tmp_path / "whole")
    with watched(tmp_path / "whole" / "out", MAKING, 0, no_space) as watch:
        scenario.act(tmp_path / "whole")
    failures = 0
    for at in chosen(watch.taken):
        folder = tmp_path / str(at)
        folder.mkdir()
        scenario.prepare(folder)
        with watched(folder / "out", MAKING, at, no_space) as again:
            try:
                scenario.act(folder)
            except ERRORS as error:
                assert "No space left on device" in str(error) or "could not be written" in str(error)
                failures += 1
        assert again.taken >= at
        scenario.check_interrupted(folder, expected)
        scenario.check_finished(folder, expected)
    assert failures, "no step failed"
    return failures


@pytest.mark.slow
@pytest.mark.promise("full disk")
@pytest.mark.parametrize("name", SCENARIOS)
def test_some_steps_fail(name: str, tmp_path: Path, counted: Callable[[int], None]) -> None:
    counted(fail_at_each_step(name, tmp_path, lambda steps: range(1, steps + 1, max(1, steps // SHORT[name]))))


@pytest.mark.faults_long
@pytest.mark.promise("full disk")
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_step_fails(name: str, tmp_path: Path, counted: Callable[[int], None]) -> None:
    counted(fail_at_each_step(name, tmp_path, lambda steps: range(1, steps + 1)))


@pytest.mark.promise("full disk")
@pytest.mark.parametrize("limit", [0, 20, 100, 400, 1000, 3000])
def test_files_that_cannot_grow(tmp_path: Path, limit: int) -> None:
    """Real short writes: each file is cut at `limit` bytes."""
    scenario = Examining()
    expected = scenario.expected(tmp_path / "expected")
    folder = tmp_path / "r"
    folder.mkdir()
    scenario.prepare(folder)
    (folder / "passes").write_bytes(b"")
    with full_disk(limit), pytest.raises(ERRORS, match="File too large"):
        scenario.act(folder)
    scenario.check_interrupted(folder, expected)
    scenario.check_finished(folder, expected)


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A disk of 2 MiB, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs rights that this process has not")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.promise("full disk")
def test_a_small_disk_that_fills_up(small_disk: Path, tmp_path: Path) -> None:
    ballast = small_disk / "ballast"
    model = filled(0)
    with ts.Recorder(small_disk / "run", model) as recorder:
        ballast.write_bytes(b"")
        with pytest.raises(OSError, match=r"No space left|could not be written"):  # noqa: PT012 - the error comes with a later record
            for step in range(1, 1000):
                recorder.record(step=step)
                with ballast.open("ab") as file:
                    file.write(bytes(2**15))
        before = ts.Trajectory(small_disk / "run").steps
        ballast.unlink()
        with suppress(OSError):  # the write that was pending when the disk was full
            recorder.record(step=4000)
        recorder.record(step=5000)
    trajectory = ts.Trajectory(small_disk / "run")
    assert before
    assert (trajectory.steps or [])[: len(before)] == before
    assert (trajectory.steps or [])[-1] == 5000
    assert all(state.digest() for state in trajectory)

    (small_disk / "filling").write_bytes(b"")
    with suppress(OSError), (small_disk / "filling").open("ab", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    scenario = Examining()
    expected = scenario.expected(tmp_path / "expected")
    (small_disk / "r" / "out").mkdir(parents=True)
    with pytest.raises(ERRORS, match="No space left"):
        ts.load_result(tmp_path / "expected" / "out" / "line").save(small_disk / "r" / "out" / "line")
    (small_disk / "filling").unlink()
    same_bits(scenario.act(small_disk / "r").data, expected[0])
