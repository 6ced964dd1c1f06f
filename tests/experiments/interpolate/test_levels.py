"""Paths of layers and of single parameters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import thetascope as ts
from thetascope.errors import GeometryError, StateError, ThetascopeError, TrajectoryError
from thetascope.testing.models import CASES, Case, case


def objective_of(chosen: Case) -> ts.Objective:
    return ts.Objective(chosen.model(), chosen.data(), loss=chosen.loss)


def trajectory_of(chosen: Case, count: int = 3) -> ts.Trajectory:
    return ts.Trajectory.from_states(chosen.states(count))


@pytest.mark.parametrize("kind", ["linear", "quadratic"])
@pytest.mark.parametrize("chosen", CASES, ids=lambda c: c.name)
def test_layers_end_at_the_final_score(chosen: Case, kind: str) -> None:
    objective, trajectory = objective_of(chosen), trajectory_of(chosen)
    result = ts.interpolate(objective, trajectory, kind, "layer", [0.0, 0.4, 1.0], progress=False)  # type: ignore[arg-type]
    assert result.data["layer"].values.tolist() == [layer.name for layer in objective.space.layers]
    final = result.data.attrs["reference"]["loss"]
    if result.data.attrs["buffers"] != "recalibrate":
        assert final == objective.score(trajectory[-1])["loss"]
    np.testing.assert_array_equal(result.data["loss"].sel(alpha=1.0), np.full(result.data.sizes["layer"], final))
    assert not result.data["excess"].sel(alpha=1.0).any()
    assert not result.data["excess_se"].sel(alpha=1.0).any()


def test_a_layer_s_start_is_that_layer_put_back() -> None:
    chosen = case("BatchNorm ResNet block")
    trajectory = trajectory_of(chosen)
    objective = ts.Objective(chosen.model(), chosen.data(), buffers="path")
    result = ts.interpolate(objective, trajectory, level="layer", alphas=[0.0, 1.0], progress=False)
    for layer in objective.space.layers:
        mixed = {name: trajectory[0][name] if name in (*layer.parameters, *layer.buffers) else t for name, t in trajectory[-1].items()}
        mixed |= {name: trajectory[-1][name] for name in mixed if name.endswith("num_batches_tracked")}
        assert float(result.data["loss"].sel(layer=layer.name, alpha=0.0)) == pytest.approx(objective.score(mixed)["loss"], rel=1e-6)


def test_a_layer_that_did_not_move_is_flat() -> None:
    chosen = case("linear")
    states = chosen.states(2)
    states[1] |= {name: t for name, t in states[0].items() if name.startswith("0.")}
    result = ts.interpolate(objective_of(chosen), ts.Trajectory.from_states(states), level="layer", alphas=7, progress=False)
    still = result.data.sel(layer="0")
    assert float(still["distance"]) == 0.0
    np.testing.assert_allclose(still["loss"], float(still["loss"][-1]), rtol=1e-6)
    assert np.ptp(result.data["loss"].sel(layer="2").values) > 1e-3


def test_permuting_the_layers_permutes_the_result() -> None:
    chosen = case("LeNet")
    names = ["fc3", "conv1", "fc1", "fc2", "conv2"]
    objective, trajectory = objective_of(chosen), trajectory_of(chosen)
    plain = ts.interpolate(objective, trajectory, level="layer", alphas=3, progress=False).data
    permuted = ts.interpolate(objective, trajectory, level="layer", alphas=3, layers=names, progress=False).data
    assert permuted["layer"].values.tolist() == names
    np.testing.assert_array_equal(permuted["loss"], plain["loss"].sel(layer=names))
    np.testing.assert_array_equal(permuted["distance"], plain["distance"].sel(layer=names))


def test_groups_of_layers_move_together() -> None:
    chosen = case("LeNet")
    objective, trajectory = objective_of(chosen), trajectory_of(chosen)
    groups = {"convolutions": ["conv*"], "rest": ["fc?"]}
    result = ts.interpolate(objective, trajectory, level="layer", alphas=[0.0, 1.0], layers=groups, progress=False).data
    assert result["layer"].values.tolist() == ["convolutions", "rest"]
    mixed = {name: trajectory[0 if name.startswith("conv") else -1][name] for name in trajectory[0]}
    assert float(result["loss"].sel(layer="convolutions", alpha=0.0)) == pytest.approx(objective.score(mixed)["loss"], rel=1e-6)
    squares = sum(
        float(((trajectory[-1][n].double() - trajectory[0][n].double()) ** 2).sum()) for n in trajectory[0] if n.startswith("conv")
    )
    assert float(result["distance"].sel(layer="convolutions")) == pytest.approx(squares**0.5, rel=1e-12)


@pytest.mark.parametrize("kind", ["linear", "quadratic"])
@pytest.mark.parametrize("chosen", CASES, ids=lambda c: c.name)
def test_parameters_go_through_every_kind_of_model(chosen: Case, kind: str) -> None:
    objective, trajectory = objective_of(chosen), trajectory_of(chosen)
    result = ts.interpolate(objective, trajectory, kind, "parameter", [0.0, 1.0, 1.5], parameters=1, progress=False).data  # type: ignore[arg-type]
    assert result["layer"].values.tolist() == [layer.name for layer in objective.space.layers]
    np.testing.assert_array_equal(
        result["loss"].sel(alpha=1.0), np.full(result.sizes["parameter"], objective.score(trajectory[-1])["loss"])
    )
    assert (result["status"] == 1).all()


def test_a_parameter_moves_alone() -> None:
    chosen = case("linear")
    objective, trajectory = objective_of(chosen), trajectory_of(chosen)
    result = ts.interpolate(
        objective, trajectory, "quadratic", "parameter", [-0.5, 0.0, 0.5], parameters=["0.weight[3,-1]", "2.bias[1]"], progress=False
    )
    assert result.data["parameter"].values.tolist() == ["0.weight[3,3]", "2.bias[1]"]
    assert result.data["layer"].values.tolist() == ["0", "2"]
    for alpha, weights in ((-0.5, (3, -3, 1)), (0.0, (1, 0, 0)), (0.5, (0, 1, 0))):
        edited = {name: t.clone() for name, t in trajectory[-1].items()}
        edited["0.weight"][3, 3] = sum(w * float(s["0.weight"][3, 3]) for w, s in zip(weights, trajectory, strict=True))
        assert float(result.data["loss"].sel(parameter="0.weight[3,3]", alpha=alpha)) == pytest.approx(
            objective.score(edited)["loss"], rel=1e-6
        )


def test_drawn_parameters_are_the_same_each_time_and_spread_over_layers() -> None:
    chosen = case("LeNet")
    objective, trajectory = objective_of(chosen), trajectory_of(chosen, 2)
    first, second = (
        ts.interpolate(objective, trajectory, level="parameter", alphas=[1.0], parameters=3, progress=False).data for _ in range(2)
    )
    assert first["parameter"].values.tolist() == second["parameter"].values.tolist()
    assert first["layer"].values.tolist() == [name for name in ("conv1", "conv2", "fc1", "fc2", "fc3") for _ in range(3)]
    only = ts.interpolate(objective, trajectory, level="parameter", alphas=[1.0], parameters=70, layers=["conv1"], progress=False).data
    assert only.sizes["parameter"] == 60  # all there are


def test_the_default_range_of_a_parameter_goes_beyond_its_states() -> None:
    chosen = case("linear")
    result = ts.interpolate(
        objective_of(chosen), trajectory_of(chosen), level="parameter", parameters={"0.bias": [(1,)]}, progress=False
    ).data
    assert (float(result["alpha"].min()), float(result["alpha"].max()), result.sizes["alpha"]) == (-0.5, 1.5, 41)


def test_levels_are_stored_and_gone_on_with(tmp_path: Path) -> None:
    chosen = case("LeNet")
    objective, trajectory = objective_of(chosen), trajectory_of(chosen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("thetascope.scoring.runner.UNIT_SECONDS", 1e-9)
        patch.setattr("thetascope.scoring.runner.SHARING_POINTS", 1)
        whole = ts.interpolate(objective, trajectory, level="layer", alphas=5, out=tmp_path / "r", progress=False)
    status = tmp_path / "r" / "status" / "c" / "2"
    assert sorted(p.name for p in status.iterdir()) == ["0", "1", "2", "3", "4"]  # a unit a point
    for lost in ("1", "3"):
        (status / lost).unlink()
    again = ts.interpolate(objective, trajectory, level="layer", alphas=5, out=tmp_path / "r", progress=False)
    assert again.data["loss"].values.tobytes() == whole.data["loss"].values.tobytes()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"level": "layer", "layers": ["conv9"]}, StateError, 'no layer matches "conv9"; there are: conv1, conv2, fc1, fc2, fc3'),
        ({"level": "layer", "layers": "conv1"}, StateError, r'write \["conv1"\]'),
        ({"level": "layer", "layers": {"a": ["conv1"], "b": ["conv*"]}}, StateError, 'stands in the groups "a" and "b"'),
        ({"level": "layer", "parameters": 3}, TrajectoryError, "no meaning"),
        ({"layers": ["conv1"]}, TrajectoryError, "no meaning"),
        ({"level": "parameter", "parameters": ["conv7.weight[0]"]}, GeometryError, "there are: conv1.weight, conv1.bias"),
        ({"level": "parameter", "parameters": ["conv1.weight[0,0,3,0]"]}, GeometryError, r"lies outside .conv1.weight. \[6, 1, 3, 3\]"),
        ({"level": "parameter", "parameters": ["conv1.bias"]}, GeometryError, "lies outside"),
        ({"level": "parameter", "parameters": ["conv1.bias[a]"]}, GeometryError, "no parameter tensor|written like"),
        ({"level": "parameter", "parameters": ["conv1.bias[1]", "conv1.bias[1]"]}, GeometryError, "only once"),
        ({"level": "parameter", "parameters": []}, GeometryError, "at least one"),
        ({"level": "parameter", "parameters": 0}, GeometryError, "at least 1"),
        ({"level": "parameter", "parameters": "conv1.bias[1]"}, GeometryError, "list of labels"),
    ],
)
def test_wrong_names_say_what_there_is(arguments: dict[str, object], error: type[ThetascopeError], message: str) -> None:
    chosen = case("LeNet")
    with pytest.raises(error, match=message):
        ts.interpolate(objective_of(chosen), trajectory_of(chosen, 2), progress=False, **arguments)  # type: ignore[arg-type]


def test_one_state_is_no_path() -> None:
    chosen = case("linear")
    for level in ("model", "layer", "parameter"):
        with pytest.raises(TrajectoryError, match="needs 2 recorded states; this trajectory has 1"):
            ts.interpolate(objective_of(chosen), trajectory_of(chosen, 1), level=level, progress=False)


def test_tied_weights_move_once() -> None:
    chosen = case("tied attention")
    objective, trajectory = objective_of(chosen), trajectory_of(chosen)
    result = ts.interpolate(objective, trajectory, level="layer", alphas=[0.0, 1.0], progress=False).data
    assert "output" not in result["layer"].values.tolist()
    assert torch.equal(trajectory[0]["embedding.weight"], trajectory[0]["output.weight"])
