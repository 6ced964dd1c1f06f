"""Every experiment by its entries, on models that are not a plain stack of layers; what `examine` chooses and where it lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import thetascope as ts
from thetascope.errors import ResultError, ThetascopeError, UsageError
from thetascope.experiments.framework.call_options import options_of
from thetascope.experiments.framework.catalog import RENAMED, chosen_entries, entries, experiments
from thetascope.experiments.framework.examine import Subject, examine
from thetascope.testing.models import case

SMALL = {"alphas": 9, "parameters": 1, "draws": 2, "repeats": 2, "grid": 13, "sizes": (10, 20)}


def subject_of(name: str, folder: Path) -> Subject:
    """A run of the named model, recorded in `folder`."""
    chosen = case(name)
    data = chosen.data(20)
    training = ts.Training(chosen.build, data, data, lambda p: torch.optim.SGD(p, lr=0.05), epochs=3, batch_size=10)
    model = training.model()
    with ts.Recorder(folder, model) as recorder:
        training.train(model, recorder=recorder, progress=False)
    objective = ts.Objective(model, data, chosen.loss)
    return Subject(objective, ts.Trajectory(folder), folder, training, SMALL, progress=False)


@pytest.mark.parametrize("name", ["BatchNorm ResNet block", pytest.param("tied attention", marks=pytest.mark.slow)])
def test_every_experiment_takes_every_kind_of_model(name: str, tmp_path: Path) -> None:
    subject = subject_of(name, tmp_path / "run")
    model = subject.objective.model.model
    before = {n: t.clone() for n, t in model.state_dict().items()}
    findings = examine(subject, chosen_entries([], with_training=True, with_long=True))
    assert [finding.entry.key for finding in findings] == list(entries())
    for finding in findings:
        counts = finding.result.status_counts()
        assert counts["missing"] == counts["not finite"] == 0
        of_states_alone = finding.entry.experiment.name == "trajectory_geometry"
        assert (counts["evaluated"] + counts["estimated"] > 0) is not of_states_alone
        assert finding.headline
        assert all(picture.stat().st_size > 5_000 for picture in finding.pictures)
        key = subject.call(finding.entry).key
        assert finding.result.data.attrs["key"] == key
        loaded = ts.load_result(tmp_path / "run" / "results" / key)
        np.testing.assert_array_equal(loaded.data[next(iter(loaded.data))], finding.result.data[next(iter(loaded.data))])
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_entries_are_chosen_by_key_in_the_order_of_the_catalog() -> None:
    assert [call.key for call in chosen_entries(["layer_roles", "interpolate"], with_training=False)] == ["interpolate", "layer_roles"]
    with_training, without = ({call.key for call in chosen_entries([], with_training=trains)} for trains in (True, False))
    assert with_training - without == {"study_epochs", "study_train_size"}
    assert "parameter_atlas" not in with_training
    with pytest.raises(UsageError, match="no experiment lines; there are: trajectory_geometry, trajectory_geometry-layer, interpolate, "):
        chosen_entries(["lines"], with_training=False)


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_is_told_its_new_one(old: str, new: str) -> None:
    assert new in entries()
    with pytest.raises(UsageError, match=f'^"{old}" is called "{new}" now$'):
        chosen_entries([old], with_training=False)


def test_one_call_lies_in_one_place_by_whichever_way_it_is_asked(tmp_path: Path) -> None:
    subject = subject_of("linear", tmp_path / "run")
    (entry,) = chosen_entries(["interpolate-quadratic-layer"], with_training=False)
    (finding,) = examine(subject, [entry])
    asked = ts.interpolate(subject.objective, subject.trajectory, "quadratic", "layer", alphas=9, out="run", progress=False)
    assert asked.path == finding.result.path == tmp_path / "run" / "results" / "interpolate-quadratic-layer-alphas=9"
    assert asked.data.identical(finding.result.data)
    assert len(list((tmp_path / "run" / "results").iterdir())) == 1


def test_the_place_in_a_run_needs_states_of_a_run() -> None:
    chosen = case("linear")
    objective, loose = ts.Objective(chosen.model(), chosen.data()), ts.Trajectory.from_states(chosen.states(2))
    with pytest.raises(UsageError, match="these are of none: pass a path"):
        ts.interpolate(objective, loose, alphas=2, out="run", progress=False)


def test_what_examine_chooses_otherwise_is_an_option_like_any() -> None:
    for experiment in experiments().values():
        for chosen in (experiment.examine_with, *experiment.demo_with.values()):
            assert chosen.keys() <= options_of(experiment.function).keys(), f"{experiment.name} has no such option"


def test_another_call_in_the_way_leaves_one_out_and_the_others_run(tmp_path: Path) -> None:
    subject = subject_of("linear", tmp_path / "run")
    line, roles = chosen_entries(["interpolate", "layer_roles"], with_training=False)
    ts.interpolate(subject.objective, subject.trajectory, alphas=3, out=tmp_path / "run/results" / subject.call(line).key, progress=False)
    with pytest.raises(ResultError, match="another call"):
        examine(subject, [line])
    left_out: dict[str, ThetascopeError] = {}
    assert [finding.entry.key for finding in examine(subject, [line, roles], left_out)] == ["layer_roles"]
    assert list(left_out) == ["interpolate"]


def test_another_state_of_a_run_has_a_place_of_its_own(tmp_path: Path) -> None:
    subject = subject_of("linear", tmp_path / "run")
    objective, trajectory = subject.objective, subject.trajectory

    def around(center: ts.Trajectory | ts.State) -> ts.Result:
        return ts.surface(objective, center, x=(-1, 1, 2), y=(-1, 1, 3), out="run", progress=False)

    whole, last, other = around(trajectory), around(trajectory[-1]), around(trajectory[1])
    assert whole.path == last.path
    assert other.path is not None
    assert other.path.name.endswith(f"-center={(trajectory.steps or [])[1]}")
    assert other.data.attrs["key"] == other.path.name
    assert other.data.attrs["options"]["center"] == (trajectory.steps or [])[1]
    report = ts.write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert f"--center {(trajectory.steps or [])[1]} --x -1 1 2 --y -1 1 3" in report
