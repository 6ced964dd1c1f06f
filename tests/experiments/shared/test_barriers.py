"""Barriers of paths, against closed forms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thetascope as ts
from thetascope.experiments.framework.declaration import words_of
from thetascope.experiments.interpolate import EXPERIMENT
from thetascope.experiments.shared.barriers import barrier_error, barrier_of, is_barrier
from thetascope.scoring.objective import Objective
from thetascope.testing.models import CASES, case


class Well(nn.Module):
    """``(w² − 1)²``, or the square of w where it is a bowl; each sample has it times 1 + its own scalar."""

    def __init__(self, power: int = 2) -> None:
        super().__init__()
        self.w, self.power = nn.Parameter(torch.zeros(1, dtype=torch.float64)), power

    def forward(self, x: Tensor) -> Tensor:
        value = (self.w**2 - 1) ** 2 if self.power == 2 else self.w**2
        return value * (1 + x[:, 0])


def values(model: nn.Module, batch: Any) -> Mapping[str, Any]:
    return {"loss": model(batch[0])}


def means(model: nn.Module, batch: Any) -> Mapping[str, Any]:
    return {"loss": model(batch[0]).mean(), "weight": len(batch[0])}


def between(
    first: float, last: float, power: int = 2, x: list[float] | None = None, step: Any = values, alphas: Any = 21, **how: Any
) -> ts.Result:
    inputs = torch.tensor(x or [0.0, 0.0, 0.0], dtype=torch.float64)[:, None]
    objective = Objective.from_step(Well(power), [(inputs, torch.zeros(len(inputs)))], step)
    states = [{"w": torch.tensor([w], dtype=torch.float64)} for w in (first, last)]
    return ts.interpolate(objective, ts.Trajectory.from_states(states), alphas=alphas, progress=False, **how)


def test_two_wells_have_the_barrier_of_the_formula() -> None:
    attrs = between(-1, 1).data.attrs
    assert attrs["barrier"] == pytest.approx(1.0, abs=1e-12)
    assert attrs["barrier_at"] == pytest.approx(0.5)
    assert attrs["barrier_over_mean"] == pytest.approx(1.0, abs=1e-12)
    assert attrs["barrier_se"] == pytest.approx(0.0, abs=1e-12)  # all samples agree
    assert attrs["has_barrier"] is True


@pytest.mark.parametrize("power", [1, 2])
def test_convex_bowls_and_equal_ends_have_none(power: int) -> None:
    attrs = between(3.0, -0.5, power=1).data.attrs if power == 1 else between(0.5, 0.5, power=2).data.attrs
    assert attrs["barrier"] == 0.0
    assert attrs["barrier_at"] == 0.0
    assert attrs["has_barrier"] is False
    assert attrs["barrier_over_mean"] == pytest.approx((9 - 0.25) / 2 if power == 1 else 0.0)


def test_the_ends_count_wherever_alphas_lie() -> None:
    """Outside [0, 1] nothing counts, and the ends need not be among the α's, which may stand in any order."""
    assert between(-1, 1, alphas=[1.4, 0.75, 0.25, -0.3]).data.attrs["barrier"] == pytest.approx(0.5625)
    alone = between(-1, 1, alphas=[0.0, 1.0]).data.attrs
    assert np.isnan(alone["barrier"])
    assert alone["has_barrier"] is None


def test_the_error_is_that_of_the_samples() -> None:
    """Sample n has the barrier 1 + x_n, at the same place, so that the error is that of their mean."""
    x = np.random.default_rng(1).exponential(size=400)
    attrs = between(-1, 1, x=x.tolist()).data.attrs
    assert attrs["barrier"] == pytest.approx(1 + x.mean())
    assert attrs["barrier_se"] == pytest.approx(x.std(ddof=1) / 20, rel=0.15)  # 200 draws know an error to 5 %
    assert between(-1, 1, x=x.tolist()).data.attrs["barrier_se"] == attrs["barrier_se"]  # seeded


def test_means_of_batches_have_no_known_error() -> None:
    result = between(-1, 1, step=means)
    assert np.isnan(result.data.attrs["barrier_se"])
    assert result.status_counts()["not finite"] == 0  # it is the errors that are not known
    assert result.data.attrs["has_barrier"] is True
    assert "without a known error" in words_of(EXPERIMENT, result.data.attrs).headline(result.data)


def test_each_draw_has_its_own_maximum() -> None:
    """One place is 1 for every sample, the other 1 on average: half of the draws have their maximum there, max(0, N(0, σ²)) above 1."""
    noise = np.random.default_rng(0).normal(size=2000)
    losses = np.stack([np.zeros(2000), np.zeros(2000), np.ones(2000), 1 + noise - noise.mean()])
    expected = noise.std() / np.sqrt(2000) * np.sqrt(1 / 2 - 1 / (2 * np.pi))
    assert barrier_error(np.array([0.3, 0.6]), losses, np.ones(2000)) == pytest.approx(expected, rel=0.15)


def test_weights_count_as_they_do_in_the_loss() -> None:
    generator = np.random.default_rng(0)
    heights, weights = generator.normal(3, 1, size=500), np.r_[np.ones(250), np.zeros(250)]
    losses = np.stack([np.zeros(500), np.zeros(500), heights])
    kept = heights[:250]
    assert barrier_error(np.array([0.5]), losses, weights) == pytest.approx(kept.std() / np.sqrt(250), rel=0.15)


def test_what_is_not_finite_stays_so() -> None:
    alphas = np.array([0.25, 0.5])
    assert np.isnan(barrier_of(alphas, np.array([1.0, np.nan]), 1.0, 1.0).height)
    assert barrier_of(alphas, np.array([1.0, np.inf]), 1.0, 1.0).height == np.inf
    assert barrier_of(np.linspace(0, 1, 21), np.arange(21.0) ** 2, 400.0, 0.0).rivals == (19, 18, 17, 16, 15)


@pytest.mark.parametrize(
    ("height", "error", "gain", "said"),
    [
        (0.019, 0.0, 2.0, False),  # under 1 % of the gain
        (0.021, 0.0, 2.0, True),
        (0.021, 0.011, 2.0, False),  # within two errors
        (0.021, np.nan, 2.0, True),
        (0.021, np.nan, np.nan, True),
        (1e-7, 0.0, -1.0, False),  # rounding, where nothing was gained
        (np.nan, 0.0, 2.0, None),
        (np.inf, np.nan, 2.0, True),
    ],
)
def test_no_barrier_is_within_two_errors_or_a_share_of_the_gain(height: float, error: float, gain: float, said: bool | None) -> None:
    assert is_barrier(height, error, gain, (1.0, 0.5)) is said


def test_the_gain_counts_from_chance_on() -> None:
    chosen = case("linear")
    result = ts.interpolate(ts.Objective(chosen.model(), chosen.data(50)), ts.Trajectory.from_states(chosen.states(3)), progress=False)
    first, last = result.data["actual_loss"].values[[0, -1]]
    chance = ts.Objective(chosen.model(), chosen.data(50)).chance["loss"]
    assert result.data.attrs["barrier_gain"] == pytest.approx(min(first, chance) - last)


def test_a_finished_result_is_not_scored_again_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = between(-1, 1, out=tmp_path / "r").data.attrs
    calls: list[Any] = []
    monkeypatch.setattr(Objective, "losses_at", lambda *arguments: calls.append(arguments))
    again = between(-1, 1, out=tmp_path / "r").data.attrs
    assert not calls
    assert {name: again[name] for name in again if "barrier" in name} == {name: before[name] for name in before if "barrier" in name}
    assert ts.load_result(tmp_path / "r").data.attrs["barrier"] == before["barrier"]


@pytest.mark.parametrize("chosen", [c for c in CASES if "Norm" in c.name or c.name == "linear"], ids=lambda c: c.name)
@pytest.mark.parametrize("buffers", ["path", "final", "recalibrate"])
def test_losses_of_samples_are_those_of_the_policy(chosen: Any, buffers: Any) -> None:
    objective = ts.Objective(chosen.model(), chosen.data(20), loss=chosen.loss, buffers=buffers)
    states = [objective.bind(state) for state in chosen.states(3)]
    result = ts.interpolate(objective, ts.Trajectory.from_states(chosen.states(3)), alphas=3, progress=False, engine="eager")
    with objective.model.running():
        found = objective.losses_at(objective.stored(states), [2, 0])
    assert found is not None
    losses, weights = found
    assert losses.shape == (2, 20)
    expected = result.data["actual_loss"].values[[2, 0]]
    np.testing.assert_allclose((losses @ weights / weights.sum()).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("engine", ["eager", "graph"])
@pytest.mark.parametrize("buffers", ["path", "final", "recalibrate"])
def test_the_error_takes_no_passes_of_its_own(engine: Any, buffers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All losses that it needs were seen when the points were scored; they are what the oracle gives."""
    chosen = case("BatchNorm ResNet block")
    objective = ts.Objective(chosen.model(), chosen.data(40), loss=chosen.loss, buffers=buffers)
    trajectory = ts.Trajectory.from_states(chosen.states(2))
    made, alone = list[int](), Objective.kept_at

    def watching(self: Objective, points: Any, rows: Any, **how: Any) -> Any:
        made.extend(rows)
        return alone(self, points, rows, **how)

    with monkeypatch.context() as watched:
        watched.setattr(Objective, "kept_at", watching)
        result = ts.interpolate(objective, trajectory, alphas=9, progress=False, engine=engine)
    assert made == [0]  # the state that points are compared with
    assert objective.cache.losses
    monkeypatch.setattr("thetascope.scoring.cache.LOSSES_BYTES", 0)
    other = ts.Objective(chosen.model(), chosen.data(40), loss=chosen.loss, buffers=buffers)
    again = ts.interpolate(other, trajectory, alphas=9, progress=False, engine="eager")
    assert not other.cache.losses
    assert result.data.attrs["barrier_se"] == pytest.approx(again.data.attrs["barrier_se"], rel=1e-3, abs=1e-6)
