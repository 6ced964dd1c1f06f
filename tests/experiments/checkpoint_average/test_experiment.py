"""Averages of checkpoints: values against plain torch, choosing and telling apart, closed forms of what averaging gains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

import thetascope as ts
from thetascope.errors import ResultError, UsageError
from thetascope.experiments.framework.catalog import declaration
from thetascope.experiments.framework.declaration import words_of
from thetascope.geometry.averages import averages, decay_weights, window_weights
from thetascope.scoring.oracle import EagerBackend
from thetascope.state import State

QUIET: dict[str, Any] = {"progress": False}


def network(*, norm: bool = False) -> nn.Module:
    torch.manual_seed(1)
    middle: list[nn.Module] = [nn.BatchNorm1d(6)] if norm else []
    return nn.Sequential(nn.Linear(4, 6), *middle, nn.Tanh(), nn.Linear(6, 3))


def samples(count: int = 60) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 4, generator=generator)
    return inputs, inputs[:, :3].argmax(1)


def noisy(model: nn.Module, count: int = 9) -> Iterator[dict[str, Tensor]]:
    """States of a training with a large learning rate on small batches."""
    inputs, targets = samples()
    optimizer, generator = torch.optim.SGD(model.parameters(), lr=0.8), torch.Generator().manual_seed(2)
    for step in range(10 * count - 9):
        if step % 10 == 0:
            yield {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        chosen = torch.randint(60, (8,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[chosen]), targets[chosen]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


class Bowl(nn.Module):
    """A loss of ½ Σ w² / D at every sample."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.zeros(size, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return (0.5 * (self.point**2).mean()).expand(len(x))


def bowl(states: np.ndarray[Any, Any]) -> tuple[ts.Objective, ts.Trajectory]:
    """States ``[T, D]`` in the bowl."""
    data = torch.zeros(8, 1), torch.zeros(8)
    objective = ts.Objective(Bowl(states.shape[1]), data, loss=lambda outputs, targets: outputs)
    return objective, ts.Trajectory.from_states([{"point": torch.from_numpy(state)} for state in states])


def value(data: Any, name: str, average: str) -> float:
    return float(data[name].sel(average=average))


# what is scored --------------------------------------------------------------------------------------------------


def test_windows_and_decays_are_what_torch_averages() -> None:
    model = network()
    states = list(noisy(model))
    found = ts.checkpoint_average(
        ts.Objective(model, samples()), ts.Trajectory.from_states(states), windows=[3], decays=[0.7], holdout=None, **QUIET
    ).data
    inputs, targets = samples()
    rates = 0.7 ** np.arange(len(states) - 1, -1, -1)
    for average, weights in {"window-3": [0.0] * 6 + [1 / 3] * 3, "decay-0.7": (rates / rates.sum()).tolist()}.items():
        model.load_state_dict({n: sum(w * s[n].double() for w, s in zip(weights, states, strict=True)).float() for n in states[0]})
        wanted = nn.functional.cross_entropy(model(inputs), targets, reduction="none").detach().double()
        model.load_state_dict(states[-1])
        last = nn.functional.cross_entropy(model(inputs), targets, reduction="none").detach().double()
        assert value(found, "loss", average) == pytest.approx(wanted.mean().item(), rel=1e-6)
        assert value(found, "excess", average) == pytest.approx((wanted - last).mean().item(), rel=1e-4, abs=1e-8)
        assert value(found, "excess_se", average) == pytest.approx((wanted - last).std().item() / 60**0.5, rel=1e-4)
    assert value(found, "size", "window-3") == 3
    assert value(found, "size", "decay-0.7") == len(states)
    assert found["kind"].values.tolist() == ["last", "best", "window", "decay", "chosen"]
    assert float(found["decay"][3]) == 0.7


def test_weights_sum_to_one() -> None:
    np.testing.assert_allclose(decay_weights(3, 0.5), [1 / 7, 2 / 7, 4 / 7])
    np.testing.assert_allclose(window_weights(4, 2), [0, 0, 0.5, 0.5])


def test_by_default_windows_double_within_the_second_half() -> None:
    model = network()
    states = list(noisy(model))
    found = ts.checkpoint_average(ts.Objective(model, samples()), ts.Trajectory.from_states(states), **QUIET).data
    assert found.attrs["windows"] == [2, 4, 5]
    uneven = ts.Trajectory.from_states(states[:4], steps=[0, 10, 15, 100])
    assert ts.checkpoint_average(ts.Objective(model, samples()), uneven, **QUIET).data.attrs["windows"] == [1]


def test_choosing_and_telling_are_different_samples_that_make_up_all() -> None:
    model = network()
    states = list(noisy(model))
    whole, trajectory = ts.Objective(model, samples(60)), ts.Trajectory.from_states(states)
    found = ts.checkpoint_average(whole, trajectory, holdout=0.25, **QUIET).data
    assert (found.attrs["samples_choosing"], found.attrs["samples_scored"], found.attrs["held_out"]) == (45, 15, 0.25)
    for t, state in enumerate(states):
        of_all = (45 * float(found["choice_actual_loss"][t]) + 15 * float(found["actual_loss"][t])) / 60
        assert of_all == pytest.approx(whole.score(state)["loss"], rel=1e-6)
    rows = [torch.cat([batch[0] for batch in part.batches]) for part in whole.parted(0.75) or ()]
    assert len({tuple(row.tolist()) for row in torch.cat(rows)}) == 60
    chosen = {tuple(row.tolist()) for row in rows[0]}
    for part in whole.parted(0.75) or ():  # statistics come from the choosing part in both
        assert {tuple(row.tolist()) for batch in part.calibration for row in batch[0]} <= chosen
    drawn = ts.Objective(model, samples(60), samples=40).parted(0.75) or ()
    assert [part.batches.survey.rows for part in drawn] == [30, 10]
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*samples(60)), batch_size=7)
    parts = ts.Objective(model, loader).parted(0.75) or ()
    for part, wanted in zip(parts, rows, strict=True):
        np.testing.assert_array_equal(torch.cat([batch[0] for batch in part.batches]), wanted)


def test_where_a_batch_is_the_sample_batches_are_parted() -> None:
    trajectory = ts.Trajectory.from_states(list(noisy(network())))
    one = ts.Objective(network(), samples(), batches="fixed")
    found = ts.checkpoint_average(one, trajectory, windows=[2], **QUIET).data
    assert (found.attrs["held_out"], found.attrs["samples_scored"]) == (None, 60)
    several = ts.Objective(network(), samples(), batches="fixed", batch_size=10)
    parts = several.parted(1 / 3)
    assert parts is not None
    rows = [[batch[0] for batch in part.batches] for part in parts]
    assert [[len(batch) for batch in part] for part in rows] == [[10] * 2, [10] * 4]
    whole = {batch[0].sum().item() for batch in several.batches}
    assert {batch.sum().item() for part in rows for batch in part} == whole
    found = ts.checkpoint_average(several, trajectory, windows=[2], **QUIET).data
    assert (found.attrs["held_out"], found.attrs["samples_choosing"], found.attrs["samples_scored"]) == (0.5, 30, 30)


# closed forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_an_ornstein_uhlenbeck_walk_has_the_variance_of_a_mean_of_correlated_states(correlation: float) -> None:
    size, count = 40_000, 9
    generator = np.random.default_rng(0)
    states = [generator.normal(size=size)]
    for _ in range(count - 1):
        states.append(correlation * states[-1] + np.sqrt(1 - correlation**2) * generator.normal(size=size))
    found = ts.checkpoint_average(*bowl(np.array(states)), windows=[2, 4, 8], holdout=None, **QUIET).data
    for k in (2, 4, 8):
        lags = np.arange(1, k)
        variance = (k + 2 * ((k - lags) * correlation**lags).sum()) / k**2
        assert value(found, "loss", f"window-{k}") == pytest.approx(0.5 * variance, rel=0.04)
        assert value(found, "valley_height", f"window-{k}") == pytest.approx(0.5 * (1 - variance), rel=0.04)


def test_in_a_convex_bowl_an_average_is_never_worse_than_the_mean() -> None:
    states = np.random.default_rng(1).normal(size=(7, 5))
    found = ts.checkpoint_average(*bowl(states), windows=[2, 3, 5, 7], **QUIET).data
    heights = found["valley_height"].values
    assert (heights[np.isfinite(heights)] > 0).all()
    assert np.isfinite(heights).sum() == 4


def test_equal_states_have_equal_averages_bit_for_bit() -> None:
    model = network(norm=True)
    state = list(noisy(model))[-1]
    trajectory = ts.Trajectory.from_states([{n: t.clone() for n, t in state.items()} for _ in range(6)])
    found = ts.checkpoint_average(ts.Objective(model, samples()), trajectory, windows=[2, 3, 6], decays=[0.9], greedy=True, **QUIET).data
    assert (found["excess"] == 0).all()
    assert (found["excess_se"] == 0).all()
    assert set(found["choice_loss"].values.tolist()) == {float(found["choice_loss"][0])}


def test_an_average_of_one_state_however_often_is_it_bit_for_bit() -> None:
    states = [State.of({"w": torch.tensor([1.0, 0.1])}) for _ in range(7)]
    rows = np.stack([decay_weights(7, 0.9), window_weights(7, 7), window_weights(7, 3)])
    points = averages(states, rows, ["w"], [])
    assert [points.is_stored(k) for k in range(3)] == [True] * 3
    assert {points.needs(k, "w") for k in range(3)} == {(6,)}


def test_one_state_is_its_own_average() -> None:
    model = network()
    trajectory = ts.Trajectory.from_states(list(noisy(model))[-1:])
    found = ts.checkpoint_average(ts.Objective(model, samples()), trajectory, greedy=True, **QUIET)
    assert found.data["average"].values.tolist() == ["last", "best", "window-1", "soup", "chosen"]
    assert (found.data["excess"] == 0).all()
    found.plot()


# the soup --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [False, True])
def test_a_greedy_soup_is_never_worse_on_the_samples_that_choose_it(norm: bool) -> None:
    model = network(norm=norm)
    states = list(noisy(model))
    found = ts.checkpoint_average(ts.Objective(model, samples()), ts.Trajectory.from_states(states), greedy=True, **QUIET).data
    assert value(found, "choice_loss", "soup") <= value(found, "choice_loss", "best")
    assert value(found, "choice_loss", "best") == pytest.approx(float(found["choice_actual_loss"].min()), rel=1e-12)
    among = [name for name in found["average"].values.tolist() if name not in ("last", "best", "chosen")]
    assert value(found, "choice_loss", "chosen") == min(value(found, "choice_loss", name) for name in among)
    assert found.attrs["chosen"] in among
    assert value(found, "loss", "chosen") == value(found, "loss", found.attrs["chosen"])


def test_the_soup_is_made_as_the_recipe_says() -> None:
    """States on a line: 0.3, −0.4, 2 and 0.05 in the bowl ½ w²; in order of loss 0.05, 0.3, −0.4, 2."""
    found = ts.checkpoint_average(*bowl(np.array([[0.3], [-0.4], [2.0], [0.05]])), greedy=True, windows=[2], holdout=None, **QUIET).data
    trials = [(0.05 + 0.3) / 2, (0.05 - 0.4) / 2, (0.05 + 2.0) / 2]  # none is better than 0.05 alone
    np.testing.assert_allclose(found["trial_loss"], [0.5 * w**2 for w in trials])
    assert found["weight"].sel(average="soup").values.tolist() == [0, 0, 0, 1]
    found = ts.checkpoint_average(*bowl(np.array([[0.3], [-0.4], [2.0], [0.25]])), greedy=True, windows=[2], holdout=None, **QUIET).data
    trials = [(0.25 + 0.3) / 2, (0.25 - 0.4) / 2, (0.25 - 0.4 + 2.0) / 3]  # the second is better than 0.25 alone
    np.testing.assert_allclose(found["trial_loss"], [0.5 * w**2 for w in trials])
    assert found["weight"].sel(average="soup").values.tolist() == [0, 0.5, 0, 0.5]
    assert value(found, "loss", "soup") == pytest.approx(0.5 * 0.075**2)


# states ----------------------------------------------------------------------------------------------------------


def test_an_average_is_written_and_read_by_plain_torch(tmp_path: Path) -> None:
    model = network(norm=True)
    states = list(noisy(model))
    objective = ts.Objective(model, samples(600), calibration_batch=50)
    result = ts.checkpoint_average(objective, ts.Trajectory.from_states(states), windows=[3], **QUIET)
    file = result.state("window-3").save(tmp_path / "mean.safetensors")
    fresh = network(norm=True)
    fresh.load_state_dict(load_file(file))
    # statistics are those that torch estimates from the choosing half
    torch_s = network(norm=True)
    torch_s.load_state_dict({n: torch.stack([s[n].double() for s in states[-3:]]).mean(0).to(states[0][n].dtype) for n in states[0]})
    parts = objective.parted(0.5)
    assert parts is not None
    choosing, telling = parts
    update_bn([batch[0] for batch in choosing.calibration], torch_s)
    for name, tensor in torch_s.state_dict().items():
        if name != "1.num_batches_tracked":
            torch.testing.assert_close(fresh.state_dict()[name], tensor, rtol=1e-6, atol=1e-7)
    fresh.eval()
    inputs, targets = (torch.cat(parts) for parts in zip(*telling.batches, strict=True))
    with torch.no_grad():
        assert nn.functional.cross_entropy(fresh(inputs), targets).item() == pytest.approx(value(result.data, "loss", "window-3"), rel=1e-5)


def test_tied_weights_are_written_under_all_their_names(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
            self.two.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.two(self.one(x))
            return found[:, :3]

    model = Tied()
    states = [{n: t + 0.1 * k for n, t in model.state_dict().items()} for k in range(4)]
    result = ts.checkpoint_average(ts.Objective(model, samples()), ts.Trajectory.from_states(states), windows=[2], **QUIET)
    again = Tied()
    again.load_state_dict(load_file(result.state("chosen").save(tmp_path / "tied.safetensors")))
    torch.testing.assert_close(again.one.weight.detach(), states[2]["one.weight"] + 0.05)


def test_states_that_cannot_be_made_say_what_to_do(tmp_path: Path) -> None:
    model = network()
    trajectory = ts.Trajectory.from_states(list(noisy(model)))
    result = ts.checkpoint_average(ts.Objective(model, samples()), trajectory, windows=[2], out=tmp_path / "r", **QUIET)
    with pytest.raises(ResultError, match='no average "window-3"'):
        result.state("window-3")
    with pytest.raises(ResultError, match="Repeat the call of checkpoint_average"):
        ts.load_result(tmp_path / "r").state("chosen")
    line = ts.interpolate(ts.Objective(model, samples()), trajectory, alphas=3, **QUIET)
    with pytest.raises(ResultError, match="names no state"):
        line.state("chosen")


# storage, options ------------------------------------------------------------------------------------------------


def test_what_was_stopped_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(norm=True)
    trajectory = ts.Trajectory.from_states(list(noisy(model)))

    def call(**where: Any) -> Any:
        return ts.checkpoint_average(ts.Objective(model, samples()), trajectory, decays=[0.5], greedy=True, **where, **QUIET).data

    whole, evaluate, left = call(), EagerBackend.evaluate, [14]

    def until(self: EagerBackend, rows: Any) -> Any:
        left[0] -= len(rows)
        if left[0] < 0:
            raise KeyboardInterrupt
        return evaluate(self, rows)

    stops = 0
    while True:
        monkeypatch.setattr(EagerBackend, "evaluate", until)
        left[0] = 14
        try:
            found = call(out=tmp_path / "r")
        except KeyboardInterrupt:
            stops += 1
            assert stops < 20
        else:
            break
    assert stops > 1
    for name in whole.data_vars:
        np.testing.assert_array_equal(whole[name], found[name])
    assert whole.attrs["chosen"] == found.attrs["chosen"]


def test_several_objectives_choose_each_for_itself() -> None:
    model = network()
    trajectory = ts.Trajectory.from_states(list(noisy(model)))
    one, other = ts.Objective(model, samples(60)), ts.Objective(model, samples(40))
    both = ts.checkpoint_average({"train": one, "test": other}, trajectory, greedy=True, **QUIET)
    alone = ts.checkpoint_average(ts.Objective(model, samples(40)), trajectory, greedy=True, **QUIET).data
    for name in ("loss", "excess", "choice_loss", "weight"):
        np.testing.assert_array_equal(both.one("test").data[name], alone[name])
    both.plot()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"windows": [10]}, "up to the 9 recorded states"),
        ({"windows": [0]}, "at least 1"),
        ({"windows": 3}, "a list"),
        ({"windows": []}, "different numbers"),
        ({"decays": [1.0]}, "between 0 and 1"),
        ({"decays": [0.5, 0.5]}, "different numbers"),
        ({"holdout": 0.0}, "holdout must be a share"),
        ({"holdout": 1}, "holdout must be a share"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    model = network()
    with pytest.raises(UsageError, match=said):
        ts.checkpoint_average(ts.Objective(model, samples()), ts.Trajectory.from_states(list(noisy(model))), **options, **QUIET)


def test_words_and_pictures_follow_from_the_numbers() -> None:
    model = network()
    for holdout in (0.5, None):
        result = ts.checkpoint_average(
            ts.Objective(model, samples(400)), ts.Trajectory.from_states(list(noisy(model))), greedy=True, holdout=holdout, **QUIET
        )
        words = words_of(declaration("checkpoint_average"), result.data.attrs)
        excess, error = (value(result.data, name, "chosen") for name in ("excess", "excess_se"))
        told = words.headline(result.data)
        assert ("cannot be told" in told) == (0 < abs(excess) <= 2 * error)
        assert ("lower loss" in told) == (excess < 0 and -excess > 2 * error)
        assert ("flatters" in told) == (holdout is None)
        assert words.shows(result.data)
        assert words.table is not None
        assert len(words.table(result.data).rows) == result.data.sizes["average"] - 1
        figure: Any = result.plot()
        assert len(figure.axes) == 3
        assert result.figure().data
