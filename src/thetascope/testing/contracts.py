"""Contract test classes: subclass one, name what it tests, and pytest runs every case over it.

class TestMyBackend(BackendContract):
    backend = MyBackend
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from thetascope.geometry.paths import model_path
from thetascope.geometry.points import Points
from thetascope.scoring.fast.choice import Backend
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.state import State
from thetascope.testing.models import CASES, REAL_CASES, Case, case
from thetascope.testing.snapshots import unchanged

Scores = Mapping[str, float]
TOLERANCES = {None: 1e-5, "float64": 1e-10}
"""How far a backend may be off, relatively, by the dtype that the objective asks for."""

every_case = pytest.mark.parametrize("case", [*CASES, *REAL_CASES], ids=lambda case: case.name)
in_both_precisions = pytest.mark.parametrize("dtype", TOLERANCES, ids=["float32", "float64"])


class BackendContract:
    """A backend scores affine points as the oracle does, on every kind of model, and touches nothing."""

    backend: type[Backend]
    device = "cpu"
    _objectives: ClassVar[dict[Any, Objective]] = {}

    def objective_of(self, case: Case, **options: Any) -> Objective:
        """An objective for `case`, with batches of which the last is shorter; the tests of a backend share it, and what it has captured."""
        key = (type(self), case.name, *options.items())
        if key not in self._objectives:
            self._objectives[key] = case.objective(device=self.device, **options)
        return self._objectives[key]

    def expected(self, case: Case, objective: Objective, points: Points) -> Sequence[Scores]:
        """What each point scores, by the oracle."""
        return scored(EagerBackend, objective, points)

    @every_case
    @in_both_precisions
    def test_whole_model_on_the_line(self, case: Case, dtype: str | None) -> None:
        objective = self.objective_of(case, dtype=dtype)
        points = line(objective, case.states(2), alphas=(0.0, 0.3, 0.75, 1.0, 1.5))
        assert_close(scored(self.backend, objective, points), self.expected(case, objective, points), TOLERANCES[dtype])

    @every_case
    @in_both_precisions
    def test_one_layer_moves_while_the_rest_stays(self, case: Case, dtype: str | None) -> None:
        objective = self.objective_of(case, dtype=dtype)
        basis = bound(objective, case.states(2))
        for layer in objective.space.layers:
            points = Points(basis, np.array([[[1.0, 0.0]], [[0.6, 0.4]]]), dict.fromkeys(layer.parameters, 0))
            assert_close(scored(self.backend, objective, points), self.expected(case, objective, points), TOLERANCES[dtype])

    @every_case
    @in_both_precisions
    def test_every_layer_has_coefficients_of_its_own(self, case: Case, dtype: str | None) -> None:
        objective = self.objective_of(case, dtype=dtype)
        layers = objective.space.layers
        groups = {name: g for g, layer in enumerate(layers) for name in layer.parameters}
        coeffs = np.random.default_rng(0).normal(size=(4, len(layers), 3))
        points = Points(bound(objective, case.states(3)), coeffs, groups)
        assert_close(scored(self.backend, objective, points), self.expected(case, objective, points), TOLERANCES[dtype])

    @every_case
    def test_end_states_equal_the_objective_bit_for_bit(self, case: Case) -> None:
        objective, states = self.objective_of(case), case.states(2)
        ends = scored(self.backend, objective, line(objective, states, alphas=(0.0, 0.5, 1.0)))
        for found, state in zip((ends[0], ends[2]), states, strict=True):
            score = objective.score(state)
            assert {name: found[name] for name in found} == {name: score[name] for name in found}

    @every_case
    def test_model_is_untouched(self, case: Case) -> None:
        model = case.model()
        for number, parameter in enumerate(model.parameters()):
            if number % 2 == 0:
                parameter.grad = parameter.detach().clone()
        for number, module in enumerate(model.modules()):
            module.training = number % 2 == 0
        with unchanged(model):
            objective = case.objective(model, device=self.device)
            scored(self.backend, objective, line(objective, case.states(2), alphas=(0.0, 0.3, 1.0)))

    def test_rows_come_in_the_order_asked_for(self) -> None:
        objective, states = self.objective_of(case("LeNet")), case("LeNet").states(2)
        points = line(objective, states, alphas=(0.0, 0.2, 0.4, 0.6, 1.0))
        all_rows = scored(self.backend, objective, points)
        assert_close(scored(self.backend, objective, points, rows=(3, 0, 2)), [all_rows[k] for k in (3, 0, 2)], 1e-5)

    def test_data_that_are_loaded_anew_on_each_walk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("thetascope.scoring.batches._memory_budget", lambda device: 0.0)
        lenet = case("LeNet")
        inputs, targets = lenet.data()
        objective = Objective(lenet.model(), [(inputs[:7], targets[:7]), (inputs[7:], targets[7:])], loss=lenet.loss, device=self.device)
        assert not objective.batches.resident
        points = line(objective, lenet.states(2), alphas=(0.0, 0.3, 0.9))
        assert_close(scored(self.backend, objective, points), self.expected(lenet, objective, points), 1e-5)

    @pytest.mark.parametrize("buffers", ["path", "final", "recalibrate"])
    def test_statistics_come_from_where_the_objective_says(self, buffers: str) -> None:
        block = case("BatchNorm ResNet block")
        objective = self.objective_of(block, buffers=buffers)
        points = line(objective, block.states(2), alphas=(-0.5, 0.3, 1.5))
        assert_close(scored(self.backend, objective, points), self.expected(block, objective, points), 1e-5)

    @pytest.mark.parametrize("buffers", ["final", "recalibrate"])
    def test_points_as_recorded_keep_their_statistics_whatever_the_objective_says(self, buffers: str) -> None:
        block = case("BatchNorm ResNet block")
        objective, plain = self.objective_of(block, buffers=buffers), self.objective_of(block)
        points = line(objective, block.states(2), alphas=(0.0, 0.3))
        found = scored(self.backend, objective, points, as_recorded=True)
        assert_close(found, self.expected(block, plain, points), 1e-5)

    def test_a_pass_that_rewrites_its_weights_spoils_no_other_point(self) -> None:
        def model(value: float) -> nn.Module:
            embedding = nn.Embedding(11, 4, max_norm=0.5)
            nn.init.constant_(embedding.weight, value)
            return nn.Sequential(embedding, nn.Linear(4, 11))

        tokens = torch.arange(10)
        objective = Objective(model(3.0), (tokens, tokens), device=self.device, batch_size=4)
        points = line(objective, [model(3.0).state_dict(), model(-3.0).state_dict()], alphas=(0.0, 0.05, 1.0, 0.95))
        one_by_one = [score for k in range(4) for score in scored(self.backend, objective, points, rows=(k,))]
        assert_close(scored(self.backend, objective, points), one_by_one, 1e-5)

    def test_a_point_that_is_not_finite_spoils_no_other(self) -> None:
        lenet = case("LeNet")
        objective, states = self.objective_of(lenet), lenet.states(2)
        states[1]["conv2.weight"][0, 0, 0, 0] = math.nan
        coeffs = np.array([[[1.0, 0.0]], [[0.5, 0.5]], [[0.5, 0.0]]])
        points = Points(bound(objective, states), coeffs, dict.fromkeys(objective.space.tensors, 0))
        found = scored(self.backend, objective, points)
        assert math.isnan(found[1]["loss"])
        assert_close([found[0], found[2]], [self.expected(lenet, objective, points)[k] for k in (0, 2)], 1e-5)


def bound(objective: Objective, states: Sequence[Mapping[str, Any]]) -> tuple[State, ...]:
    """`states` under the names of the objective's model."""
    return tuple(objective.bind(state) for state in states)


def line(objective: Objective, states: Sequence[Mapping[str, Any]], alphas: Sequence[float]) -> Points:
    """The straight path of the whole model from the first of two states to the second, floating buffers along."""
    space = objective.space
    floating = [n for n in space.buffers if space.tensors[n].floating]
    return model_path(bound(objective, states), (0.0, 1.0), np.asarray(alphas), space.parameters, floating)


def scored(
    backend: type[Backend], objective: Objective, points: Points, rows: Sequence[int] | None = None, *, as_recorded: bool = False
) -> list[Scores]:
    """What `backend` says of `rows` of `points`, by default all."""
    with objective.model.running():
        found = backend(objective, points, as_recorded=as_recorded).evaluate(range(len(points)) if rows is None else rows)
    return [sums.means() for sums in found]


def assert_close(found: Sequence[Scores], expected: Sequence[Scores], tolerance: float) -> None:
    """Assert that the same values come out, point by point."""
    assert len(found) == len(expected), f"{len(found)} points instead of {len(expected)}"
    for k, (here, there) in enumerate(zip(found, expected, strict=True)):
        assert here.keys() == there.keys(), f"point {k} has {list(here)} instead of {list(there)}"
        for name, value in there.items():
            np.testing.assert_allclose(here[name], value, rtol=tolerance, atol=tolerance, err_msg=f"{name} of point {k}")
