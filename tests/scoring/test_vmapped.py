from __future__ import annotations

import pytest

from tests.scoring.known import objective_of
from thetascope.scoring.fast.vmapped import BatchedBackend
from thetascope.testing.contracts import line
from thetascope.testing.models import case


@pytest.mark.parametrize("name", ["linear", "LeNet", "BatchNorm ResNet block", "frozen", "DataParallel"])
def test_several_points_go_through_a_plain_model_at_once(name: str) -> None:
    objective = objective_of(name)
    backend = BatchedBackend(objective, line(objective, case(name).states(2), (0.3, 0.6)))
    with objective.model.running():
        backend.evaluate([0, 1])
    assert backend.fallback is None


@pytest.mark.parametrize("name", ["tied attention", "old weight_norm"])
def test_what_has_no_rule_for_several_points_falls_back(name: str) -> None:
    objective = objective_of(name)
    backend = BatchedBackend(objective, line(objective, case(name).states(2), (0.3, 0.6)))
    with objective.model.running():
        backend.evaluate([0, 1])
    assert backend.fallback is not None
    assert "several points at once" in backend.fallback
