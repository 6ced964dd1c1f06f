from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from torch import nn

import thetascope as ts
from thetascope.drawing.spec import Line
from thetascope.errors import ResultError
from thetascope.experiments.framework.pictures import draw_matplotlib, draw_plotly
from thetascope.experiments.interpolate.layer.picture import CURVES, picture
from thetascope.testing.models import case


@pytest.fixture(scope="module")
def result() -> ts.Result:
    chosen = case("linear")
    objective = ts.Objective(chosen.model(), chosen.data(20))
    trajectory = ts.Trajectory.from_states(chosen.states(5), epochs=[0, 1, 2, 3, 4])
    return ts.interpolate(objective, trajectory, level="layer", alphas=5, progress=False)


def test_one_layer_alone(result: ts.Result) -> None:
    ax = Figure().subplots()
    drawn = result.plot(ax, layer="2", variable="accuracy")
    assert isinstance(drawn, Axes)
    np.testing.assert_array_equal(drawn.lines[0].get_ydata(), result.data["accuracy"].sel(layer="2"))
    with pytest.raises(ResultError, match='no layer "9" in this result; there are: 0, 2'):
        result.plot(layer="9")


@pytest.fixture(scope="module")
def deep() -> xr.Dataset:
    """30 layers in blocks of two, one point without a finite value."""
    model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(15)))
    objective = ts.Objective(model, case("linear").data())
    states = [{n: t * s for n, t in model.state_dict().items()} for s in (0.5, 1.0)]
    data = ts.interpolate(objective, ts.Trajectory.from_states(states), level="layer", alphas=4, progress=False).data.copy(deep=True)
    data["loss"][3, 1], data["status"][3, 1] = np.nan, 2
    return data


def test_many_layers_are_rows_of_an_image_in_the_network_s_order(deep: xr.Dataset) -> None:
    figure = draw_matplotlib(deep)
    assert isinstance(figure, Figure)
    loss, accuracy = figure.axes[:2]
    mesh = next(mesh for mesh in loss.collections if isinstance(mesh, QuadMesh))
    np.testing.assert_allclose(np.ma.filled(np.ma.asarray(mesh.get_array()), np.nan), deep["loss"].values)
    assert loss.get_ylim() == (30, 0)  # the first layer on top
    assert [text.get_text() for text in loss.get_yticklabels()] == deep["layer"].values.tolist()
    assert not accuracy.get_ylabel()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["not finite: 1"]  # no layer is told by a colour
    page = draw_plotly(deep)
    image = page.data[0]
    np.testing.assert_array_equal(np.array(image.z, float), deep["loss"].values)
    assert image.meta == {"layers": deep["layer"].values.tolist()}
    assert image.text[2][0].startswith(f"{deep['layer'].values[2]}, distance ")
    assert "%{text}" in image.hovertemplate
    assert "%{z" in image.hovertemplate
    assert [button.label for button in page.layout.updatemenus[0].buttons] == ["loss", "accuracy"]
    assert any(trace.name == "not finite: 1" for trace in page.data)


def test_few_layers_are_curves_that_colours_and_dashes_tell_apart(deep: xr.Dataset) -> None:
    few = deep.isel(layer=slice(CURVES))
    lines = [mark for mark in next(picture(few, "figure", variable="loss").parts.panels).marks if isinstance(mark, Line)]
    assert len({(line.color, line.dash) for line in lines}) == len(lines) == CURVES
    assert all(line.spread is not None for line in lines)


def test_one_layer_of_many_is_a_curve(deep: xr.Dataset) -> None:
    (panel,) = picture(deep, "page", variable="loss", layer=str(deep["layer"].values[5])).parts.panels
    assert sum(isinstance(mark, Line) for mark in panel.marks) == 1


def test_a_constant_accuracy_has_an_axis_of_a_hundredth_to_each_side(result: ts.Result) -> None:
    flat = result.data.copy(deep=True)
    flat["accuracy"][:] = 0.98
    loss, accuracy = picture(flat, "figure").parts.panels
    assert loss.y_range is None
    assert accuracy.y_range == pytest.approx((0.97, 0.99))
