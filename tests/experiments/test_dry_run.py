from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import thetascope as ts
from thetascope.errors import ResultError
from thetascope.evaluation.engine import Runner
from thetascope.experiments.catalog import CATALOG, Effort, Subject
from thetascope.experiments.dry_run import _Living, planned
from thetascope.testing.models import case

EFFORT = Effort(alphas=9, parameters=1, draws=2, repeats=1, grid=5, tolerance=None, sizes=(5, 20))


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    chosen = case("linear")
    training = ts.Training(chosen.build, chosen.data(20), chosen.data(20), lambda p: torch.optim.SGD(p, lr=0.1), epochs=2, batch_size=5)
    trajectory = ts.Trajectory.from_states(chosen.states(4))
    return Subject(ts.Objective(chosen.model(), chosen.data(20)), trajectory, tmp_path / "results", training, EFFORT, progress=False)


def scored(result: ts.Result) -> int:
    """How many points a result holds."""
    return sum(result.status_counts().values())


@pytest.mark.parametrize("name", CATALOG)
def test_a_dry_run_counts_what_the_run_scores_and_writes_nothing(subject: Subject, tmp_path: Path, name: str) -> None:
    place = subject.place(name)
    before = {n: t.clone() for n, t in subject.objective.model.model.state_dict().items()}
    plan = planned(lambda: CATALOG[name].run(subject, place))
    assert list(tmp_path.iterdir()) == []
    assert all(torch.equal(t, before[n]) for n, t in subject.objective.model.model.state_dict().items())
    result = CATALOG[name].run(subject, place)
    if plan.unit == "points" and name != "test-size":  # which scores once, and draws subsets of that
        assert plan.todo == scored(result)
    elif plan.unit == "optimizer steps":
        assert plan.todo == {"epochs": 2 * 4, "train-size": 2 * (1 + 4)}[name]
    elif plan.unit == "parameters":
        assert plan.todo == result.data.sizes["parameter"]
    assert plan.samples == 20
    assert plan.time.seconds > 0
    after = planned(lambda: CATALOG[name].run(subject, place))
    if name != "test-size":
        assert (after.todo, after.stored) == (0, result.data.sizes["parameter"] if plan.unit == "parameters" else scored(result))
        assert after.time.seconds < plan.time.seconds


def test_what_is_stored_in_part_is_counted(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def call() -> ts.Result:
        return ts.interpolate(subject.objective, subject.trajectory, level="layer", alphas=9, out=subject.place("part"), progress=False)

    columns = Runner.columns

    def stopped(self: Runner, *args: object) -> dict[str, list[float]]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return columns(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Runner, "columns", stopped)
    with pytest.raises(KeyboardInterrupt):
        call()
    monkeypatch.undo()
    plan = planned(call)
    assert plan.stored > 0
    assert plan.todo > 0
    assert plan.todo + plan.stored == 18


def test_the_result_of_another_call_is_an_error_as_in_the_run(subject: Subject) -> None:
    def call(alphas: int) -> Callable[[], ts.Result]:
        return lambda: ts.interpolate(subject.objective, subject.trajectory, alphas=alphas, out=subject.place("line"), progress=False)

    call(3)()
    with pytest.raises(ResultError, match="another call"):
        planned(call(4))


def test_memory_adds_up() -> None:
    model = nn.Sequential(nn.Linear(1000, 2000), nn.ReLU(), nn.Linear(2000, 10))
    inputs, targets = torch.randn(400, 1000), torch.randint(0, 10, (400,))
    objective = ts.Objective(model, (inputs, targets), batch_size=200)
    trajectory = ts.Trajectory.from_states([{n: t * s for n, t in model.state_dict().items()} for s in (0.5, 1.0)])
    plan = planned(lambda: ts.interpolate(objective, trajectory, alphas=3, progress=False))
    assert plan.memory is not None
    parameters = 4 * (1000 * 2000 + 2000 + 2000 * 10 + 10)
    assert plan.memory.states == 2 * parameters
    assert plan.memory.data == inputs.nbytes + targets.nbytes
    hidden = 4 * 200 * 2000
    assert parameters + 2 * hidden <= plan.memory.point < parameters + 3 * hidden  # the copied tensors, a batch before and after its ReLU
    assert plan.memory.total == plan.memory.states + plan.memory.data + plan.memory.point


def test_live_tensors_are_counted_while_they_live() -> None:
    there = torch.ones(1000)
    living = _Living()
    with living:
        inside = there.view(10, 100)
        for _ in range(5):
            made = there + 1  # the last one dies when this one is there
        view = made[:10]
    assert living.most == 2 * 4000
    assert view.numel() == 10
    assert inside.numel() == 1000


def test_a_failed_call_leaves_no_dry_run_behind(subject: Subject) -> None:
    with pytest.raises(ZeroDivisionError):
        planned(lambda: 1 / 0)
    assert ts.interpolate(subject.objective, subject.trajectory, alphas=2, progress=False).data.sizes["alpha"] == 2
