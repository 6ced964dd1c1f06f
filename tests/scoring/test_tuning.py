from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from thetascope.geometry.points import PointSet
from thetascope.scoring.fast.choice import Engine, chosen_engine
from thetascope.scoring.fast.settings import Settings
from thetascope.scoring.fast.shared import GraphBackend
from thetascope.scoring.fast.tuning import FIRST, ROUNDS, tuned
from thetascope.scoring.objective import Objective
from thetascope.testing.contracts import line
from thetascope.testing.models import case


@pytest.fixture
def many_images() -> Objective:
    lenet = case("LeNet")
    inputs, targets = lenet.data()
    return Objective(lenet.model(), (inputs.repeat(20, 1, 1, 1), targets.repeat(20)), lenet.loss)


def test_settings_are_measured_where_work_is_ahead(many_images: Objective) -> None:
    objective, points = many_images, line(many_images, case("LeNet").states(2), (0.0, 0.3))
    with objective.model.running():
        engine = chosen_engine("auto", objective)
        assert tuned(engine, objective, points, seconds=1.0) == engine
        measured = tuned(engine, objective, points, seconds=100.0)
    assert measured.settings is not None
    assert "fastest on the first batch" in measured.reason


def chosen_by(times: Callable[[Settings, int], float], objective: Objective) -> Settings | None:
    """The settings chosen of a backend whose rehearsals take these times: of the settings and how often they were asked before."""
    asked: Counter[Settings] = Counter()

    class Timed(GraphBackend):
        def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False, settings: Settings | None = None) -> None:
            super().__init__(objective, points, as_recorded=as_recorded, settings=settings)
            self.settings = settings or Settings()

        def rehearse(self, row: int, batch: object) -> float:
            asked[self.settings] += 1
            return times(self.settings, asked[self.settings] - 1)

    points = line(objective, case("LeNet").states(2), (0.0, 0.3))
    with objective.model.running():
        return tuned(Engine(Timed, "asked for"), objective, points, seconds=100.0).settings


def test_what_is_slow_by_chance_once_is_measured_again(many_images: Objective) -> None:
    wanted = Settings(rows=64, channels_last=True)

    def times(settings: Settings, before: int) -> float:
        if settings == wanted:
            return 0.5 if before else 9.0
        return 0.9 if settings.rows == 64 else 1.0

    assert chosen_by(times, many_images) == wanted


def test_layouts_are_compared_by_times_of_the_same_minute(many_images: Objective) -> None:
    """Plain sizes were measured before, when the machine was faster; that says nothing against the layouts."""
    first = FIRST + ROUNDS  # so often each plain size is measured alone

    def times(settings: Settings, before: int) -> float:
        if settings == Settings(rows=settings.rows):
            return 0.1 if before < first else 1.0
        return 0.5 if settings.channels_last else 0.6

    found = chosen_by(times, many_images)
    assert found is not None
    assert found.channels_last
