from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import thetascope as ts
from thetascope.errors import ThetascopeError, TrajectoryError
from thetascope.experiments.compare_paths import compare_paths
from thetascope.experiments.compare_paths.experiment import crossings, log_gap
from thetascope.experiments.compare_paths.noise import noise_floor
from thetascope.experiments.shared.patterns import share_intervals
from thetascope.experiments.shared.training_path import TrainingPath, midpoints
from thetascope.geometry.edits import Parameter, ScalarEdits
from thetascope.scoring.fast.shared import GraphBackend
from thetascope.scoring.oracle import EagerBackend
from thetascope.scoring.scores import Sums
from thetascope.testing.models import QuadraticBowl, case

POSITIONS = [[5.0, 1.0, -3.0], [2.0, 4.0, 1.0], [1.5, 2.0, 0.5], [0.5, -1.0, 0.0], [0.2, -1.5, 0.1]]


def bowl() -> tuple[ts.Objective, ts.Trajectory]:
    objective = ts.Objective.from_step(QuadraticBowl([3.0, 0.5, 2.0], [1.0, -2.0, 0.25]), QuadraticBowl.data(), step=QuadraticBowl.step)
    return objective, ts.Trajectory.from_states([{"position": torch.tensor(p, dtype=torch.float64)} for p in POSITIONS])


def test_the_two_paths_are_those_of_interpolate() -> None:
    objective, trajectory = bowl()
    both = compare_paths(objective, trajectory, alphas=9, progress=False)
    for kind in ("linear", "quadratic"):
        alone = ts.interpolate(objective, trajectory, kind, alphas=9, progress=False)
        np.testing.assert_array_equal(both.data[f"{kind}_loss"], alone.data["loss"])
        np.testing.assert_array_equal(both.data["actual_loss"], alone.data["actual_loss"])


def test_what_meets_by_construction_is_marked() -> None:
    objective, trajectory = bowl()
    found = compare_paths(objective, trajectory, progress=False).data.attrs
    middle = [c for c in found["crossings"]["quadratic"] if c["alpha"] == 0.5]
    assert [c["by_construction"] for c in middle] == [True]
    assert all(0 < c["alpha"] < 1 for kind in ("linear", "quadratic") for c in found["crossings"][kind])
    assert found["gaps"]["states"] == 2  # five states, three of them knots


def test_gaps_are_those_at_states_that_are_no_knots() -> None:
    objective, trajectory = bowl()
    result = compare_paths(objective, trajectory, alphas=41, progress=False)
    losses = [objective.score(s)["loss"] for s in (trajectory[1], trajectory[3])]
    for kind in ("linear", "quadratic"):
        path = result.data[f"{kind}_loss"].sel(alpha=[0.25, 0.75])
        assert result.data.attrs["gaps"][kind] == pytest.approx(float(np.abs(np.log10(path / losses)).mean()), rel=1e-12)


def test_crossings_of_straight_pieces() -> None:
    alphas, progress = np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.25, 1.0])
    path, measured = np.array([4.0, 2.0, 0.0]), np.array([4.0, 1.0, 0.0])
    assert crossings(alphas, path, progress, measured, {0.0: 0.0, 1.0: 1.0}) == []  # only at the ends, by construction
    above = crossings(alphas, path, progress, np.array([4.0, 1.0, 1.0]), {0.0: 0.0})
    assert [(round(c["alpha"], 12), c["by_construction"]) for c in above] == [(0.75, False)]


def test_a_middle_recorded_a_little_off_meets_by_construction_too() -> None:
    grid = np.linspace(0, 1, 11)
    found = crossings(grid, 1 - grid, np.array([0.0, 0.48, 1.0]), np.array([0.5, 0.5, 0.5]), {0.0: 0.0, 0.48: 0.5, 1.0: 1.0})
    assert [(round(c["alpha"], 12), c["by_construction"]) for c in found] == [(0.5, True)]


def test_log_gap() -> None:
    assert log_gap(np.array([10.0, 1.0]), np.array([1.0, 10.0])) == 1.0
    assert np.isnan(log_gap(np.array([0.0]), np.array([1.0])))
    assert np.isnan(log_gap(np.array([]), np.array([])))


def test_midpoints() -> None:
    found = midpoints(np.array([[0.0, 1.0, 2.0], [1.0, 3.0, 2.0], [1.0, 5.0, 1.0]]))
    np.testing.assert_array_equal(found, [0.5, 2.0, np.nan])


def test_parameters_have_a_pattern_each(tmp_path: Path) -> None:
    chosen = case("linear")
    objective, trajectory = ts.Objective(chosen.model(), chosen.data(20)), ts.Trajectory.from_states(chosen.states(3))
    result = compare_paths(objective, trajectory, "parameter", parameters=5, out=tmp_path / "r", progress=False)
    assert result.data["pattern"].dims == ("parameter",)
    assert sum(result.data.attrs["pattern_shares"].values()) == pytest.approx(1.0)
    assert result.data.attrs["pattern_shares_interval"] == share_intervals(result.data["pattern"].values.tolist())
    assert result.data.attrs["noise_floor"] > 0
    values = {label: Parameter.parse(label, objective.space) for label in result.data["parameter"].values.tolist()}
    for label, parameter in values.items():
        first, middle, last = (float(state[parameter.name][parameter.index]) for state in trajectory)
        row = result.data.sel(parameter=label)
        assert float(row["distance"]) == abs(last - first)
        assert float(row["midpoint"]) == (middle - first) / (last - first)
    again = compare_paths(objective, trajectory, "parameter", parameters=5, out=tmp_path / "r", progress=False)
    assert again.data["pattern"].values.tolist() == result.data["pattern"].values.tolist()


def test_one_parameter_s_curves_are_one_function() -> None:
    """The quadratic curve at α is the linear one at the α that gives the same value."""
    objective, trajectory = bowl()
    result = compare_paths(objective, trajectory, "parameter", alphas=[0.0, 0.5, 1.0], parameters=["position[0]"], progress=False)
    share = float(result.data["midpoint"][0])
    line = ts.interpolate(objective, trajectory, level="parameter", alphas=[share], parameters=["position[0]"], progress=False)
    assert result.data["quadratic_loss"].sel(alpha=0.5).item() == pytest.approx(line.data["loss"].item(), rel=1e-14)


def test_the_noise_floor_is_that_of_the_arithmetic() -> None:
    chosen = case("LeNet")
    objective, trajectory = ts.Objective(chosen.model(), chosen.data(20), loss="nll"), ts.Trajectory.from_states(chosen.states(2))
    path = TrainingPath(objective, trajectory, "linear")
    edits = path.parameter_points([Parameter("conv1.weight", (0, 0, i, j)) for i in range(3) for j in range(3)], np.linspace(0, 1, 9))
    result = ts.interpolate(objective, trajectory, level="parameter", alphas=9, parameters=1, progress=False)
    scored = ts.interpolate(
        objective,
        trajectory,
        level="parameter",
        alphas=np.linspace(0, 1, 9),
        parameters=[p.label for p in edits.parameters],
        progress=False,
    )
    floor = noise_floor(objective, edits, scored.data["loss"].values)
    assert 1e-11 < floor < 1e-6
    exact = objective.evaluated_in("float64")
    assert noise_floor(exact, edits, scored.data["loss"].values) < 1e-14
    assert result.data["loss"].shape == (5, 9)


def test_the_noise_floor_scores_what_curves_share_once(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = case("LeNet")
    objective = ts.Objective(chosen.model(), chosen.data(20), loss="nll")
    state = objective.bind(chosen.states(1)[0])
    parameters = tuple(Parameter("conv1.weight", (0, 0, i, i)) for i in range(3))
    values = np.array([float(state[p.name][p.index]) for p in parameters])[:, None] + np.linspace(-1, 0, 5)  # all end in the state itself
    edits = ScalarEdits(state, parameters, values)
    asked: list[int] = []
    evaluate = GraphBackend.evaluate

    def noted(self: GraphBackend, rows: Sequence[int]) -> list[Sums]:
        asked.extend(rows)
        return evaluate(self, rows)

    monkeypatch.setattr(GraphBackend, "evaluate", noted)
    with objective.model.running():
        losses = np.array([sums.means()["loss"] for sums in EagerBackend(objective, edits).evaluate(range(15))]).reshape(3, 5)
    assert 0 < noise_floor(objective, edits, losses) < 1e-6
    assert len(asked) == len(set(asked)) == 13


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": "layer"}, "one of model, parameter"),
        ({"layers": ["x"]}, "no meaning"),
        ({"level": "parameter", "parameters": ["x[0]"]}, "no parameter tensor"),
    ],
)
def test_bad_arguments_say_what_there_is(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ThetascopeError, match=message):
        compare_paths(*bowl(), progress=False, **arguments)  # type: ignore[arg-type]


def test_two_states_have_no_middle() -> None:
    objective, _ = bowl()
    two = ts.Trajectory.from_states([{"position": torch.tensor(p, dtype=torch.float64)} for p in POSITIONS[:2]])
    with pytest.raises(TrajectoryError, match="needs 3 recorded states; this trajectory has 2"):
        compare_paths(objective, two, progress=False)
