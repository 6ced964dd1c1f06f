from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thetascope as ts
from thetascope.errors import GeometryError, ResultError, StateError, TrajectoryError
from thetascope.experiments.surface import experiment
from thetascope.experiments.surface.words import WORDS
from thetascope.scoring.runner import Runner
from thetascope.testing.models import QuadraticBowl, case

CURVATURE, BOTTOM = (1.0, 40.0, 3.0), (0.3, -0.2, 0.5)
GRID: dict[str, Any] = {"x": (-1, 2, 7), "y": (-0.5, 1, 4)}


def bowl() -> ts.Objective:
    return ts.Objective.from_step(QuadraticBowl(CURVATURE, BOTTOM), QuadraticBowl.data(), QuadraticBowl.step)


def position(*values: float) -> dict[str, Tensor]:
    return {"position": torch.tensor(values, dtype=torch.float64)}


def formula(at: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(0.5 * (np.array(CURVATURE) * (at - np.array(BOTTOM)) ** 2).sum(axis=-1))


def objective_of(name: str, **options: Any) -> tuple[ts.Objective, list[dict[str, Tensor]]]:
    chosen = case(name)
    return ts.Objective(chosen.model(), chosen.data(), chosen.loss, **options), chosen.states(3)


def test_directions_of_another_version_are_another_call_and_said_of_an_old_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objective, states = objective_of("linear")
    with monkeypatch.context() as before:
        before.setattr(experiment, "DIRECTIONS", 1)
        old = ts.surface(objective, states[-1], **GRID, out=tmp_path / "surface")
    assert old.data.attrs["directions"]["version"] == 1
    assert "Another version drew these directions" in WORDS.how(ts.load_result(tmp_path / "surface").data)
    with pytest.raises(ResultError, match=r"settings\.version was 1, now 2"):
        ts.surface(objective, states[-1], **GRID, out=tmp_path / "surface")
    new = ts.surface(objective, states[-1], **GRID)
    assert "Another version" not in WORDS.how(new.data)


def test_an_asymmetric_bowl_equals_its_formula_in_every_cell() -> None:
    dx, dy = np.array([1.0, 0.5, 0.0]), np.array([0.0, -0.25, 2.0])
    start = np.array([0.1, 0.2, -0.4])
    result = ts.surface(bowl(), position(*start), (position(*dx), position(*dy)), **GRID)
    xs, ys = np.linspace(-1, 2, 7), np.linspace(-0.5, 1, 4)
    assert result.data["loss"].dims == ("y", "x")
    assert result.data["loss"].shape == (4, 7)
    expected = formula(start + xs[None, :, None] * dx + ys[:, None, None] * dy)
    np.testing.assert_allclose(result.data["loss"].values, expected, rtol=0, atol=1e-12)
    assert float(result.data["loss"].sel(x=2, y=-0.5)) == pytest.approx(formula(start + 2 * dx - 0.5 * dy), abs=1e-12)
    assert float(result.data["loss"].sel(x=-0.5, y=1.0)) != pytest.approx(formula(start + dx - 0.5 * dy), abs=1e-3)
    assert (result.data["status"] == 1).all()


def test_the_center_is_the_final_state_bit_for_bit() -> None:
    objective, states = objective_of("LeNet")
    result = ts.surface(objective, ts.Trajectory.from_states(states), x=(-1, 1, 3), y=(-1, 1, 5))
    score = objective.score(states[-1])
    assert result.data["loss"].sel(x=0, y=0) == score["loss"]
    assert result.data["accuracy"].sel(x=0, y=0) == score["accuracy"]
    assert result.data.attrs["directions"]["kind"] == "random"
    assert result.data.attrs["directions"]["norms"] == pytest.approx([weights_norm(states[-1])] * 2, rel=1e-6)


def weights_norm(state: dict[str, Tensor]) -> float:
    return math.sqrt(sum(float(t.double().square().sum()) for t in state.values() if t.ndim > 1))


def test_relu_rescaling_leaves_the_filter_normalised_surface_unchanged() -> None:
    objective, states = objective_of("LeNet", dtype="float64")
    state = states[-1]
    scaled = dict(state)
    for name, factor in (("conv1.weight", 8.0), ("conv1.bias", 8.0), ("conv2.weight", 1 / 8), ("fc1.weight", 0.3), ("fc1.bias", 0.3)):
        scaled[name] = state[name] * factor
    scaled["fc2.weight"] = state["fc2.weight"] / 0.3
    assert objective.score(scaled)["loss"] == pytest.approx(objective.score(state)["loss"], rel=1e-6)
    grid: dict[str, Any] = {"x": (-1, 1, 5), "y": (-1, 1, 3)}
    for orthogonal in (False, True):
        plain = ts.surface(objective, state, orthogonal=orthogonal, **grid).data["loss"].values
        again = ts.surface(objective, scaled, orthogonal=orthogonal, **grid).data["loss"].values
        np.testing.assert_allclose(again, plain, rtol=1e-5)
    one, other = (ts.surface(objective, s, normalize=None, **grid).data["loss"].values for s in (state, scaled))
    assert not np.allclose(one, other, rtol=1e-2)


class TestThroughStates:
    def test_a_plane_meets_each_state_bit_for_bit(self) -> None:
        objective, states = objective_of("linear")
        result = ts.surface(objective, states[2], through=(states[0], states[1]), x=(0, 1, 3), y=(0, 1, 2))
        for (x, y), state in zip(((0, 0), (1, 0), (0, 1)), (states[2], states[0], states[1]), strict=True):
            assert result.data["loss"].sel(x=x, y=y) == objective.score(state)["loss"]
        assert [(m["x"], m["y"]) for m in result.data.attrs["marks"]] == [(0, 0), (1, 0), (0, 1)]

    def test_one_other_state_gives_the_line_of_interpolate(self) -> None:
        objective, states = objective_of("linear")
        line = ts.surface(objective, states[0], through=(states[1],), x=(0, 1, 5), y=(0, 0, 1))
        path = ts.interpolate(objective, ts.Trajectory.from_states(states[:2]), alphas=5)
        np.testing.assert_allclose(line.data["loss"].values[0], path.data["loss"].values, rtol=1e-6)

    def test_what_spans_nothing_says_so(self) -> None:
        objective, states = objective_of("linear")
        middle = {name: (states[0][name] + states[1][name]) / 2 for name in states[0]}
        with pytest.raises(GeometryError, match="lie on one line"):
            ts.surface(objective, states[0], through=(states[1], middle))
        with pytest.raises(GeometryError, match="equals the center"):
            ts.surface(objective, states[0], through=(states[0], states[1]))
        with pytest.raises(GeometryError, match="no second axis"):
            ts.surface(objective, states[0], through=(states[1],))
        with pytest.raises(GeometryError, match=r"one state .* or two"):
            ts.surface(objective, states[0], through=states)
        with pytest.raises(GeometryError, match="pass one of them"):
            ts.surface(objective, ts.Trajectory.from_states(states), "pca", through=(states[0], states[1]))


class TestOwnDirections:
    def test_directions_that_do_not_fit_say_all_that_differs(self) -> None:
        with pytest.raises(GeometryError, match=r'direction 2 .* "position" is \[2\], the model\'s is \[3\]; "mass" is no parameter'):
            ts.surface(bowl(), position(0, 0, 0), (position(1, 0, 0), {"position": torch.ones(2), "mass": torch.ones(1)}))

    @pytest.mark.parametrize("given", ["rnd", ({},), ("a", "b"), None, 3])
    def test_what_is_no_pair_of_directions_says_what_is(self, given: Any) -> None:
        with pytest.raises(GeometryError, match='"random", "pca" or two mappings'):
            ts.surface(bowl(), position(0, 0, 0), given)

    def test_parallel_ones_span_no_plane(self) -> None:
        with pytest.raises(GeometryError, match="span no plane"):
            ts.surface(bowl(), position(0, 0, 0), (position(1, 1, 0), position(-2, -2, 0)))

    def test_a_tied_tensor_may_be_named_either_way_but_not_differ(self) -> None:
        objective, states = objective_of("tied attention")
        one, other = torch.ones(11, 8), torch.eye(11, 8)
        grid: dict[str, Any] = {"x": (-1, 1, 2), "y": (-1, 1, 2)}
        first = ts.surface(objective, states[0], ({"embedding.weight": one}, {"embedding.weight": other}), **grid)
        again = ts.surface(objective, states[0], ({"output.weight": one}, {"output.weight": other, "embedding.weight": other}), **grid)
        assert np.array_equal(first.data["loss"].values, again.data["loss"].values)
        with pytest.raises(GeometryError, match="different values"):
            ts.surface(objective, states[0], ({"output.weight": one, "embedding.weight": other}, {"embedding.weight": other}), **grid)


def test_pca_needs_a_training_and_uses_its_components() -> None:
    objective, states = objective_of("linear")
    with pytest.raises(TrajectoryError, match=r"ts\.Trajectory"):
        ts.surface(objective, states[0], "pca")
    plane = ts.trajectory_plane(objective, ts.Trajectory.from_states(states), x=(-1, 1, 3), y=(-1, 1, 3))
    surface = ts.surface(objective, ts.Trajectory.from_states(states), "pca", x=(-1, 1, 3), y=(-1, 1, 3))
    assert np.array_equal(surface.data["loss"].values, plane.data["loss"].values)


@pytest.mark.parametrize("buffers", ["path", "final", "recalibrate"])
def test_buffers_are_the_centers_or_recalibrated(buffers: str) -> None:
    objective, states = objective_of("BatchNorm ResNet block", buffers=buffers)
    result = ts.surface(objective, ts.Trajectory.from_states(states), x=(-1, 1, 3), y=(-1, 1, 3))
    center = objective.score(states[-1])["loss"]
    found = float(result.data["loss"].sel(x=0, y=0))
    assert (found == center) is (buffers != "recalibrate")
    assert result.data.attrs["buffers"] == buffers
    assert result.data.attrs["floating_buffers"] == 4


class Cliff(nn.Module):
    """A loss that is not finite on one side."""

    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor([0.5, 0.5], dtype=torch.float64))

    def forward(self, batch: Tensor) -> Tensor:
        return self.at.log().sum().expand(len(batch))


def test_regions_that_are_not_finite_stay_so(tmp_path: Path) -> None:
    objective = ts.Objective.from_step(Cliff(), [(torch.zeros(2, 1), torch.zeros(2))], lambda model, batch: {"loss": model(batch[0])})
    result = ts.surface(
        objective, objective.model.present_state(), normalize=None, seed=1, x=(-3, 3, 7), y=(-3, 3, 5), out=tmp_path / "out"
    )
    loss, status = result.data["loss"].values, result.data["status"].values
    assert np.array_equal(status == 2, ~np.isfinite(loss))
    assert 0 < (status == 2).sum() < loss.size
    for kind in ("contour", "heatmap", "3d", "cuts"):
        result.plot(kind=kind)
    result.plot()
    result.figure()


def test_goes_on_where_it_stopped_and_refuses_another_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objective, states = objective_of("linear")
    whole = ts.surface(objective, states[0], **GRID)
    real, scored = Runner.share, []

    def stopping(self: Runner, request: Any, units: Any) -> Any:
        scored.append(sum(map(len, units)))
        if sum(scored) > 10:
            raise KeyboardInterrupt
        return real(self, request, units)

    monkeypatch.setattr("thetascope.scoring.runner.UNIT_SECONDS", 1e-9)
    monkeypatch.setattr(Runner, "share", stopping)
    with pytest.raises(KeyboardInterrupt):
        ts.surface(objective, states[0], **GRID, out=tmp_path / "out")
    monkeypatch.setattr(Runner, "share", real)
    done = int((ts.load_result(tmp_path / "out").data["status"] == 1).sum())
    assert 0 < done < 28
    resumed = ts.surface(objective, states[0], **GRID, out=tmp_path / "out")
    assert np.array_equal(resumed.data["loss"].values, whole.data["loss"].values)
    with pytest.raises(ResultError, match=r"settings.x was"):
        ts.surface(objective, states[0], x=(-1, 1, 7), y=GRID["y"], out=tmp_path / "out")
    with pytest.raises(ResultError, match=r"settings\.seed was 0, now 1"):
        ts.surface(objective, states[0], **GRID, seed=1, out=tmp_path / "out")


def test_arguments_that_are_off_say_why() -> None:
    objective, states = objective_of("linear")
    with pytest.raises(GeometryError, match="no surface"):
        ts.surface(objective, states[0], x=(0, 0, 1), y=(0, 0, 1))
    with pytest.raises(GeometryError, match="seed"):
        ts.surface(objective, states[0], seed=1.5)  # type: ignore[arg-type]
    with pytest.raises(StateError, match="does not fit"):
        ts.surface(objective, {"other": torch.ones(2)})
    zero = {name: torch.zeros_like(tensor) for name, tensor in states[0].items()}
    with pytest.raises(GeometryError, match="length 0"):
        ts.surface(objective, zero)
