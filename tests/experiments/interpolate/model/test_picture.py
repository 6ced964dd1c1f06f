from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import thetascope as ts
from thetascope.drawing.spec import Line
from thetascope.errors import ResultError
from thetascope.experiments.framework.catalog import declaration
from thetascope.experiments.framework.declaration import words_of
from thetascope.experiments.framework.pictures import draw_matplotlib, draw_plotly
from thetascope.experiments.interpolate.model.picture import picture
from thetascope.testing.models import case


@pytest.fixture
def result() -> ts.Result:
    chosen = case("linear")
    objective = ts.Objective(chosen.model(), chosen.data(20), samples=15)
    trajectory = ts.Trajectory.from_states(chosen.states(4), steps=[0, 10, 20, 30], epochs=[0, 1, 2, 3])
    return ts.interpolate(objective, trajectory, alphas=[1.0, 0.0, 0.5], progress=False)


def lines(result: ts.Result) -> tuple[Line, Line]:
    """The path of the loss, and what was measured."""
    path, actual, *_ = next(picture(result.data).parts.panels).marks
    assert isinstance(path, Line)
    assert isinstance(actual, Line)
    return path, actual


def test_the_picture_holds_what_the_result_holds(result: ts.Result) -> None:
    found = picture(result.data)
    path, actual = lines(result)
    assert path.x.tolist() == [0.0, 0.5, 1.0]  # sorted for the line, whatever order was asked for
    assert path.y[0] == float(result.data["loss"].sel(alpha=0.0))
    assert actual.y.tolist() == result.data["actual_loss"].values.tolist()
    assert [panel.name for panel in found.parts.panels] == ["loss", "accuracy"]
    assert path.spread is not None
    assert "steps 0, 30" in found.notes[0]
    assert "15 samples" in found.notes[0]


def test_plot_draws_everything_or_one_on_an_axis(result: ts.Result, tmp_path: Path) -> None:
    figure = result.plot()
    assert isinstance(figure, Figure)
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss (cross-entropy, nats)", "accuracy"]
    figure.savefig(tmp_path / "a.png")
    figure.savefig(tmp_path / "a.svg")
    own = Figure().subplots()
    drawn = result.plot(own, variable="accuracy")
    assert drawn is own
    assert isinstance(drawn, Axes)
    assert drawn.get_ylabel() == "accuracy"
    with pytest.raises(ResultError, match="loss, accuracy"):
        result.plot(own, variable="recall")


def test_the_epoch_axis_lies_over_the_measured_states(result: ts.Result) -> None:
    figure = result.plot()
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    (top,) = figure.axes[0].child_axes
    # epoch 3 of 3 stands over progress 1
    low, high = figure.axes[0].get_xlim()
    epoch_low, epoch_high = top.get_xlim()
    np.testing.assert_allclose([epoch_low, epoch_high], [3 * low, 3 * high], atol=1e-9)


def test_not_finite_points_are_marked() -> None:
    chosen = case("linear")
    states = chosen.states(3)
    states[1]["0.weight"][0, 0] = torch.nan
    trajectory = ts.Trajectory.from_states(states)
    result = ts.interpolate(ts.Objective(chosen.model(), chosen.data()), trajectory, 2, alphas=5, progress=False)
    figure = draw_matplotlib(result.data)
    assert isinstance(figure, Figure)
    labels = {line.get_label(): line for line in figure.axes[0].lines}
    np.testing.assert_array_equal(labels["path not finite"].get_xdata(), [0.25, 0.5, 0.75])
    np.testing.assert_array_equal(labels["state not finite"].get_xdata(), [0.5])


def test_plotly_draws_the_same_values(result: ts.Result) -> None:
    figure, found = draw_plotly(result.data), lines(result)
    path, actual = (next(trace for trace in figure.data if trace.name == found[place].label) for place in (0, 1))
    assert list(path.y) == found[0].y.tolist()
    assert list(actual.y) == found[1].y.tolist()
    assert "<extra></extra>" in actual.hovertemplate
    assert result.figure().layout.title.text == figure.layout.title.text


@pytest.mark.parametrize(
    ("buffers", "said", "sentence"),
    [
        ("path", "running statistics move along the path", " Running statistics move along the path."),
        ("final", "buffers of the last state", " Buffers were those of the last state."),
        (
            "recalibrate",
            "running statistics estimated anew at each point from 10 of the objective's own inputs (1 batch)",
            " Running statistics were estimated anew at each point from 10 of the objective's own inputs (1 batch).",
        ),
    ],
)
def test_figures_say_what_buffers_do_where_there_are_any(buffers: Any, said: str, sentence: str) -> None:
    for name, expected in (("BatchNorm ResNet block", True), ("linear", False)):
        chosen = case(name)
        objective, states = ts.Objective(chosen.model(), chosen.data(), buffers=buffers), ts.Trajectory.from_states(chosen.states(3))
        results = [ts.interpolate(objective, states, level=level, alphas=3, progress=False) for level in ("model", "layer")]
        for result in [*results, ts.compare_paths(objective, states, alphas=3, progress=False)]:
            page = result.figure().layout.title.text.replace("<br><sub>", " ").replace("</sub>", "")
            assert (said in page) is expected
            told = words_of(declaration(result.data.attrs["experiment"]), result.data.attrs).how(result.data)
            assert (sentence in told) is expected
