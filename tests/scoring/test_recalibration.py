from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import thetascope as ts
from tests.scoring.plain import Batch, loaded, recalibrate
from thetascope.errors import ObjectiveError
from thetascope.scoring.failures import StepFailedError
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.scoring.statistics import recalibrated, statistics_of
from thetascope.testing.contracts import line, scored
from thetascope.testing.models import case
from thetascope.testing.snapshots import unchanged

BLOCK = case("BatchNorm ResNet block")
STATISTICS = ("norm1.running_mean", "norm1.running_var", "norm2.running_mean", "norm2.running_var")


def batches(*sizes: int) -> list[Batch]:
    """The block's data, cut into batches of `sizes`."""
    inputs, targets = BLOCK.data(sum(sizes))
    return list(zip(torch.split(inputs, list(sizes)), torch.split(targets, list(sizes)), strict=True))


def recalibrated_by(objective: Objective, state: dict[str, Tensor], data: list[Batch]) -> dict[str, Tensor]:
    model = objective.model
    with model.running():
        return recalibrated(model, model.tensors_of(model.bind(state)), data, statistics_of(model, data[0]))


@pytest.mark.parametrize("sizes", [(10,), (4, 4, 2), (5, 1, 9)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_are_the_batches_own_averaged_over_batches(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    (state,) = BLOCK.states(1)
    data = [(x.to(dtype), y) for x, y in batches(*sizes)]
    by_hand = loaded(BLOCK, state, dtype)
    recalibrate(by_hand, data)
    found = recalibrated_by(Objective(BLOCK.model(), data, dtype=dtype), state, data)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for name in STATISTICS:
        torch.testing.assert_close(found[name], by_hand.get_buffer(name), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shuffle", [False, True])
def test_data_that_are_loaded_anew_on_each_walk_give_the_same(monkeypatch: pytest.MonkeyPatch, shuffle: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    data = DataLoader(TensorDataset(*BLOCK.data()), 4, shuffle=shuffle, generator=generator)
    before = generator.get_state()
    found = []
    for budget in (math.inf, 0.0):
        monkeypatch.setattr("thetascope.scoring.batches._memory_budget", lambda device, budget=budget: budget)
        objective = Objective(BLOCK.model(), data, buffers="recalibrate")
        assert objective.batches.resident is (budget > 0)
        found.append(scored(EagerBackend, objective, line(objective, BLOCK.states(2), (0.0, 0.3, 0.8))))
    assert found[0] == found[1]
    assert generator.get_state().equal(before)


def test_each_point_is_calibrated_once_however_the_data_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thetascope.scoring.batches._memory_budget", lambda device: 0.0)
    model, passes = BLOCK.model(), list[int]()
    model.register_forward_hook(lambda module, args, output: passes.append(len(output)))
    objective = Objective(model, batches(4, 4, 2), buffers="recalibrate", calibration_data=batches(5, 5))
    points = line(objective, BLOCK.states(2), (0.0, 0.3, 0.8))
    passes.clear()
    scored(EagerBackend, objective, points)
    assert passes == [5, 5, 4, 4, 2] * 3


def test_what_was_there_before_does_not_show() -> None:
    one, other = BLOCK.states(2)
    mixed = one | {name: other[name] for name in STATISTICS}
    objective = Objective(BLOCK.model(), BLOCK.data())
    a, b = (recalibrated_by(objective, state, batches(6, 4)) for state in (one, mixed))
    assert all(torch.equal(a[name], b[name]) for name in STATISTICS)


@pytest.mark.parametrize("momentum", [0.1, 0.9, None])
def test_the_layer_s_own_momentum_does_not_show(momentum: float | None) -> None:
    model = BLOCK.model()
    for name in ("norm1", "norm2"):
        norm = model.get_submodule(name)
        assert isinstance(norm, nn.BatchNorm2d)
        norm.momentum = momentum
    (state,) = BLOCK.states(1)
    with unchanged(model):
        found = recalibrated_by(Objective(model, BLOCK.data()), state, batches(6, 4))
    expected = recalibrated_by(Objective(BLOCK.model(), BLOCK.data()), state, batches(6, 4))
    assert all(torch.equal(found[name], expected[name]) for name in STATISTICS)


def test_given_tensors_stay_and_the_rest_is_theirs() -> None:
    objective = Objective(BLOCK.model(), BLOCK.data())
    model = objective.model
    tensors = model.tensors_of(model.bind(BLOCK.states(1)[0]))
    before = {name: t.clone() for name, t in tensors.items()}
    with model.running():
        found = recalibrated(model, tensors, batches(6, 4), objective.statistics)
    assert all(torch.equal(tensors[name], before[name]) for name in before)
    assert all(found[name] is tensors[name] for name in model.space.parameters)


@pytest.mark.parametrize("norm", [nn.Identity(), nn.LayerNorm(4), nn.BatchNorm1d(4, track_running_stats=False)])
def test_models_without_statistics_come_back_unchanged(norm: nn.Module) -> None:
    objective = Objective(nn.Sequential(norm, nn.Linear(4, 3)), case("linear").data(), buffers="recalibrate")
    with objective.model.running():
        tensors = objective.model.tensors_of(objective.model.present_state())
        assert recalibrated(objective.model, tensors, objective.calibration, objective.statistics) is tensors


def test_layers_that_keep_no_statistics_are_left_alone() -> None:
    class Norms(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.free = nn.BatchNorm1d(4, track_running_stats=False)
            self.kept = nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.kept(self.free(x)))

    model = Norms()
    data = [(torch.randn(6, 4), torch.zeros(6).long())]
    with unchanged(model):
        found = recalibrated_by(Objective(model, data), dict(model.state_dict()), data)
    torch.testing.assert_close(found["kept.running_mean"], torch.zeros(4), atol=1e-6, rtol=0)


def test_dropout_stays_off() -> None:
    model = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(4))
    x = torch.randn(8, 4)
    found = recalibrated_by(Objective(model, [(x, torch.zeros(8).long())]), dict(model.state_dict()), [(x, torch.zeros(8).long())])
    torch.testing.assert_close(found["1.running_mean"], x.mean(0))
    torch.testing.assert_close(found["1.running_var"], x.var(0))


def test_the_layers_are_in_evaluation_mode_again_after_a_pass_that_failed() -> None:
    objective = Objective(BLOCK.model(), BLOCK.data())
    model = objective.model
    norm = model.model.get_submodule("norm1")
    assert isinstance(norm, nn.BatchNorm2d)
    with model.running():
        with pytest.raises(StepFailedError, match="9 channels"):
            recalibrated(
                model, model.tensors_of(model.present_state()), [(torch.zeros(2, 9, 6, 6), torch.zeros(2).long())], objective.statistics
            )
        assert (norm.training, norm.momentum) == (False, 0.1)


def test_a_batch_too_small_for_statistics_is_told_with_a_remedy() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    data = [(torch.randn(n, 4), torch.zeros(n).long()) for n in (4, 1)]
    with pytest.raises(ObjectiveError, match=r"calibration batch of 1.*more than 1 value per channel.*calibration_batch"):
        recalibrated_by(Objective(model, data), dict(model.state_dict()), data)


class _Kept(nn.BatchNorm1d):
    """Another library's: momentum is the share that is kept."""

    share = 0.99

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return (x - self.get_buffer("running_mean")) / (self.get_buffer("running_var") + self.eps).sqrt()
        self._update(x, self.share if self.momentum is None else 1 - self.momentum)
        return (x - x.mean(0)) / (x.var(0, correction=0) + self.eps).sqrt()

    def _update(self, x: Tensor, share: float) -> None:
        self.get_buffer("running_mean").lerp_(x.mean(0), share)
        self.get_buffer("running_var").lerp_(x.var(0), share)


class _Stubborn(_Kept):
    """One that has a factor of its own."""

    def _update(self, x: Tensor, share: float) -> None:
        super()._update(x, 0.01)


class _Counting(_Kept):
    """A cumulative average, whose share hangs on the number of updates."""

    def _update(self, x: Tensor, share: float) -> None:
        self.get_buffer("num_batches_tracked").add_(1)
        super()._update(x, 1 / float(self.get_buffer("num_batches_tracked")))


@pytest.mark.parametrize("kind", [_Kept, _Stubborn, _Counting])
def test_norms_that_take_momentum_otherwise_are_estimated_by_what_they_do(kind: type[_Kept]) -> None:
    model, x = nn.Sequential(kind(4, momentum=0.99), nn.Linear(4, 3)), torch.randn(9, 4) * 3 + 1
    data, state = [(x, torch.zeros(9).long())], dict(model.state_dict())
    state["0.num_batches_tracked"] = torch.tensor(7)
    with unchanged(model):
        found = recalibrated_by(Objective(model, data), state, [(x[:4], data[0][1][:4]), (x[4:], data[0][1][4:])])
    torch.testing.assert_close(found["0.running_mean"], (x[:4].mean(0) + x[4:].mean(0)) / 2, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found["0.running_var"], (x[:4].var(0) + x[4:].var(0)) / 2, rtol=1e-3, atol=1e-4)
    assert int(found["0.num_batches_tracked"]) == 7


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.last(torch.relu(self.norm(self.first(torch.relu(self.norm(x)))))))


@pytest.mark.parametrize("engine", ["eager", "graph"])
def test_all_uses_of_a_norm_count_alike(engine: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pair, states = (torch.randn(40, 4), torch.randint(3, (40,))), [dict(_Twice().state_dict()) for _ in range(2)]
    by_hand, batches = _Twice(), [pair[0][:20], pair[0][20:]]
    by_hand.load_state_dict({name: (a + states[1][name]) / 2 if a.is_floating_point() else a for name, a in states[0].items()})
    torch.optim.swa_utils.update_bn(batches, by_hand.train())
    objective = Objective(_Twice(), pair, metrics=(), buffers="recalibrate", calibration_batch=20)
    found = ts.interpolate(objective, ts.Trajectory.from_states(states), alphas=[0.0, 0.5, 1.0], engine=engine, progress=False)
    with torch.no_grad():
        wanted = nn.functional.cross_entropy(by_hand.eval()(pair[0]), pair[1])
    assert float(found.data["loss"][1]) == pytest.approx(float(wanted), rel=1e-5)


def test_a_step_that_turns_training_off_does_not_turn_the_estimate_off() -> None:
    def step(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        model.eval()
        return {"loss": nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")}

    (state,) = BLOCK.states(1)
    data = batches(6, 4)
    model = BLOCK.model()
    with unchanged(model):
        found = recalibrated_by(Objective.from_step(model, data, step), state, data)
    expected = recalibrated_by(Objective(BLOCK.model(), data), state, data)
    assert all(torch.equal(found[name], expected[name]) for name in STATISTICS)


def test_norms_that_are_held_in_evaluation_mode_keep_their_statistics() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4)).train()
    model[1].eval()
    x = torch.randn(8, 4)
    data = [(x, torch.zeros(8).long())]
    found = recalibrated_by(Objective(model, data), dict(model.state_dict()) | {"1.running_mean": torch.ones(4)}, data)
    assert found["1.running_mean"].equal(torch.ones(4))
    assert not found["3.running_mean"].equal(torch.zeros(4))
