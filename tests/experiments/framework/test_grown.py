"""A training that has gone on since a call was stored is examined anew beside the old result; --fresh begins anew in its place."""

from __future__ import annotations

from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import thetascope as ts
from tests.cli.project import SPECIFIED, write_project
from thetascope.cli import main
from thetascope.errors import ResultError
from thetascope.testing.models import case

HOW: dict[str, Any] = {"out": "run", "engine": "eager", "progress": False}


def record(folder: Path, states: range, *, factor: float = 1.0, every: int = 10) -> ts.Trajectory:
    """Some of the states of a training, recorded or recorded on; of another with another factor."""
    model, known = case("linear").model(), [{n: t * factor for n, t in state.items()} for state in case("linear").states(8)]
    model.load_state_dict(known[states[0]])
    with ts.Recorder(folder, model, resumed_at=states[0] * every or None) as recorder:
        for step in states[1:]:
            model.load_state_dict(known[step])
            recorder.record(step=step * every, epoch=step)
    return ts.Trajectory(folder)


def objective(rows: int = 20) -> ts.Objective:
    return ts.Objective(case("linear").model(), case("linear").data(rows))


CALLS: dict[str, Callable[[ts.Trajectory], ts.Result]] = {
    "interpolate-alphas=3": lambda t: ts.interpolate(objective(), t, alphas=3, **HOW),
    "layer_rewind": lambda t: ts.layer_rewind(objective(), t, **HOW),
    "surface-x=-1,1,3-y=-1,1,3": lambda t: ts.surface(objective(), t, x=(-1, 1, 3), y=(-1, 1, 3), **HOW),
    "trajectory_geometry": lambda t: ts.trajectory_geometry(t, out="run", progress=False),
    "checkpoint_average": lambda t: ts.checkpoint_average(objective(), t, **HOW),
    "parameter_atlas-alphas=3": lambda t: ts.parameter_atlas(objective(), t, alphas=3, **HOW),
}


def files_of(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("key", CALLS)
def test_the_new_result_lies_beside_the_old_and_is_that_of_a_call_of_its_own(key: str, tmp_path: Path) -> None:
    run, call = tmp_path / "run", CALLS[key]
    first = call(record(run, range(4)))
    assert first.path is not None
    before = files_of(first.path)
    grown = record(run, range(3, 6))
    second = call(grown)
    assert second.path == first.path.with_name(f"{first.path.name}-until=50")
    assert files_of(first.path) == before
    other = record(tmp_path / "whole" / "run", range(6))
    expected = call(other)
    for name, values in expected.data.data_vars.items():
        np.testing.assert_array_equal(second.data[name].values, values.values, err_msg=str(name))
    assert second.headline == expected.headline
    again = files_of(second.path)
    assert call(grown).path == second.path  # resumed, and complete already
    assert {f: c for f, c in files_of(second.path).items() if f.name != "zarr.json"} == {
        f: c for f, c in again.items() if f.name != "zarr.json"
    }
    third = call(record(run, range(5, 8)))
    assert third.path == first.path.with_name(f"{first.path.name}-until=70")
    assert sorted(place.name for place in first.path.parent.iterdir()) == sorted(
        [first.path.name, f"{first.path.name}-until=50", f"{first.path.name}-until=70"]
    )


def test_another_call_is_refused_as_ever_and_fresh_is_offered(tmp_path: Path) -> None:
    trajectory = record(tmp_path / "run", range(4))
    place = tmp_path / "here"
    how = {**HOW, "out": place}
    ts.interpolate(objective(), trajectory, alphas=3, **how)
    longer = record(tmp_path / "run", range(3, 6))
    others: dict[str, Callable[[], ts.Result]] = {
        "data": lambda: ts.interpolate(objective(12), longer, alphas=3, **how),
        "options": lambda: ts.interpolate(objective(), longer, alphas=5, **how),
        "earlier states": lambda: ts.interpolate(objective(), record(tmp_path / "a", range(3)), alphas=3, **how),
        "another training": lambda: ts.interpolate(objective(), record(tmp_path / "b", range(6), factor=1.5), alphas=3, **how),
    }
    for name, call in others.items():
        with pytest.raises(ResultError, match=r"holds the result of another call: .* or remove that result \(--fresh does\)"):
            call()
        assert [found.name for found in tmp_path.iterdir() if found.name.startswith("here")] == ["here"], name


def test_states_without_steps_do_not_say_that_a_training_has_gone_on(tmp_path: Path) -> None:
    states = case("linear").states(4)
    how = {**HOW, "out": tmp_path / "here"}
    ts.interpolate(objective(), ts.Trajectory.from_states(states[:3]), alphas=3, **how)
    with pytest.raises(ResultError, match="holds the result of another call"):
        ts.interpolate(objective(), ts.Trajectory.from_states(states), alphas=3, **how)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "run", range(4))
    return tmp_path


def test_fresh_replaces_what_is_stored(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["interpolate", "run", *SPECIFIED, "--alphas", "3", "--engine", "eager"]
    place = folder / "run" / "results" / "interpolate-alphas=3"
    assert main(line) == 0
    first = ts.load_result(place)
    source = (folder / "mine.py").read_text()
    (folder / "mine.py").write_text(source.replace("chosen.data())", "chosen.data(12))"))
    assert main(line) == 1
    assert "--fresh" in capsys.readouterr().err
    torch.manual_seed(0)
    assert main([*line, "--fresh"]) == 0
    second = ts.load_result(place)
    assert (first.data.attrs["samples_scored"], second.data.attrs["samples_scored"]) == (10, 12)
    assert main(line) == 0  # which is now what is stored
    # what fails before anything is scored leaves what is there
    (folder / "mine.py").write_text(source.replace("chosen.data())", "chosen.data(12), loss='nothing')"))
    assert main([*line, "--fresh"]) != 0
    np.testing.assert_array_equal(ts.load_result(place).data["loss"].values, second.data["loss"].values)


def test_fresh_replaces_no_folder_of_something_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.tex").write_text("years")
    assert main(["interpolate", "run", *SPECIFIED, "--alphas", "3", "--out", "mine", "--fresh"]) == 1
    assert "exists and is no thetascope result; choose another place" in capsys.readouterr().err
    assert (folder / "mine" / "thesis.tex").read_text() == "years"


def test_examine_goes_beside_and_fresh_in_place(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["examine", "run", "interpolate", "trajectory_geometry", *SPECIFIED, "--alphas", "3"]
    assert main(line) == 0
    record(folder / "run", range(3, 6))
    assert main([*line, "--dry-run"]) == 0
    capsys.readouterr()
    assert main(line) == 0
    names = {"interpolate-alphas=3", "interpolate-alphas=3-until=50", "trajectory_geometry", "trajectory_geometry-until=50"}
    assert {place.name for place in (folder / "run" / "results").iterdir()} == names
    assert {place.stem for place in (folder / "run" / "figures").glob("*.png")} == names
    page = unescape((folder / "run" / "report.html").read_text(encoding="utf-8"))
    old, new = (ts.load_result(folder / "run" / "results" / f"interpolate-alphas=3{until}") for until in ("", "-until=50"))
    assert f"Before the training went on, at step 30: {old.headline}" in page
    assert new.headline[1:-1] in page
    assert page.count("Before the training went on, at step 30: ") == 2
    assert main([*line, "--fresh"]) == 0
    assert max(state["step"] for state in ts.load_result("run/results/interpolate-alphas=3").data.attrs["states"]) == 50
