"""States of which neither step nor epoch is known: no picture, table or sentence makes one up, and nothing joins them."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

import thetascope as ts
from thetascope.drawing.moments import moment_of
from thetascope.experiments.framework.catalog import experiments
from thetascope.experiments.framework.declaration import words_of
from thetascope.testing.models import case

CALLS: dict[str, dict[str, Any]] = {
    "interpolate": {"alphas": 5},
    "compare_paths": {"alphas": 5},
    "trajectory_plane": {"x": 4, "y": 4},
    "layer_roles": {"draws": 1},
}


@cache
def found(name: str) -> ts.Result:
    linear = case("linear")
    objective = ts.Objective(linear.model(), linear.data())
    result: ts.Result = getattr(ts, name)(objective, ts.Trajectory.from_states(linear.states(4)), progress=False, **CALLS[name])
    return result


def drawn(name: str) -> Any:
    figure = found(name).plot()
    return figure if isinstance(figure, Figure) else figure.figure


def told(name: str) -> list[str]:
    data = found(name).data
    words: Any = words_of(experiments()[name], data.attrs)
    table = words.table(data) if words.table else None
    return [words.headline(data), words.how(data), *words.shows(data), *([str(table)] if table else [])]


@pytest.mark.parametrize("name", CALLS)
def test_no_step_and_no_epoch_is_made_up(name: str) -> None:
    texts = [text.get_text() for text in drawn(name).findobj(Text)]
    for text in [*texts, *told(name)]:
        assert not re.search(r"\b(step|epoch)s? \d|(step|epoch|state) nan|\bepoch\b(?!s)|of its steps|training's steps", text), text
    assert any("state" in text for text in texts)


@pytest.mark.parametrize("name", ["interpolate", "trajectory_plane", "compare_paths"])
def test_no_line_joins_them(name: str) -> None:
    lines = [line for ax in drawn(name).axes for line in ax.get_lines() if len(line.get_xdata()) == 4]
    assert lines
    assert {line.get_linestyle() for line in lines} == {"None"}


def test_a_walk_over_states_of_no_order_counts_them() -> None:
    figure = found("trajectory_plane").figure()
    slider = figure.layout.sliders[0]
    assert [step.label for step in slider.steps] == ["0", "1", "2", "3"]
    assert slider.currentvalue.prefix == "state "


def test_what_is_known_of_a_moment_is_told() -> None:
    assert moment_of({"step": 1000, "epoch": 0.5, "state": 3}) == "step 1,000 (epoch 0.5)"
    assert moment_of({"step": 7, "epoch": np.nan}) == "step 7"
    assert moment_of({"step": None, "epoch": 2.0, "state": 3}) == "epoch 2"
    assert moment_of({"step": np.nan, "epoch": None, "state": 3}) == "state 3"


def test_epochs_alone_are_the_clock() -> None:
    linear = case("linear")
    objective = ts.Objective(linear.model(), linear.data())
    trajectory = ts.Trajectory.from_states(linear.states(3), epochs=[0, 1, 10])
    result = ts.interpolate(objective, trajectory, alphas=3, progress=False)
    assert result.data["progress"].values.tolist() == [0, 0.1, 1]
    assert result.data.attrs["clock"] == "epoch"
    figure = result.plot()
    texts = [text.get_text() for text in figure.findobj(Text)]
    assert any("share of the epochs" in text for text in texts)
