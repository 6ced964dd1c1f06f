from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

import thetascope as ts
from thetascope.errors import ResultError
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


def test_many_layers_stay_readable() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(30)))
    objective = ts.Objective(model, case("linear").data())
    states = [{n: t * s for n, t in model.state_dict().items()} for s in (0.5, 1.0)]
    figure = ts.interpolate(objective, ts.Trajectory.from_states(states), level="layer", alphas=3, progress=False).plot()
    assert isinstance(figure, Figure)
    assert len(figure.legends[0].get_texts()) == 13  # the band has one entry for all of them
