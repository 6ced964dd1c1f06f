"""Figures of layers, of single parameters, of the comparison and of the patterns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

import thetascope as ts
from thetascope.errors import ResultError
from thetascope.experiments.compare_paths import compare_paths
from thetascope.figures import draw_plotly
from thetascope.figures.patterns import EXAMPLES
from thetascope.testing.models import case

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def results() -> dict[str, ts.Result]:
    chosen = case("linear")
    objective = ts.Objective(chosen.model(), chosen.data(20))
    trajectory = ts.Trajectory.from_states(chosen.states(5), epochs=[0, 1, 2, 3, 4])
    return {
        "layer": ts.interpolate(objective, trajectory, level="layer", alphas=5, progress=False),
        "parameter": ts.interpolate(objective, trajectory, level="parameter", alphas=5, parameters=3, progress=False),
        "comparison": compare_paths(objective, trajectory, alphas=21, progress=False),
        "patterns": compare_paths(objective, trajectory, "parameter", alphas=21, parameters=3, progress=False),
    }


@pytest.mark.parametrize("name", ["layer", "parameter", "comparison", "patterns"])
def test_every_figure_is_drawn_twice(results: dict[str, ts.Result], name: str, tmp_path: Path) -> None:
    figure = results[name].plot()
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "a.png")
    assert all(ax.get_xlabel() or ax.get_ylabel() or ax.get_title() or not ax.axison for ax in figure.axes)
    assert len(results[name].figure().data) > 0


def test_one_layer_alone(results: dict[str, ts.Result]) -> None:
    ax = Figure().subplots()
    drawn = results["layer"].plot(ax, layer="2", variable="accuracy")
    assert isinstance(drawn, Axes)
    np.testing.assert_array_equal(drawn.lines[0].get_ydata(), results["layer"].data["accuracy"].sel(layer="2"))
    with pytest.raises(ResultError, match='no layer "9" in this result; there are: 0, 2'):
        results["layer"].plot(layer="9")


def test_the_farther_travelled_the_more_opaque(results: dict[str, ts.Result]) -> None:
    result = results["parameter"]
    drawn = result.plot(Figure().subplots(), layer="0")
    assert isinstance(drawn, Axes)
    opacities = [float(line.get_alpha() or 0) for line in drawn.lines[:3]]
    assert opacities == sorted(opacities)
    close = result.plot(parameter=str(result.data["parameter"].values[0]))
    assert isinstance(close, Figure)
    assert [ax.get_ylabel() for ax in close.axes] == ["loss (cross-entropy, nats)", "accuracy"]
    with pytest.raises(ResultError, match="no parameters of the layer"):
        result.plot(layer="9")


def test_crossings_are_marked(results: dict[str, ts.Result]) -> None:
    figure = results["comparison"].plot()
    assert isinstance(figure, Figure)
    crossings = [c for found in results["comparison"].data.attrs["crossings"].values() for c in found]
    marked = [line for line in figure.axes[0].lines if line.get_marker() in {"o", "s"}]
    assert sorted(x for line in marked for x in np.asarray(line.get_xdata())) == sorted(c["alpha"] for c in crossings)


def test_one_parameter_s_pattern(results: dict[str, ts.Result]) -> None:
    label = str(results["patterns"].data["parameter"].values[1])
    drawn = results["patterns"].plot(Figure().subplots(), parameter=label)
    assert isinstance(drawn, Axes)
    assert str(results["patterns"].data["pattern"].values[1]) in drawn.get_title()
    with pytest.raises(ResultError, match="name one parameter"):
        results["patterns"].plot(Figure().subplots())


def test_the_page_of_patterns_shows_shares_and_the_change_along_examples(results: dict[str, ts.Result]) -> None:
    data = results["patterns"].data
    figure = results["patterns"].figure()
    (bars,) = (trace for trace in figure.data if trace.type == "bar")
    assert dict(zip(bars.y, bars.x, strict=True)) == {name: share for name, share in data.attrs["pattern_shares"].items() if share}
    curves = [trace for trace in figure.data if trace.type == "scatter"]
    _, counts = np.unique(data["pattern"], return_counts=True)
    assert len(curves) == 2 * np.minimum(counts, EXAMPLES).sum()
    assert {note.name for note in figure.layout.annotations} == set(bars.y)
    titles = [note.text for note in figure.layout.annotations]
    for number, title in enumerate(titles):
        one = data.sel(parameter=title)
        final = float(one["linear_loss"].sel(alpha=1.0))
        for curve, kind in zip(curves[2 * number : 2 * number + 2], ("linear", "quadratic"), strict=True):
            assert curve.name == f"{kind} path"
            np.testing.assert_allclose(curve.y, one[f"{kind}_loss"] - final, atol=1e-12)
            np.testing.assert_array_equal(curve.customdata, one[f"{kind}_loss"])
    assert f"from the final state's {final:.4g}" in figure.layout.title.text
    with pytest.raises(ResultError, match='no variable "f1"'):
        results["patterns"].figure(variable="f1")


def test_patterns_without_the_final_state_show_values(results: dict[str, ts.Result]) -> None:
    kept = ts.Result(results["patterns"].data.isel(alpha=slice(0, 10)))
    assert 1.0 not in kept.data["alpha"]
    figure = kept.figure()
    assert "final state's" not in figure.layout.title.text
    curve = next(trace for trace in figure.data if trace.type == "scatter")
    np.testing.assert_array_equal(curve.y, curve.customdata)


def test_patterns_of_which_some_are_missing_show_changes_of_the_others(results: dict[str, ts.Result]) -> None:
    torn = ts.Result(results["patterns"].data.copy(deep=True))
    torn.data["linear_loss"].values[0] = np.nan
    assert "nan" not in str(torn.figure().layout.title.text)
    assert torn.figure().layout.title.text == results["patterns"].figure().layout.title.text


def test_crossings_are_in_the_legend_of_the_page(results: dict[str, ts.Result]) -> None:
    found = [c for of_one in results["comparison"].data.attrs["crossings"].values() for c in of_one]
    marked = {trace.name: trace.x for trace in results["comparison"].figure().data if trace.mode == "markers"}
    assert sum(map(len, marked.values())) == len(found) > 0
    assert set(marked) <= {"crosses what was measured", "meets it by construction"}


def test_many_layers_stay_readable() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(30)))
    objective = ts.Objective(model, case("linear").data())
    states = [{n: t * s for n, t in model.state_dict().items()} for s in (0.5, 1.0)]
    figure = ts.interpolate(objective, ts.Trajectory.from_states(states), level="layer", alphas=3, progress=False).plot()
    assert isinstance(figure, Figure)
    assert len(figure.legends[0].get_texts()) == 12


def test_hostile_layer_names_are_shown_as_text() -> None:
    model = nn.Sequential()
    model.add_module(HOSTILE.replace(".", ""), nn.Linear(4, 3))
    objective = ts.Objective(model, case("linear").data())
    states = [{n: t * s for n, t in model.state_dict().items()} for s in (0.5, 0.9, 1.0)]
    trajectory = ts.Trajectory.from_states(states)
    for result in (
        ts.interpolate(objective, trajectory, level="layer", alphas=3, progress=False),
        ts.interpolate(objective, trajectory, level="parameter", alphas=3, progress=False),
        compare_paths(objective, trajectory, "parameter", alphas=9, progress=False),
    ):
        figure = draw_plotly(result)
        assert "<img" not in figure.to_html(include_plotlyjs=False)
        assert "<img" not in str(figure.to_plotly_json())
        assert isinstance(result.plot(), Figure)


def test_a_constant_accuracy_stands_on_an_axis_around_it(results: dict[str, ts.Result]) -> None:
    flat = ts.Result(results["parameter"].data.copy(deep=True))
    flat.data["accuracy"].values[:] = 0.985
    layout = flat.figure().layout
    assert layout.yaxis.range is None
    low, high = layout.yaxis2.range
    assert 0.9 < low < 0.985 < high < 1.0
