"""The tables of linear layers, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from thetascope.experiments.parameter_atlas.loss_tables import NODES, Tabulation
from thetascope.geometry.edits import Parameter, ScalarEdits
from thetascope.scoring.fast.graph import traced
from thetascope.scoring.fast.single_edits import Routes
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.testing.models import Case


@pytest.mark.parametrize(("dtype", "tolerance"), [(None, 3e-5), ("float64", 3e-5)])
def test_a_table_gives_what_brute_force_gives(dtype: str | None, tolerance: float) -> None:
    lenet = Case(
        "wide",
        lambda: nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 5)),
        lambda: torch.randn(400, 6),
        lambda: torch.randint(5, (400,)),
    )
    objective = Objective(lenet.model(), lenet.data(400), lenet.loss, dtype=dtype, device="cpu")
    state = objective.bind(lenet.states(1)[0])
    generator = np.random.default_rng(1)
    delta = generator.normal(size=(7, 3, 9)) * np.linspace(0.01, 1.0, 7)[:, None, None]
    delta[:, :, 4] = 0.0
    with objective.model.running():
        routes = Routes(traced(objective.model), objective.model.tensors_of(state), objective.batches.first()[0])
        route = routes.of("0.weight")
        assert route is not None
        curves = Tabulation(objective, routes, route).curves([2, 5, 11], np.abs(delta).max(axis=(1, 2)))
        found = curves.at(delta)
        assert curves.values.shape == (NODES, 7, 3)
        parameters = [Parameter("0.weight", (j, i)) if i < 6 else Parameter("0.bias", (j,)) for i in range(7) for j in (2, 5, 11)]
        own = np.array([float(state[p.name][p.index]) for p in parameters])[:, None]
        edits = ScalarEdits(state, tuple(parameters), own + delta.reshape(21, 9))
        scores = [sums.means()["loss"] for sums in EagerBackend(objective, edits).evaluate(range(len(edits)))]
        expected = np.reshape(scores, (7, 3, 9)) - objective.score(state)["loss"]
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=tolerance)
    assert (found[:, :, 4] == 0).all()
