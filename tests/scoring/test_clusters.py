"""Points that are scored by workers, as in one process, whatever becomes of a worker. These are of this process; Ray's: test_ray.py."""

from __future__ import annotations

import pickle
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.data import DataLoader, TensorDataset

import thetascope as ts
from thetascope.errors import ClusterError, MissingLibraryError, ObjectiveError
from thetascope.scoring.clusters.pool import WorkerLostError, used
from thetascope.scoring.clusters.tasks import Answer, Assignment, Task, Worker
from thetascope.scoring.objective import Objective
from thetascope.scoring.runner import Scorer
from thetascope.testing.models import case

NAME = "BatchNorm ResNet block"


class Threadless:
    """Workers that do what they are asked for when they are waited for, who was asked last first; everything travels pickled."""

    name = "a test"

    def __init__(self, workers: int = 3, ends: Callable[[Any], bool] = lambda _: False) -> None:
        self.workers, self._ends = workers, ends
        self._there = [self._new() for _ in range(workers)]
        self.things: list[bytes] = []
        self.asked: list[tuple[int, Task | Assignment | None]] = []
        self.answered: list[Any] = []
        self.renewed: list[int] = []
        self.absent = False

    def _new(self) -> Worker:
        return Worker(lambda place: pickle.loads(self.things[place]))

    def put(self, thing: Any) -> int:
        self.things.append(pickle.dumps(thing))
        return len(self.things) - 1

    def ready(self, worker: int) -> int:
        self.asked.append((worker, None))
        return len(self.asked) - 1

    def score(self, worker: int, task: Task) -> int:
        self.asked.append((worker, pickle.loads(pickle.dumps(task))))
        return len(self.asked) - 1

    def call(self, worker: int, call: Assignment) -> int:
        self.asked.append((worker, pickle.loads(pickle.dumps(call))))
        return len(self.asked) - 1

    def done(self, tickets: Sequence[int], _seconds: float) -> Sequence[int]:
        there = [ticket for ticket in tickets if self.asked[ticket][1] is None]
        return [] if self.absent else there or [max(tickets)]

    def answer(self, ticket: int) -> Answer:
        worker, task = self.asked[ticket]
        if task is None:
            return Answer()
        if self._ends(task):
            raise WorkerLostError("it was killed")
        threads = torch.get_num_threads()
        there = self._there[worker]
        found: Answer = pickle.loads(pickle.dumps(there.score(task) if isinstance(task, Task) else there.call(task)))
        torch.set_num_threads(threads)
        self.answered.append(task)
        return found

    def lacking(self) -> str:
        return "Each needs a CPU; there is none"

    def renew(self, worker: int) -> None:
        self.renewed.append(worker)
        self._there[worker] = self._new()

    @property
    def points(self) -> list[int]:
        """The points of all answers."""
        return [k for task in self.answered for rows in task.shares for k in rows]


def objective(kind: str = "tensors", **options: Any) -> Objective:
    chosen = case(NAME)
    data: Any = chosen.data()
    return ts.Objective(chosen.model(), data if kind == "tensors" else DataLoader(TensorDataset(*data), 4), chosen.loss, **options)


def trajectory() -> ts.Trajectory:
    return ts.Trajectory.from_states(case(NAME).states(4))


def same(a: xr.Dataset, b: xr.Dataset) -> None:
    assert set(a.variables) == set(b.variables)
    for name in a.variables:
        np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=str(name))


GRID: dict[str, Any] = {"x": (-1.0, 1.0, 9), "y": (-1.0, 1.0, 9)}
# engines are named, for which is faster may be measured otherwise each time
CALLS: dict[str, Callable[..., ts.Result]] = {
    "line": lambda o, **k: ts.interpolate(o, trajectory(), alphas=7, engine="eager", **k),
    "layers": lambda o, **k: ts.interpolate(o, trajectory(), level="layer", alphas=7, engine="graph:rows=10", **k),
    "parameters": lambda o, **k: ts.interpolate(o, trajectory(), level="parameter", alphas=5, engine="graph:rows=10", **k),
    "roles": lambda o, **k: ts.layer_roles(o, trajectory(), 3, engine="graph:rows=10", **k),
    "rewinding": lambda o, **k: ts.layer_rewind(o, trajectory(), engine="graph:rows=10", **k),
    "averages": lambda o, **k: ts.checkpoint_average(o, trajectory(), engine="eager", **k),
    "surface": lambda o, **k: ts.surface(o, trajectory(), **GRID, engine="eager", **k),
    "a surface within a tolerance": lambda o, **k: ts.surface(o, trajectory(), **GRID, tolerance=0.05, engine="eager", **k),
    "plane": lambda o, **k: ts.trajectory_plane(o, trajectory(), 7, 7, engine="graph:rows=10", **k),
    "atlas": lambda o, **k: ts.parameter_atlas(o, trajectory(), alphas=5, engine="graph:rows=10", **k),
}


@pytest.mark.parametrize("kind", ["tensors", "loader"])
@pytest.mark.parametrize("name", CALLS)
def test_bits_are_those_of_one_process(name: str, kind: str) -> None:
    pool = Threadless()
    alone = CALLS[name](objective(kind), progress=False)
    with used(pool):
        found = CALLS[name](objective(kind), progress=False)
    same(found.data, alone.data)
    assert pool.answered
    told = found.data.attrs["workers"]
    assert 1 <= len(told) <= 3
    assert all(worker["device"] == "cpu" and worker["threads"] == torch.get_num_threads() for worker in told)
    assert "workers" not in alone.data.attrs


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def test_trainings_and_tables_of_workers_are_those_of_one_process(tmp_path: Path) -> None:
    chosen = case("linear")
    training = ts.Training(chosen.build, chosen.data(20), chosen.data(20), sgd, epochs=2, batch_size=5)
    lenet = case("LeNet")
    states = ts.Trajectory.from_states(lenet.states(3))
    calls: dict[str, Callable[..., ts.Result]] = {
        "study": lambda **how: ts.study_train_size(training, sizes=[5, 10, 20], repeats=2, **how),
        "tables": lambda **how: ts.parameter_atlas(
            ts.Objective(lenet.model(), lenet.data(), lenet.loss), states, alphas=5, layers=["fc3"], engine="graph:rows=10", **how
        ),
    }
    for name, call in calls.items():
        alone, ended = call(progress=False), list[Any]()

        def ends(one: Any, ended: list[Any] = ended) -> bool:
            ended.append(one)
            return len(ended) == 1

        pool = Threadless(2, ends)
        with used(pool):
            found = call(progress=False, out=tmp_path / name)
        same(found.data, alone.data)
        assert 1 <= len(found.data.attrs["workers"]) <= 2
        assert len(pool.renewed) == 1
        assert len(pool.answered) == len(ended) - 1
        assert len(pool.things) == 1, "what is called travels once"


def test_a_training_that_ends_three_workers_is_named() -> None:
    chosen = case("linear")
    training = ts.Training(chosen.build, chosen.data(20), chosen.data(20), sgd, epochs=1, batch_size=5)
    pool = Threadless(2, lambda call: call.item == (10, 1))
    message = "3 workers of a test ended over the training on 10 samples, repeat 2; the last: it was killed"
    with used(pool), pytest.raises(ClusterError, match=message):
        ts.study_train_size(training, sizes=[5, 10], repeats=2, progress=False)


@pytest.fixture
def single_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """A point a unit, as where points take long."""
    monkeypatch.setattr("thetascope.scoring.runner.UNIT_SECONDS", 1e-9)


@pytest.mark.usefixtures("single_units")
def test_work_is_given_in_parts_that_become_smaller() -> None:
    pool = Threadless(2)
    with used(pool):
        ts.surface(objective(), trajectory(), **GRID, engine="eager", progress=False)
    sizes = [sum(map(len, task.shares)) for task in pool.answered]
    assert max(sizes) <= 81 / 4 + 1
    assert sizes[-1] <= 2


@pytest.mark.usefixtures("single_units")
def test_a_worker_that_ends_is_replaced_and_its_points_are_scored_again(tmp_path: Path) -> None:
    alone, lost = CALLS["surface"](objective(), progress=False), list[Task]()

    def ends(task: Task) -> bool:
        if len(pool.answered) % 3 == 1 and len(lost) < 10:
            lost.append(task)
            return len([one for one in lost if one.shares == task.shares]) < 2
        return False

    pool = Threadless(2, ends)
    with used(pool):
        found = CALLS["surface"](objective(), progress=False, out=tmp_path / "surface")
    same(found.data, alone.data)
    assert len(pool.renewed) >= 2
    assert len(pool.points) == len(set(pool.points)), "what was answered is not scored again"


@pytest.mark.usefixtures("single_units")
def test_points_that_end_three_workers_are_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    pool = Threadless(2, lambda task: any(41 in rows for rows in task.shares))
    with (
        used(pool),
        pytest.raises(ClusterError, match=r"3 workers of a test ended while they scored point 41 of 81 \(y, x\); the last: it was killed"),
    ):
        CALLS["surface"](objective(), progress=False, out=tmp_path / "surface")
    left = ts.load_result(tmp_path / "surface").status_counts()
    assert left["evaluated"] > 0
    pool = Threadless(2)
    with used(pool):
        found = CALLS["surface"](objective(), progress=False, out=tmp_path / "surface")
    same(found.data, CALLS["surface"](objective(), progress=False).data)
    assert len(pool.points) <= 81 - left["evaluated"]


def test_memory_that_runs_out_in_one_halves_the_batch_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    attempt, asked = Scorer.attempt, []

    def short(self: Scorer, request: Any, rows: Any) -> Any:
        asked.append(self.objective.batches.batch_size)
        if self.objective.batches.batch_size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return attempt(self, request, rows)

    monkeypatch.setattr(Scorer, "attempt", short)
    with used(Threadless()):
        found = ts.interpolate(objective(batch_size=10, buffers="final"), trajectory(), alphas=7, engine="eager", progress=False)
    assert found.data.attrs["batch_size"] == 2
    assert found.data.attrs["memory_ran_out"]
    monkeypatch.undo()
    expected = ts.interpolate(objective(batch_size=2, buffers="final"), trajectory(), alphas=7, engine="eager", progress=False)
    moving = slice(1, -1)  # the ends were scored here, before memory ran out
    np.testing.assert_array_equal(found.data["loss"].values[moving], expected.data["loss"].values[moving])
    assert set(asked) == {10, 5, 2}


def test_an_error_of_the_model_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise ObjectiveError("the step failed on batch 3")

    monkeypatch.setattr(Scorer, "attempt", fails)
    with used(Threadless()), pytest.raises(ObjectiveError, match="failed on batch 3"):
        CALLS["line"](objective(), progress=False)


def test_a_worker_with_other_data_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Threadless()
    put = pool.put

    def other(thing: Any) -> int:
        if isinstance(thing, Objective):
            thing.batches = ts.Objective(case(NAME).model(), case(NAME).data(8), case(NAME).loss).batches
        return put(thing)

    monkeypatch.setattr(pool, "put", other)
    with used(pool), pytest.raises(ClusterError, match=r'what arrived at worker \d on ".*" \(cpu\) is another data than here'):
        CALLS["line"](objective(), progress=False)


@pytest.mark.parametrize(("factor", "far"), [(1 + 1e-6, False), (1.1, True)])
def test_a_worker_whose_values_differ_is_named(factor: float, far: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Threadless(1)
    answer = pool.answer

    def off(ticket: int) -> Answer:
        found = answer(ticket)
        if found.probe is None:
            return found
        return replace(
            found, probe=replace(found.probe, device="another GPU", values={n: v * factor for n, v in found.probe.values.items()})
        )

    monkeypatch.setattr(pool, "answer", off)
    if far:
        with (
            used(pool),
            pytest.raises(ClusterError, match=r"\(another GPU\) scores loss .* where this process scores .* for the same state"),
        ):
            CALLS["line"](objective(), progress=False)
    else:
        with used(pool), pytest.warns(UserWarning, match=r"\(another GPU\) scores loss .* results differ in their last bits"):
            CALLS["line"](objective(), progress=False)


def test_no_worker_is_an_error_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thetascope.scoring.clusters.pool.START_SECONDS", 0.0)
    pool = Threadless()
    pool.absent = True
    with used(pool), pytest.raises(ClusterError, match=r"no worker of a test was there within 0 s\. Each needs a CPU; there is none"):
        CALLS["line"](objective(), progress=False)


def test_who_stops_waiting_ends_what_is_still_scored(tmp_path: Path) -> None:
    pool = Threadless(3)
    done = pool.done

    def stopped(tickets: Sequence[int], seconds: float) -> Sequence[int]:
        if len(pool.answered) == 5:
            raise KeyboardInterrupt
        return done(tickets, seconds)

    pool.done = stopped  # type: ignore[method-assign, assignment]
    with used(pool), pytest.raises(KeyboardInterrupt):
        CALLS["surface"](objective(), progress=False, out=tmp_path / "surface")
    assert sorted(pool.renewed) == [0, 1, 2]
    pool.done = done  # type: ignore[method-assign]
    with used(pool):
        found = CALLS["surface"](objective(), progress=False, out=tmp_path / "surface")
    same(found.data, CALLS["surface"](objective(), progress=False).data)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"address": ""}, 'address must be "local", "auto" or that of a cluster'),
        ({"workers": 0}, "workers must be a whole number of at least 1, or None. Got 0"),
        ({"workers": True}, "workers must be a whole number"),
        ({"gpus": -1}, "gpus must be a number of at least 0. Got -1"),
        ({"gpus": float("nan")}, "gpus must be a number of at least 0"),
    ],
)
def test_arguments_that_are_off_say_why(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ClusterError, match=re.escape(said)), ts.cluster(**options):
        pass


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "thetascope.scoring.clusters.ray", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingLibraryError, match=re.escape('pip install "thetascope[ray]"')), ts.cluster("local"):
        pass


def test_a_state_is_pickled_with_its_values(tmp_path: Path) -> None:
    """Also one that was recorded, and is read from a file that another machine has not got."""
    model = case(NAME).model()
    with ts.Recorder(tmp_path / "run", model) as recorder:
        recorder.record(step=3, epoch=1, metrics={"m": 2.0})
    state = ts.Trajectory(tmp_path / "run")[-1]
    found = pickle.loads(pickle.dumps(state))
    (tmp_path / "run").rename(tmp_path / "gone")
    assert (found.step, found.epoch, dict(found.metrics), found.label, found.ends_run) == (3, 1, {"m": 2.0}, state.label, True)
    assert dict(found.specs) == dict(state.specs)
    assert found.digest() == state.digest()
    torch.testing.assert_close(found.tensors(), dict(model.state_dict()), rtol=0, atol=0)


def test_nothing_is_sent_that_was_scored_here() -> None:
    pool = Threadless()
    with used(pool), warnings.catch_warnings():
        mine = objective()
        CALLS["layers"](mine, progress=False)
        CALLS["layers"](mine, progress=False)
    sent = [pickle.loads(thing) for thing in pool.things]
    assert all(not one.cache.points and one.cache.captured is None for one in sent if isinstance(one, Objective))
