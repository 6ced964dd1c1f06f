from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

import thetascope as ts
from thetascope.testing.models import case


@pytest.fixture(scope="module")
def result() -> ts.Result:
    chosen = case("linear")
    objective = ts.Objective(chosen.model(), chosen.data(20))
    trajectory = ts.Trajectory.from_states(chosen.states(5), epochs=[0, 1, 2, 3, 4])
    return ts.compare_paths(objective, trajectory, alphas=21, progress=False)


def test_crossings_are_marked(result: ts.Result) -> None:
    figure = result.plot()
    assert isinstance(figure, Figure)
    crossings = [c for found in result.data.attrs["crossings"].values() for c in found]
    by_clock = next(axes for axes in figure.axes if axes.get_title(loc="left") == "by clock" or axes.get_title() == "by clock")
    marked = [line for line in by_clock.lines if line.get_marker() in {"o", "s"}]
    assert sorted(x for line in marked for x in np.asarray(line.get_xdata())) == sorted(c["alpha"] for c in crossings)


def test_crossings_are_in_the_legend_of_the_page(result: ts.Result) -> None:
    found = [c for of_one in result.data.attrs["crossings"].values() for c in of_one]
    names = {"crosses what was measured", "meets it by construction"}
    marked = {trace.name: trace.x for trace in result.figure().data if trace.name in names and trace.x[0] is not None}
    assert sum(map(len, marked.values())) == len(found) > 0
