from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import torch

from thetascope.geometry.points import Points
from thetascope.scoring.fast.checked import CheckedBackend
from thetascope.scoring.fast.choice import Engine, chosen_engine
from thetascope.scoring.fast.settings import Settings
from thetascope.scoring.fast.shared import GraphBackend
from thetascope.scoring.fast.tuning import EARNED, SHARE, Work, tuned
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.testing.contracts import line
from thetascope.testing.models import case

LONG = Work(points=2000, seconds=0.1, samples=200)


@pytest.fixture
def many_images() -> Objective:
    lenet = case("LeNet")
    inputs, targets = lenet.data()
    return Objective(lenet.model(), (inputs.repeat(20, 1, 1, 1), targets.repeat(20)), lenet.loss)


def tuned_for(kind: Any, objective: Objective, points: Points, work: Work) -> Engine:
    with objective.model.running():
        return tuned(chosen_engine("auto", objective, kind), objective, points, work)


def points_of(objective: Objective, name: str = "LeNet") -> Points:
    return line(objective, case(name).states(2), (0.0, 0.3))


@pytest.mark.parametrize("kind", ["whole", "shared"])
def test_settings_are_measured_where_work_is_ahead_and_once(many_images: Objective, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = tuned_for(kind, many_images, points_of(many_images), LONG)
    assert "measured" in measured.reason
    monkeypatch.setattr(CheckedBackend, "rehearse", lambda *_: pytest.fail("measured again"))
    again = tuned_for(kind, many_images, points_of(many_images), LONG)
    assert (again.backend, again.settings) == (measured.backend, measured.settings)


def rows_rehearsed(monkeypatch: pytest.MonkeyPatch, times: dict[Any, float] | None = None) -> list[int]:
    """How many rows go through the network for choosing; `times` stand for what a row takes, by backend and settings."""
    rows: list[int] = []
    real = CheckedBackend.rehearse

    def rehearse(self: CheckedBackend, row: int, batch: Any) -> float:
        rows.append(len(batch[0]))
        if times is None:
            return real(self, row, batch)
        return times[type(self), self._settings.channels_last, self._settings.rows] * len(batch[0])

    monkeypatch.setattr(CheckedBackend, "rehearse", rehearse)
    return rows


@pytest.mark.parametrize("points", [1, 30, 100, 300, 5000])
def test_choosing_costs_no_more_than_its_share(many_images: Objective, points: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_rehearsed(monkeypatch)
    tuned_for("whole", many_images, points_of(many_images), Work(points, 0.1, 200))
    assert sum(rows) <= (SHARE + EARNED) * points * 200
    rows = rows_rehearsed(monkeypatch, defaultdict(lambda: 1.0))
    many_images.cache.measured.clear()
    tuned_for("whole", many_images, points_of(many_images), Work(points, 0.1, 200))
    assert sum(rows) <= SHARE * points * 200  # where nothing is gained


def test_the_fastest_layout_and_number_of_rows_are_chosen(many_images: Objective, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {(GraphBackend, last, rows): 1.0 for last in (False, True) for rows in (None, 29, 50, 100)}
    times[GraphBackend, True, None] = 0.8  # on few rows
    times |= {(GraphBackend, True, rows): seconds for rows, seconds in {29: 0.6, 50: 0.7, 100: 0.75}.items()}  # equal parts of 200
    rows_rehearsed(monkeypatch, times)
    found = tuned_for("whole", many_images, points_of(many_images), LONG)
    assert (found.backend, found.settings) == (GraphBackend, Settings(rows=29, channels_last=True))


def test_little_work_is_not_measured_for(many_images: Objective, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_rehearsed(monkeypatch)
    found = tuned_for("shared", many_images, points_of(many_images), Work(2, 0.01, 200))
    assert (found.backend, found.settings, rows) == (GraphBackend, Settings(rows=32), [])  # images, which torch.fx traces in no time


def test_a_step_is_captured_where_the_work_repays_it() -> None:
    objective = case("BERT-like, batches of mappings").objective()
    points = points_of(objective, "BERT-like, batches of mappings")
    assert tuned_for("shared", objective, points, Work(3, 0.1, 10)).backend is EagerBackend
    assert objective.cache.captured is None
    assert tuned_for("shared", objective, points, Work(300, 0.1, 10)).backend is GraphBackend


def test_where_a_batch_gives_one_mean_nothing_regroups_its_rows() -> None:
    inputs, targets = case("linear").data()
    objective = Objective(case("linear").model(), (inputs.repeat(60, 1), targets.repeat(60)), torch.nn.functional.cross_entropy, metrics=())
    found = tuned_for("whole", objective, points_of(objective, "linear"), Work(2000, 0.1, 600))
    assert (found.backend, found.settings) == (EagerBackend, None)


def test_an_engine_that_is_asked_for_stays_and_is_tuned(many_images: Objective) -> None:
    with many_images.model.running():
        points = points_of(many_images)
        assert tuned(chosen_engine("eager", many_images), many_images, points, LONG) == Engine(EagerBackend, "asked for")
        given = chosen_engine("graph:rows=7", many_images)
        assert tuned(given, many_images, points, LONG) == given
        assert "measured" in tuned(chosen_engine("graph", many_images), many_images, points, LONG).reason
