from __future__ import annotations

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import thetascope as ts
from thetascope.errors import ResultError
from thetascope.testing.models import case


@pytest.fixture(scope="module")
def result() -> ts.Result:
    chosen = case("linear")
    objective = ts.Objective(chosen.model(), chosen.data(20))
    trajectory = ts.Trajectory.from_states(chosen.states(5), epochs=[0, 1, 2, 3, 4])
    return ts.interpolate(objective, trajectory, level="parameter", alphas=5, parameters=3, progress=False)


def test_the_farther_travelled_the_more_opaque(result: ts.Result) -> None:
    drawn = result.plot(Figure().subplots(), layer="0")
    assert isinstance(drawn, Axes)
    opacities = [float(line.get_alpha() or 0) for line in drawn.lines[:3]]
    assert opacities == sorted(opacities)
    close = result.plot(parameter=str(result.data["parameter"].values[0]))
    assert isinstance(close, Figure)
    assert [ax.get_ylabel() for ax in close.axes] == ["loss (cross-entropy, nats)", "accuracy"]
    with pytest.raises(ResultError, match="no parameters of the layer"):
        result.plot(layer="9")


def test_a_constant_accuracy_stands_on_an_axis_around_it(result: ts.Result) -> None:
    flat = ts.Result(result.data.copy(deep=True))
    flat.data["accuracy"].values[:] = 0.985
    layout = flat.figure().layout
    assert layout.yaxis.range is None
    low, high = layout.yaxis2.range
    assert 0.9 < low < 0.985 < high < 1.0
