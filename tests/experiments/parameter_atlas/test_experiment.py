from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thetascope as ts
from thetascope.errors import GeometryError, ResultError, TrajectoryError
from thetascope.experiments.framework.catalog import experiments
from thetascope.experiments.parameter_atlas.single_parameters import measured_error
from thetascope.experiments.shared.patterns import pattern, share_intervals
from thetascope.testing.models import Case, trained_states

ALPHAS = 41


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.fc, self.head = nn.Linear(18, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.max_pool2d(torch.relu(self.conv(x)), 2).flatten(1)
        logits: torch.Tensor = self.head(torch.relu(self.fc(x)))
        return logits


CASE = Case("small", Small, lambda: torch.randn(300, 1, 8, 8), lambda: torch.randint(3, (300,)))


@lru_cache
def states(steps: int, samples: int) -> list[dict[str, torch.Tensor]]:
    return list(trained_states(CASE.model(), *CASE.data(samples), steps=steps))


def setting(dtype: str | None = None, steps: int = 8, samples: int = 300) -> tuple[ts.Objective, ts.Trajectory]:
    return ts.Objective(CASE.model(), CASE.data(samples), dtype=dtype), ts.Trajectory.from_states(states(steps, samples))


@pytest.fixture(scope="module")
def brute() -> ts.Result:
    """Every parameter, scored one by one with full passes in double precision."""
    objective, trajectory = setting("float64")
    names = [f"{n}[{','.join(map(str, i))}]" for n, p in CASE.model().named_parameters() for i in np.ndindex(*p.shape)]
    return ts.interpolate(objective, trajectory, "linear", "parameter", ALPHAS, parameters=names, engine="eager", progress=False)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "dtype", "tolerance"), [("tabulated", None, 1e-5), ("exact", None, 1e-5), ("exact", "float64", 1e-9)])
def test_every_parameter_against_brute_force(brute: ts.Result, mode: Any, dtype: str | None, tolerance: float) -> None:
    objective, trajectory = setting(dtype)
    result = ts.parameter_atlas(objective, trajectory, mode=mode, progress=False)
    final = float(brute.data["loss"].values[0, -11])
    assert brute.data["alpha"].values[-11] == 1.0
    assert result.data["parameter"].values.tolist() == brute.data["parameter"].values.tolist()
    expected = brute.data["loss"].values - final
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(result.data["loss_change"].values, expected, atol=tolerance * final)
    assert (result.data["loss_change"].values[:, -11] == 0).all()
    status = result.data["status"].values
    assert set(status.ravel().tolist()) == ({1, 3} if mode == "tabulated" else {1})
    assert (status[:, -11] == 1).all()  # where nothing changes nothing is read
    assert result.data["loss_change"].dtype == ("float64" if dtype else "float32")
    np.testing.assert_array_equal(result.data["impact"].values, np.abs(result.data["loss_change"].values).max(axis=1))
    np.testing.assert_allclose(result.data["distance"].values, brute.data["distance"].values, rtol=1e-12)
    assert result.data["layer"].values.tolist() == brute.data["layer"].values.tolist()


def test_the_error_is_measured() -> None:
    objective, trajectory = setting()
    found = ts.parameter_atlas(objective, trajectory, progress=False).data.attrs["table_error"]
    assert 0 < found["median"] <= found["largest"] < 1e-4
    assert found["parameters"] >= 50
    assert found["places"] == 5 * found["parameters"]


def test_the_error_is_measured_where_values_were_read_not_where_they_were_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def noted(objective: Any, state: Any, engine: Any, sink: Any, sample: Any) -> Any:
        seen.extend(sample)
        return measured_error(objective, state, engine, sink, sample)

    monkeypatch.setattr("thetascope.experiments.parameter_atlas.derived.measured_error", noted)
    objective, trajectory = setting()
    data = ts.parameter_atlas(objective, trajectory, progress=False).data
    assert seen
    for parameter, _, changes in seen:
        row = data.sel(parameter=parameter.label)
        read = row["loss_change"].values[row["status"].values == 3]
        assert set(np.asarray(changes).tolist()) <= set(read.tolist())


def test_the_error_tells_when_a_table_is_coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thetascope.experiments.parameter_atlas.loss_tables.PLACES", 7)
    objective, trajectory = setting()
    assert ts.parameter_atlas(objective, trajectory, progress=False).data.attrs["table_error"]["largest"] > 1e-4


@pytest.mark.parametrize("kind", ["linear", "quadratic"])
def test_both_paths_are_kept_and_make_the_patterns(kind: Any) -> None:
    objective, trajectory = setting()
    result = ts.parameter_atlas(objective, trajectory, kind, progress=False)
    compared = ts.compare_paths(objective, trajectory, "parameter", parameters=["fc.weight[2,3]", "conv.weight[0,0,1,1]"], progress=False)
    rows = result.data.sel(parameter=["fc.weight[2,3]", "conv.weight[0,0,1,1]"])
    final = result.data.attrs["final_loss"]
    for path in ("linear", "quadratic"):
        name = "loss_change" if path == kind else f"{path}_change"
        np.testing.assert_allclose(rows[name].values, compared.data[f"{path}_loss"].values - final, atol=1e-5 * final)
    np.testing.assert_allclose(rows["midpoint"].values, compared.data["midpoint"].values)
    order = result.data["alpha"].values
    curves = {
        path: result.data["loss_change" if path == kind else f"{path}_change"].values.astype(float) for path in ("linear", "quadratic")
    }
    floor = result.data.attrs["noise_floor"]
    assert result.data["pattern"].values.tolist() == [
        pattern(order, a, b, floor) for a, b in zip(curves["linear"], curves["quadratic"], strict=True)
    ]
    assert sum(result.data.attrs["pattern_shares"].values()) == pytest.approx(1.0)
    assert result.data.attrs["pattern_shares_interval"] == share_intervals(result.data["pattern"].values.tolist())


def test_without_a_middle_state_there_are_no_patterns() -> None:
    objective, trajectory = setting(steps=1)
    result = ts.parameter_atlas(objective, trajectory, progress=False)
    assert set(result.data["pattern"].values.tolist()) == {""}
    assert np.isnan(result.data["midpoint"].values).all()
    assert "quadratic_change" not in result.data
    with pytest.raises(TrajectoryError, match="3 recorded states"):
        ts.parameter_atlas(objective, trajectory, "quadratic", progress=False)


def test_some_layers_only() -> None:
    objective, trajectory = setting()
    whole = ts.parameter_atlas(objective, trajectory, progress=False)
    some = ts.parameter_atlas(objective, trajectory, layers=["fc", "conv"], progress=False)
    assert set(some.data["layer"].values.tolist()) == {"fc", "conv"}
    np.testing.assert_array_equal(some.data["loss_change"].values, whole.data.sel(parameter=some.data["parameter"])["loss_change"].values)


def test_a_stopped_atlas_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from thetascope.experiments.parameter_atlas.single_parameters import SingleParameters

    objective, trajectory = setting()
    whole = ts.parameter_atlas(objective, trajectory, progress=False)
    changes, calls = SingleParameters.changes, []

    def stopping(self: SingleParameters, unit: Any, deltas: Any) -> Any:
        calls.append(unit)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return changes(self, unit, deltas)

    monkeypatch.setattr(SingleParameters, "changes", stopping)
    with pytest.raises(KeyboardInterrupt):
        ts.parameter_atlas(objective, trajectory, out=tmp_path / "a", progress=False)
    half = ts.load_result(tmp_path / "a")
    assert 0 < half.status_counts()["missing"] < half.data["status"].size
    ts.parameter_atlas(objective, trajectory, out=tmp_path / "a", progress=False)
    assert len(calls) == 3 + (len({repr(c) for c in calls}) - 2)  # only the one that was in flight came twice
    stored = ts.load_result(tmp_path / "a")
    np.testing.assert_array_equal(stored.data["loss_change"].values, whole.data["loss_change"].values)
    assert stored.data["pattern"].values.tolist() == whole.data["pattern"].values.tolist()
    with pytest.raises(ResultError, match="mode was tabulated, now exact"):
        ts.parameter_atlas(objective, trajectory, mode="exact", out=tmp_path / "a", progress=False)


@pytest.mark.parametrize("how", ["a step of one's own", "eager", "a mean"])
def test_where_nothing_can_be_tabulated_all_is_scored(how: str) -> None:
    objective, trajectory = setting(samples=40)
    expected = ts.parameter_atlas(objective, trajectory, mode="exact", layers=["conv"], progress=False).data["loss_change"].values
    data = CASE.data(40)
    if how == "a step of one's own":
        objective = ts.Objective.from_step(
            CASE.model(), [data], lambda m, b: {"loss": nn.functional.cross_entropy(m(b[0]), b[1], reduction="none")}
        )
    elif how == "a mean":
        objective = ts.Objective(CASE.model(), data, nn.functional.cross_entropy)
    engine = "eager" if how == "eager" else "auto"
    found = ts.parameter_atlas(objective, trajectory, layers=["conv"], engine=engine, progress=False)
    np.testing.assert_allclose(found.data["loss_change"].values, expected, atol=3e-5)


def test_a_loss_that_is_not_finite_somewhere_is_kept_as_it_is() -> None:
    def overflowing(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.where(outputs[:, 0] > 1.0, torch.inf, outputs.square().mean(1).double())

    data = CASE.data(40)
    objective = ts.Objective(CASE.model(), data, overflowing, metrics=())
    passed = list(trained_states(CASE.model(), *data, steps=2))
    passed[0]["head.bias"][0] += 3.0
    result = ts.parameter_atlas(objective, ts.Trajectory.from_states(passed), layers=["head"], progress=False)
    exact = ts.parameter_atlas(objective, ts.Trajectory.from_states(passed), layers=["head"], mode="exact", progress=False)
    row = result.data.sel(parameter="head.bias[0]")
    assert np.isinf(row["loss_change"].values).any()
    assert set(row["status"].values.tolist()) == {1, 2}  # scored, not read
    np.testing.assert_array_equal(np.isfinite(result.data["loss_change"].values), np.isfinite(exact.data["loss_change"].values))
    assert row["pattern"] == "not finite"


def test_bad_arguments() -> None:
    objective, trajectory = setting(samples=10)
    wrong: list[dict[str, Any]] = [{"kind": "cubic"}, {"mode": "fast"}]
    for options in wrong:
        with pytest.raises(TrajectoryError, match="kind must be linear or quadratic"):
            ts.parameter_atlas(objective, trajectory, progress=False, **options)
    with pytest.raises(GeometryError, match="name fewer layers"):
        ts.parameter_atlas(objective, trajectory, alphas=np.linspace(0, 1, 2_000_000), progress=False)


@pytest.mark.parametrize(("hour", "said"), [(0.0, True), (1e9, False)])
def test_what_takes_hours_is_said_with_what_takes_less(hour: float, said: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thetascope.experiments.parameter_atlas.experiment.HOUR", hour)
    objective, trajectory = setting(steps=2, samples=20)
    job = experiments()["parameter_atlas"].of(alphas=3).job(objective, trajectory, None)
    assert ("layers= of fewer layers" in job.plan().engine) == said
