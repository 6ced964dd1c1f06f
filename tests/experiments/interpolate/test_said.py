"""What pictures and words of paths say: states as they were recorded, errors, barriers, tails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import thetascope as ts
from thetascope.drawing.spec import Line
from thetascope.drawing.style import PAIRED_BAND
from thetascope.experiments.compare_paths.model.picture import picture as compared
from thetascope.experiments.framework.catalog import declaration
from thetascope.experiments.framework.declaration import words_of
from thetascope.experiments.framework.pictures import draw_matplotlib, draw_plotly
from thetascope.experiments.framework.words import Words
from thetascope.experiments.interpolate.layer.picture import picture as layered
from thetascope.experiments.interpolate.model.picture import picture
from thetascope.testing.models import case

RECORDED = "as recorded"


def objective_of(name: str = "BatchNorm ResNet block", **options: Any) -> ts.Objective:
    chosen = case(name)
    return ts.Objective(chosen.model(), chosen.data(40), loss=chosen.loss, **options)


def trajectory_of(name: str = "BatchNorm ResNet block") -> ts.Trajectory:
    return ts.Trajectory.from_states(case(name).states(3), steps=[0, 10, 20])


def words(data: xr.Dataset) -> Words:
    return words_of(declaration(data.attrs["experiment"]), data.attrs)


@pytest.fixture(scope="module")
def path() -> ts.Result:
    return ts.interpolate(objective_of(), trajectory_of(), alphas=5, progress=False)


@pytest.fixture(scope="module")
def both() -> ts.Result:
    return ts.compare_paths(objective_of(), trajectory_of(), alphas=5, progress=False)


def lines(found: Any, panel: int = 0) -> dict[str, Line]:
    return {mark.label: mark for mark in list(found.parts.panels)[panel].marks if isinstance(mark, Line)}


def test_states_as_recorded_are_hollow_marks(path: ts.Result, both: ts.Result) -> None:
    objective = objective_of()
    expected = [objective.score(state) for state in trajectory_of()]
    for result, drawn in ((path, picture(path.data)), (both, compared(both.data, "figure", "loss"))):
        panel = int(result is both)  # there it is by clock
        mark = lines(drawn, panel)[RECORDED]
        assert mark.y.tolist() == [score["loss"] for score in expected]  # bit for bit
        assert (mark.face, mark.dash, mark.x.tolist()) == ("none", "", [0.0, 0.5, 1.0])
        assert mark.told[1].startswith("as recorded: step 10")
        under = next(line for label, line in lines(drawn, panel).items() if label.startswith("measured"))
        assert under.face != "none"
        assert under.y.tolist() == result.data["actual_loss"].values.tolist() != mark.y.tolist()
    assert lines(picture(path.data), 1)[RECORDED].y.tolist() == [score["accuracy"] for score in expected]


def test_both_renderers_draw_them_and_hovering_names_them(path: ts.Result, both: ts.Result) -> None:
    for result in (path, both):
        figure: Any = draw_matplotlib(result.data)
        (hollow,) = [line for line in figure.axes[int(result is both)].lines if line.get_label() == RECORDED]
        assert (hollow.get_markerfacecolor(), hollow.get_linestyle()) == ("none", "None")
        assert hollow.get_markeredgewidth() > 0
        trace = next(trace for trace in draw_plotly(result.data).data if trace.name == RECORDED)
        assert trace.marker.symbol.endswith("-open")
        assert trace.text[0].startswith("as recorded: step 0")
        assert "%{text}" in trace.hovertemplate


def test_nothing_is_drawn_twice_where_states_keep_their_buffers() -> None:
    result = ts.interpolate(objective_of(buffers="path"), trajectory_of(), alphas=3, progress=False)
    assert RECORDED not in lines(picture(result.data))
    assert not any("hollow" in said for said in words(result.data).shows(result.data))


def test_the_largest_difference_of_recorded_buffers_is_told(path: ts.Result, both: ts.Result) -> None:
    data = path.data
    far = np.abs(data["loss_recorded"].values - data["actual_loss"].values)
    for result in (data, both.data):
        (said,) = [said for said in words(result).shows(result) if "hollow" in said]
        assert f"step {[0, 10, 20][int(far.argmax())]}:" in said


def test_recorded_states_without_a_finite_value_are_marked(path: ts.Result) -> None:
    data = path.data.copy(deep=True)
    data["loss_recorded"].values[1] = np.inf
    figure: Any = draw_matplotlib(data)
    marked = next(line for line in figure.axes[0].lines if line.get_label() == "as recorded: not finite")
    assert marked.get_xdata().tolist() == [0.5]


def test_curves_have_bands_of_twice_their_errors(both: ts.Result) -> None:
    drawn = lines(compared(both.data, "figure", "loss"))
    for kind in ("linear", "quadratic"):
        errors = both.data[f"{kind}_loss_standard_error"].values
        assert (errors > 0).all()
        np.testing.assert_array_equal(drawn[f"{kind} path"].spread, 2 * errors)
    accuracy = lines(compared(both.data, "figure", "accuracy"))["linear path"]
    np.testing.assert_array_equal(accuracy.spread, 2 * both.data["linear_accuracy_excess_se"].values)
    assert accuracy.spread_label == f"accuracy: {PAIRED_BAND}"
    layers = ts.interpolate(objective_of("linear"), trajectory_of("linear"), level="layer", alphas=3, progress=False).data
    for panel, name in enumerate(("excess_se", "accuracy_excess_se")):
        curves = list(lines(layered(layers, "figure"), panel).values())
        for i, curve in enumerate(curves):
            assert curve.spread is not None
            np.testing.assert_array_equal(curve.spread, 2 * layers[name].values[i])
            assert curve.spread_label == PAIRED_BAND
            assert curve.spread[-1] == 0.0  # all of them end in the final state


def test_the_largest_excess_is_said_with_its_error() -> None:
    data = ts.interpolate(objective_of("linear"), trajectory_of("linear"), level="layer", alphas=3, progress=False).data
    layer, at = np.unravel_index(int(data["excess"].values.argmax()), data["excess"].shape)
    excess, error = data["excess"].values[layer, at], data["excess_se"].values[layer, at]
    (said,) = [said for said in words(data).shows(data) if "excess" in said]
    assert said.endswith(f": {data['layer'].values[layer]} at α = {data['alpha'].values[at]:.2f}.")
    assert f"{float(f'{excess:.4g}'):g} ± {2 * error:.2g} (± 2 standard errors, paired)" in said
    data["excess_se"].values[:] = np.nan
    (said,) = [said for said in words(data).shows(data) if "excess" in said]
    assert "± " not in said
    assert "(without a known error)" in said


def of_barrier(data: xr.Dataset, **attrs: Any) -> xr.Dataset:
    named = {"barrier": 0.5, "barrier_se": 0.02, "barrier_at": 0.25, "barrier_gain": 2.0, "has_barrier": True}
    return data.assign_attrs(**named, **{}).assign_attrs(**attrs)


def test_a_barrier_is_said_with_its_error(path: ts.Result) -> None:
    data = of_barrier(path.data)
    said = "a barrier of 0.5 ± 0.04 at α = 0.25 (± 2 standard errors, paired)"
    assert words(data).headline(data).endswith(said)
    assert picture(data).notes[0].endswith(f" samples; {said}")
    assert any(told.startswith("There is a barrier: ") and "up to 0.5 ± 0.04, at α = 0.25" in told for told in words(data).shows(data))
    unknown = of_barrier(path.data, barrier_se=float("nan"))
    assert words(unknown).headline(unknown).endswith("a barrier of 0.5 at α = 0.25 (without a known error)")


def test_why_there_is_no_barrier_is_said(path: ts.Result) -> None:
    small = of_barrier(path.data, barrier=0.015, barrier_se=0.001, has_barrier=False)
    assert words(small).headline(small).endswith(", no barrier")
    (said,) = [told for told in words(small).shows(small) if "barrier" in told]
    assert said == (
        "There is no barrier: the loss rises above the straight line between the ends' losses by at most 0.015 ± 0.002, at α = 0.25 "
        "(± 2 standard errors, paired), which is within two standard errors or 1.0 % of the gain, 0.02."
    )
    none = of_barrier(path.data, barrier=0.0, has_barrier=False)
    assert "There is no barrier: no loss lies above the straight line between the ends' losses." in words(none).shows(none)
    unknown = of_barrier(path.data, barrier=float("nan"), has_barrier=None)
    assert "barrier" not in " ".join([words(unknown).headline(unknown), *words(unknown).shows(unknown), *picture(unknown).notes])


@pytest.mark.parametrize("level", ["model", "layer"])
def test_heavy_tails_are_said_in_words_and_captions(level: Any) -> None:
    """One sample of two hundred carries nearly all of the loss."""
    chosen = case("linear")
    inputs, targets = (part.repeat(10, *[1] * (part.ndim - 1)) for part in chosen.data(20))
    inputs[0] *= 1e4
    result = ts.interpolate(ts.Objective(chosen.model(), (inputs, targets)), trajectory_of("linear"), level=level, alphas=3, progress=False)
    share = result.data.attrs["reference"]["top_share"]
    assert share > 0.5
    said = f"1 % of the samples with the largest losses carry {100 * share:.0f} % of the loss: standard errors are rough"
    notes = (picture(result.data) if level == "model" else layered(result.data, "figure")).notes
    assert f"the {said}" in notes
    assert f"The {said}." in words(result.data).shows(result.data)
    result.data.attrs["reference"]["top_share"] = 0.25
    assert not any("rough" in told for told in words(result.data).shows(result.data))


@pytest.mark.parametrize("experiment", [ts.interpolate, ts.compare_paths])
def test_words_of_single_parameters_say_tails_and_buffers_too(experiment: Any) -> None:
    data = experiment(objective_of(), trajectory_of(), level="parameter", parameters=1, alphas=9, progress=False).data
    assert words(data).how(data).endswith(" Buffers were those of the last state.")
    data.attrs["reference"]["top_share"] = 0.4
    assert words(data).shows(data)[-1].endswith("carry 40 % of the loss: standard errors are rough.")
    assert any("buffers of the last state" in note for note in result_notes(data))


def result_notes(data: xr.Dataset) -> list[str]:
    title: str = draw_plotly(data).layout.title.text
    return title.split("<br>")


@pytest.mark.parametrize("draw", [picture, lambda data: compared(data, "figure")])
def test_a_constant_accuracy_has_an_axis_of_a_hundredth_to_each_side(path: ts.Result, both: ts.Result, draw: Any) -> None:
    data = (path if draw is picture else both).data.copy(deep=True)
    for name in data.data_vars:
        if str(name).endswith(("accuracy", "accuracy_recorded")):
            data[name][:] = 0.5
    ranges = [panel.y_range for panel in draw(data).parts.panels if panel.name == "accuracy"]
    assert ranges == [(0.49, 0.51)]
