"""Edits of single parameters, scored the short way, against the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thetascope.geometry.edits import ScalarEdits, chosen_parameters
from thetascope.scoring.fast.graph import traced
from thetascope.scoring.fast.settings import Settings
from thetascope.scoring.fast.shared import GraphBackend
from thetascope.scoring.fast.single_edits import Routes
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.testing.models import CASES, Case, case


class Zoo(nn.Module):
    """Strides, dilation, padding, pooling of several kinds, norms, activations in place, a view by sizes, a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 5, 3, stride=2, padding=2, dilation=2)
        self.norm, self.relu = nn.BatchNorm2d(5), nn.ReLU(inplace=True)
        self.second = nn.Conv2d(5, 4, (1, 3), padding="same", bias=False)
        self.third = nn.Conv2d(4, 4, 1, groups=2)
        self.pool = nn.AvgPool2d(2)
        self.hidden, self.side, self.head = nn.Linear(16, 7), nn.Linear(7, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        x = F.gelu(self.second(x))
        x = self.pool(self.third(x))
        x = torch.tanh(self.hidden(x.view(x.size(0), -1)))
        x = x + F.silu(self.side(x))
        logits: Tensor = self.head(x)
        return logits


class Tokens(nn.Module):
    """Linear layers over the last of three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.down(F.relu(self.up(x))).mean(1)
        return logits


OWN = (
    Case("zoo", Zoo, lambda: torch.randn(20, 2, 8, 8), lambda: torch.randint(3, (20,))),
    Case("tokens", Tokens, lambda: torch.randn(20, 5, 6), lambda: torch.randint(3, (20,))),
)


def edits_of(objective: Objective, chosen: Case, places: int = 5) -> ScalarEdits:
    space = objective.space
    parameters = chosen_parameters(6, space, [layer.name for layer in space.layers])
    values = np.random.default_rng(0).normal(size=(len(parameters), places))
    return ScalarEdits(objective.bind(chosen.states(1)[0]), tuple(parameters), values)


def losses(backend: GraphBackend | EagerBackend, rows: range) -> np.ndarray:
    return np.array([sums.means()["loss"] for sums in backend.evaluate(rows)])


@pytest.mark.parametrize("chosen", [*CASES, *OWN], ids=lambda c: c.name)
@pytest.mark.parametrize(("dtype", "tolerance"), [(None, 1e-5), ("float64", 1e-11)])
@pytest.mark.parametrize("settings", [Settings(), Settings(rows=3)], ids=["whole", "parts"])
def test_the_short_way_scores_as_the_oracle_does(chosen: Case, dtype: str | None, tolerance: float, settings: Settings) -> None:
    objective = Objective(chosen.model(), chosen.data(), chosen.loss, dtype=dtype, batch_size=4)
    edits = edits_of(objective, chosen)
    with objective.model.running():
        expected = losses(EagerBackend(objective, edits), range(len(edits)))
        found = losses(GraphBackend(objective, edits, settings=settings), range(len(edits)))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def routes_of(chosen: Case) -> Routes:
    objective = Objective(chosen.model(), chosen.data(), chosen.loss)
    with objective.model.running():
        routes = Routes(
            traced(objective.model), objective.model.tensors_of(objective.bind(chosen.states(1)[0])), objective.batches.first()[0]
        )
        for name in objective.space.parameters:
            routes.of(name)
        return routes


@pytest.mark.parametrize(
    ("chosen", "short"),
    [
        (case("LeNet"), {f"{layer}.{role}" for layer in ("conv1", "conv2", "fc1", "fc2", "fc3") for role in ("weight", "bias")}),
        (OWN[0], {"first.weight", "first.bias", "hidden.weight", "hidden.bias", "side.weight", "side.bias", "head.weight", "head.bias"}),
        (OWN[1], {"up.weight", "up.bias", "down.weight", "down.bias"}),
        (case("tied attention"), set()),
    ],
    ids=["LeNet", "zoo", "tokens", "tied"],
)
def test_which_parameters_have_a_short_way(chosen: Case, short: set[str]) -> None:
    routes = routes_of(chosen)
    with torch.no_grad():
        assert {name for name in routes.tensors if not name.endswith(("mean", "var", "tracked")) and routes.of(name) is not None} == short


def test_a_change_that_does_not_arrive_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "thetascope.scoring.fast.channel_updates.Site.slope", lambda self, inputs, outputs, index: 0 * outputs.select(self.dim, 0)
    )
    routes = routes_of(case("LeNet"))
    assert routes.of("fc3.weight") is routes.of("fc3.bias") is None  # earlier ones may be dead behind a ReLU
