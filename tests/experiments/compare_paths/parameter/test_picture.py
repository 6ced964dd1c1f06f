from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import thetascope as ts
from thetascope.errors import ResultError
from thetascope.experiments.compare_paths.parameter.picture import EXAMPLES
from thetascope.experiments.compare_paths.parameter.words import WORDS
from thetascope.testing.models import case


@pytest.fixture(scope="module")
def result() -> ts.Result:
    chosen = case("linear")
    objective = ts.Objective(chosen.model(), chosen.data(20))
    trajectory = ts.Trajectory.from_states(chosen.states(5), epochs=[0, 1, 2, 3, 4])
    return ts.compare_paths(objective, trajectory, "parameter", alphas=21, parameters=3, progress=False)


def test_one_parameter_s_pattern(result: ts.Result) -> None:
    label = str(result.data["parameter"].values[1])
    drawn = result.plot(Figure().subplots(), parameter=label)
    assert isinstance(drawn, Axes)
    assert str(result.data["pattern"].values[1]) in drawn.get_title(loc="left")
    with pytest.raises(ResultError, match="name one parameter"):
        result.plot(Figure().subplots())


def test_the_page_of_patterns_shows_shares_and_the_change_along_examples(result: ts.Result) -> None:
    data = result.data
    figure = result.figure()
    (bars,) = (trace for trace in figure.data if trace.type == "bar")
    assert dict(zip(bars.y, bars.x, strict=True)) == {name: share for name, share in data.attrs["pattern_shares"].items() if share}
    for name, text, tick in zip(bars.y, bars.text, figure.layout.yaxis.ticktext, strict=True):
        low, high = data.attrs["pattern_shares_interval"][name]
        assert text == f"{data.attrs['pattern_shares'][name]:.1%}"
        assert tick == f"{name}<br>{text} ({100 * low:.3g} to {100 * high:.3g} %)"  # that of a page's chosen layer is another
        assert f"({100 * low:.3g} to {100 * high:.3g} %)" in WORDS.headline(data)
    assert "95 % intervals of the shares, by a bootstrap over the parameters" in figure.layout.title.text.replace("<br>", " ")
    assert any("(bootstrap)" in told for told in WORDS.shows(data))
    curves = [trace for trace in figure.data if trace.type == "scatter" and trace.mode == "lines"]
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
        result.figure(variable="f1")


def test_patterns_without_the_final_state_show_values(result: ts.Result) -> None:
    kept = ts.Result(result.data.isel(alpha=slice(0, 10)))
    assert 1.0 not in kept.data["alpha"]
    assert "final state's" in kept.figure().layout.title.text  # as the reference was scored
    kept.data.attrs["reference"] = None
    figure = kept.figure()
    assert "final state's" not in figure.layout.title.text
    curve = next(trace for trace in figure.data if trace.type == "scatter")
    np.testing.assert_array_equal(curve.y, curve.customdata)


def test_patterns_of_which_some_are_missing_show_changes_of_the_others(result: ts.Result) -> None:
    torn = ts.Result(result.data.copy(deep=True))
    torn.data["linear_loss"].values[0] = np.nan
    assert "nan" not in str(torn.figure().layout.title.text)
    assert torn.figure().layout.title.text == result.figure().layout.title.text
