"""A recording process that is killed at any moment leaves a run that opens, reads and goes on."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.processes import Child
from tests.recording.children import record_on_and_on
from tests.recording.tiny import assert_same, filled, values
from thetascope.recording.recorder import Recorder
from thetascope.recording.run_directory import RunDirectory
from thetascope.trajectory import Trajectory

KILLS = 10


def record_and_kill(run: Path, seed: int, after: int, *, max_states: int | None = None, goes_back: bool = False) -> list[int]:
    """Let a child record into `run`, kill it a random moment after so many records; the values whose record() returned."""
    child = Child(record_on_and_on, run, seed, max_states, goes_back)
    # counted from what the child says, so that the moments fall into the recording on a slow machine too
    assert child.hear() == "entering"
    said = [child.hear() for _ in range(after)]
    time.sleep(random.Random(seed).uniform(0.0, 0.01))
    child.kill()
    said += child.hear_all()
    child.end()
    return said


def assert_every_state_is_what_was_recorded(run: Path) -> Trajectory:
    trajectory = Trajectory(run)
    for state in trajectory:
        assert_same(state, values(filled(state.metrics.get("value", 0))))
        state.digest()
    assert trajectory[0].metrics == {}, "the initial state is there"
    return trajectory


def assert_goes_on(run: Path, max_states: int | None) -> None:
    """Recording again sweeps what was half-written, and goes on."""
    with Recorder(run, filled(0), max_states=max_states) as recorder:
        found = {path.name for path in (run / "states").iterdir()}
        assert found == {record.file for record in RunDirectory.open(run).read_log().stored}
        assert not list(run.glob("*.partial"))
        recorder.record(metrics={"value": 0})
    assert_every_state_is_what_was_recorded(run)


@pytest.mark.parametrize(("max_states", "goes_back"), [(None, False), (4, False), (None, True)])
def test_killed_while_recording(tmp_path: Path, max_states: int | None, goes_back: bool) -> None:
    run = tmp_path / "run"
    with Recorder(run, filled(0)):
        pass
    for seed in range(1, KILLS + 1):
        said = record_and_kill(run, seed, after=1 + seed % 5, max_states=max_states, goes_back=goes_back)
        trajectory = assert_every_state_is_what_was_recorded(run)
        if max_states is not None:
            assert len(trajectory) <= max_states + 1  # one more between writing a state and dropping another
        elif not goes_back:
            recorded = {state.metrics.get("value") for state in trajectory}
            assert set(said[:-1]) <= recorded, "only the write that was pending may be lost"
        assert_goes_on(run, max_states)


def test_killed_while_entering(tmp_path: Path) -> None:
    for seed in range(1, KILLS + 1):
        run = tmp_path / str(seed)
        record_and_kill(run, seed, after=0)
        if (run / "log.jsonl").exists() and RunDirectory.open(run).read_log().stored:
            assert_every_state_is_what_was_recorded(run)
        assert_goes_on(run, None)
        assert (Trajectory(run).steps or [])[0] == 0
