"""What holds for every figure: names show as text, never as tags or templates; the same options, the same errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import nn

import thetascope as ts
from thetascope.errors import ResultError
from thetascope.testing.models import case

TAG = "<img src=x onerror=alert(1)>"
HOSTILE = f"{TAG} %{{x}} & <b>"


def training() -> ts.Training:
    chosen = case("linear")
    return ts.Training(
        chosen.build, chosen.data(20), chosen.data(20), lambda p: torch.optim.SGD(p, lr=0.1), 2, 5, metrics={HOSTILE: "accuracy"}
    )


def hostile() -> tuple[ts.Objective, ts.Trajectory]:
    """A model with a hostile layer name, scored with a metric of a hostile name."""
    model = nn.Sequential()
    model.add_module(HOSTILE, nn.Linear(4, 3))
    objective = ts.Objective(model, case("linear").data(20), metrics={HOSTILE: "accuracy"})
    torch.manual_seed(0)
    states = [{n: t * s + 0.1 * torch.randn_like(t) for n, t in model.state_dict().items()} for s in (0.5, 0.9, 1.0)]
    return objective, ts.Trajectory.from_states(states)


MADE: dict[str, Callable[..., ts.Result]] = {
    "interpolate model": lambda o, t: ts.interpolate(o, t, alphas=3, progress=False),
    "interpolate layer": lambda o, t: ts.interpolate(o, t, level="layer", alphas=3, progress=False),
    "interpolate parameter": lambda o, t: ts.interpolate(o, t, level="parameter", alphas=3, progress=False),
    "compare_paths model": lambda o, t: ts.compare_paths(o, t, alphas=3, progress=False),
    "compare_paths parameter": lambda o, t: ts.compare_paths(o, t, "parameter", alphas=9, progress=False),
    "layer_roles": lambda o, t: ts.layer_roles(o, t, draws=2, progress=False),
    "layer_rewind": lambda o, t: ts.layer_rewind(o, t, progress=False),
    "checkpoint_average": lambda o, t: ts.checkpoint_average(o, t, greedy=True, progress=False),
    "parameter_atlas": lambda o, t: ts.parameter_atlas(o, t, alphas=9, progress=False),
    "surface": lambda o, t: ts.surface(o, t, x=(-1, 1, 3), y=(-1, 1, 3), progress=False),
    "trajectory_plane": lambda o, t: ts.trajectory_plane(o, t, x=3, y=3, progress=False),
    "study_epochs": lambda o, t: ts.study_epochs(training(), progress=False),
    "study_train_size": lambda o, t: ts.study_train_size(training(), [5, 20], 1, progress=False),
    "study_test_size": lambda o, t: ts.study_test_size(o, t[-1], [5, 20], 3, progress=False),
}
UNSEEN = ("layer", "layers")
"""What scripts compare, and plotly shows nobody."""
OPTIONS = {"trajectory_plane": {"variable": HOSTILE}}  # its page shows one variable at a time


def texts(part: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a figure with the property it stands under."""
    if isinstance(part, dict):
        for name, inner in part.items():
            yield from texts(inner, name)
    elif isinstance(part, list | tuple) or type(part).__name__ == "ndarray":
        for inner in part:
            yield from texts(inner, key)
    elif isinstance(part, str):
        yield key, part


@pytest.mark.parametrize("name", MADE)
def test_hostile_names_are_shown_as_text(name: str) -> None:
    page = MADE[name](*hostile()).figure(**OPTIONS.get(name, {})).to_plotly_json()
    page["layout"].pop("template", None)
    found = [(key, text) for key, text in texts(page) if key not in UNSEEN]
    assert any("&lt;img src=x onerror=alert(1)&gt;" in text for _, text in found), "the name is not shown"
    assert not [text for _, text in found if "<img" in text or "& <b>" in text]
    assert not [text for key, text in found if key == "hovertemplate" and "%{x} &" in text]


@pytest.fixture(scope="module")
def results() -> dict[str, ts.Result]:
    return {name: make(*hostile()) for name, make in MADE.items()}


@pytest.mark.parametrize("name", sorted(set(MADE) - {"parameter_atlas"}))  # it draws the change of the loss only
def test_every_figure_draws_one_variable_alone(results: dict[str, ts.Result], name: str) -> None:
    figure = results[name].plot(variable=HOSTILE)
    assert isinstance(figure, Figure)
    words = " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())  # long labels go over several lines
    assert HOSTILE in words
    assert "cross-entropy" not in words
    with pytest.raises(ResultError, match='no variable "recall"; there are: loss, <img'):
        results[name].plot(variable="recall")


@pytest.mark.parametrize("name", sorted(set(MADE) - {"parameter_atlas"}))
def test_every_page_shows_one_variable_alone(results: dict[str, ts.Result], name: str) -> None:
    figure = results[name].figure(variable=HOSTILE).to_plotly_json()
    figure["layout"].pop("template", None)
    shown = " ".join(text for _, text in texts(figure))
    assert "onerror" in shown
    assert "cross-entropy" not in shown
    with pytest.raises(ResultError, match='no variable "recall"; there are: loss, <img'):
        results[name].figure(variable="recall")


def test_an_option_that_a_figure_lacks_is_one_clear_error(results: dict[str, ts.Result]) -> None:
    with pytest.raises(ResultError, match=r'the page of "compare_paths parameter" takes no layer=; it takes variable=, parameter='):
        results["compare_paths parameter"].figure(layer="0")
    with pytest.raises(ResultError, match=r'the figure of "interpolate model" takes no layer=; it takes variable='):
        results["interpolate model"].plot(layer="0")
