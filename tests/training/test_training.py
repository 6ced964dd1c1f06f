from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import thetascope as ts
from thetascope.errors import TrainingError
from thetascope.scoring.metrics import LOSSES
from thetascope.scoring.untouched import RandomStates
from thetascope.training.optimization import MEAN_LOSSES, mean_loss
from thetascope.training.training import Training, scores

Optimizers = Callable[[Any], torch.optim.Optimizer]


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.5)


def halving(optimizer: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.3), nn.Linear(5, 3))


def blobs(count: int = 25, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(3, (count,), generator=generator)
    return torch.randn(count, 4, generator=generator) + 2 * targets[:, None], targets


def training(**changes: Any) -> Training:
    arguments: dict[str, Any] = {
        "model_factory": net, "train_data": blobs(), "validation_data": blobs(17, seed=1), "optimizer_factory": sgd,
        "epochs": 3, "batch_size": 4, "scheduler_factory": halving,
    }  # fmt: skip
    return Training(**(arguments | changes))


def trained(description: Training, **options: Any) -> dict[str, Tensor]:
    *_, last = description.run(**options)
    return {name: tensor.clone() for name, tensor in last.model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def random_states() -> list[Any]:
    states = RandomStates.capture()
    return [states.python, states.numpy[1].tolist(), states.torch_cpu.tolist()]


def test_the_same_description_gives_the_same_bits() -> None:
    first = trained(training())
    torch.manual_seed(99)
    random.seed(99)
    assert same(first, trained(training()))
    assert not same(first, trained(training(seed=1)))
    assert same(dict(training().model().state_dict()), dict(training(epochs=9).model().state_dict()))


def test_the_random_states_outside_are_left_alone() -> None:
    before = random_states()
    run = training().run()
    for _ in run:
        assert random_states() == before  # also between epochs, when the caller has the turn
        torch.rand(3)
        np.random.rand(3)  # noqa: NPY002
        before = random_states()
    training().model()
    training().fingerprint()
    assert random_states() == before


def test_what_the_caller_draws_in_between_changes_nothing() -> None:
    plain = trained(training())
    for epoch in training().run():
        torch.rand(7)
        scores(training().objective(epoch.model), epoch.model.state_dict())
    assert same(plain, dict(epoch.model.state_dict()))


def test_it_is_the_loop_that_one_would_write() -> None:
    description = training(model_factory=lambda: nn.Linear(4, 3), scheduler_factory=halving)
    inputs, targets = blobs()
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    order = torch.Generator().manual_seed(0)
    losses = []
    for epoch in range(3):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * 0.5**epoch
        total = 0.0
        for chosen in torch.split(torch.randperm(25, generator=order), 4):
            loss = nn.functional.cross_entropy(model(inputs[chosen]), targets[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() * len(chosen)
        losses.append(total / 25)
    epochs = list(description.run())
    assert same(dict(epochs[-1].model.state_dict()), dict(model.state_dict()))
    assert [epoch.number for epoch in epochs] == [0, 1, 2, 3]
    assert [epoch.step for epoch in epochs] == [0, 7, 14, 21]
    assert math.isnan(epochs[0].train_loss)
    np.testing.assert_allclose([epoch.train_loss for epoch in epochs[1:]], losses, rtol=1e-6)


def test_a_subset_is_all_that_is_seen() -> None:
    inputs, targets = blobs()
    chosen = [3, 20, 7, 11, 0]
    poisoned = inputs.clone()
    poisoned[[i for i in range(25) if i not in chosen]] = torch.nan
    assert same(trained(training(), indices=chosen), trained(training(train_data=(poisoned, targets)), indices=torch.tensor(chosen)))
    assert same(trained(training(), indices=chosen), trained(training(train_data=(inputs[chosen], targets[chosen]))))


def test_a_dataset_trains_as_its_tensors_do() -> None:
    assert same(trained(training()), trained(training(train_data=TensorDataset(*blobs()))))
    assert training(train_data=TensorDataset(*blobs())).samples == 25


class Noisy(Dataset[tuple[Tensor, int]]):
    """Augmented at random."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.randn(4) + index + random.random(), index % 3


def test_augmentation_is_the_same_each_time() -> None:
    assert same(trained(training(train_data=Noisy())), trained(training(train_data=Noisy())))


def test_the_model_trains_in_training_mode_and_is_scored_in_evaluation_mode() -> None:
    assert same(trained(training()), trained(training(model_factory=lambda: net().eval())))
    for epoch in training().run():
        objective = training().objective(epoch.model)
        assert scores(objective, epoch.model.state_dict()) == scores(objective, epoch.model.state_dict())  # no dropout
        assert all(module.training for module in epoch.model.modules())


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_that_is_lowered_is_the_one_that_is_scored(loss: str) -> None:
    outputs = torch.randn(6, 3, requires_grad=True)
    targets = torch.randn(6, 3) if loss == "mse" else torch.tensor([0, 1, 2, 0, -100, 1])
    column = LOSSES[loss](outputs.detach(), targets)
    expected = float((column.values * column.weights).sum() / column.weights.sum())
    assert mean_loss(loss, outputs, targets).item() == pytest.approx(expected, rel=1e-6)
    assert MEAN_LOSSES.keys() == LOSSES.keys()


def test_a_loss_of_ones_own_gives_values_or_their_mean() -> None:
    each = training(loss=lambda o, t: nn.functional.cross_entropy(o, t, reduction="none"))
    mean = training(loss=nn.CrossEntropyLoss())
    for name, tensor in trained(training()).items():
        torch.testing.assert_close(trained(each)[name], tensor)
        torch.testing.assert_close(trained(mean)[name], tensor)


def test_training_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    description = training()
    model = description.model()
    with ts.Recorder(tmp_path / "run", model) as recorder:
        assert description.train(model, recorder=recorder, progress=False) is model
    trajectory = ts.Trajectory(tmp_path / "run")
    assert trajectory.steps == [0, 7, 10, 14, 21]  # 10: the half of 21, ties to the earlier step
    assert trajectory.epochs == [0, 1, 10 / 7, 2, 3]
    assert same(trained(description), {name: trajectory[-1][name] for name in model.state_dict()})
    objective = description.objective(model)
    score = objective.score(model.state_dict())
    assert trajectory[-1].metrics["validation_loss"] == score["loss"]
    assert trajectory[-1].metrics["validation_accuracy"] == score["accuracy"]
    assert trajectory[-1].metrics["train_loss"] > 0
    assert not capsys.readouterr().err


def test_progress_shows_loss_and_metrics(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("thetascope.training.training.LONG_SECONDS", 0.0)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    plain = trained(training())
    model = training().train()
    said = capsys.readouterr().err
    assert "21/21" in said
    score = training().objective(model).score(model.state_dict())
    assert f"loss {score['loss']:.4f}, accuracy {score['accuracy']:.4f}" in said
    assert same(plain, dict(model.state_dict()))  # measuring how long it takes changes nothing


def iterate() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1. Got 0"),
        ({"epochs": True}, "epochs must be"),
        ({"epochs": 1.5}, "epochs must be"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"model_factory": net()}, "a fresh model, because a study trains several"),
        ({"model_factory": "LeNet"}, "model_factory must be a function. Got str"),
        ({"optimizer_factory": None}, "optimizer_factory must be a function. Got NoneType"),
        ({"scheduler_factory": 0.7}, "scheduler_factory must be a function or None. Got float"),
        ({"train_data": (torch.zeros(3, 4), torch.zeros(2))}, r"inputs \[3, 4\] and targets \[2\] must have one row a sample"),
        ({"train_data": (torch.zeros(0, 4), torch.zeros(0))}, "no sample"),
        ({"train_data": torch.zeros(3, 4)}, "a map-style Dataset with a length. Got Tensor"),
        ({"train_data": DataLoader(TensorDataset(*blobs()))}, "Got DataLoader instead; pass its dataset"),
        ({"train_data": iterate()}, "Got generator"),
        ({"loss": "hinge"}, 'unknown loss "hinge"; there are cross_entropy, nll, mse'),
        ({"loss": 3}, "loss must be a name or a function"),
    ],
)
def test_a_description_that_is_off_says_so(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        training(**changes)


def other_parameters(_parameters: Any) -> torch.optim.Optimizer:
    return sgd(net().parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_factory": lambda: 3}, "model_factory must return a torch.nn.Module. It returned int"),
        ({"model_factory": nn.Tanh}, "no parameter that requires a gradient"),
        ({"model_factory": lambda: net().requires_grad_(False)}, "no parameter that requires a gradient"),
        ({"optimizer_factory": list}, "optimizer_factory must return a torch.optim.Optimizer. It returned list"),
        ({"optimizer_factory": other_parameters}, "parameters of another model"),
        ({"scheduler_factory": lambda optimizer: 3}, "It returned int"),
        ({"scheduler_factory": torch.optim.lr_scheduler.ReduceLROnPlateau}, "needs no argument. It returned ReduceLROnPlateau"),
        ({"loss": lambda o, t: 1.0}, "must return a tensor"),
        ({"loss": lambda o, t: nn.functional.cross_entropy(o.detach(), t)}, "does not depend on any parameter"),
        ({"loss": "mse"}, r"one shape. Got \[4, 3\] and \[4\]"),
        ({"train_data": TensorDataset(torch.zeros(5, 4))}, r"must give \(input, target\) pairs. Got a list of 1"),
    ],
)
def test_factories_that_return_something_else_say_so(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        trained(training(**changes))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be"),
        ({"indices": []}, "at least one"),
        ({"indices": [0.5]}, "whole numbers"),
        ({"indices": [25]}, "0 to 24 for 25 samples. Got 25 to 25"),
        ({"indices": [-1, 3]}, "Got -1 to 3"),
    ],
)
def test_a_run_that_is_off_says_so_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        training().run(**options)  # not only at the first next()


def test_a_recorder_needs_its_model(tmp_path: Path) -> None:
    with ts.Recorder(tmp_path / "run", net()) as recorder, pytest.raises(TrainingError, match="pass it too"):
        training().train(recorder=recorder)


def test_a_fingerprint_tells_trainings_apart() -> None:
    first = training().fingerprint()
    assert first == training().fingerprint()
    changes: list[tuple[str, dict[str, Any]]] = [
        ("train_data", {"train_data": blobs(seed=5)}),
        ("optimizer", {"optimizer_factory": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.6)}),
        ("learning_rates", {"scheduler_factory": lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.6)}),
        ("learning_rates", {"epochs": 4}),
        ("batch_size", {"batch_size": 5}),
        ("seed", {"seed": 3}),
    ]
    for name, change in changes:
        other = training(**change).fingerprint()
        assert {key for key in first if first[key] != other[key]} == {name}
    assert first["learning_rates"] == [[0.1], [0.05], [0.025]]
