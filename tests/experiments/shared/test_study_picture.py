from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import nn

import thetascope as ts
from thetascope.drawing.spec import Boxes, Line, Picture, Rule
from thetascope.errors import ResultError
from thetascope.experiments.framework.pictures import draw_matplotlib, draw_plotly
from thetascope.experiments.shared.study_picture import UNITS, picture, tick_labels

STUDIES = ("study_epochs", "study_train_size", "study_test_size")


def data(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    targets = torch.randint(3, (count,), generator=generator)
    return torch.randn(count, 4, generator=generator) + 2 * targets[:, None], targets


def training(**options: Any) -> ts.Training:
    return ts.Training(lambda: nn.Linear(4, 3), data(40), data(30), lambda p: torch.optim.SGD(p, lr=0.05), 3, 8, **options)


def study(name: str, **options: Any) -> xr.Dataset:
    if name == "study_epochs":
        return ts.study_epochs(training(**options), progress=False).data
    if name == "study_train_size":
        return ts.study_train_size(training(**options), [10, 20, 40], progress=False).data
    model = nn.Linear(4, 3)
    objective = ts.Objective(model, data(30), **options)
    return ts.study_test_size(objective, model.state_dict(), [5, 15, 30], 8, tolerance=0.5, progress=False).data


@pytest.fixture(scope="module")
def results() -> dict[str, xr.Dataset]:
    return {name: study(name) for name in STUDIES}


def figure_of(data: xr.Dataset) -> Figure:
    figure = draw_matplotlib(data)
    assert isinstance(figure, Figure)
    return figure


def lines_of(ax: Axes) -> dict[str, Any]:
    return {str(line.get_label()): line for line in ax.lines}


def marks_of(found: Picture, panel: int = 0) -> dict[str, Any]:
    return {mark.label: mark for mark in list(found.parts.panels)[panel].marks}


def recommended(data: xr.Dataset) -> tuple[str, float]:
    """What the recommended number is called, and where it stands."""
    number = data.attrs["recommendation"]
    numbers = data["epochs" if "epochs" in data.dims else "size"].values
    place = float(np.flatnonzero(numbers == number)[0]) if data.attrs["experiment"] == "study_test_size" else float(number)
    return f"recommended: {number:,} {UNITS[data.attrs['experiment']]}", place


@pytest.mark.parametrize("name", STUDIES)
def test_the_picture_holds_what_the_result_holds(results: dict[str, xr.Dataset], name: str) -> None:
    result = results[name]
    found = picture(result)
    assert [panel.name for panel in found.parts.panels] == ["loss", "accuracy"]
    every: Any = list(marks_of(found).values())
    drawn = next(mark.values if isinstance(mark, Boxes) else mark.y for mark in (every if name != "study_train_size" else every[1:]))
    np.testing.assert_array_equal(np.ravel(drawn), result["loss"].values.ravel())
    assert marks_of(found)[recommended(result)[0]].at == recommended(result)[1]
    assert found.notes == (result.attrs["rule"],)
    loss, other = ([mark for mark in marks_of(found, i).values() if isinstance(mark, Rule) and "toleran" in mark.label] for i in (0, 1))
    (allowed,) = loss
    assert (allowed.at if allowed.to is None else allowed.to) >= result.attrs["limit"]
    assert other == []  # the rule is about the loss


@pytest.mark.parametrize("name", STUDIES)
def test_figures_name_their_axes_and_mark_what_is_recommended(results: dict[str, xr.Dataset], name: str, tmp_path: Path) -> None:
    figure = figure_of(results[name])
    figure.savefig(tmp_path / "a.png")
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss (cross-entropy, nats)", "accuracy"]
    expected = {"study_epochs": "epochs of training", "study_train_size": "training samples"}
    assert figure.axes[-1].get_xlabel() == expected.get(name, "test samples in a subset (not to scale)")
    label, place = recommended(results[name])
    for ax in figure.axes:
        marked = lines_of(ax)[label]
        assert marked.get_xdata()[0] == place
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert label in entries
    assert len(set(entries)) == len(entries)


@pytest.mark.parametrize("name", STUDIES)
def test_the_legend_stands_beside_the_data(results: dict[str, xr.Dataset], name: str) -> None:
    figure = figure_of(results[name])
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    for ax in figure.axes:
        assert not legend.overlaps(ax.get_window_extent())


@pytest.mark.parametrize("name", STUDIES)
def test_one_variable_is_drawn_on_an_axis(results: dict[str, xr.Dataset], name: str) -> None:
    own = Figure().subplots()
    assert draw_matplotlib(results[name], own, variable="accuracy") is own
    assert own.get_ylabel() == "accuracy"
    assert own.get_xlabel()
    assert own.get_legend() is not None
    with pytest.raises(ResultError, match="loss, accuracy"):
        draw_matplotlib(results[name], own, variable="recall")


def test_the_curves_are_the_values(results: dict[str, xr.Dataset]) -> None:
    epochs = lines_of(figure_of(results["study_epochs"]).axes[0])["measured after each epoch"]
    assert epochs.get_xdata().tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(epochs.get_ydata(), results["study_epochs"]["loss"])
    sizes = lines_of(figure_of(results["study_train_size"]).axes[0])
    np.testing.assert_array_equal(sizes["median of 3 trainings"].get_ydata(), results["study_train_size"]["loss_median"])
    np.testing.assert_array_equal(sizes["one training"].get_ydata(), results["study_train_size"]["loss"].values.ravel())
    assert sizes["one training"].get_xdata().tolist() == [10] * 3 + [20] * 3 + [40] * 3
    assert figure_of(results["study_train_size"]).axes[0].get_xscale() == "log"


def test_boxes_stand_beside_the_full_value(results: dict[str, xr.Dataset]) -> None:
    result = results["study_test_size"]
    ax, lowest = figure_of(result).axes
    assert lines_of(ax)["on all samples"].get_ydata()[0] == float(result["full_loss"])
    assert [tick.get_text() for tick in lowest.get_xticklabels()] == ["5", "15", "30"]
    medians = [line for line in ax.lines if line.get_color() == "black" and len(np.asarray(line.get_ydata())) == 2]
    np.testing.assert_allclose([np.asarray(line.get_ydata())[0] for line in medians], np.median(result["loss"], axis=1))


def test_the_error_on_new_samples_stands_to_both_sides_of_the_full_value(results: dict[str, xr.Dataset]) -> None:
    result = results["study_test_size"]
    for name in ("loss", "accuracy"):
        marks = next(panel for panel in picture(result).parts.panels if panel.name == name).marks
        around = [mark for mark in marks if isinstance(mark, Line)]
        error, full = result[f"{name}_standard_error"].values, float(result[f"full_{name}"])
        assert {mark.label for mark in around} == {"± standard error on new samples"}
        np.testing.assert_allclose([mark.y for mark in around], [full + error, full - error])
    heavy = result.assign(loss_bootstrap_error=2 * result["loss_standard_error"])
    upper, _ = (mark for mark in next(iter(picture(heavy).parts.panels)).marks if isinstance(mark, Line))
    assert upper.label == "± bootstrap error on new samples"
    np.testing.assert_allclose(upper.y, float(result["full_loss"]) + heavy["loss_bootstrap_error"].values)


@pytest.mark.parametrize("name", STUDIES)
def test_plotly_draws_the_same_values(results: dict[str, xr.Dataset], name: str) -> None:
    found = picture(results[name])
    figure = draw_plotly(results[name])
    traces = {trace.name: trace for trace in figure.data if trace.yaxis == "y"}
    drawn = [mark for mark in marks_of(found).values() if isinstance(mark, Line | Boxes)]
    assert len(drawn) == (1 if name == "study_epochs" else 2)
    for mark in drawn:
        assert list(traces[mark.label].y) == np.ravel(mark.y if isinstance(mark, Line) else mark.values).tolist()
    assert figure.layout.title.text.startswith(found.title)
    vertical = [shape.x0 for shape in figure.layout.shapes if shape.line.dash == "dash"]
    assert vertical == [recommended(results[name])[1]] * 2
    figure.to_html(include_plotlyjs=False)


def test_a_logarithmic_plotly_axis_marks_the_recommended_number() -> None:
    result = study("study_train_size")
    figure = draw_plotly(result)
    assert figure.layout.xaxis.type == "log"
    # a shape on a logarithmic axis stands at the number itself, unlike an annotation
    assert next(shape.x0 for shape in figure.layout.shapes if shape.line.dash == "dash") == result.attrs["recommendation"]


@pytest.mark.parametrize("name", STUDIES)
def test_what_is_not_finite_is_marked_and_nothing_recommended_is_no_line(results: dict[str, xr.Dataset], name: str) -> None:
    data = results[name].copy(deep=True)
    data["loss"].values.reshape(len(data["loss"]), -1)[1, 0] = np.nan
    data.attrs.update(recommendation=None, limit=None)
    result = data
    figure = figure_of(result)
    lines = lines_of(figure.axes[0])
    second = 1.0 if name == "study_test_size" else float(data["epochs" if name == "study_epochs" else "size"][1])
    assert lines["not finite, or missing"].get_xdata().tolist() == [second]
    assert not any(label.startswith(("recommended", "within")) for label in lines)
    draw_plotly(result)


def test_an_unfinished_study_is_drawn(tmp_path: Path) -> None:
    data = study("study_train_size").copy(deep=True)
    data["loss"].values[1:] = np.nan
    data["accuracy"].values[1:] = np.nan
    for name in ("recommendation", "rule", "limit", "tolerance"):
        del data.attrs[name]
    figure = figure_of(data)
    figure.savefig(tmp_path / "a.png")
    assert any("unfinished" in text.get_text() for text in figure.findobj(Text))


def test_close_numbers_are_not_all_labelled() -> None:
    model, data_ = nn.Linear(4, 3), data(40)
    described = ts.Training(lambda: model, data_, data_, lambda p: torch.optim.SGD(p, lr=0.05), 1, 40)
    made = ts.study_train_size(described, range(4, 41, 4), 1, progress=False).data
    labels = list((next(picture(made).parts.panels).x_ticks or ((), ()))[1])
    assert labels == tick_labels(made["size"].values, every=False)
    assert (labels[0], labels[-1]) == ("4", "40")
    assert "" in labels


def test_other_results_are_refused() -> None:
    with pytest.raises(ResultError, match='got a result of "interpolate"'):
        picture(xr.Dataset(attrs={"experiment": "interpolate"}))
