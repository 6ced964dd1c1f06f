"""One picture, drawn by matplotlib and by plotly."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from thetascope.drawing.scales import even_scale
from thetascope.drawing.spec import (
    INK,
    Area,
    Bars,
    ColorBar,
    Edge,
    Image,
    Line,
    Mark,
    Panel,
    Parts,
    Picture,
    Rule,
    even_epochs,
    stacked,
    unbounded,
)
from thetascope.drawing.style import BLUE, SHADES, ink
from thetascope.drawing.with_matplotlib import drawn_on, figure_of
from thetascope.drawing.with_plotly import drawn_of, page_of

HOSTILE = "_<b> $x^$ %{y}"


def picture(*panels: Panel, **parts: Any) -> Picture:
    return Picture(title=HOSTILE, notes=(HOSTILE,), parts=Parts(parts=panels, **parts), width=6, height=4)


def panel(**axes: Any) -> Panel:
    marks: list[Mark] = [
        Line(x=[0.0, 1.0, 2.0], y=[3.0, np.nan, 1.0], label="curve", layer="a", color=INK, told=["p", "q", HOSTILE]),
        unbounded([0.0, 1.0, 2.0], [3.0, np.nan, 1.0]),
        Bars(at=[0, 1], lengths=[2.0, 4.0], base=1.0, label=HOSTILE, layers=["a", "b"], hatch="//"),
        Rule(at=0.5, label="rule"),
    ]
    return Panel(marks=marks, **axes)


def test_marks_are_the_same_in_both() -> None:
    (ax,) = figure_of(picture(panel())).axes
    line, edge, rule = ax.lines
    page = page_of(picture(panel()))
    curve, bad, bars = page.data
    np.testing.assert_array_equal(line.get_ydata(), curve.y)
    np.testing.assert_array_equal(edge.get_xdata(), bad.x)
    assert list(bad.y) == [5.0]  # the highest that there is
    (container,) = (c for c in ax.containers if isinstance(c, BarContainer))
    drawn = [(bar.get_y(), bar.get_height()) for bar in container.patches]
    np.testing.assert_array_equal(drawn, list(zip(bars.base, bars.y, strict=True)))
    assert rule.get_xdata()[0] == page.layout.shapes[0].x0 == 0.5  # type: ignore[index]
    assert line.get_color() == ink()


def test_each_label_stands_in_the_legend_once() -> None:
    both = picture(panel(), panel())
    figure, page = figure_of(both), page_of(both)
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["curve", "not finite", f" {HOSTILE}", "rule"]  # matplotlib hides what begins with an underscore
    assert not any(text.get_parse_math() for text in figure.legends[0].get_texts())
    listed = [thing.name for thing in (*page.data, *page.layout.shapes) if thing.showlegend]
    assert sorted(listed) == sorted(["curve", "not finite", "_&lt;b&gt; $x^$ &#37;{y}", "rule"])


def test_marks_say_whose_they_are_and_names_are_text() -> None:
    curve, _, bars = page_of(picture(panel())).data
    assert curve.meta == {"layer": "a"}
    assert bars.meta == {"layers": ["a", "b"]}
    assert curve.text[2] == "_&lt;b&gt; $x^$ &#37;{y}"
    assert curve.hovertemplate.startswith("%{text}<br>")


def test_panels_alone_know_their_colours_and_what_is_read_off_along_alpha() -> None:
    dots = Line(x=[0.0], y=[1.0], dash="", marker="circle", face="white", edge=INK)
    over = panel(over_alpha=True, y_label="loss")
    drawn = drawn_of(picture(replace(over, marks=[dots, *over.marks]), panel()))
    assert [drawn.figure.layout[key] for key in ("title.text", "margin.t")] == [None, None]
    assert drawn.figure.to_plotly_json()["layout"]["template"] == {}
    assert drawn.cursors == [{"axes": ["x", "y"], "name": "loss", "curves": [1]}]  # a line; neither dots nor a panel that is not over α
    inks = {(trace, path): colours for trace, path, *colours in drawn.inks}
    assert inks[1, "line.color"] == list(SHADES[INK])
    assert inks[3, "marker.color"] == list(SHADES[BLUE])
    assert (0, "marker.line.color") not in inks  # on a face of their own


def test_flat_traces_are_plain_where_webgl_may_not_be() -> None:
    many = Line(x=np.arange(600.0), y=np.arange(600.0), dash="", marker="circle", layers=["a"] * 600)
    types = [drawn_of(picture(Panel(marks=[many])), webgl=webgl).figure.data[0] for webgl in (True, False)]
    assert [trace.type for trace in types] == ["scattergl", "scatter"]
    assert types[0].meta == types[1].meta


def test_a_narrow_page_has_panels_below_one_another() -> None:
    row = drawn_of(picture(panel(title="one"), panel(title="two", x_label="long " * 20), shared=True)).narrow
    assert row["yaxis.domain"][0] > row["yaxis2.domain"][1] == row["annotations"][1]["y"]
    assert row["yaxis2.showticklabels"]  # no other stands beside it
    assert max(map(len, row["xaxis2.title.text"].split("<br>"))) <= 32
    stack = drawn_of(Picture(title="", notes=(), parts=stacked([panel(), panel()]), width=6, height=4))
    assert not {"yaxis.domain", "annotations"} & stack.narrow.keys()
    assert stack.narrow["height"] > stack.figure.layout.height  # the legend stands below


def test_axes_say_what_the_panel_says() -> None:
    said = panel(x_label="x\ny", y_log=True, y_range=(1.0, 100.0), x_ticks=([0.0, 1.0], ["a", "b"]))
    (ax,) = figure_of(picture(said)).axes
    page = page_of(picture(said))
    assert (ax.get_xlabel(), page.layout.xaxis.title.text) == ("x\ny", "x<br>y")
    assert (ax.get_yscale(), page.layout.yaxis.type) == ("log", "log")
    assert ax.get_ylim() == (1.0, 100.0)
    assert list(page.layout.yaxis.range) == [0.0, 2.0]
    assert [text.get_text() for text in ax.get_xticklabels()] == list(page.layout.xaxis.ticktext) == ["a", "b"]


def test_panels_lie_where_the_parts_say() -> None:
    rows = picture(*[panel() for _ in range(5)], columns=2)
    figure = figure_of(rows)
    figure.draw_without_rendering()
    at = [ax.get_position() for ax in figure.axes]
    assert at[0].y0 == at[1].y0 > at[2].y0 == at[3].y0 > at[4].y0
    layout = page_of(rows).layout
    assert layout.xaxis.domain == layout.xaxis3.domain == layout.xaxis5.domain
    assert layout.yaxis.domain[0] > layout.yaxis3.domain[1] > layout.yaxis5.domain[1]
    shared = Picture(title="", notes=(), parts=stacked([panel(x_label="x")] * 2), width=6, height=4)
    assert [ax.get_xlabel() for ax in figure_of(shared).axes] == ["", "x"]
    assert page_of(shared).layout.xaxis2.matches == "x"


def test_the_first_panel_is_drawn_on_axes() -> None:
    ax = Figure().subplots()
    assert drawn_on(ax, picture(panel(y_label="first"), panel(y_label="second"))) is ax
    assert isinstance(ax, Axes)
    assert ax.get_ylabel() == "first"
    assert ax.get_legend() is not None


def test_buttons_of_a_page_put_others_in_a_panel_s_place() -> None:
    other = Panel(marks=[Line(x=[0], y=[1], label="other")], y_label="other")
    page = page_of(picture(replace(panel(), name="one", others=[("two", other)]), panel()))
    one, two = page.layout.updatemenus[0].buttons
    assert [trace.visible for trace in page.data[:4]] == [True, True, True, False]
    assert one.args[0]["visible"] == [True] * 3 + [False] + [True] * 3
    assert two.args[0]["visible"] == [False] * 3 + [True] + [True] * 3
    assert two.args[1]["yaxis.title.text"] == "other"


@pytest.mark.parametrize("marks", [[], [Edge(at=[])], [Line(x=[], y=[])]])
def test_nothing_still_draws(marks: list[Mark]) -> None:
    nothing = picture(Panel(marks=marks, y_log=True), panel())
    assert len(figure_of(nothing).axes) == 1 + bool(marks)
    page_of(nothing).to_json()


def test_epochs_that_rise_unevenly_have_no_axis() -> None:
    assert even_epochs(np.array([0.0, 0.5, 1.0]), np.array([2.0, 3.0, 4.0])) == (2.0, 4.0)
    assert even_epochs(np.array([0.0, 0.5, 1.0]), np.array([2.0, 2.2, 4.0])) is None
    assert even_epochs(np.array([0.0, 1.0]), np.array([np.nan, np.nan])) is None


def banded(y: list[float], spread: list[float], **axes: Any) -> Panel:
    line = Line(x=np.arange(float(len(y))), y=np.array(y), spread=np.array(spread), spread_label="band", label="curve", layer="a")
    return Panel(marks=[line, replace(line, label="other", layer="b")], **axes)


def test_bands_are_the_same_areas_in_both_with_gaps_where_nothing_is_known() -> None:
    drawn = picture(banded([1, 2, 3, 4, 5, 6], [0.5, 0.5, np.nan, 0.5, 0.25, 0.25]))
    figure, page = figure_of(drawn), page_of(drawn)
    areas = [patch for patch in figure.axes[0].patches if isinstance(patch, Polygon)]
    bands = [trace for trace in page.data if trace.fill == "toself"]
    assert len(areas) == len(bands) == 4
    for area, band in zip(areas, bands, strict=True):
        np.testing.assert_allclose(np.asarray(area.get_xy())[:-1], np.stack([band.x, band.y], axis=1))
    assert list(bands[0].x) == [0, 1, 1, 0]
    assert list(bands[0].y) == [0.5, 1.5, 2.5, 1.5]
    assert [(band.legendgroup, band.meta["layer"], band.mode, band.hoverinfo) for band in bands[::2]] == [
        ("curve", "a", "none", "skip"),
        ("other", "b", "none", "skip"),
    ]  # choosing a curve chooses its band, and no band is taken for a curve
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["curve", "other", "band"]
    assert sorted(trace.name for trace in page.data if trace.showlegend) == ["band", "curve", "other"]
    curve = page.data[0]
    assert curve.error_y.array is None
    assert "± %{customdata" in curve.hovertemplate
    np.testing.assert_array_equal(curve.customdata, [0.5, 0.5, np.nan, 0.5, 0.25, 0.25])


def test_a_band_below_0_ends_within_a_logarithmic_axis() -> None:
    drawn = picture(banded([1.0, 0.2], [0.5, 0.5], y_log=True))
    (area, _), band = figure_of(drawn).axes[0].patches, next(trace for trace in page_of(drawn).data if trace.fill)
    assert min(band.y) == np.asarray(area.get_xy())[:, 1].min() == 0.1  # type: ignore[attr-defined]


def test_any_area_is_drawn_by_both() -> None:
    drawn = picture(Panel(marks=[Area(x=[0, 1, 0.5], y=[0, 0, 1], label="hill", color="#112233", edge=INK, opacity=0.5)]))
    (patch,), (trace, *rest) = figure_of(drawn).axes[0].patches, page_of(drawn).data
    assert not rest
    assert patch.get_facecolor() == (0x11 / 255, 0x22 / 255, 0x33 / 255, 0.5)
    assert (trace.fillcolor, trace.opacity, trace.name, trace.showlegend) == ("#112233", 0.5, "hill", True)


@pytest.mark.parametrize(
    ("values", "log"), [([[0.5, 0.6], [0.9, np.nan]], False), ([[1e-3, 1e-2], [10.0, np.nan]], True), ([[2.0, 2.0]] * 2, False)]
)
def test_images_have_the_colours_of_their_scale_in_both(values: list[list[float]], log: bool) -> None:
    at, scale = np.arange(3.0), even_scale(np.array(values))
    assert scale.log is log
    marks = [
        Image(x=at, y=at, values=np.array(values), scale=scale, color_map="cividis"),
        ColorBar(scale=scale, color_map="cividis", label="v"),
    ]
    figure, page = figure_of(picture(Panel(marks=marks))), page_of(picture(Panel(marks=marks)))
    (mesh,) = (mesh for mesh in figure.axes[0].collections if isinstance(mesh, QuadMesh))
    image, bar = page.data
    assert mesh.cmap.name == "cividis"
    places, colors = zip(*image.colorscale, strict=True)
    for value in np.array(values)[np.isfinite(values)]:
        share = (value - image.zmin) / (image.zmax - image.zmin)
        ours = to_rgb(colors[int(np.abs(np.array(places) - share).argmin())])
        np.testing.assert_allclose(ours, mesh.cmap(mesh.norm(value))[:3], atol=0.03)
    assert list(bar.marker.colorbar.ticktext) == scale.tick_texts
    assert [text.get_text() for text in figure.axes[0].child_axes[0].get_yticklabels()] == scale.tick_texts
    assert image.z[1][1] != image.z[1][1] or values[1][1] == 2.0  # nan stays blank


def test_an_image_without_colours_draws_what_is_marked() -> None:
    cells = np.ones((1, 1), bool)
    image = Image(
        x=np.arange(2.0), y=np.arange(2.0), values=np.full((1, 1), np.nan), scale=None, marked=[("bad", "#D55E00", cells, ["why"])]
    )
    drawn = picture(Panel(marks=[image, ColorBar(scale=None, label="loss")]))
    assert [text.get_text() for text in figure_of(drawn).legends[0].get_texts()] == ["bad"]
    assert [list(trace.text) for trace in page_of(drawn).data if trace.name == "bad"] == [["why"]]


@pytest.mark.parametrize("ends", [(0.0, 0.0), (-0.0, 0.0), (1.0, 1.0), (math.nan, 1.0), (0.0, math.inf)])
def test_a_range_without_extent_is_left_to_what_draws(ends: tuple[float, float]) -> None:
    panel = Panel(marks=[Line(x=np.arange(3.0), y=np.arange(3.0))], y_range=ends, x_range=(0.0, 2.0))
    assert (panel.y_range, panel.x_range) == (None, (0.0, 2.0))
    drawn = figure_of(Picture(title="", notes=(), parts=stacked([panel]), width=6, height=4))
    low, high = drawn.axes[0].get_ylim()
    assert low < 0 < 2 < high
