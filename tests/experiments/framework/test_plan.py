from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import thetascope as ts
from thetascope.errors import ResultError
from thetascope.experiments.framework.catalog import entries, experiments
from thetascope.experiments.framework.examine import Subject
from thetascope.experiments.framework.job import Job
from thetascope.experiments.framework.plan import LivingTensors
from thetascope.scoring.runner import Runner, Share
from thetascope.testing.models import case

OPTIONS = {"alphas": 9, "parameters": 1, "draws": 2, "repeats": 1, "grid": 5, "sizes": (5, 20)}


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    chosen = case("linear")
    training = ts.Training(chosen.build, chosen.data(20), chosen.data(20), lambda p: torch.optim.SGD(p, lr=0.1), epochs=2, batch_size=5)
    trajectory = ts.Trajectory.from_states(chosen.states(4))
    return Subject(ts.Objective(chosen.model(), chosen.data(20)), trajectory, tmp_path, training, OPTIONS, progress=False)


def scored(result: ts.Result) -> int:
    """How many points a result holds."""
    return sum(result.status_counts().values())


@pytest.mark.parametrize("key", entries())
def test_a_plan_counts_what_the_run_scores_and_writes_nothing(subject: Subject, tmp_path: Path, key: str) -> None:
    entry = entries()[key]
    before = {n: t.clone() for n, t in subject.objective.model.model.state_dict().items()}
    plan = subject.job(entry).plan()
    assert list(tmp_path.iterdir()) == []
    assert all(torch.equal(t, before[n]) for n, t in subject.objective.model.model.state_dict().items())
    result = subject.job(entry).run()
    if plan.unit == "points" and key != "study_test_size":  # which scores once, and draws subsets of that
        assert plan.todo == scored(result)
    elif plan.unit == "optimizer steps":
        assert plan.todo == {"study_epochs": 2 * 4, "study_train_size": 2 * (1 + 4)}[key]
    elif plan.unit == "parameters":
        assert plan.todo == result.data.sizes["parameter"]
    halved = {"checkpoint_average": 10}  # it chooses on one half, and tells on the other
    assert plan.samples == (halved.get(key, 20) if entry.experiment.scores else 0)
    assert plan.time.seconds > 0
    after = subject.job(entry).plan()
    if key != "study_test_size":
        sizes = {"parameters": "parameter", "states": "state"}
        assert (after.todo, after.stored) == (0, result.data.sizes[sizes[plan.unit]] if plan.unit in sizes else scored(result))
        assert after.time.seconds < plan.time.seconds


def job(subject: Subject, folder: Path, **options: Any) -> Job:
    """A path of the subject's training, stored in `folder`."""
    call = experiments()["interpolate"].of(**options)
    subjects = {"objective": subject.objective, "trajectory": subject.trajectory}
    return call.experiment.job({**call.all_options, **subjects, "out": folder, "progress": False})


def test_what_is_stored_in_part_is_counted(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    part = job(subject, tmp_path / "part", level="layer", alphas=9)
    share = Runner.share

    def stopped(self: Runner, *args: object) -> Share:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return share(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Runner, "share", stopped)
    with pytest.raises(KeyboardInterrupt):
        part.run()
    monkeypatch.undo()
    plan = part.plan()
    assert plan.stored > 0
    assert plan.todo > 0
    assert plan.todo + plan.stored == 18


def test_the_result_of_another_call_is_an_error_as_in_the_run(subject: Subject, tmp_path: Path) -> None:
    job(subject, tmp_path / "line", alphas=3).run()
    with pytest.raises(ResultError, match="another call"):
        job(subject, tmp_path / "line", alphas=4).plan()


def test_memory_adds_up() -> None:
    model = nn.Sequential(nn.Linear(1000, 2000), nn.ReLU(), nn.Linear(2000, 10))
    inputs, targets = torch.randn(400, 1000), torch.randint(0, 10, (400,))
    objective = ts.Objective(model, (inputs, targets), batch_size=200)
    trajectory = ts.Trajectory.from_states([{n: t * s for n, t in model.state_dict().items()} for s in (0.5, 1.0)])
    call = experiments()["interpolate"].of(alphas=3)
    plan = call.experiment.job({**call.all_options, "objective": objective, "trajectory": trajectory}).plan()
    assert plan.memory is not None
    parameters = 4 * (1000 * 2000 + 2000 + 2000 * 10 + 10)
    assert plan.memory.states == 2 * parameters
    assert plan.memory.data == inputs.nbytes + targets.nbytes
    hidden = 4 * 200 * 2000
    assert parameters + 2 * hidden <= plan.memory.point < parameters + 3 * hidden  # the copied tensors, a batch before and after its ReLU
    assert plan.memory.total == plan.memory.states + plan.memory.data + plan.memory.point


def test_live_tensors_are_counted_while_they_live() -> None:
    there = torch.ones(1000)
    living = LivingTensors()
    with living:
        inside = there.view(10, 100)
        for _ in range(5):
            made = there + 1  # the last one dies when this one is there
        view = made[:10]
    assert living.most == 2 * 4000
    assert view.numel() == 10
    assert inside.numel() == 1000
