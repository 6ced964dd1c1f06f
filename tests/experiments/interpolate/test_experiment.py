from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thetascope as ts
from thetascope.errors import GeometryError, ResultError, StateError, ThetascopeError, TrajectoryError
from thetascope.testing.models import CASES, Case, QuadraticBowl, case, trained_states

CURVATURE, BOTTOM = [3.0, 0.5, 2.0], [1.0, -2.0, 0.25]
STARTS = [[5.0, 1.0, -3.0], [2.0, 4.0, 1.0], [0.5, -1.0, 0.0]]


def bowl_objective() -> ts.Objective:
    return ts.Objective.from_step(QuadraticBowl(CURVATURE, BOTTOM), QuadraticBowl.data(), step=QuadraticBowl.step)


def bowl_trajectory(positions: list[list[float]] = STARTS, steps: list[int] | None = None) -> ts.Trajectory:
    return ts.Trajectory.from_states([{"position": torch.tensor(p, dtype=torch.float64)} for p in positions], steps=steps)


def bowl_loss(position: np.ndarray) -> float:
    return float(0.5 * (np.array(CURVATURE) * (position - np.array(BOTTOM)) ** 2).sum())


def objective_of(chosen: Case) -> ts.Objective:
    return ts.Objective(chosen.model(), chosen.data(), loss=chosen.loss)


def test_the_line_over_a_bowl_is_its_parabola() -> None:
    alphas = np.linspace(-0.5, 1.5, 81)
    result = ts.interpolate(bowl_objective(), bowl_trajectory(), alphas=alphas, progress=False)
    first, last = np.array(STARTS[0]), np.array(STARTS[-1])
    expected = [bowl_loss((1 - a) * first + a * last) for a in alphas]
    np.testing.assert_allclose(result.data["loss"], expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(result.data["actual_loss"], [bowl_loss(np.array(p)) for p in STARTS], rtol=1e-12)
    assert result.data.attrs["distance"] == pytest.approx(float(np.linalg.norm(last - first)), rel=1e-14)


@pytest.mark.parametrize(("kind", "degree"), [("quadratic", 2), (2, 2), (1, 1), ("linear", 1)])
def test_a_path_passes_through_its_knots(kind: object, degree: int) -> None:
    knots = np.linspace(0, 1, degree + 1)
    result = ts.interpolate(bowl_objective(), bowl_trajectory(), kind, alphas=knots, progress=False)  # type: ignore[arg-type]
    states = STARTS if degree == 2 else [STARTS[0], STARTS[-1]]
    np.testing.assert_allclose(result.data["loss"], [bowl_loss(np.array(p)) for p in states], rtol=1e-13)


def test_knots_are_the_states_nearest_in_steps() -> None:
    trajectory = bowl_trajectory([*STARTS, [0.0, 0.0, 0.0]], steps=[0, 40, 60, 100])
    result = ts.interpolate(bowl_objective(), trajectory, "quadratic", alphas=3, progress=False)
    knots = result.data.attrs["knots"]
    assert [knot["step"] for knot in knots] == [0, 40, 100]  # 40 and 60 are equally near to 50: the earlier one
    assert [knot["alpha"] for knot in knots] == [0.0, 0.5, 1.0]
    assert knots[1]["progress"] == 0.4
    assert result.data["progress"].values.tolist() == [0.0, 0.4, 0.6, 1.0]


@pytest.mark.parametrize("chosen", CASES, ids=lambda c: c.name)
def test_ends_equal_score_bit_for_bit(chosen: Case) -> None:
    objective, trajectory = objective_of(chosen), ts.Trajectory.from_states(chosen.states(2))
    result = ts.interpolate(objective, trajectory, alphas=3, progress=False)
    for index in (0, -1):
        score = objective.score(trajectory[index])
        recalibrated = result.data.attrs["buffers"] == "recalibrate"
        for name in ("loss", "accuracy"):
            assert float(result.data[name][index]) == float(result.data[f"actual_{name}"][index])
            assert float(result.data[f"{name}_recorded" if recalibrated else f"actual_{name}"][index]) == score[name]
    assert result.data.attrs["samples_scored"] == score["samples"]


def test_a_stored_result_loads_as_it_was(tmp_path: Path) -> None:
    objective, trajectory = objective_of(case("linear")), ts.Trajectory.from_states(case("linear").states(3))
    result = ts.interpolate(objective, trajectory, alphas=5, out=tmp_path / "r", progress=False)
    loaded = ts.load_result(tmp_path / "r")
    assert loaded.data.drop_encoding().identical(result.data)
    attrs = loaded.data.attrs
    assert attrs["engine"]["name"] == "graph"
    assert attrs["engine"]["settings"] is None
    assert {"thetascope", "torch", "numpy", "python"} <= attrs["versions"].keys()
    assert [state["digest"] for state in attrs["states"]] == [
        objective.bind(s).digest() for s in (trajectory[0], trajectory[2], trajectory[1])
    ]


def test_another_call_on_the_same_out_names_every_difference(tmp_path: Path) -> None:
    chosen = case("linear")
    trajectory = ts.Trajectory.from_states(chosen.states(3))
    ts.interpolate(objective_of(chosen), trajectory, alphas=5, out=tmp_path / "r", progress=False)
    before = {p: p.read_bytes() for p in (tmp_path / "r").rglob("*") if p.is_file()}
    inputs, targets = chosen.data()
    other = ts.Objective(chosen.model(), (inputs + 1, targets), metrics={"hits": "accuracy"})
    with pytest.raises(ResultError) as raised:
        ts.interpolate(other, trajectory, "quadratic", alphas=7, out=tmp_path / "r", progress=False)
    for name in (
        "data was",
        "metrics.accuracy was",
        "metrics.hits was None",
        "settings.alphas was",
        "settings.kind was linear, now quadratic",
    ):
        assert name in str(raised.value)
    assert "grid." not in str(raised.value)
    assert {p: p.read_bytes() for p in (tmp_path / "r").rglob("*") if p.is_file()} == before


def test_changed_code_is_noticed_by_the_checked_point(tmp_path: Path) -> None:
    chosen = case("linear")
    trajectory = ts.Trajectory.from_states(chosen.states(2))
    objective = objective_of(chosen)
    ts.interpolate(objective, trajectory, alphas=5, out=tmp_path / "r", progress=False)

    model = chosen.model()
    model.register_forward_hook(lambda module, inputs, outputs: outputs * 1.01)  # what no fingerprint sees
    changed = ts.Objective(model, chosen.data())
    with pytest.raises(ResultError, match="does not come out again"):
        ts.interpolate(changed, trajectory, alphas=5, out=tmp_path / "r", progress=False)


def test_resuming_takes_the_recorded_batch_size_and_threads(tmp_path: Path) -> None:
    chosen = case("linear")
    trajectory = ts.Trajectory.from_states(chosen.states(2))
    first = ts.Objective(chosen.model(), chosen.data(), batch_size=3)
    ts.interpolate(first, trajectory, alphas=5, out=tmp_path / "r", progress=False)
    torch.set_num_threads(2)
    second = ts.Objective(chosen.model(), chosen.data(), batch_size=7)
    result = ts.interpolate(second, trajectory, alphas=5, out=tmp_path / "r", progress=False)
    assert result.data.attrs["batch_size"] == second.batches.batch_size == 3
    assert result.data.attrs["threads"] == 1
    assert torch.get_num_threads() == 2


def test_nan_weights_are_a_result(tmp_path: Path) -> None:
    chosen = case("linear")
    states = chosen.states(3)
    states[1]["0.weight"][0, 0] = float("nan")
    trajectory = ts.Trajectory.from_states(states)
    for _ in range(2):  # the second time from disk: not recomputed, not filled in
        result = ts.interpolate(
            objective_of(chosen), trajectory, "quadratic", alphas=[0.0, 0.25, 0.5, 1.0], out=tmp_path / "r", progress=False
        )
        assert result.data["status"].values.tolist() == [1, 2, 2, 1]
        assert result.data["actual_status"].values.tolist() == [1, 2, 1]
        assert np.isnan(result.data["loss"].values[1])
    line = ts.interpolate(objective_of(chosen), trajectory, alphas=3, progress=False)
    assert line.data["status"].values.tolist() == [1, 1, 1]


def test_samples_carry_a_standard_error() -> None:
    chosen = case("linear")
    objective = ts.Objective(chosen.model(), chosen.data(20), samples=12)
    result = ts.interpolate(objective, ts.Trajectory.from_states(chosen.states(2)), alphas=3, progress=False)
    assert (result.data["loss_standard_error"] > 0).all()
    assert result.data.attrs["samples_scored"] == 12


def test_batchnorm_off_the_ends_stays_finite() -> None:
    chosen = case("BatchNorm ResNet block")
    result = ts.interpolate(objective_of(chosen), ts.Trajectory.from_states(chosen.states(3)), 2, alphas=[-0.5, 0.3, 1.5], progress=False)
    assert np.isfinite(result.data["loss"]).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"alphas": []}, GeometryError, "non-empty"),
        ({"alphas": [0.0, float("nan")]}, GeometryError, "finite"),
        ({"alphas": [0.0, 0.0]}, GeometryError, "repeat"),
        ({"alphas": 1}, GeometryError, "at least 2"),
        ({"kind": "cubic"}, TrajectoryError, '"linear", "quadratic" or a degree'),
        ({"kind": 0}, TrajectoryError, "degree of at least 1"),
        ({"kind": 3}, TrajectoryError, "needs 4 recorded states; this trajectory has 3"),
        ({"level": "atom"}, TrajectoryError, "level"),
        ({"engine": "warp"}, ThetascopeError, "eager"),
    ],
)
def test_bad_arguments_say_what_to_pass(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ts.interpolate(bowl_objective(), bowl_trajectory(), progress=False, **arguments)  # type: ignore[arg-type]


def test_a_middle_that_was_not_recorded_says_what_was() -> None:
    trajectory = bowl_trajectory([*STARTS, [0.0, 0.0, 0.0]], steps=[0, 1, 2, 100])
    with pytest.raises(TrajectoryError, match=r"progress 0, 0.333, 0.667, 1; recorded were 0, 0.01, 0.02, 1 \(steps \[0, 1, 2, 100\]\)"):
        ts.interpolate(bowl_objective(), trajectory, 3, progress=False)


def test_states_of_another_model_are_one_error() -> None:
    trajectory = ts.Trajectory.from_states(case("LSTM").states(2))
    with pytest.raises(StateError, match=r'lacks "0.weight" \[5, 4\].* and has .*"lstm.weight_ih_l0" \[24, 4\]'):
        ts.interpolate(objective_of(case("linear")), trajectory, progress=False)


def test_an_exception_leaves_what_was_finished(tmp_path: Path) -> None:
    chosen = case("linear")
    calls = 0

    def failing(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 30:
            raise KeyboardInterrupt
        return nn.functional.cross_entropy(outputs, targets, reduction="none")

    objective = ts.Objective(chosen.model(), chosen.data(), loss=failing)
    trajectory = ts.Trajectory.from_states(list(trained_states(chosen.model(), *chosen.data(), steps=4)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("thetascope.scoring.runner.UNIT_SECONDS", 1e-9)  # a point a unit
        with pytest.raises(KeyboardInterrupt):
            ts.interpolate(objective, trajectory, out=tmp_path / "r", progress=False)
        assert (
            ts.load_result(tmp_path / "r").status_counts()["evaluated"] == 19
        )  # 30 less seven of the guards, two of the check, that of the final state and the one that failed; the first was scored before
        result = ts.interpolate(objective, trajectory, out=tmp_path / "r", progress=False)
    assert result.status_counts() == {"missing": 0, "evaluated": 46, "not finite": 0, "estimated": 0}


def test_what_will_be_scored_is_said_first(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thetascope.experiments.framework.points.LONG_SECONDS", 0.0)
    ts.interpolate(bowl_objective(), bowl_trajectory(), alphas=5)
    said = " ".join(capsys.readouterr().err.split())
    assert "linear path of the whole model: 8 points to score on 3 samples with the eager engine on cpu, about" in said
    assert "a point, measured on one" in said


def test_the_time_is_measured_the_way_points_are_scored(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thetascope.experiments.framework.points.LONG_SECONDS", 0.0)
    chosen = case("LeNet")
    trajectory = ts.Trajectory.from_states(chosen.states(3))
    found = [
        ts.interpolate(ts.Objective(chosen.model(), chosen.data(), chosen.loss), trajectory, level=level, alphas=5, progress=progress)
        for level in ("model", "layer", "parameter")
        for progress in (True, False)
    ]
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("a point, measured on a few") == 3
    for shown, silent in zip(found[::2], found[1::2], strict=True):
        assert shown.status_counts() == silent.status_counts()
        np.testing.assert_allclose(shown.data["loss"], silent.data["loss"], rtol=1e-6)


def test_units_that_would_take_minutes_are_not_waited_for(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thetascope.experiments.framework.points.LONG_SECONDS", 0.0)
    monkeypatch.setattr("thetascope.experiments.framework.timing.PATIENCE_SECONDS", 0.0)
    chosen = case("LeNet")
    ts.interpolate(ts.Objective(chosen.model(), chosen.data(), chosen.loss), ts.Trajectory.from_states(chosen.states(3)), alphas=5)
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(r"with the graph engine on cpu, at most [^(]*\([^)]* a point, measured on one\)", said)
