from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thetascope.arrays import Floats
from thetascope.drawing.fields import grid_info as info
from thetascope.errors import ResultError
from thetascope.experiments.framework.pictures import draw_matplotlib, draw_plotly
from thetascope.experiments.shared.plane_words import estimate_error
from thetascope.experiments.surface.picture import KINDS

HOSTILE = "<img src=x onerror=alert(1)>"
ATTRS: dict[str, Any] = {
    "experiment": "surface",
    "title": "loss surface around the final state",
    "loss_name": "nll",
    "samples_scored": 2000,
    "buffers": "path",
    "floating_buffers": 0,
    "directions": {"kind": "random", "normalize": "filter", "orthogonal": True, "seed": 0, "norms": [3.1, 2.9], "cosine": 0.003},
    "axis_labels": {"x": "random direction 1", "y": "random direction 2"},
    "marks": [{"x": 0.0, "y": 0.0, "label": "final state"}],
    "subtitle": "two random directions, filter-normalised, seed 0",
}


def bowl(nx: int = 9, ny: int = 7) -> Floats:
    """Lowest at the center, steeper along y, and not symmetric."""
    x, y = np.meshgrid(np.linspace(-1, 1, nx), np.linspace(-2, 2, ny))
    made: Floats = 0.1 + x**2 + y**2 + 0.2 * x
    return made


def surface(
    loss: Floats, status: Any = None, metrics: dict[str, Floats] | None = None, extra: dict[str, Any] | None = None, **attrs: Any
) -> xr.Dataset:
    ny, nx = loss.shape
    status = np.where(np.isfinite(loss), 1, 2) if status is None else status
    arrays = {"loss": loss, **(metrics or {}), **(extra or {})}
    variables = {name: (("y", "x"), values) for name, values in arrays.items()}
    variables["status"] = (("y", "x"), np.asarray(status, np.int8))
    coords = {"x": np.linspace(-1, 1, nx) if nx > 1 else [0.0], "y": np.linspace(-2, 2, ny) if ny > 1 else [0.5]}
    scored = ["loss", *(metrics or {})] + (["loss_standard_error"] if "loss_standard_error" in arrays else [])
    return xr.Dataset(variables, coords=coords, attrs={**ATTRS, "scored": scored, **attrs})


def accuracy(loss: Floats) -> Floats:
    return np.clip(1 - 0.2 * loss, 0.1, 0.95)


def drawn(data: xr.Dataset, **options: Any) -> Figure:
    figure = draw_matplotlib(data, **options)
    assert isinstance(figure, Figure)
    figure.savefig(BytesIO(), dpi=40)
    return figure


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def hard_cases() -> dict[str, Floats]:
    base = bowl()
    spike = base.copy()
    spike[3, 4] = 1e-12
    wall = np.where(base > 4, 1e10, base)
    mixed = base - 1
    mixed[0, 0], mixed[6, 8], mixed[2, 2] = np.inf, -np.inf, np.nan
    one = np.full_like(base, np.inf)
    one[3, 4] = 2.0
    return {
        "ten decades": 10 ** (2 * base - 5),
        "one spike": spike,
        "one wall": wall,
        "wall over negative": wall - 1,
        "negative": base - 3,
        "zero": base - base.min(),
        "not finite": mixed,
        "one finite": one,
        "equal": np.full_like(base, 0.5),
        "zeros": np.zeros_like(base),
        "none finite": np.full_like(base, np.nan),
        "huge": np.where(base > 2, 1e300, -1e300 * base),
        "tiny": base * 1e-310,
        "largest": np.where(base > 2, 1.7e308, -1.7e308),
    }


def test_info_holds_what_the_result_holds() -> None:
    loss = bowl()
    found = info(surface(loss, metrics={"accuracy": accuracy(loss)}))
    assert [field.name for field in found.fields] == ["loss", "accuracy"]
    assert found.fields[0].values.shape == (7, 9)
    np.testing.assert_array_equal(found.fields[0].values, loss)
    assert (found.x[0], found.y[0], found.x_label, found.y_label) == (-1, -2, "random direction 1", "random direction 2")
    assert found.fields[0].label == "loss (NLL, nats)"
    assert found.marks == ((0.0, 0.0, "final state"),)
    assert found.notes == ("two random directions, filter-normalised, seed 0; 2,000 samples",)
    assert found.title == "Loss surface around the final state"


def test_rows_are_y_also_where_the_result_stores_them_otherwise() -> None:
    turned = surface(bowl()).transpose("x", "y")
    np.testing.assert_array_equal(info(turned).fields[0].values, bowl())


def test_shares_are_drawn_evenly_whatever_they_span() -> None:
    found = info(surface(bowl(), metrics={"accuracy": np.where(bowl() < 0.3, 0.98, 0.01)}))
    assert found.fields[1].scale.even
    assert not found.fields[1].scale.log


def test_cells_that_are_missing_or_not_finite_are_told_apart() -> None:
    loss = bowl()
    loss[0, :3], loss[6, 6:] = np.nan, np.nan
    loss[1, 1] = np.inf
    status = np.where(np.isfinite(loss), 1, 2)
    status[6, 6:] = 0
    field = info(surface(loss, status)).fields[0]
    assert field.count_text("not finite") == "not finite: 4 of 63 cells"
    assert field.count_text("not scored") == "not scored: 3 of 63 cells"
    assert np.isnan(field.shown[1, 1])
    legend = legend_of(drawn(surface(loss, status)))
    assert {"not finite: 4 of 63 cells", "not scored: 3 of 63 cells"} <= set(legend)


def test_a_metric_is_finite_where_only_the_loss_is_not() -> None:
    loss = bowl()
    metric = accuracy(loss)
    loss[0, 0] = np.nan
    fields = info(surface(loss, metrics={"accuracy": metric})).fields
    assert fields[0].not_finite.sum() == 1
    assert not fields[1].not_finite.any()


def test_estimated_cells_are_told_apart() -> None:
    loss = bowl()
    status = np.full(loss.shape, 3)
    status[::2, ::2] = 1
    estimate = {
        "tolerance": 0.01,
        "evaluated": 20,
        "cells": 63,
        "error": 0.005,
        "safety": 2.5,
        "held_out": 5,
        "full_grid": False,
        "reason": "",
    }
    metric = np.where(status == 1, accuracy(loss), np.nan)
    data = surface(loss, status, metrics={"accuracy": metric}, estimate=estimate)
    found = info(data)
    seen = "off by at most 0.2 % on 5 cells that the fit had not seen"  # the largest error of the tests; 2.5 times that is reported
    assert f"20 of 63 cells evaluated, the rest estimated: the loss was {seen}" in found.notes
    assert estimate_error(data) == f"estimates {seen}"
    assert found.fields[0].evaluated is not None
    assert found.fields[0].evaluated.sum() == 20
    assert found.fields[1].missing.sum() == 43  # an estimate without a value is none
    assert not found.fields[1].not_finite.any()
    assert "evaluated cell" not in legend_of(drawn(data))
    assert "evaluated cell" in legend_of(drawn(data, cells=True))
    for cells in (False, True):
        dots = next(trace for trace in draw_plotly(data, cells=cells).data if trace.name == "evaluated cell")
        assert len(dots.x) == 20 * cells
    assert "(estimated)" in draw_plotly(data).data[0].text[0][1]
    own = info(
        surface(loss, status, metrics={"accuracy": metric}, extra={"accuracy_status": np.where(status == 1, 1, 0)}, estimate=estimate)
    )
    assert own.fields[1].missing.sum() == 43


def test_what_a_reader_must_know_is_said() -> None:
    assert not any("BatchNorm" in note for note in info(surface(bowl())).notes)
    for buffers, said in (
        ("path", "buffers of the center"),
        ("final", "buffers of the center"),
        ("recalibrate", "estimated anew at each point"),
    ):
        assert said in info(surface(bowl(), floating_buffers=3, buffers=buffers)).notes[1]
    oblique = info(surface(bowl(), directions={**ATTRS["directions"], "cosine": -0.6}))
    assert "cosine -0.60" in oblique.notes[-1]
    assert info(surface(bowl(), subtitle="scored on 5 samples")).notes == ("scored on 5 samples",)


@pytest.mark.parametrize("name", hard_cases())
def test_every_kind_of_values_is_drawn(name: str) -> None:
    loss = hard_cases()[name]
    data = surface(loss, metrics={"accuracy": accuracy(np.nan_to_num(loss, posinf=9, neginf=9))})
    drawn(data)
    drawn(data, kind="contour")
    figure = draw_plotly(data)
    figure.to_json()
    finite = int(np.isfinite(loss).sum())
    assert np.isfinite(np.asarray(figure.data[0].z, np.float64)).sum() == finite  # nothing is filled in, nothing left out


@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_on_axes_or_alone(kind: str) -> None:
    loss = bowl()
    loss[0, 0] = np.nan
    data = surface(loss, metrics={"accuracy": accuracy(bowl())})
    figure = Figure()
    own = figure.add_subplot(projection="3d" if kind == "3d" else None)
    assert draw_matplotlib(data, own, kind=kind) is own
    figure.savefig(BytesIO(), dpi=40)
    drawn(data, kind=kind, variable="accuracy")


def test_without_a_kind_axes_get_contours_of_the_loss() -> None:
    own = Figure().subplots()
    axis = draw_matplotlib(surface(bowl(), metrics={"accuracy": accuracy(bowl())}), own)
    assert isinstance(axis, Axes)
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("random direction 1", "random direction 2")
    assert axis.get_aspect() == 1.0
    assert (*axis.get_xlim(), *axis.get_ylim()) == (-1, 1, -2, 2)


def test_the_whole_figure_shows_each_kind() -> None:
    figure = drawn(surface(bowl(), metrics={"accuracy": accuracy(bowl())}))
    assert [axis.name for axis in figure.axes] == ["rectilinear", "3d", "rectilinear", "rectilinear"]
    bars = [axis.child_axes[0].get_ylabel() for axis in (figure.axes[0], figure.axes[2])]
    assert bars == ["loss (NLL, nats), log scale", "accuracy"]


def test_cuts_are_the_row_and_the_column_nearest_to_the_center() -> None:
    data = surface(bowl(nx=8))  # no column at 0
    own = Figure().subplots()
    draw_matplotlib(data, own, kind="cuts")
    lines = {str(line.get_label()): line for line in own.lines if not str(line.get_label()).startswith("_")}
    along_x = lines["along x, at y = 0"]
    np.testing.assert_array_equal(along_x.get_ydata(), data["loss"].values[3])
    column = int(np.abs(data["x"].values).argmin())
    along_y = lines[f"along y, at x = {data['x'].values[column]:.3g}"]
    np.testing.assert_array_equal(along_y.get_ydata(), data["loss"].values[:, column])
    np.testing.assert_array_equal(along_y.get_xdata(), data["y"].values)
    assert own.get_xlabel() == "x: random direction 1\ny: random direction 2"


def test_cuts_show_the_standard_error_and_gaps() -> None:
    loss = bowl()
    loss[3, 0] = np.nan
    status = np.where(np.isfinite(loss), 1, 2)
    loss[3, 8], status[3, 8] = np.nan, 0
    data = surface(loss, status, extra={"loss_standard_error": np.full(loss.shape, 0.05)})
    assert [field.name for field in info(data).fields] == ["loss"]
    own = Figure().subplots()
    draw_matplotlib(data, own, kind="cuts")
    labels = own.get_legend_handles_labels()[1]
    assert {"± 2 standard errors", "not finite: 1 of 63 cells", "not scored: 1 of 63 cells"} <= set(labels)
    assert np.isnan(np.asarray(own.lines[0].get_ydata())[[0, 8]]).all()


@pytest.mark.parametrize("shape", [(1, 9), (7, 1)])
def test_one_row_or_column_is_a_line(shape: tuple[int, int]) -> None:
    loss = bowl()[3:4] if shape[0] == 1 else bowl()[:, 4:5]
    assert loss.shape == shape
    loss = loss.copy()
    loss.flat[0] = np.nan
    data = surface(loss, metrics={"accuracy": np.nan_to_num(loss)})
    figure = drawn(data)
    assert [axis.get_ylabel() for axis in figure.axes] == ["loss (NLL, nats)", "accuracy"]
    assert {axis.get_xlabel() for axis in figure.axes} == {f"random direction {1 if shape[0] == 1 else 2}"}
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), np.where(np.isfinite(loss), loss, np.nan).ravel())
    assert f"not finite: 1 of {loss.size} cells" in legend_of(figure)
    page = draw_plotly(data)
    assert page.data[1].name.startswith("not finite: 1 of")
    assert [button.label for button in page.layout.updatemenus[0].buttons] == ["loss", "accuracy"]
    with pytest.raises(ResultError, match="flat axes"):
        draw_matplotlib(data, Figure().add_subplot(projection="3d"), kind="3d")


def test_wrong_options_are_refused() -> None:
    data = surface(bowl())
    with pytest.raises(ResultError, match="contour, heatmap, 3d, cuts"):
        draw_matplotlib(data, kind="pie")
    with pytest.raises(ResultError, match="there are: loss"):
        draw_matplotlib(data, variable="recall")
    with pytest.raises(ResultError, match='projection="3d"'):
        draw_matplotlib(data, Figure().subplots(), kind="3d")
    with pytest.raises(ResultError, match="flat axes"):
        draw_matplotlib(data, Figure().add_subplot(projection="3d"))
    with pytest.raises(ResultError, match="no grid"):
        draw_matplotlib(xr.Dataset(attrs=ATTRS))


def test_many_marks_share_one_sign() -> None:
    marks = [{"x": 0.1 * i, "y": 0.0, "label": f"state {i}"} for i in range(9)]
    assert legend_of(drawn(surface(bowl(), marks=marks))).count("9 stored states") == 1
    assert "state 2" in legend_of(drawn(surface(bowl(), marks=marks[:3])))


def test_marks_that_are_called_the_same_tell_their_places() -> None:
    marks = [{"x": x, "y": 0.0, "label": label} for x, label in ((0.0, "state"), (1.0, "state"), (0.5, "last"))]
    assert [mark[2] for mark in info(surface(bowl(), marks=marks)).marks] == ["state at (0, 0)", "state at (1, 0)", "last"]


def test_plotly_switches_kinds_and_variables() -> None:
    loss = bowl() * 100
    loss[0, 0] = np.nan
    data = surface(loss, metrics={"accuracy": accuracy(bowl())})
    found = info(data)
    figure = draw_plotly(data)
    variables, kinds = figure.layout.updatemenus
    assert [button.label for button in kinds.buttons] == ["contours", "heat map", "3-D"]
    shown = [{trace.type for trace, seen in zip(figure.data, button.args[0]["visible"], strict=True) if seen} for button in kinds.buttons]
    assert shown == [{"heatmap", "contour", "scatter"}, {"heatmap", "scatter"}, {"surface", "scatter3d"}]
    assert {trace.type for trace in figure.data if trace.visible is not False} == shown[0]
    other = variables.buttons[1].args[0]
    np.testing.assert_allclose(other["z"][0], found.fields[1].scale.position(found.fields[1].values))
    assert other["colorbar"][0]["title"]["text"] == "accuracy"
    assert figure.data[0].text[1][0] == f"loss {loss[1, 0]:.5g}"
    np.testing.assert_allclose(figure.data[1].z, found.fields[0].scale.position(loss))
    assert list(figure.data[0].colorbar.ticktext) == found.fields[0].scale.tick_texts


@pytest.mark.parametrize(("kind", "place", "type_"), [("contour", 0, "contour"), ("heatmap", 1, "heatmap"), ("3d", 2, "surface")])
def test_a_page_begins_with_the_kind_that_is_asked_for(kind: str, place: int, type_: str) -> None:
    figure = draw_plotly(surface(bowl()), kind=kind)
    (kinds,) = figure.layout.updatemenus
    assert kinds.active == place
    assert [trace.visible for trace in figure.data] == list(kinds.buttons[place].args[0]["visible"])
    assert type_ in {trace.type for trace in figure.data if trace.visible}
    assert figure.layout.xaxis.visible is (kind != "3d")


def test_plotly_marks_cells_without_a_value() -> None:
    loss = bowl()
    loss[0, 2], loss[5, 1] = np.nan, np.inf
    (marks,) = (trace for trace in draw_plotly(surface(loss)).data if trace.type == "scatter" and trace.name.startswith("not finite"))
    assert marks.name == "not finite: 2 of 63 cells"
    assert list(marks.text) == ["not finite: nan", "not finite: inf"]
    np.testing.assert_allclose(list(zip(marks.x, marks.y, strict=True)), [(-0.5, -2), (-0.75, 4 / 3)])


def test_names_are_shown_as_text() -> None:
    odd = surface(
        bowl(), metrics={HOSTILE: accuracy(bowl())}, title=HOSTILE, subtitle=HOSTILE, axis_labels={"x": "$a_{b}$", "y": HOSTILE},
        marks=[{"x": 0.0, "y": 0.0, "label": HOSTILE}, {"x": 0.5, "y": 0.0, "label": "_hidden %{x} $x^{$"}],
    )  # fmt: skip
    assert "<img" not in draw_plotly(odd).to_html(include_plotlyjs=False)
    assert not any("%{x} $" in str(trace.text) for trace in draw_plotly(odd).data)
    figure = drawn(odd)
    assert HOSTILE in legend_of(figure)
    assert any("_hidden" in label for label in legend_of(figure))
    assert figure.axes[0].get_xlabel() == "$a_{b}$"
    assert not any(text.get_parse_math() for text in figure.legends[0].get_texts())
