from __future__ import annotations

import pytest
import torch

from tests.scoring.known import objective_of
from thetascope.errors import ObjectiveError
from thetascope.scoring.fast.choice import BACKENDS, Engine, chosen_engine
from thetascope.scoring.fast.settings import Settings
from thetascope.scoring.fast.shared import GraphBackend
from thetascope.scoring.fast.vmapped import BatchedBackend
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.testing.models import CASES, Case, case


def engine_of(objective: Objective, engine: str = "auto") -> Engine:
    with objective.model.running():
        return chosen_engine(engine, objective)


def test_every_backend_goes_by_its_name() -> None:
    assert all(backend.name == name for name, backend in BACKENDS.items())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_backend_is_chosen_with_a_reason(case: Case) -> None:
    chosen = engine_of(Objective(case.model(), case.data(), case.loss))
    if case.name == "untraceable":
        assert chosen.backend is EagerBackend
        assert "torch.fx cannot trace it" in chosen.reason
    else:
        assert chosen.backend is GraphBackend
    assert Engine.from_json(chosen.to_json()) == chosen


def test_a_step_of_ones_own_and_recalibration_leave_it_to_full_passes() -> None:
    linear = case("linear")
    own = Objective.from_step(linear.model(), [linear.data()], lambda model, batch: {"loss": model(batch[0]).square().sum(1)})
    assert "user's own" in engine_of(own).reason
    assert "recalibrated" in engine_of(objective_of("BatchNorm ResNet block", buffers="recalibrate")).reason


@pytest.mark.parametrize(("shared", "expected"), [(False, BatchedBackend), (True, GraphBackend)])
def test_a_small_model_on_a_gpu_takes_several_points_at_once_where_no_layer_is_shared(shared: bool, expected: type) -> None:
    objective = objective_of("LeNet")
    objective.device = torch.device("cuda")  # only the choice is looked at
    with objective.model.running():
        assert chosen_engine("auto", objective, layers_are_shared=shared).backend is expected


@pytest.mark.parametrize("engine", ["graph:rows=0", "graph:rows=x", "graph:fast=yes", "graph:channels_last=maybe"])
def test_settings_that_are_off_say_what_there_is(engine: str) -> None:
    with pytest.raises(ObjectiveError, match=r"rows=N, channels_last=yes\|no, blocked=yes\|no and unfolded=yes\|no"):
        engine_of(objective_of("linear"), engine)


def test_settings_may_be_given() -> None:
    assert engine_of(objective_of("linear"), "graph:rows=7,channels_last=yes").settings == Settings(7, True)
    assert engine_of(objective_of("linear"), "graph:blocked=yes").settings == Settings(None, False, True)
    assert engine_of(objective_of("linear"), "graph:unfolded=yes").settings == Settings(unfolded=True)
    assert engine_of(objective_of("linear"), "eager").backend is EagerBackend


def test_unknown_engine_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ObjectiveError, match=r'engine must be "auto" or one of eager.*Got "warp"'):
        engine_of(objective_of("linear"), "warp")


@pytest.mark.parametrize(("engine", "instead"), [("prefix", "graph"), ("prefix:rows=200", "graph:rows=200")])
def test_a_former_name_is_answered_with_the_present_one(engine: str, instead: str) -> None:
    with pytest.raises(ObjectiveError, match=f'^engine "prefix" is called "graph" now: write engine="{instead}"$'):
        engine_of(objective_of("linear"), engine)
    stored = engine_of(objective_of("linear"), instead).to_json()
    assert Engine.from_json({**stored, "name": "prefix"}) == Engine.from_json(stored)  # results of then can be gone on with
