from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.full_disk import full_disk
from tests.recording.tiny import Tiny, assert_same, fill, filled, values
from thetascope.errors import CheckpointError, RecordingError, StateError, ThetascopeError, TrajectoryError
from thetascope.recording.log import Log
from thetascope.recording.recorder import Recorder
from thetascope.recording.run_directory import RunDirectory
from thetascope.state import ParameterSpace, digest_of
from thetascope.trajectory import Trajectory


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory of four states; that of step i holds the value i everywhere."""
    model = filled(0)
    with Recorder(tmp_path / "run", model) as recorder:
        for step in (1, 2, 3):
            fill(model, step)
            recorder.record(step=step, epoch=step / 2, metrics={"train_loss": 1 / step})
    return tmp_path / "run"


def state_file(run: Path, ordinal: int) -> Path:
    return run / "states" / f"{ordinal:08d}.safetensors"


def log_lines(run: Path) -> list[bytes]:
    return (run / "log.jsonl").read_bytes().splitlines(keepends=True)


# --- the log ----------------------------------------------------------------------------------------------


def record(ordinal: int, step: int, **metrics: float) -> dict[str, Any]:
    return {"event": "record", "ordinal": ordinal, "step": step, "epoch": None, "metrics": metrics}


def state(ordinal: int) -> dict[str, Any]:
    return {"event": "state", "ordinal": ordinal, "file": f"{ordinal:08d}.safetensors", "bytes": 8, "digest": "d" * 64}


def replayed(*events: dict[str, Any]) -> Log:
    log = Log()
    for event in events:
        log.apply(event)
    return log


def test_an_empty_log() -> None:
    log = Log()
    assert (log.records, log.next_ordinal, log.last_step, log.stored) == ({}, 0, -1, [])


def test_a_record_counts_as_stored_once_its_file_is_in_place() -> None:
    log = replayed(record(0, 0), state(0), record(1, 10, loss=0.5))
    assert [r.step for r in log.stored] == [0]
    assert (log.last_step, log.next_ordinal) == (10, 2)
    assert log.records[1].metrics == {"loss": 0.5}


def test_dropping_a_state_keeps_its_metrics() -> None:
    log = replayed(record(0, 0), state(0), record(1, 1, loss=0.5), state(1), {"event": "drop", "ordinals": [1]})
    assert [r.step for r in log.stored] == [0]
    assert log.records[1].metrics == {"loss": 0.5}


def test_rewinding_voids_the_step_and_what_followed() -> None:
    events = [event for i in range(4) for event in (record(i, 10 * i), state(i))]
    log = replayed(*events, {"event": "rewind", "step": 20}, record(2, 25), state(2))
    assert [r.step for r in log.stored] == [0, 10, 25]
    assert log.next_ordinal == 3


@given(history=st.lists(st.integers(0, 20), max_size=30))
def test_whatever_was_recorded_and_rewound_ordinals_and_steps_rise(history: list[int]) -> None:
    """A history as the Recorder writes it: a step that is there already is preceded by a rewind to it."""
    log, expected = Log(), list[int]()
    for step in history:
        if step <= log.last_step:
            log.apply({"event": "rewind", "step": step})
        ordinal = log.next_ordinal
        log.apply(record(ordinal, step))
        log.apply(state(ordinal))
        expected = [s for s in expected if s < step] + [step]
    assert [r.step for r in log.stored] == expected
    assert all(a < b for a, b in pairwise(log.records))
    assert log.next_ordinal == len(expected)


# --- what lies there --------------------------------------------------------------------------------------


def test_all_of_a_run_comes_back(run: Path) -> None:
    opened = RunDirectory.open(run)
    assert opened.space == ParameterSpace.of_model(Tiny())
    assert not opened.frozen
    states = opened.states()
    assert [s.step for s in states] == [0, 1, 2, 3]
    assert [s.epoch for s in states] == [0, 0.5, 1, 1.5]
    assert [dict(s.metrics) for s in states] == [{}, {"train_loss": 1}, {"train_loss": 1 / 2}, {"train_loss": 1 / 3}]
    for i, found in enumerate(states):
        assert_same(found, values(filled(i)))
        assert found.specs == opened.space.tensors


def test_the_log_names_each_files_size_and_digest(run: Path) -> None:
    for ordinal, found in RunDirectory.open(run).read_log().records.items():
        file = state_file(run, ordinal)
        assert found.file == file.name
        assert found.bytes == file.stat().st_size
        assert found.digest == digest_of(values(filled(ordinal)))


def test_every_file_has_the_mode_of_a_usual_file(run: Path) -> None:
    """A colleague who may read run.json may read the states too."""
    assert {path.stat().st_mode for path in run.rglob("*") if path.is_file()} == {(run / "run.json").stat().st_mode}


# --- a damaged log ----------------------------------------------------------------------------------------


def test_a_log_cut_short_anywhere_reads_up_to_its_last_whole_line(run: Path) -> None:
    whole = (run / "log.jsonl").read_bytes()
    opened = RunDirectory.open(run)
    for length in range(len(whole) + 1):
        (run / "log.jsonl").write_bytes(whole[:length])
        lines = whole[:length].count(b"\n")
        log = opened.read_log()
        assert len(log.records) == (lines + 1) // 2
        assert len(log.stored) == lines // 2


def test_a_torn_last_line_is_mended_before_the_next_event(run: Path) -> None:
    with (run / "log.jsonl").open("ab") as log:
        log.write(b'{"event":"rewi')
    opened = RunDirectory.open(run)
    opened.mend_log()
    opened.append(record(4, 4), durable=True)
    assert list(opened.read_log().records) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("garbage", [b'{"event":"record"\n', b"\n", b"\x00\xff\n", b"[1]\n", b"null\n", b'{"event":"record"}\n', b"3\n"])
def test_a_damaged_line_is_named(run: Path, garbage: bytes) -> None:
    lines = log_lines(run)
    lines[2] = garbage
    (run / "log.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(RecordingError, match=r'line 3 of ".*log\.jsonl" is damaged .*; restore it from a copy'):
        Trajectory(run)


def test_an_event_of_a_later_version_is_passed_over(run: Path) -> None:
    RunDirectory.open(run).append({"event": "something new"}, durable=True)
    assert Trajectory(run).steps == [0, 1, 2, 3]


@pytest.mark.parametrize("empty", [lambda log: log.write_bytes(b""), lambda log: log.unlink()])
def test_a_run_without_records_holds_no_state(run: Path, empty: Callable[[Path], object]) -> None:
    empty(run / "log.jsonl")
    with pytest.raises(TrajectoryError, match="holds no state yet"):
        Trajectory(run)


@pytest.mark.parametrize("durable", [True, False])
def test_an_event_that_a_full_disk_cut_short_does_not_damage_the_log(run: Path, durable: bool) -> None:
    opened = RunDirectory.open(run)
    before = (run / "log.jsonl").read_bytes()
    with full_disk(len(before) + 10), pytest.raises(OSError, match="File too large"):
        opened.append(record(4, 4), durable=durable)
    assert (run / "log.jsonl").read_bytes() == before
    opened.append(record(4, 4), durable=durable)
    assert list(opened.read_log().records) == [0, 1, 2, 3, 4]


# --- damaged states ---------------------------------------------------------------------------------------


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def grow(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


def empty(file: Path) -> None:
    file.write_bytes(b"")


def replace(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, r'00000002\.safetensors" is \d+ bytes long, \d+ were recorded'),
        (grow, r'00000002\.safetensors" is \d+ bytes long, \d+ were recorded'),
        (empty, r'00000002\.safetensors" is 0 bytes long, \d+ were recorded'),
        (Path.unlink, r'00000002\.safetensors" is missing'),
        (replace, r'00000002\.safetensors" is missing'),
    ],
)
def test_a_damaged_file_is_an_error_of_that_state_only(run: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(state_file(run, 2))
    trajectory = Trajectory(run)
    with pytest.raises(CheckpointError, match=message):
        trajectory[2].tensors()
    for i in (0, 1, 3):
        assert_same(trajectory[i], values(filled(i)))


def test_every_flipped_byte_is_found(run: Path) -> None:
    file = state_file(run, 2)
    whole = file.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for position in [*range(0, header, 7), *range(header, len(whole))]:
        flipped = bytearray(whole)
        flipped[position] ^= 0x01
        file.write_bytes(flipped)
        with pytest.raises(ThetascopeError):
            Trajectory(run)[2].digest()
    assert Trajectory(run)[3].digest() == digest_of(values(filled(3)))


def test_flipped_values_are_said_to_be_altered(run: Path) -> None:
    file = state_file(run, 2)
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(StateError, match=r'step 2 \("00000002\.safetensors"\) does not hold what was recorded.*altered; restore it'):
        Trajectory(run)[2].digest()


def test_states_that_were_swapped_are_found(run: Path) -> None:
    state_file(run, 1).replace(run / "aside")
    state_file(run, 2).replace(state_file(run, 1))
    (run / "aside").replace(state_file(run, 2))
    for i in (1, 2):
        with pytest.raises(StateError, match="does not hold what was recorded"):
            Trajectory(run)[i].digest()


# --- what is no run directory -----------------------------------------------------------------------------


def test_a_missing_directory_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r'"[^"]*nothing" does not exist; a run directory is made by ts\.Recorder'):
        Trajectory(tmp_path / "nothing")


def test_an_empty_directory_or_a_file_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "e3.pt").write_bytes(b"x")
    for path in (tmp_path, tmp_path / "e3.pt"):
        with pytest.raises(RecordingError, match=r"is not a run directory: it holds no run\.json.*from_files"):
            Trajectory(path)


def test_another_format_version_is_named(run: Path) -> None:
    header = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(header | {"format": 99}))
    with pytest.raises(RecordingError, match=r"has run format 99; this thetascope \(.*\) reads 1\. Install the version that wrote it"):
        Trajectory(run)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        "{}",
        '{"format": 1}',
        '{"format": 1, "space": {"tensors": [], "ties": {}, "layers": []}, "frozen": false}',
    ],
)
def test_a_damaged_header_is_an_error(run: Path, content: str) -> None:
    (run / "run.json").write_text(content)
    with pytest.raises(RecordingError, match=r'run\.json" is damaged .*; restore it from a copy'):
        Trajectory(run)


def test_a_header_that_is_no_text_is_an_error(run: Path) -> None:
    (run / "run.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(RecordingError, match=r'run\.json" is damaged'):
        Trajectory(run)


def test_opening_a_run_reads_no_state(run: Path) -> None:
    for ordinal in range(4):
        state_file(run, ordinal).unlink()
    trajectory = Trajectory(run)
    assert len(trajectory) == 4
    assert trajectory[2].specs["first.weight"].shape == (3, 2)


def test_tensors_are_read_one_by_one(run: Path) -> None:
    found = Trajectory(run)[1].tensors(["first.bias", "norm.num_batches_tracked"])
    assert list(found) == ["first.bias", "norm.num_batches_tracked"]
    assert torch.equal(found["first.bias"], torch.ones(3))
