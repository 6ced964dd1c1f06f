"""A point is scored once with one objective: counted in calls of the loss, of which each is a pass over the one batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import thetascope as ts
from tests.scoring.known import MemorySink
from thetascope.arrays import Floats
from thetascope.geometry.edits import Parameter, ScalarEdits, parameter_values
from thetascope.geometry.points import PointSet
from thetascope.scoring.fast.choice import Backend, Engine
from thetascope.scoring.fast.shared import GraphBackend, captured_step
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.scoring.runner import Request, Runner
from thetascope.testing.contracts import line
from thetascope.testing.models import case

LENET = case("LeNet")
STATES = LENET.states(3)
CHECK = 5
"""So many passes show a backend that it gives what the model gives: three of the model, two its own way."""


class Passes:
    """A loss that counts how often it is asked."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.count += 1
        return torch.from_numpy(F.nll_loss(outputs, targets, reduction="none").numpy())  # so that it is no part of a captured step

    def since(self) -> int:
        """How often since the last time."""
        found, self.count = self.count, 0
        return found


def objective_with(passes: Passes) -> Objective:
    objective = Objective(LENET.model(), LENET.data(), loss=passes)
    _ = objective.space  # one pass shows the order of the layers
    with objective.model.running():
        captured_step(objective)
    passes.since()
    return objective


def losses(objective: Objective, points: PointSet, backend: type[Backend] = GraphBackend) -> Floats:
    """What a new runner says of all points, asked at once."""
    runner = Runner(objective, MemorySink(len(points)), Engine(backend, "asked for"))
    with objective.model.running():
        return np.array(runner.columns(Request(points, ("point",), (len(points),)), range(len(points)))["loss"])


@pytest.mark.parametrize(("backend", "check"), [(EagerBackend, 0), (GraphBackend, CHECK)])
def test_a_point_is_not_scored_again_with_the_same_objective(backend: type[Backend], check: int) -> None:
    passes = Passes()
    objective = objective_with(passes)
    first = losses(objective, line(objective, STATES[:2], (0.0, 0.25, 0.5, 1.0)), backend)
    assert passes.since() == 4 + check
    points = line(objective, STATES[:2], (0.25, 0.5, 0.75, 1.0))
    again = losses(objective, points, backend)
    assert passes.since() == 1  # which gives what the model gives, as was seen
    np.testing.assert_array_equal(again[[0, 1, 3]], first[1:])
    np.testing.assert_array_equal(again, losses(objective_with(Passes()), points, backend))
    assert losses(objective, line(objective, STATES[1:], (0.0, 0.25)), backend)[0] == first[-1]  # the same state, of another line
    assert passes.since() == 1
    losses(objective.evaluated_in("float64"), points, backend)
    assert passes.since() == 4 + check + (check > 0)  # the step is captured anew, as far as its loss


def edits_of(objective: Objective, values: Floats) -> ScalarEdits:
    parameters = [Parameter.parse(label, objective.space) for label in ("fc3.weight[0,0]", "conv1.weight[0,0,1,1]")]
    return ScalarEdits(objective.bind(STATES[0]), tuple(parameters), values)


def test_single_parameters_are_known_in_the_same_company_only() -> None:
    """Those that are scored together decide one another's last bits."""
    passes, values = Passes(), np.random.default_rng(0).normal(size=(2, 4))
    objective = objective_with(passes)
    first = losses(objective, edits_of(objective, values))
    assert passes.since() == 8 + CHECK
    np.testing.assert_array_equal(losses(objective, edits_of(objective, values)), first)
    assert passes.since() == 0
    fewer = losses(objective, edits_of(objective, values[:, :3]))
    assert passes.since() == 6
    np.testing.assert_array_equal(fewer, losses(objective_with(Passes()), edits_of(objective, values[:, :3])))


def test_where_there_was_room_for_some_of_a_company_all_are_scored_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thetascope.scoring.cache.MOST_POINTS", 5)
    passes, values = Passes(), np.random.default_rng(0).normal(size=(2, 4))
    objective = objective_with(passes)
    first = losses(objective, edits_of(objective, values))
    assert passes.since() == 8 + CHECK
    np.testing.assert_array_equal(losses(objective, edits_of(objective, values)), first)
    assert passes.since() == 8


def test_the_state_itself_is_scored_once_for_all_single_parameters() -> None:
    passes = Passes()
    objective = objective_with(passes)
    bound = objective.bind(STATES[0])
    own = parameter_values([bound], edits_of(objective, np.zeros((2, 1))).parameters)[:, 0]
    request = Request(edits_of(objective, np.stack([own, own + 0.3], axis=1)), ("parameter", "alpha"), (2, 2))
    runner = Runner(objective, MemorySink(2), Engine(GraphBackend, "asked for"))
    with objective.model.running():
        first = runner.columns(request, [0, 1])["loss"]
        assert passes.since() == 2 + CHECK
        second = runner.columns(request, [2, 3])["loss"]
        assert passes.since() == 1
    assert first[0] == second[0] == objective.score(bound)["loss"]


def test_an_experiment_goes_by_what_another_scored() -> None:
    passes, trajectory = Passes(), ts.Trajectory.from_states(STATES)
    objective = objective_with(passes)
    first = ts.interpolate(objective, trajectory, alphas=5, progress=False)
    passes.since()
    again = ts.compare_paths(objective, trajectory, alphas=5, progress=False)
    # α = 0.25 and 0.75 of the quadratic path, whose knots are stored states; and the line where the middle state stands beside it
    assert passes.since() == 3
    np.testing.assert_array_equal(again.data["linear_loss"].values, first.data["loss"].values)
    fresh = ts.compare_paths(objective_with(Passes()), trajectory, alphas=5, progress=False)
    np.testing.assert_array_equal(again.data["quadratic_loss"].values, fresh.data["quadratic_loss"].values)


def test_a_point_is_known_by_what_it_is_made_of() -> None:
    objective = objective_with(Passes())
    on_line = line(objective, STATES[:2], (0.0, 0.3, 1.0))
    other = line(objective, STATES[1:], (0.0, 0.3, 1.0))
    assert on_line.identity(2) == other.identity(0)  # the same state
    assert on_line.identity(1) not in (on_line.identity(0), on_line.identity(2), other.identity(1))
    state = on_line.basis[-1]
    first = Parameter.parse(f"{next(iter(state.specs))}[0,0,1,1]", objective.space)
    edits = ScalarEdits(state, (first,), np.array([[0.3, parameter_values([state], [first])[0, 0]]]))
    assert edits.identity(1) == on_line.identity(2)  # the parameter holds what the state holds
    assert edits.identity(0) != edits.identity(1)
