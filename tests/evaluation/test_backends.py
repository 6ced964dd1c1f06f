from __future__ import annotations

import pytest
import torch

from tests.evaluation.plain import combined, loaded, plain_scores, recalibrate
from thetascope.errors import ObjectiveError
from thetascope.evaluation.backends import BACKENDS, chosen_backend
from thetascope.evaluation.backends.eager import EagerBackend
from thetascope.evaluation.objective import Objective
from thetascope.geometry.points import Points
from thetascope.testing.contracts import BackendContract
from thetascope.testing.models import Case


class TestEagerBackend(BackendContract):
    """The oracle itself, against a plainer computation still."""

    backend = EagerBackend

    def expected(self, case: Case, objective: Objective, points: Points) -> list[dict[str, float]]:
        dtype = objective.dtype or torch.float32
        batches = list(objective.batches)
        found = []
        for k in range(len(points)):
            tensors = combined(points, k)
            if objective.buffers == "final":
                tensors |= {name: points.basis[-1][name] for name in objective.space.buffers}
            model = loaded(case, tensors, dtype)
            if objective.buffers == "recalibrate":
                recalibrate(model, batches)
            found.append(plain_scores(model, batches, case.loss))
        return found


def test_every_backend_goes_by_its_name() -> None:
    assert all(backend.name == name for name, backend in BACKENDS.items())


def test_a_backend_is_chosen_with_a_reason() -> None:
    assert chosen_backend("eager") == (EagerBackend, "asked for")
    backend, reason = chosen_backend("auto")
    assert backend in BACKENDS.values()
    assert reason


def test_unknown_engine_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ObjectiveError, match=r'engine must be "auto" or one of eager.*Got "warp"'):
        chosen_backend("warp")
