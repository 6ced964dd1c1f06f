from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from tests.recording.tiny import assert_same, filled
from thetascope.errors import CheckpointError, TrajectoryError
from thetascope.recording.recorder import Recorder
from thetascope.state import State
from thetascope.trajectory import Trajectory


def tensors(value: float, *names: str) -> dict[str, Tensor]:
    """A small state dict whose every value is `value`."""
    return {name: torch.full((2,), float(value)) for name in names or ("weight", "bias")}


def marks(trajectory: Trajectory) -> list[float]:
    """The value that each state holds."""
    return [float(next(iter(state.tensors().values()))[0]) for state in trajectory]


def at_steps(*steps: int) -> Trajectory:
    return Trajectory.from_states([tensors(step) for step in steps], steps=steps)


# --- a sequence of states ---------------------------------------------------------------------------------


def test_a_trajectory_is_a_sequence() -> None:
    trajectory = Trajectory.from_states([tensors(i) for i in range(4)])
    assert len(trajectory) == 4
    assert trajectory[0] is trajectory[-4]
    assert float(trajectory[-1]["weight"][0]) == 3
    assert list(trajectory) == [trajectory[i] for i in range(4)]
    assert list(trajectory[1:3]) == [trajectory[1], trajectory[2]]
    assert list(trajectory[::-1]) == list(reversed(trajectory))
    assert trajectory[2] in trajectory


@pytest.mark.parametrize("index", [3, -4])
def test_an_index_beyond_the_end_is_named(index: int) -> None:
    with pytest.raises(IndexError, match=f"state {index} of a trajectory of 3 states"):
        at_steps(0, 1, 2)[index]


def test_a_run_directory_opens(tmp_path: Path) -> None:
    with Recorder(tmp_path, filled(0)) as recorder:
        recorder.record(step=5, epoch=0.5, metrics={"loss": 1})
    trajectory = Trajectory(tmp_path)
    assert (trajectory.steps, trajectory.epochs) == ([0, 5], [0.0, 0.5])
    assert trajectory[1].metrics == {"loss": 1}


def test_epochs_are_known_only_where_all_are_recorded(tmp_path: Path) -> None:
    with Recorder(tmp_path, filled(0)) as recorder:
        recorder.record(step=5)
        recorder.record(step=9, epoch=3)
    assert Trajectory(tmp_path).epochs is None
    assert Trajectory(tmp_path).steps == [0, 5, 9]


def test_the_representation_says_what_there_is(tmp_path: Path) -> None:
    assert repr(at_steps(0, 10)).splitlines() == [
        "Trajectory: 2 states from memory",
        "  steps    0, 10",
        "  epochs   not known",
        "  metrics  none recorded",
        "  tensors  2, 4 values",
    ]
    with Recorder(tmp_path / "run", filled(0)) as recorder:
        for step in range(1000, 9000, 1000):
            recorder.record(step=step, epoch=step / 2000, metrics={"loss": 1.0})
    lines = repr(Trajectory(tmp_path / "run")).splitlines()
    assert lines[0] == f'Trajectory: 9 states from "{tmp_path / "run"}"'
    assert lines[1:4] == ["  steps    0, 1,000, 2,000, …, 7,000, 8,000", "  epochs   0, 0.5, 1, …, 3.5, 4", "  metrics  loss"]


# --- progress ---------------------------------------------------------------------------------------------


def test_progress_is_counted_in_steps() -> None:
    trajectory = at_steps(100, 110, 150, 200)
    assert [trajectory.progress(i) for i in range(4)] == [0, 0.1, 0.5, 1]
    assert trajectory.progress(-1) == 1
    assert at_steps(7).progress(0) == 0


def test_at_gives_the_nearest_state() -> None:
    trajectory = at_steps(0, 10, 50, 100)
    assert [trajectory.index_at(f) for f in (0, 0.04, 0.06, 0.29, 0.31, 0.74, 0.76, 1)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert trajectory.at(0.5) is trajectory[2]
    assert at_steps(7).at(0.3).step == 7


@given(steps=st.lists(st.integers(0, 10**6), min_size=2, max_size=20, unique=True).map(sorted), data=st.data())
def test_of_two_equally_near_states_the_earlier(steps: list[int], data: st.DataObject) -> None:
    trajectory = at_steps(*steps)
    i = data.draw(st.integers(0, len(steps) - 2))
    middle = (steps[i] + steps[i + 1]) / 2
    assert trajectory.index_at((middle - steps[0]) / (steps[-1] - steps[0])) == i


@pytest.mark.parametrize("count", range(2, 40, 2))
def test_half_way_between_two_states_is_the_earlier(count: int) -> None:
    assert at_steps(*range(count)).index_at(0.5) == count // 2 - 1


@given(steps=st.lists(st.integers(0, 10**6), min_size=1, max_size=20, unique=True).map(sorted), data=st.data())
def test_each_state_is_found_at_its_own_progress(steps: list[int], data: st.DataObject) -> None:
    trajectory = at_steps(*steps)
    i = data.draw(st.integers(0, len(steps) - 1))
    assert trajectory.index_at(trajectory.progress(i)) == i


@pytest.mark.parametrize("fraction", [-0.01, 1.01, float("nan"), float("inf")])
def test_progress_beyond_the_ends_is_an_error(fraction: float) -> None:
    with pytest.raises(TrajectoryError, match=rf"between 0 \(first state\) and 1 \(last\)\. Got {fraction} instead"):
        at_steps(0, 1).at(fraction)


# --- states in memory -------------------------------------------------------------------------------------


def test_states_are_kept_not_copied() -> None:
    given_tensors = tensors(1)
    assert Trajectory.from_states([given_tensors])[0]["weight"].data_ptr() == given_tensors["weight"].data_ptr()


def test_states_have_the_steps_and_epochs_that_are_given() -> None:
    plain = Trajectory.from_states([tensors(0), tensors(1)])
    assert (plain.steps, plain.epochs, plain.clock) == (None, None, "state")
    assert [plain.called(i) for i in (0, 1, -1)] == ["state 0", "state 1", "state 1"]
    given_steps = Trajectory.from_states([tensors(0), tensors(1)], steps=[0, 50], epochs=[0, 0.5])
    assert (given_steps.steps, given_steps.epochs) == ([0, 50], [0.0, 0.5])
    assert [state.step for state in given_steps] == [0, 50]
    assert [state.label for state in given_steps] == ["state 0", "state 1"]


def test_any_iterable_of_states_will_do() -> None:
    def made() -> Iterator[dict[str, Tensor]]:
        yield tensors(0)
        yield tensors(1)

    assert marks(Trajectory.from_states(made())) == [0, 1]


def test_states_of_another_trajectory_keep_what_was_recorded() -> None:
    first = at_steps(0, 10, 20, 30)
    some = Trajectory.from_states(first[::2])
    assert some.steps == [0, 20]
    assert list(some) == [first[0], first[2]]


def test_epochs_can_be_given_to_states_of_another_trajectory() -> None:
    again = Trajectory.from_states(at_steps(0, 10), epochs=[0, 2.5])
    assert again.epochs == [0.0, 2.5]
    assert again.steps == [0, 10]


def test_where_one_step_is_not_known_none_is() -> None:
    assert Trajectory.from_states([State.of(tensors(0), step=7), State.of(tensors(1))]).steps is None


def test_without_steps_the_middle_is_the_middle_state() -> None:
    trajectory = Trajectory.from_states([tensors(i) for i in range(5)])
    assert [trajectory.progress(i) for i in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert trajectory.index_at(0.5) == 2


def test_epochs_are_the_clock_where_they_alone_are_known() -> None:
    trajectory = Trajectory.from_states([tensors(i) for i in range(3)], epochs=[0, 0.5, 10])
    assert (trajectory.clock, trajectory.progress(1), trajectory.index_at(0.5)) == ("epoch", 0.05, 1)
    assert trajectory.called(1) == "epoch 0.5"
    even = Trajectory.from_states([tensors(i) for i in range(3)], epochs=[0, 0, 10])
    assert (even.clock, even.progress(1)) == ("state", 0.5)


def test_epochs_may_not_fall() -> None:
    with pytest.raises(TrajectoryError, match="epochs may not fall from state to state; 2 follows 10"):
        Trajectory.from_states([tensors(0), tensors(1)], epochs=[10, 2])


@pytest.mark.parametrize("value", ["three", float("nan"), float("inf"), None, 2**60])
@pytest.mark.parametrize("name", ["steps", "epochs"])
def test_steps_and_epochs_are_numbers(name: str, value: object) -> None:
    with pytest.raises(TrajectoryError, match=f"{name} are finite numbers, one a state"):
        Trajectory.from_states([tensors(0)], **{name: [value]})  # type: ignore[arg-type]


def test_steps_are_whole() -> None:
    with pytest.raises(TrajectoryError, match=r"steps are whole numbers\. Got 0\.5 instead"):
        Trajectory.from_states([tensors(0)], steps=[0.5])  # type: ignore[list-item]


def test_there_must_be_a_state() -> None:
    with pytest.raises(TrajectoryError, match="the list of states holds no state yet"):
        Trajectory.from_states([])
    with pytest.raises(TrajectoryError, match="0 files holds no state yet"):
        Trajectory.from_files([])


@pytest.mark.parametrize("steps", [(0, 2, 1), (0, 1, 1)])
def test_steps_must_rise(steps: tuple[int, ...]) -> None:
    with pytest.raises(TrajectoryError, match=r"steps must rise from state to state; 1 follows \d in 0, "):
        at_steps(*steps)


@pytest.mark.parametrize("name", ["steps", "epochs"])
def test_there_must_be_one_value_a_state(name: str) -> None:
    with pytest.raises(TrajectoryError, match=f"{name} must hold one value per state: expected 2, got 3"):
        Trajectory.from_states([tensors(0), tensors(1)], **{name: [0, 1, 2]})


def test_states_of_different_models_are_one_error_with_all_differences() -> None:
    other = {"weight": torch.zeros(3), "extra": torch.zeros(1), "more": torch.zeros(1)}
    message = (
        r'state 2 \(state 2\) lacks "bias" \[2\] and has "extra" \[1\], "more" \[1\] and has "weight" as float32 \[3\] '
        r"instead of float32 \[2\]; expected the names and shapes of state 0 \(state 0\)"
    )
    with pytest.raises(TrajectoryError, match=message):
        Trajectory.from_states([tensors(0), tensors(1), other])


# --- names that wrappers changed --------------------------------------------------------------------------

INNER = ("net.weight", "net.bias")
WRAPPED = {
    "module.": ("module.net.weight", "module.net.bias"),
    "_orig_mod.": ("_orig_mod.net.weight", "_orig_mod.net.bias"),
    "model.": ("model.net.weight", "model.net.bias"),
    "nested": ("module._orig_mod.net.weight", "module._orig_mod.net.bias"),
    "nested the other way": ("_orig_mod.module.net.weight", "_orig_mod.module.net.bias"),
    "all three": ("model.module._orig_mod.net.weight", "model.module._orig_mod.net.bias"),
    "in the middle": ("net._orig_mod.weight", "net._orig_mod.bias"),
    "everywhere": ("module.net._orig_mod.weight", "module.net._orig_mod.bias"),
}


@pytest.mark.parametrize("names", WRAPPED.values(), ids=WRAPPED)
def test_wrappers_prefixes_are_left_out_where_that_makes_names_fit(names: tuple[str, ...]) -> None:
    trajectory = Trajectory.from_states([tensors(0, *INNER), tensors(1, *names), tensors(2, *INNER)])
    assert [sorted(state) for state in trajectory] == [sorted(INNER)] * 3
    assert marks(trajectory) == [0, 1, 2]


@pytest.mark.parametrize("names", WRAPPED.values(), ids=WRAPPED)
def test_it_does_not_matter_which_state_was_wrapped(names: tuple[str, ...]) -> None:
    trajectory = Trajectory.from_states([tensors(0, *names), tensors(1, *names), tensors(2, *INNER)])
    assert len({frozenset(state) for state in trajectory}) == 1
    assert marks(trajectory) == [0, 1, 2]


def test_states_may_be_wrapped_each_in_its_own_way() -> None:
    trajectory = Trajectory.from_states([tensors(i, *names) for i, names in enumerate(WRAPPED.values())])
    assert [sorted(state) for state in trajectory] == [sorted(INNER)] * len(WRAPPED)
    assert marks(trajectory) == list(range(len(WRAPPED)))


def test_prefixes_that_all_states_share_stay() -> None:
    trajectory = Trajectory.from_states([tensors(i, "model.net.weight", "model.head") for i in range(2)])
    assert list(trajectory[1]) == ["model.net.weight", "model.head"]


def test_a_prefix_is_not_left_out_where_two_names_would_become_one() -> None:
    with pytest.raises(TrajectoryError, match=r'has "module\.weight"'):
        Trajectory.from_states([tensors(0, "weight"), tensors(1, "weight", "module.weight")])


def test_renamed_states_keep_step_label_and_values() -> None:
    trajectory = Trajectory.from_states([tensors(0, *INNER), tensors(1, *WRAPPED["nested"])], steps=[3, 4], epochs=[1, 2])
    assert (trajectory[1].label, trajectory[1].step, trajectory[1].epoch) == ("state 1", 4, 2.0)
    assert_same(trajectory[1], tensors(1, *INNER))


# --- files ------------------------------------------------------------------------------------------------


def save(folder: Path, *names: str) -> list[Path]:
    """Checkpoint files of those names; the i-th holds the value i."""
    files = [folder / name for name in names]
    for i, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".safetensors":
            save_file(tensors(i), file)
        else:
            torch.save(tensors(i), file)
    return files


def test_a_list_of_files_keeps_its_order_whatever_their_names(tmp_path: Path) -> None:
    files = save(tmp_path, "e10.pt", "e2.pt", "e1.pt")
    trajectory = Trajectory.from_files(files)
    assert [state.label for state in trajectory] == ['"e10.pt"', '"e2.pt"', '"e1.pt"']
    assert marks(trajectory) == [0, 1, 2]
    assert trajectory.steps is None


def test_a_list_of_other_names_keeps_its_order(tmp_path: Path) -> None:
    files = save(tmp_path, "start.pt", "middle.pt", "end.safetensors")
    assert marks(Trajectory.from_files(map(str, files))) == [0, 1, 2]


def test_a_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    save(tmp_path, "e10.pt", "e2.safetensors", "e1.ckpt")
    (tmp_path / "notes.txt").write_text("no checkpoint")
    for folder in (tmp_path, str(tmp_path)):
        assert marks(Trajectory.from_files(folder)) == [2, 1, 0]


def test_one_file_is_a_trajectory_of_one_state(tmp_path: Path) -> None:
    assert marks(Trajectory.from_files(save(tmp_path, "e10.pt")[0])) == [0]


def test_a_folder_without_checkpoints_says_what_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no checkpoint")
    with pytest.raises(TrajectoryError, match=r"holds no checkpoint files; looked for folders of checkpoints .*\(\.safetensors, \.pt"):
        Trajectory.from_files(tmp_path)


def test_steps_and_epochs_belong_to_files_in_the_given_order(tmp_path: Path) -> None:
    files = save(tmp_path, "e10.pt", "e2.pt", "e1.pt")
    trajectory = Trajectory.from_files(files, steps=[100, 200, 300], epochs=[0.5, 2, 3])
    assert (trajectory.steps, trajectory.epochs) == ([100, 200, 300], [0.5, 2, 3])
    assert marks(trajectory) == [0, 1, 2]
    with pytest.raises(TrajectoryError, match="steps must rise from state to state; 200 follows 300"):
        Trajectory.from_files(files, steps=[100, 300, 200])
    with pytest.raises(TrajectoryError, match="epochs may not fall from state to state; 2 follows 3"):
        Trajectory.from_files(files, epochs=[1, 3, 2])


@pytest.mark.parametrize("name", ["steps", "epochs"])
def test_there_must_be_one_value_a_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrajectoryError, match=f"{name} must hold one value per state: expected 2, got 1"):
        Trajectory.from_files(save(tmp_path, "e1.pt", "e2.pt"), **{name: [1]})  # type: ignore[arg-type]


def test_files_of_different_models_are_one_error_with_all_differences(tmp_path: Path) -> None:
    files = save(tmp_path, "e1.pt", "e2.pt")
    torch.save({"weight": torch.zeros(2), "scale": torch.zeros(1), "shift": torch.zeros(1)}, tmp_path / "e3.pt")
    message = r'state 2 \("e3\.pt"\) lacks "bias" \[2\] and has "scale" \[1\], "shift" \[1\]; expected .* state 0 \("e1\.pt"\)'
    with pytest.raises(TrajectoryError, match=message):
        Trajectory.from_files([*files, tmp_path / "e3.pt"])


def test_all_kinds_of_files_together(tmp_path: Path) -> None:
    save(tmp_path, "e1.safetensors")
    torch.save({"epoch": 2, "state_dict": tensors(2, "module.weight", "module.bias")}, tmp_path / "e2.pt")
    torch.save(tensors(3, "_orig_mod.weight", "_orig_mod.bias"), tmp_path / "e3.pth", _use_new_zipfile_serialization=False)
    trajectory = Trajectory.from_files(tmp_path)
    assert marks(trajectory) == [0, 2, 3]
    assert [set(state) for state in trajectory] == [{"weight", "bias"}] * 3


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_states_are_read_when_they_are_asked_for(tmp_path: Path, suffix: str) -> None:
    files = save(tmp_path, f"e1.{suffix}", f"e2.{suffix}")
    trajectory = Trajectory.from_files(files)
    files[1].unlink()
    assert set(trajectory[1].specs) == {"weight", "bias"}
    assert_same(trajectory[0], tensors(0))
    with pytest.raises(CheckpointError, match=rf"e2\.{suffix}"):
        trajectory[1].tensors()


def test_a_folder_missing_altogether_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(TrajectoryError, match="does not exist"):
        Trajectory.from_files(tmp_path / "nothing")
