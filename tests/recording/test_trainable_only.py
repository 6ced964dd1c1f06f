from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.recording.tiny import Tiny, assert_same, fill, filled, values
from thetascope.errors import RecordingError
from thetascope.recording.recorder import Recorder
from thetascope.recording.safetensors_files import SafetensorsSource
from thetascope.trajectory import Trajectory

FROZEN = {"first.weight", "first.bias"}
REST = set(Tiny().state_dict()) - FROZEN


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def half_frozen(value: float = 0) -> Tiny:
    model = filled(value)
    model.first.requires_grad_(False)
    return model


def train(model: Tiny, value: float) -> None:
    """Set what is trainable, and the buffers, to `value`."""
    with torch.no_grad():
        for tensor in [*(p for p in model.parameters() if p.requires_grad), *model.buffers()]:
            tensor.fill_(value)


def written(run: Path, ordinal: int) -> set[str]:
    return set(SafetensorsSource(run / "states" / f"{ordinal:08d}.safetensors").specs)


def record_on(run: Path, model: Tiny, *steps: int) -> None:
    with Recorder(run, model, trainable_only=True) as recorder:
        for step in steps:
            train(model, step)
            recorder.record(step=step)


def test_what_is_frozen_is_written_once_and_states_read_whole(run: Path) -> None:
    model = half_frozen(7)
    expected = [values(model)]
    with Recorder(run, model, trainable_only=True) as recorder:
        for step in (1, 2):
            train(model, step)
            recorder.record()
            expected.append(values(model))
    assert set(SafetensorsSource(run / "frozen.safetensors").specs) == FROZEN
    assert [written(run, ordinal) for ordinal in range(3)] == [REST] * 3
    trajectory = Trajectory(run)
    for state, tensors in zip(trajectory, expected, strict=True):
        assert_same(state, tensors)
        assert torch.equal(state["first.bias"], torch.full((3,), 7.0))
        assert set(state.specs) == FROZEN | REST


def test_buffers_are_always_written(run: Path) -> None:
    model = filled(0).requires_grad_(False)
    record_on(run, model, 1)
    assert written(run, 1) == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    assert_same(Trajectory(run)[1], values(model))


def test_a_model_without_frozen_parameters(run: Path) -> None:
    record_on(run, filled(0), 1)
    assert written(run, 1) == FROZEN | REST
    assert_same(Trajectory(run)[1], values(filled(1)))


def test_without_the_option_all_is_written_each_time(run: Path) -> None:
    with Recorder(run, half_frozen()):
        pass
    assert not (run / "frozen.safetensors").exists()
    assert written(run, 0) == FROZEN | REST


def test_what_is_unfrozen_later_is_recorded_from_then_on(run: Path) -> None:
    model = half_frozen()
    with Recorder(run, model, trainable_only=True) as recorder:
        train(model, 1)
        recorder.record()
        model.first.weight.requires_grad_(True)
        for step in (2, 3):
            train(model, step)
            recorder.record()
        model.first.weight.requires_grad_(False)  # it holds a trained value now
        train(model, 4)
        recorder.record()
    trajectory = Trajectory(run)
    assert [float(state["first.weight"][0, 0]) for state in trajectory] == [0, 0, 2, 3, 3]
    assert [float(state["first.bias"][0]) for state in trajectory] == [0] * 5
    assert [float(state["second.bias"][0]) for state in trajectory] == [0, 1, 2, 3, 4]
    assert written(run, 1) == REST
    assert written(run, 4) == REST | {"first.weight"}


def test_what_is_unfrozen_is_recorded_however_it_is_changed(run: Path) -> None:
    model = half_frozen()
    with Recorder(run, model, trainable_only=True) as recorder:
        model.first.weight.requires_grad_(True)
        model.first.weight.data.fill_(5)  # past autograd, which counts no new version
        recorder.record()
    assert [float(state["first.weight"][0, 0]) for state in Trajectory(run)] == [0, 5]


def test_a_frozen_parameter_that_was_written_to_is_recorded_all_the_same(run: Path) -> None:
    model = half_frozen()
    with Recorder(run, model, trainable_only=True) as recorder:
        with torch.no_grad():
            model.first.weight.fill_(5)
        recorder.record()
    assert [float(state["first.weight"][0, 0]) for state in Trajectory(run)] == [0, 5]


def test_re_entering_with_the_same_frozen_values_goes_on(run: Path) -> None:
    record_on(run, half_frozen(), 1)
    record_on(run, half_frozen(), 2)
    assert [float(state["second.bias"][0]) for state in Trajectory(run)] == [0, 1, 2]
    assert written(run, 2) == REST


def test_re_entering_with_other_frozen_values_is_an_error(run: Path) -> None:
    record_on(run, half_frozen(0), 1)
    other = half_frozen(0)
    with torch.no_grad():
        other.first.bias[1] = 1e-6
    with pytest.raises(RecordingError, match=r'the frozen "first\.bias" differs from the one .* holds; load the same frozen values'):
        Recorder(run, other, trainable_only=True).__enter__()
    record_on(run, half_frozen(), 2)


def test_re_entering_unfrozen_records_it_from_then_on(run: Path) -> None:
    record_on(run, half_frozen(0), 1)
    model = filled(0)
    with Recorder(run, model, trainable_only=True) as recorder:
        fill(model, 2)
        recorder.record()
    trajectory = Trajectory(run)
    assert [float(state["first.bias"][0]) for state in trajectory] == [0, 0, 2]
    assert_same(trajectory[2], values(filled(2)))


def test_re_entering_with_what_was_trained_and_frozen_again_goes_on(run: Path) -> None:
    model = half_frozen(0)
    with Recorder(run, model, trainable_only=True) as recorder:
        model.first.requires_grad_(True)
        train(model, 1)
        recorder.record()
        model.first.requires_grad_(False)
    record_on(run, model, 2)
    trajectory = Trajectory(run)
    assert [float(state["first.bias"][0]) for state in trajectory] == [0, 1, 1]
    assert [float(state["second.bias"][0]) for state in trajectory] == [0, 1, 2]


def test_step_0_may_be_recorded_again_after_unfreezing(run: Path) -> None:
    model = half_frozen()
    with Recorder(run, model, trainable_only=True) as recorder:
        model.first.requires_grad_(True)
        recorder.record(step=0, metrics={"loss": 1.0})
    assert Trajectory(run)[0].metrics == {"loss": 1.0}
    assert_same(Trajectory(run)[0], values(filled(0)))


def test_gradients_switched_on_are_not_switched_off(run: Path) -> None:
    model = half_frozen()
    record_on(run, model, 1)
    assert [p.requires_grad for p in model.parameters()] == [False] * 2 + [True] * 4
