from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.scoring.known import objective_of
from thetascope.errors import ObjectiveError
from thetascope.scoring.fast.choice import BACKENDS, Engine, chosen_engine
from thetascope.scoring.fast.plain import PlainBackend
from thetascope.scoring.fast.settings import Settings
from thetascope.scoring.fast.shared import GraphBackend
from thetascope.scoring.fast.vmapped import BatchedBackend
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend


def engine_of(objective: Objective, engine: str = "auto") -> Engine:
    with objective.model.running():
        return chosen_engine(engine, objective)


def test_every_backend_goes_by_its_name() -> None:
    assert all(backend.name == name for name, backend in BACKENDS.items())


@pytest.mark.parametrize("kind", ["whole", "shared"])
def test_what_is_fast_is_chosen_when_the_work_is_known(kind: Any) -> None:
    with objective_of("linear").model.running():
        assert chosen_engine("auto", objective_of("linear"), kind).open_for == kind


@pytest.mark.parametrize(("name", "expected"), [("linear", GraphBackend), ("untraceable", EagerBackend)])
def test_single_edits_go_through_the_graph_where_there_is_one(name: str, expected: type) -> None:
    objective = objective_of(name)
    with objective.model.running():
        chosen = chosen_engine("auto", objective, "edits")
    assert chosen.backend is expected
    assert ("torch.fx cannot trace it" in chosen.reason) == (expected is EagerBackend)
    assert Engine.from_json(chosen.to_json()) == chosen


def test_recalibration_goes_through_the_graph_where_norms_are_torch_s() -> None:
    chosen = engine_of(objective_of("BatchNorm ResNet block", buffers="recalibrate"))
    assert chosen.open_for is not None


@pytest.mark.parametrize(("kind", "expected"), [("whole", BatchedBackend), ("shared", EagerBackend)])
def test_a_small_model_on_a_gpu_takes_several_points_at_once_where_no_layer_is_shared(kind: Any, expected: type) -> None:
    objective = objective_of("LeNet")
    objective.device = torch.device("cuda")  # only the choice is looked at
    with objective.model.running():
        assert chosen_engine("auto", objective, kind).backend is expected


@pytest.mark.parametrize("engine", ["graph:rows=0", "graph:rows=x", "graph:fast=yes", "graph:channels_last=maybe"])
def test_settings_that_are_off_say_what_there_is(engine: str) -> None:
    with pytest.raises(ObjectiveError, match=r"rows=N and channels_last=yes\|no"):
        engine_of(objective_of("linear"), engine)


def test_settings_may_be_given() -> None:
    assert engine_of(objective_of("linear"), "graph:rows=7,channels_last=yes").settings == Settings(7, True)
    assert engine_of(objective_of("linear"), "eager").backend is EagerBackend
    plain = engine_of(objective_of("linear"), "eager:rows=3")
    assert (plain.backend, plain.settings) == (PlainBackend, Settings(3))
    assert Engine.from_json(plain.to_json()) == plain


def test_unknown_engine_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ObjectiveError, match=r'engine must be "auto" or one of eager.*Got "warp"'):
        engine_of(objective_of("linear"), "warp")


@pytest.mark.parametrize(("engine", "instead"), [("prefix", "graph"), ("prefix:rows=200", "graph:rows=200")])
def test_a_former_name_is_answered_with_the_present_one(engine: str, instead: str) -> None:
    with pytest.raises(ObjectiveError, match=f'^engine "prefix" is called "graph" now: write engine="{instead}"$'):
        engine_of(objective_of("linear"), engine)
    stored = engine_of(objective_of("linear"), instead).to_json()
    assert Engine.from_json({**stored, "name": "prefix"}) == Engine.from_json(stored)  # results of then can be gone on with
