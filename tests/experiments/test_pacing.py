from __future__ import annotations

from tests.evaluation.known import layer_line, of_present_state
from thetascope.evaluation.backends import Engine
from thetascope.evaluation.backends.prefix import PrefixBackend
from thetascope.evaluation.engine import Runner
from thetascope.evaluation.objective import Objective
from thetascope.experiments.pacing import Work, expected
from thetascope.results.store import Store
from thetascope.testing.models import case


def test_stored_states_that_are_known_take_no_time() -> None:
    linear = case("linear")
    objective = Objective(linear.model(), linear.data())
    states, path = of_present_state(objective), layer_line(objective)
    runner = Runner(objective, Store.nowhere(), Engine(PrefixBackend, "asked for"))
    works = [Work(states, [[0]], left=1, least=1), Work(path, [list(range(6))], left=6, least=6)]
    with objective.model.running():
        before = expected(runner, works, 9.0, fast=True, stored=False)
        runner.columns(states, [0])
        after = expected(runner, works, 9.0, fast=True, stored=False)
    assert 9.0 < before.seconds < 10.0
    assert 0.0 < after.seconds < 1.0
