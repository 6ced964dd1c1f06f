"""The options that all pictures share, on pictures made by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from thetascope.drawing.fields import Field, GridInfo
from thetascope.drawing.options import PictureOptions
from thetascope.drawing.relief import lifted
from thetascope.drawing.scales import Scale, scale_of
from thetascope.drawing.spec import Bars, ColorBar, Edge, FieldMark, Form, Image, Line, Moving, Panel, Parts, Picture
from thetascope.drawing.with_matplotlib import drawn_on, figure_of
from thetascope.drawing.with_plotly import page_of
from thetascope.errors import ResultError
from thetascope.experiments.framework.picture_options import applied

X = np.linspace(0.0, 1.0, 5)
LOSS, ACCURACY = np.array([4.0, 2.0, 1.0, 0.5, 0.25]), np.linspace(0.1, 0.9, 5)


def curves(*labels: str) -> Picture:
    panels = [
        Panel(name=name, y_label=name, x_label="α", marks=[Line(x=X, y=y, label=label) for label in labels or (f"{name} path",)])
        for name, y in (("loss", LOSS), ("accuracy", ACCURACY))
    ]
    return Picture(title="title", notes=("note",), parts=Parts(parts=panels), width=10, height=4)


def plane(kind: str = "contour", **moving: Any) -> Picture:
    values = np.outer(np.linspace(1.0, 3.0, 4), np.linspace(1.0, 3.0, 5))
    no = np.zeros(values.shape, bool)
    field = Field("loss", "loss", False, values, no, no, None, scale_of(values))
    grid = GridInfo("plane", (), X, X[:4], "x", "y", (field,), None, ())
    marks = [
        FieldMark(grid=grid, field=field, kind=kind),
        Line(x=[0.5], y=[0.5], z=np.array([3.0]) if moving else None, label="state"),
    ]
    parts = Parts(parts=[Panel(marks=marks, x_label="x", y_label="y", crowded=True)])
    return Picture(title="plane", notes=("note",), parts=parts, width=6.4, height=6.4, **moving)


def image() -> Picture:
    values = np.array([[1e-3, 1e-2], [1e-1, 1.0]])
    scale = Scale(np.geomspace(1e-3, 1.0, 4), log=True, even=True)
    marks = [Image(x=np.arange(3.0), y=np.arange(3.0), values=values, scale=scale), ColorBar(scale=scale, label="impact")]
    return Picture(title="image", notes=("note",), parts=Parts(parts=[Panel(marks=marks)]), width=5, height=4)


def given(picture: Picture, form: Form = "figure", **options: Any) -> Picture:
    return applied(PictureOptions(**options), picture, form, "the figure")


def panels(picture: Picture) -> list[Panel]:
    return list(picture.parts.panels)


def edges(panel: Panel) -> list[Edge]:
    return [mark for mark in panel.marks if isinstance(mark, Edge)]


def test_nothing_given_changes_nothing() -> None:
    made = curves()
    assert given(made) is made


def test_texts() -> None:
    made = given(curves(), title="mine", subtitle=False)
    assert (made.title, made.notes) == ("mine", ())
    (only,) = panels(given(curves(), "axes", title="mine"))
    assert only.title == "mine"
    assert panels(given(curves(), "axes", subtitle=False))[0].title == ""


def test_limits_are_those_of_the_first_quantity_and_points_beyond_stand_at_the_edge() -> None:
    made = given(curves(), vmin=0.4, vmax=2.5)
    loss, accuracy = panels(made)
    assert loss.y_range == (0.4, 2.5)
    assert accuracy.y_range is None
    above, below = edges(loss)
    assert (above.label, list(above.at), above.first) == ("above 2.5", [0.0], False)
    assert (below.label, list(below.at), below.first) == ("below 0.4", [1.0], True)
    assert made.notes[-1] == "2 of 5 values lie beyond the axis of loss"
    ax = figure_of(made).axes[0]
    assert ax.get_ylim() == (0.4, 2.5)
    assert [float(np.asarray(line.get_ydata())[0]) for line in ax.lines[1:]] == [0.97, 0.03]
    page = page_of(made)
    assert list(page.layout.yaxis.range) == [0.4, 2.5]
    assert [trace.y[0] for trace in page.data[1:3]] == [2.5, 0.4]


def test_one_limit_leaves_the_other_to_the_values() -> None:
    low, high = panels(given(curves(), vmax=2.0))[0].y_range or (0, 0)
    assert high == 2.0
    assert 0 < low < 0.25


def test_bars_that_lie_across_are_limited_along_their_length() -> None:
    bars = Panel(marks=[Bars(at=[0, 1], lengths=[1.0, 5.0], across=True)], x_label="loss", y_range=(1.5, -0.5))
    (panel,) = panels(given(Picture(title="", notes=(), parts=Parts(parts=[bars]), width=4, height=3), vmax=2.0))
    (edge,) = edges(panel)
    assert panel.x_range is not None
    assert panel.x_range[1] == 2.0
    assert (list(edge.at), edge.upright) == ([1], False)


def test_a_detail_keeps_its_own_axes() -> None:
    detail = replace(panels(curves())[0], x_range=(0.5, 1.0), y_range=(0.2, 1.1))
    made = replace(curves(), parts=Parts(parts=[panels(curves())[0], detail]))
    assert [panel.y_range for panel in panels(given(made, vmin=0.1, vmax=5.0))] == [(0.1, 5.0), (0.2, 1.1)]


def test_logarithmic_or_not() -> None:
    assert [panel.y_log for panel in panels(given(curves(), log=True))] == [True, False]
    logarithmic = replace(panels(curves())[0], y_log=True)
    assert not panels(given(replace(curves(), parts=Parts(parts=[logarithmic])), log=False))[0].y_log
    change = Panel(marks=[Line(x=[0.0, 1.0], y=[-1.0, 1.0])], y_label="change")
    with pytest.raises(ResultError, match='log=True needs values above 0; "change" goes down to -1'):
        given(replace(curves(), parts=Parts(parts=[change])), log=True)
    with pytest.raises(ResultError, match="vmin must be above 0 on a logarithmic axis; got -1"):
        given(curves(), log=True, vmin=-1.0)


def test_a_label_names_the_result_and_its_curves_where_there_are_several() -> None:
    def names(made: Picture) -> list[str]:
        return [mark.label for mark in panels(made)[0].marks]

    assert names(given(curves(), label="SGD")) == ["SGD"]
    assert names(given(curves("linear", "quadratic"), label="SGD")) == ["SGD: linear", "SGD: quadratic"]
    silent = Panel(marks=[Line(x=X, y=LOSS, label="w[0]", listed=False)])
    (mark,) = panels(given(replace(curves("a"), parts=Parts(parts=[panels(curves("a"))[1], silent])), label="SGD"))[1].marks
    assert (mark.label, mark.listed) == ("SGD", True)


def test_two_results_on_one_pair_of_axes_are_told_apart() -> None:
    ax = Figure(figsize=(6, 4)).subplots()
    for label in ("SGD", "Adam"):
        drawn_on(ax, given(curves(), "axes", label=label))
    first, second = ax.lines
    assert first.get_color() != second.get_color()
    assert first.get_linestyle() != second.get_linestyle()
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["SGD", "Adam"]


def test_colours_of_a_plane_end_where_they_should_and_say_so() -> None:
    made = given(plane(), vmin=2.0, vmax=4.0, cmap="magma", levels=4)
    mark = panels(made)[0].marks[0]
    assert isinstance(mark, FieldMark)
    field = mark.field
    np.testing.assert_allclose(field.scale.levels, [2.0, 2.5, 3.0, 3.5, 4.0])
    assert (field.shown.min(), field.shown.max(), field.values.max()) == (2.0, 4.0, 9.0)
    assert field.scale.position(np.array([1.0]))[0] < 0 < 1 < field.scale.position(np.array([9.0]))[0]
    below, above = ((field.values < 2).sum(), (field.values > 4).sum())
    assert made.notes[1:] == (
        f"{below} of 20 cells lie below 2, where the colours of loss end",
        f"{above} of 20 cells lie above 4, where the colours of loss end",
    )
    figure = figure_of(made)
    bar = figure.axes[0].child_axes[0]
    assert len(bar.patches) == 2  # a triangle at each end
    page = page_of(made)
    assert page.data[0].colorscale[0][1] == "#000004"  # magma's
    assert [page.data[0].colorbar.ticktext[i] for i in np.argsort(page.data[0].colorbar.tickvals)[[0, -1]]] == ["≤ 2", "≥ 4"]


def test_levels_lie_where_they_are_given() -> None:
    mark = panels(given(plane(), levels=[1.5, 2.0, 4.0]))[0].marks[0]
    assert isinstance(mark, FieldMark)
    np.testing.assert_allclose(mark.field.scale.levels, [1.0, 1.5, 2.0, 4.0, 9.0])
    with pytest.raises(ResultError, match="no level lies between 1 and 9; got 20, 30"):
        given(plane(), levels=[20, 30])


def test_what_lies_above_a_plane_stays_at_its_value_on_another_scale() -> None:
    made = given(plane(moving=Moving(places=[1], frames=[("0", [Line(x=[0.5], y=[0.5], z=[3.0])])], prefix="")), log=True, vmax=9.0)
    (panel,) = panels(made)
    mark, state = panel.marks
    assert isinstance(mark, FieldMark)
    assert made.moving is not None
    for line in (state, made.moving.frames[0][1][0]):
        assert isinstance(line, Line)
        np.testing.assert_allclose(lifted(line, panel).z, mark.field.scale.position(np.array([3.0])))


def test_images_and_their_bar_have_the_same_colours() -> None:
    made = given(image(), cmap="magma", vmin=5e-3, vmax=0.5)
    picture, bar = panels(made)[0].marks
    assert isinstance(picture, Image)
    assert isinstance(bar, ColorBar)
    assert picture.color_map == bar.color_map == "magma"
    for mark in (picture, bar):
        assert mark.scale is not None
        np.testing.assert_allclose(mark.scale.levels[[0, -1]], (5e-3, 0.5))
    assert (bar.below, bar.above) == (True, True)
    assert made.notes[1:] == ("1 cells lie below 0.005, where the colours end", "1 cells lie above 0.5, where the colours end")
    for even in panels(given(image(), log=False))[0].marks:
        assert isinstance(even, Image | ColorBar)
        assert even.scale is not None
        assert not even.scale.log
    for options in ({"log": False}, {"cmap": "magma", "vmax": 0.5}):
        figure_of(given(image(), **options)).draw_without_rendering()
        page_of(given(image(), **options)).to_json()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cmap": "virids"}, 'matplotlib knows no colour map "virids"; there are viridis'),
        ({"size": 0}, "size= must be a width, or a width and a height, in inches, from 1 to 100; got 0"),
        ({"size": (3, 3, 3)}, "size= must be"),
        ({"levels": 1}, "levels= must be a number from 2 to 200, or values that rise; got 1"),
        ({"levels": [2.0, 1.0]}, "levels= must be"),
        ({"vmin": float("nan")}, "vmin= must be a finite number; got nan"),
        ({"vmin": 2, "vmax": 1}, "vmin must be below vmax; got 2 and 1"),
        ({"title": 3}, "title= must be a text; got 3"),
        ({"subtitle": "no"}, "subtitle= must be True or False"),
        ({"log": "yes"}, "log= must be True or False"),
        ({"label": ""}, "label= must be a text"),
        ({"vmin": 100.0}, "vmin and vmax leave a scale from 100 to 9"),
        ({"log": True, "vmin": -1.0}, "log=True needs values above 0; the lowest is -1"),
    ],
)
def test_values_that_do_not_fit_are_one_error(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ResultError, match=re.escape(said)):
        given(plane(), **options)


def test_an_option_that_does_not_apply_says_which_do() -> None:
    with pytest.raises(
        ResultError, match=r"the figure takes no cmap=: it has no colours .* takes title, subtitle, size, vmin, vmax, label, log$"
    ):
        given(curves(), cmap="magma")
    with pytest.raises(ResultError, match="takes no levels=: it has no contours"):
        given(plane("heatmap"), levels=4)
    with pytest.raises(ResultError, match="takes no size=: axes of your own have their size"):
        given(curves(), "axes", size=3)


def test_panels_stand_below_one_another_where_a_figure_is_narrow() -> None:
    wide, narrow = given(curves(), size=10), given(curves(), size=3.25)
    assert not wide.parts.down
    assert narrow.parts.down
    assert narrow.height > wide.height
    assert (given(curves(), size=(3.25, 2.5)).width, given(curves(), size=(3.25, 2.5)).height) == (3.25, 2.5)
    figure = figure_of(narrow)
    figure.draw_without_rendering()
    upper, lower = (ax.get_window_extent() for ax in figure.axes)
    assert upper.y0 > lower.y1
    assert upper.x0 == pytest.approx(lower.x0, abs=2)
