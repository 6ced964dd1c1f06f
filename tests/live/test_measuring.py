"""What is measured of states equals the formula; what is sketched is near it; following survives whatever happens to a run."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import thetascope as ts
from tests.live.runs import moves, network, record
from thetascope.errors import RecordingError
from thetascope.live.following import Following
from thetascope.live.measuring import MOST, Measuring, plane_of
from thetascope.live.pacing import Allowance
from thetascope.live.watcher import Watcher, opened
from thetascope.recording.log import Record
from thetascope.recording.run_directory import RunDirectory
from thetascope.state import State

LAYERS = {"first": ("first.weight", "first.bias"), "second": ("second.weight", "second.bias")}


def flat(state: dict[str, Tensor], names: tuple[str, ...]) -> Tensor:
    return torch.cat([state[name].double().reshape(-1) for name in names])


def test_distances_steps_and_turns_are_those_of_the_states(tmp_path: Path) -> None:
    states = record(tmp_path / "run", 6, every=5)
    watcher = Watcher(tmp_path / "run", None)
    assert watcher.update()
    measured = watcher.view().measured
    assert [one.record.step for one in measured] == [0, 5, 10, 15, 20, 25, 30]
    every = tuple(name for names in LAYERS.values() for name in names)
    whole = [flat(state, every) for state in states]
    for t, one in enumerate(measured):
        for layer, names in LAYERS.items():
            start, here = flat(states[0], names), flat(states[t], names)
            assert one.distance[layer] == pytest.approx(float((here - start).norm() / start.norm()), rel=1e-5)
            if t:
                assert one.moved[layer] == pytest.approx(float((here - flat(states[t - 1], names)).norm() / start.norm()), rel=1e-5)
        if t:
            assert one.step == pytest.approx(float((whole[t] - whole[t - 1]).norm()) / 5, rel=1e-5)
        if t > 1:
            step, before = whole[t] - whole[t - 1], whole[t - 1] - whole[t - 2]
            assert one.turn == pytest.approx(float(step @ before / step.norm() / before.norm()), abs=1e-6)
    assert math.isnan(measured[0].step)
    assert not measured[0].moved
    assert math.isnan(measured[1].turn)


def test_the_plane_is_that_of_the_states_within_a_few_per_cent(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(60, 80), torch.nn.Linear(80, 40))
    first = {name: values.clone() for name, values in model.state_dict().items()}
    along, across = ({name: torch.randn_like(values) for name, values in first.items()} for _ in range(2))
    states = []
    with ts.Recorder(tmp_path / "run", model) as recorder:
        for step in range(1, 12):
            angle = step / 12 * math.pi
            state = {n: first[n] + (1 - math.cos(angle)) * along[n] + 0.4 * math.sin(angle) * across[n] for n in first}
            model.load_state_dict(state)
            states.append(torch.cat([values.reshape(-1).double() for values in state.values()]))
            recorder.record(step=step)
    watcher = Watcher(tmp_path / "run", None)
    watcher.update()
    way, shares = plane_of(watcher.view().measured)
    flat_states = torch.stack([torch.cat([values.reshape(-1).double() for values in first.values()]), *states])
    _, singular, _ = torch.linalg.svd(flat_states - flat_states.mean(dim=0), full_matrices=False)
    expected = (singular**2 / (singular**2).sum())[:2].numpy()
    np.testing.assert_allclose(shares, expected, atol=0.05)
    lengths = (flat_states - flat_states[0]).norm(dim=1).numpy()
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), lengths, rtol=0.15)
    assert way[0].tolist() == [0, 0]


def test_a_run_is_followed_as_it_grows_and_after_it_was_killed_and_resumed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    record(run, 3)
    watcher = Watcher(run, None)
    watcher.update()
    assert not watcher.update()
    with (run / "log.jsonl").open("ab") as log:
        log.write(b'{"event":"record","ordi')  # as a kill leaves it
    assert not watcher.update()
    model = network()
    model.load_state_dict(dict(ts.Trajectory(run)[2].tensors()))
    recorder = ts.Recorder(run, model, resumed_at=2)
    with pytest.warns(UserWarning, match="dropped"):
        recorder.__enter__()
    for step in (3, 4):
        for values in model.parameters():
            values.data += 1.0
        recorder.record(step=step)
    recorder.close()
    assert watcher.update()
    measured = watcher.view().measured
    assert [one.record.step for one in measured] == [0, 1, 2, 3, 4]
    found = {one.record.step: one.distance["first"] for one in measured}
    fresh = Watcher(run, None)
    fresh.update()
    assert found == {one.record.step: one.distance["first"] for one in fresh.view().measured}
    assert math.isnan(measured[3].step)  # the state before it, as it was measured, is gone


def test_a_run_that_is_laid_out_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    run = tmp_path / "run"
    record(run, 3)
    watcher = Watcher(run, None)
    watcher.update()
    watcher.update()
    shutil.rmtree(run)
    watcher.update()
    assert "cannot be read on" in watcher.view().problem
    record(run, 5, moves(2))
    assert watcher.update()
    assert len(watcher.view().measured) == 6
    assert not watcher.view().problem


def test_a_damaged_line_ends_what_is_shown_and_nothing_else(tmp_path: Path) -> None:
    run = tmp_path / "run"
    record(run, 4)
    lines = (run / "log.jsonl").read_bytes().splitlines(keepends=True)
    (run / "log.jsonl").write_bytes(b"".join([*lines[:4], b"{}\n", *lines[5:]]))
    watcher = Watcher(run, None)
    assert watcher.update()
    view = watcher.view()
    assert len(view.measured) == 2
    assert 'a line of "' in view.problem
    assert "is damaged" in view.problem


def test_states_that_were_thinned_away_are_left_out(tmp_path: Path) -> None:
    run = tmp_path / "run"
    record(run, 40, max_states=8)
    watcher = Watcher(run, None)
    watcher.update()
    kept = [record.step for record in RunDirectory.open(run).read_log().stored]
    assert [one.record.step for one in watcher.view().measured] == kept
    (run / "states" / "00000000.safetensors").unlink()
    other = Watcher(run, None)
    other.update()
    assert [one.record.step for one in other.view().measured] == kept[1:]


def test_ten_thousand_records_are_held_in_little(tmp_path: Path) -> None:
    """Metrics of all, of the states at most so many; what one more record takes does not grow."""
    run = tmp_path / "run"
    record(run, 3)
    measuring = Measuring(RunDirectory.open(run))
    stored = RunDirectory.open(run).read_log().stored
    read = 0
    for ordinal in range(10_000):
        source = stored[ordinal % len(stored)]
        one = Record(ordinal, ordinal, None, {"loss": 1.0}, source.file, source.bytes, source.digest)
        if ordinal < 2 * MOST:
            assert measuring.measure(one)
            read += 1
        assert len(measuring.measured) <= MOST + 1
    assert measuring.measured[0].record.ordinal == 0
    assert measuring.measured[-1].record.ordinal == 2 * MOST - 1
    gaps = np.diff([one.record.ordinal for one in measuring.measured])
    assert gaps.max() <= 4


def test_each_state_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    record(run, 5)
    read: list[int] = []
    state = RunDirectory.state

    def counted(self: RunDirectory, record: Record) -> State:
        read.append(record.ordinal)
        return state(self, record)

    monkeypatch.setattr(RunDirectory, "state", counted)
    watcher = Watcher(run, None)
    for _ in range(3):
        watcher.update()
        watcher.view()
    assert read == [0, 1, 2, 3, 4, 5]


def test_a_pace_takes_its_share_and_no_more() -> None:
    now, used = 0.0, 0.0
    pace = Allowance(0.01, 2.0, (lambda: used, lambda: now))
    done = 0
    for _ in range(10_000):
        now += 0.1
        if pace.is_due:
            with pace.counted():
                used += 0.05
                now += 0.05
            done += 1
    assert used / now == pytest.approx(0.01, rel=0.05)
    assert done > 100
    assert pace.least_between == pytest.approx(5.0)


def test_states_that_come_too_fast_are_left_out_but_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    record(run, 20)
    monkeypatch.setattr("thetascope.live.watcher.CATCH_UP", 0.0)
    watcher = Watcher(run, 1e-6)
    watcher.update()
    watcher.update()
    assert [one.record.step for one in watcher.view().measured] == [20]


def test_what_is_no_run_is_one_error(tmp_path: Path) -> None:
    for place in (tmp_path / "nothing", tmp_path):
        with pytest.raises(RecordingError, match=r"run directory"):
            opened(place, None)


def test_only_lines_of_this_run_are_taken_in(tmp_path: Path) -> None:
    record(tmp_path / "a", 2)
    record(tmp_path / "b", 2)
    following = Following(tmp_path / "a")
    following.read_on()
    with (tmp_path / "a" / "log.jsonl").open("ab") as log:
        log.write((tmp_path / "b" / "log.jsonl").read_bytes().splitlines(keepends=True)[-1])
    following.read_on()
    assert "its check is off" in following.problem
    assert len(following.records) == 3
