from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import thetascope as ts
from thetascope.drawing.spec import Line
from thetascope.drawing.style import GREY
from thetascope.errors import ResultError
from thetascope.experiments.framework.pictures import picture as picture_of
from thetascope.experiments.interpolate.parameter.picture import NAMED, picture
from thetascope.testing.models import case


@pytest.fixture(scope="module")
def result() -> ts.Result:
    chosen = case("linear")
    objective = ts.Objective(chosen.model(), chosen.data(20))
    trajectory = ts.Trajectory.from_states(chosen.states(5), epochs=[0, 1, 2, 3, 4])
    return ts.interpolate(objective, trajectory, level="parameter", alphas=5, parameters=3, progress=False)


def test_those_that_vary_most_have_names_and_colours_and_all_are_changes_from_the_final_state(result: ts.Result) -> None:
    drawn = result.plot(Figure().subplots(), layer="0")
    assert isinstance(drawn, Axes)
    data = result.data.isel(parameter=result.data["layer"].values == "0")
    final = float(result.data.attrs["reference"]["loss"])
    for line, curve in zip(drawn.lines, data["loss"].values, strict=False):
        np.testing.assert_allclose(np.asarray(line.get_ydata()), curve - final)
    assert drawn.get_ylabel() == "change of loss (cross-entropy, nats)"
    assert len({(line.get_color(), str(line.get_linestyle())) for line in drawn.lines[:3]}) == 3
    assert f"final state's loss {final:.3g}" in " ".join(picture_of(result.data, "page").notes)
    many = xr.concat([data.assign(loss=data["loss"] * scale) for scale in (1, 2, 3)], "parameter", data_vars="minimal")
    many.attrs = dict(data.attrs)
    (panel,) = picture(many, "figure").parts.panels
    lines = [mark for mark in panel.marks if isinstance(mark, Line)]
    reach = np.ptp(many["loss"].values, axis=1)
    assert [bool(line.label) for line in lines] == [value >= np.sort(reach)[-NAMED["figure"]] for value in reach]
    assert {line.color for line in lines if not line.label} == {GREY}


def test_one_parameter_is_drawn_closely(result: ts.Result) -> None:
    close = result.plot(parameter=str(result.data["parameter"].values[0]))
    assert isinstance(close, Figure)
    labels = [ax.get_ylabel().replace("\n", " ") for ax in close.axes]
    assert labels == ["change of loss (cross-entropy, nats)", "change of accuracy"]
    with pytest.raises(ResultError, match="no parameters of the layer"):
        result.plot(layer="9")


def test_a_constant_accuracy_stands_on_an_axis_around_it(result: ts.Result) -> None:
    flat = ts.Result(result.data.copy(deep=True))
    flat.data["accuracy"].values[:] = 0.985
    layout = flat.figure().layout
    assert layout.yaxis.range is None
    low, high = layout.yaxis2.range
    assert (low, high) == (-0.01, 0.01)
