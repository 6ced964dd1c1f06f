"""Readers are given anything: they return what stands there, or raise one clear error. Stores and recorders are used in any order."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

import thetascope as ts
from tests.faults.readers import READERS, TENSORS, our_error_or
from tests.recording.tiny import assert_same, fill, filled, values
from tests.results.test_store import LAYOUT
from thetascope.cli.application import main
from thetascope.errors import ThetascopeError
from thetascope.recording.log import event_of, line_of
from thetascope.results.store import Store

SIZES = [pytest.param(60), pytest.param(1500, marks=pytest.mark.faults_long)]
fuzzed = pytest.mark.parametrize("examples", SIZES)
GUIDED = 20_000
ROOT = Path(__file__).parents[2]


def fuzz(examples: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], None], counted: Callable[[int], None]) -> None:
    """Run `check` on so many examples, and count them."""
    made = [0]

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(strategy)
    def run(example: Any) -> None:
        made[0] += 1
        check(example)

    run()
    counted(made[0])


def altered(whole: bytes) -> st.SearchStrategy[bytes]:
    """`whole` with bytes overwritten, cut out or put in; sometimes nothing of it."""
    edit = st.tuples(st.integers(0, len(whole)), st.integers(0, 8), st.binary(max_size=8))

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        content = whole
        for place, length, put in edits:
            content = content[:place] + put + content[place + length :]
        return content

    return st.one_of(st.lists(edit, min_size=1, max_size=4).map(apply), st.binary(max_size=64))


@pytest.mark.promise("fuzzing")
@fuzzed
@pytest.mark.parametrize("name", READERS)
def test_bytes_changed_anywhere(tmp_path: Path, name: str, examples: int, counted: Callable[[int], None]) -> None:
    reader = READERS[name](tmp_path)
    fuzz(examples, altered(reader.whole), reader.check, counted)


@pytest.mark.promise("fuzzing")
@pytest.mark.faults_long
@pytest.mark.parametrize("name", READERS)
def test_bytes_that_reach_new_code(tmp_path: Path, name: str, counted: Callable[[int], None]) -> None:
    pytest.importorskip("atheris", reason="Atheris is not installed; make faults installs it")
    command = [sys.executable, "-m", "tests.faults.coverage_guided", name, str(GUIDED), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, cwd=ROOT)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-6000:]
    runs = re.search(r"Done (\d+) runs", said)
    assert runs, said[-6000:]
    counted(int(runs.group(1)))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 2**70), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
EVENTS = st.fixed_dictionaries(
    {"event": st.sampled_from(["record", "state", "amend", "drop", "rewind", "other"])},
    optional=dict.fromkeys(("ordinal", "step", "epoch", "metrics", "file", "bytes", "digest", "ordinals"), JSON),
)


@pytest.mark.promise("fuzzing")
@fuzzed
def test_events_with_right_checks(tmp_path: Path, examples: int, counted: Callable[[int], None]) -> None:
    """A log whose checks are right, of a stranger who can count."""
    with ts.Recorder(tmp_path / "run", filled(0)):
        pass
    log = tmp_path / "run" / "log.jsonl"
    whole, identity = log.read_bytes(), json.loads((tmp_path / "run" / "run.json").read_text())["identity"]

    def check(events: list[Any]) -> None:
        content = whole
        for event in events:
            content += line_of(event, identity, len(content))
        log.write_bytes(content)
        trajectory = our_error_or(lambda: ts.Trajectory(tmp_path / "run"))
        if trajectory is not None:
            our_error_or(lambda: [dict(state) for state in trajectory])

    fuzz(examples, st.lists(EVENTS, min_size=1, max_size=4), check, counted)


@pytest.mark.promise("fuzzing")
@fuzzed
def test_a_line_is_read_only_where_it_was_written(examples: int, counted: Callable[[int], None]) -> None:
    def check(example: tuple[dict[str, Any], int, int]) -> None:
        event, place, other = example
        line = line_of(event, "id", place)[:-1]
        assert {k: v for k, v in event_of(line, "id", place).items() if k != "check"} == json.loads(json.dumps(event))
        for identity, elsewhere in (("other", place), ("id", place + 1 + other)):
            with pytest.raises(ValueError, match="check is off"):
                event_of(line, identity, elsewhere)

    plain = st.dictionaries(st.text(min_size=1, max_size=4, alphabet="abcdef"), st.integers(), min_size=1, max_size=3)
    fuzz(examples, st.tuples(plain, st.integers(0, 9), st.integers(0, 9)), check, counted)


@pytest.mark.promise("fuzzing")
@fuzzed
def test_labels_of_parameters(tmp_path: Path, examples: int, counted: Callable[[int], None]) -> None:
    parts = st.sampled_from(["weight", "bias", "[", "]", ",", "0", "1", "-1", "-", " ", "²", "٣", "9" * 30, ".", "\n"])
    labels = st.one_of(st.text(max_size=12), st.lists(parts, max_size=10).map("".join))
    fuzz(examples, labels.map(str.encode), READERS["parameter label"](tmp_path).check, counted)


@pytest.mark.promise("fuzzing")
@fuzzed
def test_engine_options(tmp_path: Path, examples: int, counted: Callable[[int], None]) -> None:
    parts = st.sampled_from(["graph", "eager", "auto", ":", "rows", "=", ",", "200", "0", "-1", "²", "channels_last", "yes", "no"])
    options = st.lists(parts, max_size=8).map("".join)
    fuzz(examples, options.map(str.encode), READERS["engine options"](tmp_path).check, counted)


@pytest.mark.promise("fuzzing")
@pytest.mark.parametrize(
    "content", [b"\xff", b"[layer-roles", b"a = ", b"[layer-roles]\nseed = [[[", b"[layer-roles]\nseed = 'x'\n", b"= 1", b"\0"]
)
def test_option_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    (tmp_path / "thetascope.toml").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    assert main(["layer-roles", "run", "--objective", "a:b"]) in (1, 2)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    assert captured.err + captured.out


@pytest.mark.promise("fuzzing")
def test_files_whose_numbers_are_no_digits(tmp_path: Path) -> None:
    for name in ("epoch1²2.pt", "epoch2.pt"):
        torch.save(TENSORS, tmp_path / name)
    assert len(ts.Trajectory.from_files(tmp_path)) == 2


# --- any order --------------------------------------------------------------------------------------------


class Recordings(RuleBasedStateMachine):
    """A Recorder against a plain dictionary of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.run, self.model = self.folder / "run", filled(0)
        self.expected = {0: 0.0}
        self.recorder: ts.Recorder | None = None
        self.fresh = True

    @initialize()
    def begin(self) -> None:
        self.reopen()

    def reopen(self) -> None:
        self.recorder = ts.Recorder(self.run, self.model).__enter__()

    @rule(step=st.integers(1, 8), value=st.integers(1, 99))
    def record(self, step: int, value: int) -> None:
        fill(self.model, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            assert self.recorder is not None
            self.recorder.record(step=step, metrics={"value": value})
        self.expected = {s: v for s, v in self.expected.items() if s < step} | {step: value}

    @precondition(lambda self: self.fresh)
    @rule(loss=st.floats())
    def amend(self, loss: float) -> None:
        fill(self.model, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            assert self.recorder is not None
            self.recorder.record(step=0, metrics={"value": 0, "loss": loss})
        self.expected = {0: 0.0}

    @rule()
    def close_and_go_on(self) -> None:
        assert self.recorder is not None
        self.recorder.close()
        self.fresh = False
        self.reopen()

    @rule(torn=st.binary(min_size=1, max_size=20).filter(lambda b: b"\n" not in b))
    def die_within_a_line(self, torn: bytes) -> None:
        assert self.recorder is not None
        self.recorder.close()
        self.fresh = False
        with (self.run / "log.jsonl").open("ab") as log:
            log.write(torn)
        self.reopen()

    @invariant()
    def holds_what_was_recorded(self) -> None:
        if self.recorder is None:
            return
        trajectory, end = ts.Trajectory(self.run), time.monotonic() + 30
        while trajectory.steps != list(self.expected) and time.monotonic() < end:  # one state may still be on its way to the disk
            trajectory = ts.Trajectory(self.run)
        assert trajectory.steps == list(self.expected)
        for state, value in zip(trajectory, self.expected.values(), strict=True):
            assert_same(state, values(filled(value)))

    def teardown(self) -> None:
        if self.recorder is not None:
            self.recorder.close()
        shutil.rmtree(self.folder)


class Stores(RuleBasedStateMachine):
    """A store against plain arrays."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = Store.create(self.folder / "r", LAYOUT)
        self.loss = np.full(10, np.nan)

    @rule(row=st.integers(0, 1), start=st.sampled_from([0, 2, 4]), value=st.floats())
    def write(self, row: int, start: int, value: float) -> None:
        cells = range(5 * row + start, 5 * row + min(start + 2, 5))
        self.store.write("", cells[0], {"loss": [value] * len(cells), "accuracy": [0.5] * len(cells)})
        self.loss[list(cells)] = value

    @rule(cells=st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True), value=st.floats())
    def write_cells(self, cells: list[int], value: float) -> None:
        self.store.write_cells("", cells, {"loss": [value] * len(cells), "accuracy": [0.5] * len(cells)})
        self.loss[cells] = value

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(self.folder / "r")

    @rule(row=st.integers(0, 1), chunk=st.integers(0, 2), name=st.sampled_from(["loss", "accuracy", "check", "status"]))
    def lose_a_chunk(self, row: int, chunk: int, name: str) -> None:
        self.store.close()
        (self.folder / "r" / name / "c" / str(row) / str(chunk)).unlink(missing_ok=True)
        done = list(range(5 * row + 2 * chunk, 5 * row + min(2 * chunk + 2, 5)))
        self.loss[done] = np.nan
        try:
            self.store = Store.open(self.folder / "r")
        except ThetascopeError:  # not one of several points is left
            shutil.rmtree(self.folder / "r")
            self.store, self.loss = Store.create(self.folder / "r", LAYOUT), np.full(10, np.nan)
        self.loss[~self.store.done("")] = np.nan

    @invariant()
    def holds_what_was_written(self) -> None:
        for data in (self.store.data, ts.load_result(self.folder / "r").data):
            there = data["status"].values.ravel() != 0
            found = data["loss"].values.ravel()
            assert found[there].tobytes() == self.loss[there].tobytes()
            assert np.isnan(found[~there]).all()

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


@pytest.mark.slow
@pytest.mark.promise("any order")
@pytest.mark.filterwarnings("ignore:.*damaged and count as missing")
@pytest.mark.parametrize("examples", [pytest.param(8), pytest.param(60, marks=pytest.mark.faults_long)])
@pytest.mark.parametrize("machine", [Recordings, Stores])
def test_any_order(machine: type[RuleBasedStateMachine], examples: int, counted: Callable[[int], None]) -> None:
    steps = 15
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck), database=None
        ),
    )
    counted(examples)
