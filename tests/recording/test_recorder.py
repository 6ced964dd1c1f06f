from __future__ import annotations

import math
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.full_disk import full_disk
from tests.leftovers import leave
from tests.processes import Child, ended, forked
from tests.recording.children import hold
from tests.recording.tiny import Tiny, assert_same, fill, filled, values
from thetascope.errors import RecordingError, StateError
from thetascope.recording import recorder as recorder_module
from thetascope.recording.log import Record
from thetascope.recording.recorder import Recorder
from thetascope.recording.run_directory import RunDirectory
from thetascope.state.written import write_safetensors
from thetascope.testing.models import TiedEmbedding
from thetascope.trajectory import Trajectory


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def records_of(run: Path) -> list[Record]:
    return list(RunDirectory.open(run).read_log().records.values())


def state_files(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "states").iterdir())


def record_steps(run: Path, *steps: int, max_states: int | None = None) -> None:
    """Record `steps` of a model whose every value is the step."""
    model = filled(0)
    with Recorder(run, model, max_states=max_states) as recorder:
        for step in steps:
            fill(model, step)
            recorder.record(step=step, metrics={"step": step})


def assert_holds(run: Path, *steps: int) -> None:
    """The run holds just these steps, and that of each the state that `record_steps` gave it."""
    trajectory = Trajectory(run)
    assert trajectory.steps == list(steps)
    for step, state in zip(steps, trajectory, strict=True):
        assert_same(state, values(filled(step)))
        state.digest()


# --- recording --------------------------------------------------------------------------------------------


def test_the_initial_state_is_there_on_entering(run: Path) -> None:
    model = Tiny()
    with Recorder(run, model):
        trajectory = Trajectory(run)
        assert (trajectory.steps, trajectory.epochs) == ([0], [0.0])
        assert_same(trajectory[0], values(model))


def test_states_steps_epochs_and_metrics_are_recorded(run: Path) -> None:
    model = Tiny()
    expected = [values(model)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(run, model) as recorder:
        for epoch in (1, 2, 3):
            optimizer.zero_grad()
            model(torch.randn(8, 2)).square().mean().backward()
            optimizer.step()
            expected.append(values(model))
            recorder.record(step=10 * epoch, epoch=epoch / 2, metrics={"train_loss": 1 / epoch})
    trajectory = Trajectory(run)
    assert trajectory.steps == [0, 10, 20, 30]
    assert trajectory.epochs == [0, 0.5, 1, 1.5]
    assert [dict(state.metrics) for state in trajectory] == [{}] + [{"train_loss": 1 / epoch} for epoch in (1, 2, 3)]
    for state, tensors in zip(trajectory, expected, strict=True):
        assert_same(state, tensors)


def test_steps_count_on_by_default(run: Path) -> None:
    with Recorder(run, Tiny()) as recorder:
        recorder.record()
        recorder.record(step=10)
        recorder.record()
    assert Trajectory(run).steps == [0, 1, 10, 11]


def test_a_path_may_be_a_string_with_missing_folders(tmp_path: Path) -> None:
    with Recorder(str(tmp_path / "deep" / "run"), Tiny()):
        pass
    assert len(Trajectory(str(tmp_path / "deep" / "run"))) == 1


@pytest.mark.parametrize("step", [3, 3.0, np.int64(3), torch.tensor(3)])
def test_whole_numbers_of_any_kind_are_steps(run: Path, step: int) -> None:
    with Recorder(run, Tiny()) as recorder:
        recorder.record(step=step)
    assert Trajectory(run).steps == [0, 3]


@pytest.mark.parametrize("step", [-1, 1.5, True, math.nan, math.inf, "3", "three", [3]])
def test_any_other_step_is_an_error(run: Path, step: int) -> None:
    with Recorder(run, Tiny()) as recorder, pytest.raises(RecordingError, match=r"step must be a whole number of at least 0\. Got"):
        recorder.record(step=step)
    assert Trajectory(run).steps == [0]


@pytest.mark.parametrize("epoch", ["1", True, [1]])
def test_an_epoch_is_a_number(run: Path, epoch: float) -> None:
    with Recorder(run, Tiny()) as recorder, pytest.raises(RecordingError, match="epoch must be a number or None"):
        recorder.record(epoch=epoch)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.int64(3), 3.0),
        (torch.tensor(0.5, dtype=torch.bfloat16), 0.5),
        (torch.tensor([0.25], requires_grad=True), 0.25),
        (torch.tensor(7), 7.0),
    ],
)
def test_any_one_number_is_a_metric(run: Path, value: float, expected: float) -> None:
    with Recorder(run, Tiny()) as recorder:
        recorder.record(metrics={"loss": value})
    assert Trajectory(run)[-1].metrics == {"loss": expected}


def test_nan_is_a_metric(run: Path) -> None:
    with Recorder(run, Tiny()) as recorder:
        recorder.record(metrics={"loss": math.nan})
    assert math.isnan(Trajectory(run)[-1].metrics["loss"])


@pytest.mark.parametrize("value", ["0.5", None, [0.5], True, torch.zeros(2), 1j])
def test_anything_else_is_no_metric(run: Path, value: float) -> None:
    with Recorder(run, Tiny()) as recorder:
        with pytest.raises(RecordingError, match='metric "loss" must be one number'):
            recorder.record(metrics={"loss": value})
        assert len(records_of(run)) == 1


@pytest.mark.parametrize("limit", [1, 0, -3])
def test_fewer_than_two_states_cannot_be_kept(run: Path, limit: int) -> None:
    with pytest.raises(RecordingError, match=rf"max_states must be at least 2 .*Got {limit} instead"):
        Recorder(run, Tiny(), max_states=limit)


def test_only_a_module_can_be_recorded(run: Path) -> None:
    with pytest.raises(RecordingError, match=r"must be a torch\.nn\.Module, got dict"):
        Recorder(run, dict(Tiny().state_dict()))  # type: ignore[arg-type]
    assert not run.exists()


# --- step 0 again -----------------------------------------------------------------------------------------


def test_recording_step_0_again_adds_metrics(run: Path) -> None:
    model = filled(0)
    with Recorder(run, model) as recorder:
        recorder.record(step=0, metrics={"loss": 2.3})
        fill(model, 1)
        recorder.record(step=1)
    assert_holds(run, 0, 1)
    assert Trajectory(run)[0].metrics == {"loss": 2.3}


def test_recording_step_0_again_and_again_keeps_the_initial_state_on_disk(run: Path) -> None:
    with Recorder(run, filled(0)) as recorder:
        for loss in (2.3, 2.4):
            recorder.record(step=0, metrics={"loss": loss})
            assert Trajectory(run)[0].metrics == {"loss": loss}, "a kill here may not lose it"
        recorder.record(step=1)
        with pytest.warns(UserWarning, match="what was recorded from step 1 on is dropped"):
            recorder.record(step=0)
    assert Trajectory(run).steps == [0]
    assert Trajectory(run).epochs == [0.0]


def test_a_model_without_values_is_named(run: Path) -> None:
    with pytest.raises(RecordingError, match=r'"weight" \(on the meta device\)'):
        Recorder(run, nn.Linear(2, 2, device="meta")).__enter__()
    assert not run.exists()


def test_a_trained_model_cannot_take_the_initial_ones_place(run: Path) -> None:
    model = filled(0)
    with Recorder(run, model) as recorder:
        fill(model, 1)
        with pytest.raises(RecordingError, match=r"would replace the initial state.*record\(step=1\) after the first"):
            recorder.record(step=0)
        recorder.record(step=1)
    assert_holds(run, 0, 1)


# --- copies, and writing in the background ----------------------------------------------------------------


class Gate:
    """Stands before the writing of states, and can be slow or shut."""

    def __init__(self) -> None:
        self.opened, self.seconds = threading.Event(), 0.0
        self.opened.set()
        self.errors: list[Exception] = []

    def __call__(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        assert self.opened.wait(30)
        time.sleep(self.seconds)
        if self.errors:
            raise self.errors.pop(0)
        write_safetensors(path, tensors)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(recorder_module, "write_safetensors", gate)
    yield gate
    gate.opened.set()


def test_training_on_does_not_change_what_was_recorded(run: Path, gate: Gate) -> None:
    model = filled(0)
    with Recorder(run, model) as recorder:
        fill(model, 1)
        gate.opened.clear()
        recorder.record()
        fill(model, 99)
        gate.opened.set()
    assert_holds(run, 0, 1)


def test_one_write_may_be_pending_and_the_next_call_waits(run: Path, gate: Gate) -> None:
    model = filled(0)
    with Recorder(run, model) as recorder:
        gate.opened.clear()
        fill(model, 1)
        recorder.record()  # returns although nothing can be written
        fill(model, 2)
        second = threading.Thread(target=recorder.record)
        second.start()
        second.join(0.05)
        assert second.is_alive()
        gate.opened.set()
        second.join(30)
        assert not second.is_alive()
    assert_holds(run, 0, 1, 2)


def test_an_error_of_the_background_surfaces_at_the_next_call(run: Path, gate: Gate) -> None:
    model = filled(0)
    with Recorder(run, model) as recorder:
        gate.errors.append(OSError("no space left"))
        fill(model, 1)
        recorder.record(metrics={"step": 1})
        fill(model, 2)
        with pytest.raises(OSError, match="no space left"):
            recorder.record(metrics={"step": 2})
        recorder.record(metrics={"step": 2})
    assert_holds(run, 0, 2)
    assert [record.metrics.get("step") for record in records_of(run)] == [None, 1, 2]


def test_an_error_of_the_background_surfaces_on_closing(run: Path, gate: Gate) -> None:
    recorder = Recorder(run, filled(0)).__enter__()
    gate.errors.append(OSError("no space left"))
    recorder.record()
    with pytest.raises(OSError, match="no space left"):
        recorder.close()
    assert_holds(run, 0)
    record_steps(run, 5)  # the lock is free
    assert_holds(run, 0, 5)


def test_an_error_on_entering_leaves_the_directory_usable(run: Path, gate: Gate) -> None:
    gate.errors.append(OSError("no space left"))
    recorder = Recorder(run, filled(0))
    with pytest.raises(OSError, match="no space left"):
        recorder.__enter__()
    with pytest.raises(RecordingError, match="not open"):
        recorder.record()
    record_steps(run, 1)
    assert_holds(run, 0, 1)


def test_a_full_disk_is_an_os_error_and_nothing_is_left_half_written(run: Path) -> None:
    model = nn.Linear(100, 100)
    with Recorder(run, model) as recorder:
        with full_disk(10_000):
            recorder.record()
            with pytest.raises(OSError, match=r"states/00000001\.safetensors.* could not be written"):
                recorder.record()
        assert state_files(run) == ["00000000.safetensors"]
        recorder.record(step=7)
    assert Trajectory(run).steps == [0, 7]


# --- going on ---------------------------------------------------------------------------------------------


def test_re_entering_goes_on(run: Path) -> None:
    record_steps(run, 1, 2)
    model = filled(3)
    with Recorder(run, model) as recorder:
        recorder.record()
        fill(model, 9)
        recorder.record(step=9)
    assert_holds(run, 0, 1, 2, 3, 9)


def test_one_recorder_can_be_entered_again(run: Path) -> None:
    model = filled(0)
    recorder = Recorder(run, model)
    for step in (1, 2):
        with recorder:
            fill(model, step)
            recorder.record()
    assert_holds(run, 0, 1, 2)


def test_re_entering_records_nothing_by_itself(run: Path) -> None:
    record_steps(run, 1)
    before = (run / "log.jsonl").read_bytes()
    with Recorder(run, filled(5)):
        pass
    assert (run / "log.jsonl").read_bytes() == before
    assert_holds(run, 0, 1)


@pytest.mark.parametrize(("step", "left"), [(4, [0, 1, 3, 4]), (3, [0, 1, 3]), (2, [0, 1, 2]), (1, [0, 1]), (0, [0])])
def test_a_step_that_is_there_drops_it_and_what_followed(run: Path, step: int, left: list[int]) -> None:
    record_steps(run, 1, 3, 4, 5)
    model = filled(step)
    message = f"step {step} comes after step 5: what was recorded from step {step} on is dropped"
    with Recorder(run, model) as recorder, pytest.warns(UserWarning, match=message) as caught:
        recorder.record(step=step)
    assert caught[0].filename == __file__
    assert_holds(run, *left)
    assert state_files(run) == [f"{ordinal:08d}.safetensors" for ordinal in range(len(left))]
    assert [record.step for record in records_of(run)] == left


def test_another_training_does_not_follow_the_initial_state_of_an_earlier_one(run: Path) -> None:
    record_steps(run, 1, 2)
    before = (run / "log.jsonl").read_bytes()
    with Recorder(run, filled(77)) as recorder, pytest.raises(RecordingError, match="holds another training: recording step 1 anew"):
        recorder.record(step=1)
    assert (run / "log.jsonl").read_bytes() == before
    assert_holds(run, 0, 1, 2)
    with Recorder(run, filled(78)) as recorder, pytest.warns(UserWarning, match="step 2 comes after step 2"):
        recorder.record(step=2)  # a checkpoint of the caller's, say: it goes on from what step 1 left


@pytest.mark.parametrize("state", [0, 1, 2])
def test_a_training_that_begins_at_one_of_its_states_is_recorded_anew(run: Path, state: int) -> None:
    record_steps(run, 1, 2)
    model = filled(state)
    recorder = Recorder(run, model)
    with recorder:
        fill(model, 1)
        with pytest.warns(UserWarning, match="step 1 comes after step 2"):
            recorder.record(step=1)
    assert_holds(run, 0, 1)


def test_a_training_resumed_within_one_recording(run: Path) -> None:
    model = filled(0)
    with Recorder(run, model) as recorder:
        for step in (1, 2, 3):
            fill(model, 50 + step)
            recorder.record(step=step)
        for step in (2, 3, 4):
            fill(model, step)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                recorder.record(step=step)
            assert len(caught) == (step == 2)
    assert Trajectory(run).steps == [0, 1, 2, 3, 4]
    for state in Trajectory(run)[2:]:
        assert_same(state, values(filled(float(state.step or 0))))


def test_another_model_is_an_error_that_lists_every_difference(run: Path) -> None:
    record_steps(run, 1)
    other = nn.Sequential(nn.Linear(2, 3))
    message = r'lacks "first\.weight" \[3, 2\].*"norm\.num_batches_tracked".* and has "0\.weight" \[3, 2\], "0\.bias" \[3\]'
    with pytest.raises(RecordingError, match=rf"records another model: this one {message}.*Record into a new directory"):
        Recorder(run, other).__enter__()
    record_steps(run, 2)  # the lock is free
    assert_holds(run, 0, 1, 2)


def test_another_trainable_only_is_an_error(run: Path) -> None:
    record_steps(run, 1)
    with pytest.raises(RecordingError, match="was recorded with trainable_only=False; go on with the same setting"):
        Recorder(run, Tiny(), trainable_only=True).__enter__()


def test_a_run_whose_states_were_never_written_starts_anew(run: Path) -> None:
    record_steps(run, 1)
    lines = (run / "log.jsonl").read_bytes().splitlines(keepends=True)
    (run / "log.jsonl").write_bytes(lines[0])  # killed before the log named the initial state
    (run / "states" / "00000001.safetensors").unlink()
    record_steps(run, 2)
    assert_holds(run, 0, 2)


def test_a_log_that_names_fewer_states_than_there_are_is_no_reason_to_remove_them(run: Path) -> None:
    record_steps(run, 1, 2)
    for remains in (b"", (run / "log.jsonl").read_bytes().splitlines(keepends=True)[0], None):
        (run / "log.jsonl").unlink()
        if remains is not None:
            (run / "log.jsonl").write_bytes(remains)
        with pytest.raises(RecordingError, match=r"the log was cut short\. Restore it from a copy"):
            Recorder(run, filled(0)).__enter__()
        assert len(state_files(run)) == 3
        (run / "log.jsonl").touch()


def test_a_log_that_a_crash_tore_is_mended_on_re_entering(run: Path) -> None:
    record_steps(run, 1)
    with (run / "log.jsonl").open("ab") as log:
        log.write(b'{"event":"record","ordin')
    record_steps(run, 2)
    assert_holds(run, 0, 1, 2)


# --- thinning ---------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(limit=st.integers(2, 9), counts=st.lists(st.integers(1, 25), min_size=1, max_size=3))
def test_states_are_thinned_evenly_also_when_recording_goes_on(limit: int, counts: list[int]) -> None:
    with TemporaryDirectory() as folder:
        run, last = Path(folder) / "run", 0
        for count in counts:
            record_steps(run, *range(last + 1, last + count + 1), max_states=limit)
            last += count
            steps = Trajectory(run).steps or []
            assert steps[0] == 0
            assert steps[-1] == last
            assert len(steps) <= limit
            gaps = [b - a for a, b in pairwise(steps)]
            assert len(set(gaps[:-1])) <= 1
            assert gaps[-1] <= gaps[0]
            assert_holds(run, *steps)
            assert state_files(run) == [f"{step:08d}.safetensors" for step in steps]
            assert [record.metrics.get("step", 0) for record in records_of(run)] == list(range(last + 1))


def test_the_last_state_is_kept_when_training_goes_back(run: Path) -> None:
    model = filled(0)
    with Recorder(run, model, max_states=3) as recorder:
        for step in [*range(1, 12), 10]:
            fill(model, step)
            if step == 10 and len(records_of(run)) > 11:
                with pytest.warns(UserWarning, match="is dropped"):
                    recorder.record(step=10)
            else:
                recorder.record(step=step)
    assert_holds(run, 0, 8, 10)


def test_ten_thousand_records_leave_few_files(run: Path) -> None:
    model = nn.Linear(1, 1)
    fill(model, 0)
    with Recorder(run, model, max_states=20) as recorder:
        for step in range(1, 10_001):
            model.bias.data[0] = step
            recorder.record(metrics={"step": step})
    assert len(state_files(run)) <= 20
    assert len(list(run.rglob("*"))) <= 24
    trajectory = Trajectory(run)
    assert (trajectory.steps or [])[0] == 0
    assert (trajectory.steps or [])[-1] == 10_000
    assert [float(state["bias"]) for state in trajectory] == [float(step) for step in trajectory.steps or []]
    assert [record.metrics["step"] for record in records_of(run)[1:]] == list(range(1, 10_001))


# --- one recorder at a time -------------------------------------------------------------------------------


def test_two_recorders_cannot_share_a_directory(run: Path) -> None:
    with Recorder(run, Tiny()), pytest.raises(RecordingError, match=r'recording into ".*run"; use another directory'):
        Recorder(run, Tiny()).__enter__()
    with Recorder(run, Tiny()):
        pass


def test_entering_twice_is_an_error_that_leaves_the_first_at_work(run: Path) -> None:
    model = filled(0)
    with Recorder(run, model) as recorder:
        with pytest.raises(RecordingError, match="recording into"):
            recorder.__enter__()
        with pytest.raises(RecordingError, match="recording into"):
            Recorder(run, model).__enter__()
        fill(model, 1)
        recorder.record()
    record_steps(run, 2)
    assert_holds(run, 0, 1, 2)


def test_the_directory_is_free_again_when_its_process_was_killed(run: Path) -> None:
    process = Child(hold, run)
    assert process.hear() == "recording"
    with pytest.raises(RecordingError, match="another process is recording"):
        Recorder(run, Tiny()).__enter__()
    process.kill()
    record_steps(run, 2)
    assert Trajectory(run).steps == [0, 2]


def in_a_fork(action: Callable[[], object]) -> str:
    """What `action` says, or raises, in a forked copy of this process."""
    reader, writer = os.pipe()

    def say() -> None:
        try:
            text = str(action())
        except BaseException as error:  # noqa: BLE001 - the parent judges it
            text = f"{type(error).__name__}: {error}"
        os.write(writer, text.encode())

    child = forked(say)
    os.close(writer)
    assert ended(child) == 0
    with os.fdopen(reader, "rb") as pipe:
        return pipe.read().decode()


def test_a_forked_worker_cannot_record(run: Path) -> None:
    model = filled(0)
    with Recorder(run, model) as recorder:
        assert in_a_fork(recorder.record).startswith("RecordingError: this recorder belongs to the process that opened it")
        assert in_a_fork(recorder.close) == "None"
        fill(model, 1)
        recorder.record()
    assert_holds(run, 0, 1)


def test_a_forked_worker_that_closes_writes_nothing(run: Path, gate: Gate) -> None:
    gate.seconds = 0.2  # so that the newest state is held back
    model = filled(0)
    with Recorder(run, model, max_states=2) as recorder:
        fill(model, 1)
        recorder.record()
        before = (run / "log.jsonl").read_bytes()
        assert in_a_fork(recorder.close) == "None"
        assert (run / "log.jsonl").read_bytes() == before
        assert state_files(run) == ["00000000.safetensors"]
    assert_holds(run, 0, 1)


def test_outside_with_nothing_can_be_recorded(run: Path) -> None:
    recorder = Recorder(run, Tiny())
    with pytest.raises(RecordingError, match=r"not open: write  with ts\.Recorder\(path, model\) as recorder:"):
        recorder.record()
    recorder.close()
    assert not run.exists()
    with recorder:
        pass
    with pytest.raises(RecordingError, match="not open"):
        recorder.record()
    recorder.close()


def test_an_exception_in_the_training_leaves_all_that_was_recorded(run: Path) -> None:
    def train() -> None:
        model = filled(0)
        with Recorder(run, model, max_states=3) as recorder:
            for step in range(1, 10):
                fill(model, step)
                recorder.record()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert_holds(run, 0, 8, 9)
    record_steps(run, 10, max_states=3)
    assert_holds(run, 0, 8, 10)


# --- the model --------------------------------------------------------------------------------------------


def test_the_model_and_the_random_state_are_left_alone(run: Path) -> None:
    model = Tiny()
    model.second.requires_grad_(False)
    model.norm.eval()
    model(torch.randn(4, 2)).square().sum().backward()
    before, tensors = values(model), list(model.parameters()) + list(model.buffers())
    grads = [None if p.grad is None else (id(p.grad), p.grad.clone()) for p in model.parameters()]
    versions, pointers, random = [t._version for t in tensors], [t.data_ptr() for t in tensors], torch.get_rng_state()

    with Recorder(run, model, trainable_only=True) as recorder:
        recorder.record(metrics={"loss": 1.0})

    assert_same(values(model), before)
    assert [t._version for t in tensors] == versions
    assert [t.data_ptr() for t in tensors] == pointers
    assert all(mine is theirs for mine, theirs in zip([*model.parameters(), *model.buffers()], tensors, strict=True))
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        assert (parameter.grad is None) == (grad is None)
        if grad is not None and parameter.grad is not None:
            assert id(parameter.grad) == grad[0]
            assert torch.equal(parameter.grad, grad[1])
    assert [p.requires_grad for p in model.parameters()] == [True] * 4 + [False] * 2
    assert [m.training for m in model.modules()] == [True, True, False, True]
    assert torch.equal(torch.get_rng_state(), random)


DTYPES = [torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.int64, torch.int8, torch.uint8, torch.bool]


def test_tensors_of_every_dtype_come_back(run: Path) -> None:
    model = nn.Module()
    for dtype in DTYPES:
        model.register_buffer(str(dtype).replace(".", "_"), torch.tensor([0.0, 1.0, 2.5]).to(dtype))
    model.register_buffer("none", torch.zeros(0, 3))
    model.register_buffer("one", torch.tensor(3))
    model.weight = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    with Recorder(run, model):
        pass
    assert_same(Trajectory(run)[0], values(model))
    Trajectory(run)[0].digest()


def test_a_dtype_that_cannot_be_stored_is_named(run: Path) -> None:
    model = nn.Linear(2, 2)
    model.register_buffer("phase", torch.zeros(1, dtype=torch.complex128))
    with pytest.raises(RecordingError, match=r'hold no torch\.complex128: convert "phase" to another dtype'):
        Recorder(run, model).__enter__()


def test_tensors_of_every_layout_come_back(run: Path) -> None:
    model = nn.Module()
    model.conv = nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.transposed = nn.Parameter(torch.randn(3, 5).t())
    model.register_buffer("expanded", torch.ones(1).expand(4))
    model.register_buffer("strided", torch.arange(10)[::3])
    model.register_buffer("conjugate", torch.tensor([1 + 2j, 3 - 1j]).conj())
    model.register_buffer("negative", torch.tensor([1 + 2j, 3 - 1j]).conj().imag)
    assert not model.transposed.is_contiguous()
    with Recorder(run, model):
        pass
    assert_same(Trajectory(run)[0], values(model))
    Trajectory(run)[0].digest()


def test_a_model_without_tensors_is_no_reason_to_fail(run: Path) -> None:
    with Recorder(run, nn.ReLU()) as recorder:
        recorder.record()
    assert [len(state) for state in Trajectory(run)] == [0, 0]


def test_wrappers_are_looked_through(run: Path) -> None:
    model = filled(0)
    compiled = torch.compile(model, backend="eager")
    assert isinstance(compiled, nn.Module)
    for step, wrapped in enumerate([nn.DataParallel(model), compiled, nn.DataParallel(compiled), model], 1):
        fill(model, step)
        with Recorder(run, wrapped) as recorder:
            recorder.record(step=step)
    trajectory = Trajectory(run)
    assert trajectory.steps == [0, 1, 2, 3, 4]
    assert_same(trajectory[-1], values(filled(4)))


def test_tied_tensors_are_recorded_once(run: Path) -> None:
    model = TiedEmbedding()
    with Recorder(run, model):
        pass
    state = Trajectory(run)[0]
    assert set(state) == set(model.state_dict()) - {"output.weight"}
    assert torch.equal(state["embedding.weight"], model.output.weight)


def test_a_model_without_the_tie_is_another_model(run: Path) -> None:
    with Recorder(run, TiedEmbedding()):
        pass
    untied = TiedEmbedding()
    untied.output.weight = nn.Parameter(untied.output.weight.detach().clone())
    with pytest.raises(RecordingError, match=r'records another model: .*"output\.weight"'):
        Recorder(run, untied).__enter__()


def test_a_buffer_that_is_also_held_outside_the_state_dict_is_recorded(run: Path) -> None:
    model, shared = nn.Linear(1, 1), torch.ones(2)
    model.register_buffer("passing", shared, persistent=False)
    model.register_buffer("kept", shared)
    with Recorder(run, model):
        pass
    assert_same(Trajectory(run)[0], values(model))


def test_uninitialised_parameters_are_an_error_before_anything_is_made(run: Path) -> None:
    with pytest.raises(StateError, match=r'"weight" is not initialised yet'):
        Recorder(run, nn.LazyLinear(3)).__enter__()
    assert not run.exists()


# --- what lies about --------------------------------------------------------------------------------------


def test_what_a_killed_recorder_left_is_swept_on_re_entering(run: Path) -> None:
    record_steps(run, 1)
    stray = [leave(run / "run.json"), leave(run / "states" / "00000002.safetensors"), run / "states" / "00000002.safetensors"]
    stray[-1].write_bytes(b"half")
    kept = [run / "notes.partial", run / ".run.json.7.partial", run / "states" / ".nfs0001"]  # nobody's leftovers, the user's maybe
    for path in kept:
        path.write_bytes(b"mine")
    Trajectory(run)
    assert all(path.exists() for path in stray), "reading a run may not change it"
    with Recorder(run, filled(0)):
        assert not any(path.exists() for path in stray)
        assert all(path.exists() for path in kept)
    assert_holds(run, 0, 1)


def test_results_that_are_being_written_beside_are_left_alone(run: Path) -> None:
    record_steps(run, 1)
    result = run / "results" / "line" / ".zarr.json.7.partial"
    result.parent.mkdir(parents=True)
    result.write_bytes(b"half")
    record_steps(run, 2)
    assert result.exists()


def test_files_of_somebody_else_are_not_swept(run: Path) -> None:
    (run / "states").mkdir(parents=True)
    (run / "states" / "precious.safetensors").write_bytes(b"mine")
    (run / "notes.txt").write_bytes(b"mine")
    with pytest.raises(RecordingError, match=r'states" holds files that no Recorder wrote.*another directory'):
        Recorder(run, Tiny()).__enter__()
    assert (run / "states" / "precious.safetensors").read_bytes() == b"mine"
    assert (run / "notes.txt").read_bytes() == b"mine"
    assert not (run / "run.json").exists()


# --- a training that goes on from a checkpoint, and metrics that come late ---------------------------------


def test_the_first_state_of_a_resumed_training_has_its_step(run: Path) -> None:
    model = filled(3)
    with Recorder(run, model, resumed_at=30) as recorder:
        recorder.record(step=30, epoch=1.5, metrics={"loss": 2.0})
        fill(model, 4)
        recorder.record(step=40)
    assert [(r.step, r.epoch, r.metrics) for r in records_of(run)] == [(30, 1.5, {"loss": 2.0}), (40, None, {})]


def test_what_was_recorded_after_the_checkpoint_is_dropped(run: Path) -> None:
    record_steps(run, 10, 15, 20)
    model = filled(12)  # the checkpoint's, which was never recorded
    with pytest.warns(UserWarning, match="goes on from step 12: what was recorded from step 13 on is dropped") as caught:
        recorder = Recorder(run, model, resumed_at=12).__enter__()
    assert caught[0].filename == __file__
    fill(model, 22)
    recorder.record(step=22)
    recorder.close()
    assert_holds(run, 0, 10, 22)


def test_a_checkpoint_before_all_that_was_recorded_is_of_that_training(run: Path) -> None:
    record_steps(run, 10)
    model = filled(5)
    with pytest.warns(UserWarning, match="from step 6 on is dropped"):
        recorder = Recorder(run, model, resumed_at=5).__enter__()
    fill(model, 7)
    recorder.record(step=7)
    recorder.close()
    assert_holds(run, 0, 7)


@pytest.mark.parametrize("max_states", [None, 2])
def test_metrics_that_come_late_are_added_to_the_last_record(run: Path, max_states: int | None) -> None:
    model = filled(0)
    with Recorder(run, model, max_states=max_states) as recorder:
        recorder.amend({"val": 9.0})
        for step in (1, 2, 3):
            fill(model, step)
            recorder.record(step=step, epoch=step / 2, metrics={"train": step, "val": -1.0})
            recorder.amend({"val": 10 * step})
            recorder.amend({"lr": 0.1})
    want = [(0, 0.0, {"val": 9.0})] + [(s, s / 2, {"train": s, "val": 10 * s, "lr": 0.1}) for s in (1, 2, 3)]
    assert [(r.step, r.epoch, r.metrics) for r in records_of(run)] == want
    assert Trajectory(run)[-1].metrics == {"train": 3, "val": 30, "lr": 0.1}


def test_nothing_is_added_to_a_record_of_another_time(run: Path) -> None:
    record_steps(run, 1)
    with Recorder(run, filled(1)) as recorder, pytest.raises(RecordingError, match=r"call record\(\) first"):
        recorder.amend({"val": 1.0})
    with pytest.raises(RecordingError, match="not open"):
        recorder.amend({"val": 1.0})
