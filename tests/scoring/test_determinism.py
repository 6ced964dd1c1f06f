from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.scoring.known import bowl, of_present_state, request
from thetascope.errors import NotDeterministicError, ResultError
from thetascope.geometry.points import StoredStates
from thetascope.scoring.determinism import check_determinism, recheck
from thetascope.scoring.objective import Objective
from thetascope.scoring.runner import Request
from thetascope.testing.models import case
from thetascope.testing.snapshots import unchanged


class Noisy(nn.Module):
    """Draws in its forward pass, or changes from one pass to the next."""

    def __init__(self, disturb: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.disturb = disturb
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        logits: Tensor = self.fc(self.disturb(self, x))
        return logits


class TestFirstPoint:
    def test_says_what_is_scored_on_how_many_samples_and_how_long_it_takes(self) -> None:
        objective = Objective(case("linear").model(), case("linear").data(), samples=8)
        with objective.model.running():
            found = check_determinism(objective, of_present_state(objective))
        assert (found.names, found.samples) == (("loss", "accuracy", "loss_standard_error"), 8)
        assert found.seconds > 0

    @pytest.mark.parametrize(
        ("disturb", "source"),
        [
            (lambda m, x: F.dropout(x, 0.5), "draws random numbers from torch although .* functional.dropout without training="),
            (lambda m, x: x + np.random.rand(), "draws random numbers from numpy although"),  # noqa: NPY002
            (lambda m, x: x + random.random(), "draws random numbers from Python's random although"),
            (lambda m, x: x + torch.rand(1) + random.random(), "from torch and Python's random although"),
            (lambda m, x: x + m.passes, "No random numbers are drawn.*something the model keeps from one pass to the next"),
        ],
        ids=["functional dropout", "numpy", "Python's random", "two sources", "a counter"],
    )
    @pytest.mark.parametrize("budget", [0.0, math.inf], ids=["streamed", "resident"])
    def test_names_what_is_random(
        self, monkeypatch: pytest.MonkeyPatch, budget: float, disturb: Callable[[nn.Module, Tensor], Tensor], source: str
    ) -> None:
        monkeypatch.setattr("thetascope.scoring.batches._memory_budget", lambda device: budget)
        model = Noisy(disturb)
        data = [tuple(part[i : i + 5] for part in case("linear").data()) for i in (0, 5)]
        objective = Objective(model, data)
        points = of_present_state(objective)
        with (
            unchanged(model),
            pytest.raises(NotDeterministicError, match=rf"two passes over one point disagree \(loss=.* against loss=.*{source}"),
            objective.model.running(),
        ):
            check_determinism(objective, points)

    def test_names_data_that_differ_from_walk_to_walk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("thetascope.scoring.batches._memory_budget", lambda device: 0.0)
        own = np.random.default_rng(0)

        def augmented(rows: list[Any]) -> tuple[Tensor, Tensor]:
            return torch.stack([x for x, _ in rows]) + own.normal(), torch.stack([y for _, y in rows])

        objective = Objective(case("linear").model(), DataLoader(TensorDataset(*case("linear").data()), 4, collate_fn=augmented))
        points = of_present_state(objective)
        with objective.model.running(), pytest.raises(NotDeterministicError, match="The data differ from walk to walk: turn random aug"):
            check_determinism(objective, points)

    def test_a_shuffling_loader_and_seeded_augmentation_are_no_noise(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("thetascope.scoring.batches._memory_budget", lambda device: 0.0)

        def augmented(rows: list[Any]) -> tuple[Tensor, Tensor]:
            return torch.stack([x for x, _ in rows]) + torch.randn(1), torch.stack([y for _, y in rows])

        data = DataLoader(TensorDataset(*case("linear").data()), 4, shuffle=True, collate_fn=augmented)
        objective = Objective(case("linear").model(), data)
        with objective.model.running():
            assert check_determinism(objective, of_present_state(objective)).samples == 10

    def test_random_numbers_that_change_nothing_are_no_noise(self) -> None:
        objective = Objective(Noisy(lambda m, x: x + 0 * torch.rand(1)), case("linear").data())
        with objective.model.running():
            assert check_determinism(objective, of_present_state(objective)).samples == 10

    def test_dropout_modules_are_off(self) -> None:
        tied = case("tied attention")
        objective = Objective(tied.model().train(), tied.data())
        with objective.model.running():
            assert check_determinism(objective, of_present_state(objective)).samples == 10

    def test_a_loss_of_nan_agrees_with_itself(self) -> None:
        objective = bowl()
        points = StoredStates((objective.bind({"position": torch.tensor([math.nan]).double()}),))
        with objective.model.running():
            assert check_determinism(objective, Request(points, ("state",), (1,))).names == ("loss",)

    def test_what_is_seldom_drawn_is_seen(self) -> None:
        class Coin(nn.Linear):
            def forward(self, x: Tensor) -> Tensor:
                return super().forward(x) * (0.5 if float(torch.rand(())) < 0.1 else 1.0)

        objective = Objective(Coin(4, 3), case("linear").data())
        with objective.model.running(), pytest.raises(NotDeterministicError, match="draws random numbers from torch"):
            check_determinism(objective, of_present_state(objective))

    def test_random_numbers_that_decide_nothing_are_no_alarm(self) -> None:
        class Drawing(nn.Linear):
            def forward(self, x: Tensor) -> Tensor:
                return super().forward(x) + 0 * torch.rand(())

        objective = Objective(Drawing(4, 3), case("linear").data())
        with objective.model.running():
            assert check_determinism(objective, of_present_state(objective)).samples == 10


class TestRecheck:
    def test_a_point_that_comes_out_again(self) -> None:
        objective = bowl()
        with objective.model.running():
            found = recheck(objective, request(objective, 6), row=3, stored={"loss": 0.36})
        assert (found.names, found.samples) == (("loss",), 3)

    @pytest.mark.parametrize("stored", [{"loss": 0.3601}, {"loss": math.nan}, {"loss": math.inf}, {"loss": 0.36, "accuracy": 1.0}, {}])
    def test_a_point_that_comes_out_otherwise(self, stored: dict[str, float]) -> None:
        objective = bowl()
        with objective.model.running(), pytest.raises(ResultError, match=r"does not come out again: stored .*, now loss=0\.36\."):
            recheck(objective, request(objective, 6), row=3, stored=stored)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_what_is_not_finite_comes_out_again_too(self, value: float) -> None:
        objective = bowl()
        points = StoredStates((objective.bind({"position": torch.tensor([value]).double()}),))
        with objective.model.running():
            recheck(objective, Request(points, ("state",), (1,)), row=0, stored={"loss": value})

    def test_is_stricter_in_float64(self) -> None:
        near = {"loss": 0.36 * (1 + 1e-7)}
        rough, exact = bowl(), bowl(dtype="float64")
        with rough.model.running():
            recheck(rough, request(rough, 6), row=3, stored=near)
        with exact.model.running(), pytest.raises(ResultError):
            recheck(exact, request(exact, 6), row=3, stored=near)
