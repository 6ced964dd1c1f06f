from __future__ import annotations

from tests.scoring.known import layer_line, of_present_state
from thetascope.experiments.framework.timing import Remaining, expected
from thetascope.results.store import Store
from thetascope.scoring.fast.choice import Engine
from thetascope.scoring.fast.shared import GraphBackend
from thetascope.scoring.objective import Objective
from thetascope.scoring.runner import Runner
from thetascope.testing.models import case


def test_stored_states_that_are_known_take_no_time() -> None:
    linear = case("linear")
    objective = Objective(linear.model(), linear.data())
    states, path = of_present_state(objective), layer_line(objective)
    runner = Runner(objective, Store.nowhere(), Engine(GraphBackend, "asked for"))
    works = [Remaining(states, [[0]], left=1, least=1), Remaining(path, [list(range(6))], left=6, least=6)]
    with objective.model.running():
        before = expected(runner, works, 9.0, fast=True, stored=False)
        runner.columns(states, [0])
        after = expected(runner, works, 9.0, fast=True, stored=False)
    assert 9.0 < before.seconds < 10.0
    assert 0.0 < after.seconds < 1.0
