from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import thetascope as ts
from thetascope.errors import GeometryError, TrajectoryError
from thetascope.testing.models import QuadraticBowl, case, trained_states

CURVATURE, BOTTOM = (1.0, 40.0, 3.0, 2.0), (0.3, -0.2, 0.5, 0.0)


def bowl() -> ts.Objective:
    return ts.Objective.from_step(QuadraticBowl(CURVATURE, BOTTOM), QuadraticBowl.data(), QuadraticBowl.step)


def walked(count: int = 9, seed: int = 0) -> tuple[np.ndarray[Any, Any], ts.Trajectory]:
    rows = np.cumsum(np.random.default_rng(seed).normal(size=(count, 4)), axis=0)
    return rows, ts.Trajectory.from_states([{"position": torch.tensor(row)} for row in rows])


def formula(at: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(0.5 * (np.array(CURVATURE) * (at - np.array(BOTTOM)) ** 2).sum(axis=-1))


def components(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The first two, with the first state at coordinates of at least 0 as seen from the last."""
    found = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][:2]
    return np.asarray(found * np.where(found @ (rows[0] - rows[-1]) < 0, -1, 1)[:, None])


def test_the_grid_the_way_and_the_plane_below_it_equal_their_formulas() -> None:
    rows, trajectory = walked()
    data = ts.trajectory_plane(bowl(), trajectory, x=6, y=4, margin=0.5).data
    axes = components(rows)
    coordinates = (rows - rows[-1]) @ axes.T
    np.testing.assert_allclose(np.stack([data["path_x"], data["path_y"]], axis=1), coordinates, atol=1e-9)
    for name, along in (("x", coordinates[:, 0]), ("y", coordinates[:, 1])):
        reach = 0.5 * np.ptp(along)
        assert data[name].values[[0, -1]] == pytest.approx([along.min() - reach, along.max() + reach])
    xs, ys = data["x"].values, data["y"].values
    np.testing.assert_allclose(
        data["loss"].values, formula(rows[-1] + xs[None, :, None] * axes[0] + ys[:, None, None] * axes[1]), atol=1e-9
    )
    np.testing.assert_allclose(data["path_loss"].values, formula(rows), atol=1e-12)
    np.testing.assert_allclose(data["plane_loss"].values, formula(rows[-1] + coordinates @ axes), atol=1e-9)
    np.testing.assert_allclose(data["off_plane"].values, np.linalg.norm(rows - rows[-1] - coordinates @ axes, axis=1), atol=1e-7)
    np.testing.assert_allclose(data["distance"].values, np.linalg.norm(rows - rows[-1], axis=1))
    assert data["loss"].dims == ("y", "x")
    assert data["loss"].shape == (4, 6)


def test_path_and_plane_meet_at_the_last_state_bit_for_bit() -> None:
    chosen = case("LeNet")
    objective = ts.Objective(chosen.model(), chosen.data(), "nll")
    states = list(trained_states(chosen.model(), *chosen.data(), 4))
    data = ts.trajectory_plane(objective, ts.Trajectory.from_states(states), x=3, y=3).data
    score = objective.score(states[-1])["loss"]
    assert data["plane_loss"].values[-1] == data["path_loss"].values[-1] == score
    assert data["off_plane"].values[-1] == 0
    assert (data["off_plane"].values[1:-1] > 0).all()
    assert (data["plane_loss"].values[1:-1] != data["path_loss"].values[1:-1]).all()
    assert data["path_x"].values[0] >= 0
    assert data["path_y"].values[0] >= 0
    assert data["explained_variance_ratio"].sum() == pytest.approx(1.0)
    for name in ("random_walk_ratio", "correlated_walk_ratio", "equal_walk_ratio"):
        assert data[name].sum() == pytest.approx(1.0)
    assert "path_accuracy" in data
    assert "plane_accuracy" in data


def test_a_random_walk_looks_like_the_walk_beside_it() -> None:
    rows = np.cumsum(np.random.default_rng(0).normal(size=(60, 3000)), axis=0)
    objective = ts.Objective.from_step(QuadraticBowl([1.0] * 3000, [0.0] * 3000), QuadraticBowl.data(), QuadraticBowl.step)
    trajectory = ts.Trajectory.from_states([{"position": torch.tensor(row)} for row in rows])
    data = ts.trajectory_plane(objective, trajectory, x=2, y=2).data
    np.testing.assert_allclose(data["random_walk_ratio"], data["explained_variance_ratio"], atol=0.03)
    np.testing.assert_allclose(data["equal_walk_ratio"], data["random_walk_ratio"], atol=0.01)
    assert data.sizes["component"] == 10
    steps = np.diff(rows, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    expected = ((steps[:-1] * steps[1:]).sum(axis=1) / lengths[:-1] / lengths[1:]).mean()
    assert data.attrs["mean_cosine"] == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(data["correlated_walk_ratio"], data["random_walk_ratio"], atol=0.01)


def test_a_walk_with_momentum_looks_like_the_correlated_walk() -> None:
    generator, rows = np.random.default_rng(3), [np.zeros(4000)]
    velocity = generator.normal(size=4000)
    for _ in range(15):
        rows.append(rows[-1] + velocity)
        velocity = 0.9 * velocity + np.sqrt(1 - 0.81) * generator.normal(size=4000)
    objective = ts.Objective.from_step(QuadraticBowl([1.0] * 4000, [0.0] * 4000), QuadraticBowl.data(), QuadraticBowl.step)
    data = ts.trajectory_plane(objective, ts.Trajectory.from_states([{"position": torch.tensor(row)} for row in rows]), x=2, y=2).data
    assert data.attrs["mean_cosine"] == pytest.approx(0.9, abs=0.01)
    np.testing.assert_allclose(data["correlated_walk_ratio"], data["explained_variance_ratio"], atol=0.015)
    assert data["explained_variance_ratio"][0] > data["random_walk_ratio"][0] + 0.25


def test_without_successive_steps_there_is_no_correlated_walk() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 4))
    pair = [ts.Trajectory.from_states([{"position": torch.tensor(row)} for row in part]) for part in (rows[:2], rows[2:])]
    data = ts.trajectory_plane(bowl(), pair, x=2, y=2).data
    assert np.isnan(data.attrs["mean_cosine"])
    assert np.isnan(data["correlated_walk_ratio"]).all()
    assert np.isfinite(data["random_walk_ratio"]).all()


def test_several_trainings_share_the_plane_of_all_their_states() -> None:
    (first, one), (second, other) = walked(6, 0), walked(5, 1)
    second = second - second[0] + first[0]
    other = ts.Trajectory.from_states([{"position": torch.tensor(row)} for row in second])
    data = ts.trajectory_plane(bowl(), [one, other], x=3, y=3).data
    rows = np.concatenate([first, second])
    axes = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][:2]
    axes = axes * np.where(axes @ (rows[0] - first[-1]) < 0, -1, 1)[:, None]
    np.testing.assert_allclose(np.stack([data["path_x"], data["path_y"]], axis=1), (rows - first[-1]) @ axes.T, atol=1e-9)
    assert data["training"].values.tolist() == [0] * 6 + [1] * 5
    assert np.isnan(data["step"].values).all()  # nothing says at which steps they were
    assert data.attrs["trainings"][1]["states"] == 5


def labels(result: ts.Result) -> list[str]:
    return [training["label"] for training in result.data.attrs["trainings"]]


def test_trainings_are_called_by_their_folders_or_as_they_are_given(tmp_path: Path) -> None:
    runs = []
    for place in ("a/lenet", "b/lenet", "resnet"):
        model = QuadraticBowl(CURVATURE, BOTTOM)
        with ts.Recorder(tmp_path / place, model) as recorder:
            for step in range(3):
                model.load_state_dict({"position": torch.rand(4, dtype=torch.float64)}, strict=False)
                recorder.record(step=step + 1)
        runs.append(ts.Trajectory(tmp_path / place))
    grid: Any = {"x": 2, "y": 2, "progress": False}
    assert labels(ts.trajectory_plane(bowl(), runs, **grid)) == ["a/lenet", "b/lenet", "resnet"]
    assert labels(ts.trajectory_plane(bowl(), runs[1], **grid)) == ["lenet"]
    stored = {"out": tmp_path / "stored", **grid}
    ts.trajectory_plane(bowl(), runs, **stored)
    named = dict(zip(("seed 0", "seed 1", "wide"), runs, strict=True))
    assert labels(ts.trajectory_plane(bowl(), named, **stored)) == list(named)  # they need not be scored again
    assert labels(ts.load_result(tmp_path / "stored")) == list(named)
    inside = ts.trajectory_plane(bowl(), named, out="run", **grid)
    assert inside.path is not None
    assert inside.path.parent == tmp_path / "a/lenet/results"
    assert "also=" in inside.path.name


def test_trainings_in_memory_are_counted() -> None:
    pair = [walked(4, seed)[1] for seed in (0, 1)]
    assert labels(ts.trajectory_plane(bowl(), pair, x=2, y=2, progress=False)) == ["run 1", "run 2"]
    assert labels(ts.trajectory_plane(bowl(), pair[0], x=2, y=2, progress=False)) == ["run"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda one: {"": one}, "called by words"),
        (lambda one: {3: one}, "called by words"),
        (lambda one: {"a": one, "b": 3}, "expected a ts.Trajectory, got int"),
        (lambda one: {"a": 3}, "a mapping of names to them. Got dict"),
        (lambda one: {}, "a mapping of names to them. Got dict"),
        (lambda one: [], "a mapping of names to them. Got list"),
    ],
)
def test_what_is_no_training_is_an_error(given: Any, message: str) -> None:
    with pytest.raises(TrajectoryError, match=message):
        ts.trajectory_plane(bowl(), given(walked(4)[1]), x=2, y=2, progress=False)


def test_buffers_of_the_plane_are_the_last_states() -> None:
    chosen = case("BatchNorm ResNet block")
    states = chosen.states(4)
    objective = ts.Objective(chosen.model(), chosen.data(), chosen.loss, buffers="path")
    data = ts.trajectory_plane(objective, ts.Trajectory.from_states(states), x=3, y=3).data
    assert data["path_loss"].values.tolist() == [objective.score(state)["loss"] for state in states]
    held = {**states[0], **{n: t for n, t in states[-1].items() if "running" in n or "num_batches" in n}}
    # three states besides the center span more than the plane, so the first lies off it: held buffers alone do not make it
    assert data["plane_loss"].values[0] != objective.score(held)["loss"]
    assert data["plane_loss"].values[-1] == data["path_loss"].values[-1]


@pytest.mark.parametrize("name", ["tied attention", "LSTM", "DataParallel", "old weight_norm", "frozen"])
def test_goes_on_where_it_stopped_on_models_of_all_kinds(name: str, tmp_path: Path) -> None:
    chosen = case(name)
    objective, trajectory = ts.Objective(chosen.model(), chosen.data(), chosen.loss), ts.Trajectory.from_states(chosen.states(4))
    once = ts.trajectory_plane(objective, trajectory, x=3, y=2, out=tmp_path / "out")
    again = ts.trajectory_plane(objective, trajectory, x=3, y=2, out=tmp_path / "out")
    assert np.array_equal(once.data["loss"].values, again.data["loss"].values)
    assert ts.load_result(tmp_path / "out").data["explained_variance_ratio"].equals(once.data["explained_variance_ratio"])


def test_what_makes_no_plane_says_so() -> None:
    chosen = case("linear")
    objective, states = ts.Objective(chosen.model(), chosen.data(), chosen.loss), chosen.states(3)

    def plane(given: list[dict[str, Tensor]], **options: Any) -> ts.Result:
        return ts.trajectory_plane(objective, ts.Trajectory.from_states(given), **options)

    with pytest.raises(GeometryError, match="at least 3 states"):
        plane(states[:2])
    with pytest.raises(GeometryError, match="all states are equal"):
        plane([states[0]] * 3)
    between = {name: 0.25 * states[0][name] + 0.75 * states[1][name] for name in states[0]}
    with pytest.raises(GeometryError, match="one line"):
        plane([states[0], between, states[1]])
    with pytest.raises(GeometryError, match="at least 2"):
        plane(states, x=1)
    with pytest.raises(GeometryError, match="margin"):
        plane(states, margin=-0.1)
    with pytest.raises(TrajectoryError, match="list of them"):
        ts.trajectory_plane(objective, states[0])  # type: ignore[arg-type]
    with pytest.raises(TrajectoryError, match="list of them"):
        ts.trajectory_plane(objective, [])
