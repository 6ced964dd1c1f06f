from __future__ import annotations

import time
from typing import ClassVar, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from thetascope.geometry.points import Points
from thetascope.scoring.fast.shared import TOGETHER, GraphBackend
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.testing.contracts import assert_close, line, scored
from thetascope.testing.models import CASES, Case, case


@pytest.mark.parametrize("case", [c for c in CASES if c.name != "untraceable"], ids=lambda case: case.name)
def test_what_can_be_traced_does_not_fall_back(case: Case) -> None:
    objective = Objective(case.model(), case.data(), case.loss)
    backend = GraphBackend(objective, line(objective, case.states(2), (0.3, 0.6)))
    with objective.model.running():
        backend.evaluate([0, 1])
    assert backend.fallback is None


def test_what_a_graph_does_not_show_is_noticed() -> None:
    class Switching(nn.Module):
        """Counts its calls in Python, which tracing writes down as they were at that moment."""

        def __init__(self) -> None:
            super().__init__()
            self.layer, self.calls = nn.Linear(4, 3), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            outputs: Tensor = self.layer(x) * (2.0 if self.calls % 2 else 2.5)
            return outputs

    data = case("linear").data()
    objective = Objective(Switching(), data)
    backend = GraphBackend(objective, line(objective, [Switching().state_dict() for _ in range(2)], (0.3, 0.6)))
    with objective.model.running():
        backend.evaluate([0, 1])
    assert backend.fallback is not None
    assert "other values" in backend.fallback


class Counting(nn.Module):
    """Counts how often its first layer, and what follows, is called."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = CountedLinear(4, 5), CountedLinear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.second(self.first(x).relu()))


class CountedLinear(nn.Linear):
    calls: ClassVar[dict[int, int]] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.calls[self.in_features] = self.calls.get(self.in_features, 0) + 1
        return super().forward(x)


CountedLinear.__module__ = "torch.nn.modules.linear"  # a leaf of the graph


def test_layers_that_points_share_are_computed_once_a_batch() -> None:
    torch.manual_seed(0)
    objective = Objective(Counting(), case("linear").data(), batch_size=5)  # 2 batches
    states = [{name: torch.randn_like(t) for name, t in Counting().state_dict().items()} for _ in range(2)]
    basis = tuple(objective.bind(state) for state in states)
    names = ["second.weight", "second.bias"]
    coeffs = np.array([[[1 - a, a]] for a in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)])
    backend = GraphBackend(objective, Points(basis, coeffs, dict.fromkeys(names, 0)))
    with objective.model.running():
        backend.evaluate([0])  # verifies
        CountedLinear.calls.clear()
        backend.evaluate(range(7))
    assert CountedLinear.calls == {4: 2, 5: 14}


def test_points_of_other_layers_share_what_comes_before_each() -> None:
    objective = Objective(Counting(), case("linear").data(), batch_size=10)
    basis = tuple(objective.bind({name: torch.randn_like(t) for name, t in Counting().state_dict().items()}) for _ in range(2))
    coeffs = np.array([[[0.5, 0.5], [0, 1]], [[0, 1], [0.5, 0.5]], [[0, 1], [0.2, 0.8]], [[0, 1], [0.3, 0.7]]])
    backend = GraphBackend(objective, Points(basis, coeffs, {"first.weight": 0, "second.weight": 1}))
    with objective.model.running():
        backend.evaluate([1])
        CountedLinear.calls.clear()
        backend.evaluate(range(4))
    assert CountedLinear.calls == {4: 2, 5: 4}


def test_layers_that_write_to_their_inputs_spoil_no_other_point() -> None:
    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 5), nn.Identity(), nn.ReLU(inplace=True), nn.Linear(5, 3))

    objective = Objective(model(), case("linear").data(), batch_size=4)
    states = [{name: torch.randn_like(t) for name, t in model().state_dict().items()} for _ in range(2)]
    basis = tuple(objective.bind(state) for state in states)
    points = Points(basis, np.array([[[1 - a, a]] for a in (0.1, 0.5, 0.9)]), {"3.weight": 0})
    assert_close(scored(GraphBackend, objective, points), scored(EagerBackend, objective, points), 1e-6)


class Slow(nn.Identity):
    """Takes its time."""

    seconds = 0.3

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return x


Slow.__module__ = "torch.nn.modules.linear"  # a leaf of the graph


class Slowed(nn.Module):
    """Takes its time with the data alone, in the middle of several steps, or with what the first layer makes of them."""

    def __init__(self, with_data: bool) -> None:
        super().__init__()
        self.before: nn.Module = Slow() if with_data else nn.Identity()
        self.after: nn.Module = nn.Identity() if with_data else Slow()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.after(self.layer(self.before(x / 2.0).abs())))


@pytest.mark.parametrize("with_data", [True, False])
def test_in_a_rehearsal_what_is_made_of_the_data_alone_counts_for_a_part(with_data: bool) -> None:
    """As many points as are mostly scored together have it in common."""
    objective = Objective(Slowed(with_data), case("linear").data())
    backend = GraphBackend(objective, line(objective, [Slowed(with_data).state_dict() for _ in range(2)], (0.3, 0.6)))
    with objective.model.running():
        assert backend.ready(0)
        found = backend.rehearse(0, objective.batches.first())
    least, most = (Slow.seconds / TOGETHER, Slow.seconds) if with_data else (Slow.seconds, 2 * Slow.seconds)
    assert least <= found < most
