"""Pictures put together: one scale, common axes, names, as data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from thetascope.drawing.fields import Field, grid_info
from thetascope.drawing.joined import joined
from thetascope.drawing.spec import CYCLE, INK, Bars, Boxes, Edge, FieldMark, Line, Panel, Parts, Picture, Rule, Texts, stacked


def plane(high: float, name: str = "loss", reach: float = 1.0, **axes: Any) -> Panel:
    """A bowl from 0.1 to `high` over a grid of 5 × 4 cells."""
    x, y = np.linspace(-reach, reach, 5), np.linspace(-1, 1, 4)
    bowl = np.hypot(*np.meshgrid(x, y))
    values = 0.1 + (high - 0.1) * (bowl - bowl.min()) / np.ptp(bowl)
    data = xr.Dataset(
        {name: (("y", "x"), values), "status": (("y", "x"), np.ones((4, 5), np.int8))},
        coords={"x": x, "y": y},
        attrs={"experiment": "surface", "scored": [name], "loss_name": "nll", "samples_scored": 10, "floating_buffers": 0},
    )
    grid = grid_info(data)
    return Panel(marks=[FieldMark(grid=grid, field=grid.fields[0])], name=name, **{"x_label": "x", "y_label": "y", **axes})


def of(*panels: Panel, title: str = "a title", notes: tuple[str, ...] = (), width: float = 6.4) -> Picture:
    return Picture(title=title, notes=notes, parts=Parts(parts=panels), width=width, height=5.0)


def curve(y: Any, **style: Any) -> Line:
    return Line(x=[0.0, 1.0], y=y, **{"label": "path", **style})


def fields(picture: Picture) -> list[Field]:
    panels = [shown for panel in picture.parts.panels for shown in (panel, *(other for _, other in panel.others))]
    return [mark.field for panel in panels for mark in panel.marks if isinstance(mark, FieldMark)]


def bars(picture: Picture) -> list[bool | None]:
    return [mark.bar for panel in picture.parts.panels for mark in panel.marks if isinstance(mark, FieldMark)]


def test_planes_have_one_scale_over_all_values_and_one_bar() -> None:
    made = joined({"low": of(plane(1.0)), "high": of(plane(2.0))}, "figure")
    one, other = fields(made)
    assert one.scale is other.scale
    assert one.scale.levels[[0, -1]].tolist() == pytest.approx([0.1, 2.0])
    np.testing.assert_array_equal(one.values, fields(of(plane(1.0)))[0].values)
    assert one.pooled is not None
    np.testing.assert_array_equal(one.pooled, np.concatenate([one.values.ravel(), other.values.ravel()]))
    assert bars(made) == [False, True]
    assert [panel.title for panel in made.parts.panels] == ["low", "high"]
    assert made.notes[0] == "one scale of colours and heights for all"


def test_a_scale_is_logarithmic_for_all_where_that_shows_all_better() -> None:
    alone = fields(of(plane(1.0)))[0]
    one, other = fields(joined({"low": of(plane(1.0)), "high": of(plane(1e5))}, "figure"))
    assert not alone.scale.log
    assert one.scale.log
    assert one.log
    assert other.scale is one.scale


def test_each_quantity_has_a_scale_of_its_own() -> None:
    pair = {label: of(plane(high), plane(high / 4, "accuracy")) for label, high in (("a", 1.0), ("b", 2.0))}
    loss, share, other_loss, other_share = fields(joined(pair, "figure"))
    assert loss.scale is other_loss.scale
    assert share.scale is other_share.scale
    assert share.scale.levels[-1] == pytest.approx(0.5)
    assert share.scale.even
    assert bars(joined(pair, "figure")) == [None] * 4  # pictures of several panels keep their bars


def test_losses_that_are_called_otherwise_are_called_by_what_they_share() -> None:
    other = plane(2.0)
    mark = other.marks[0]
    assert isinstance(mark, FieldMark)
    other = replace(other, marks=[replace(mark, field=replace(mark.field, label="loss (MSE)"))])
    assert {field.label for field in fields(joined({"a": of(plane(1.0)), "b": of(other)}, "figure"))} == {"loss"}


def test_a_page_that_switches_has_one_scale_too() -> None:
    switching = {
        label: of(replace(plane(high), others=[("accuracy", plane(high / 4, "accuracy"))])) for label, high in (("a", 1.0), ("b", 2.0))
    }
    made = joined(switching, "page", views=True)
    (panel,) = made.parts.panels
    assert [panel.name, *(name for name, _ in panel.others)] == ["a: loss", "a: accuracy", "b: loss", "b: accuracy"]
    assert len({id(field.scale) for field in fields(made)}) == 2
    beside = joined(switching, "page")
    assert [panel.name for panel in beside.parts.panels] == ["loss", "loss"]
    assert bars(beside) == [False, True]


def test_a_page_switches_to_what_all_have() -> None:
    rich = replace(plane(1.0), others=[("accuracy", plane(0.5, "accuracy"))])
    made = joined({"a": of(rich), "b": of(plane(2.0))}, "page")
    assert [panel.others for panel in made.parts.panels] == [[], []]


def test_planes_over_the_same_axes_have_one_range() -> None:
    one, other = joined({"a": of(plane(1.0)), "b": of(plane(1.0, reach=2.0))}, "figure").parts.panels
    assert one.x_range == other.x_range == (-2.0, 2.0)
    assert (one.y_label, other.y_label) == ("y", "")  # once a row
    own = {"a": of(plane(1.0, x_label="PC 1: 80 %")), "b": of(plane(1.0, x_label="PC 1: 90 %", reach=2.0))}
    assert [panel.x_range for panel in joined(own, "figure").parts.panels] == [None, None]


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3), (9, 3), (10, 4)])
def test_panels_stand_in_rows_that_are_not_too_wide(count: int, columns: int) -> None:
    made = joined({f"{k}": of(plane(1.0 + k)) for k in range(count)}, "figure")
    assert made.parts.columns == columns
    assert made.width <= 14
    assert [bar for bar in bars(made) if bar] == [True]


MARKS: tuple[tuple[Any, tuple[float, float]], ...] = (
    (curve([1.0, 3.0]), (1.0, 3.0)),
    (curve([1.0, 3.0], spread=np.array([0.5, 1.0])), (0.5, 4.0)),
    (Bars(at=[0.0], lengths=[4.0], base=1.0), (1.0, 5.0)),
    (Boxes(at=np.zeros(1), values=np.array([[2.0, 8.0]]), face="white"), (2.0, 8.0)),
    (Rule(at=2.0, to=6.0, upright=False), (2.0, 6.0)),
)


@pytest.mark.parametrize(("mark", "reach"), MARKS, ids=lambda value: type(value).__name__)
def test_axes_reach_as_far_as_what_lies_on_any_of_them(mark: Any, reach: tuple[float, float]) -> None:
    small = Panel(marks=[curve([reach[0], reach[0]])], y_label="loss")
    one, other = joined({"a": of(small), "b": of(Panel(marks=[mark], y_label="loss"))}, "figure").parts.panels
    assert one.y_range == other.y_range
    assert one.y_range is not None
    low, high = one.y_range
    assert low < reach[0] < reach[1] < high
    assert high - low < 1.2 * (reach[1] - reach[0])


def test_axes_are_logarithmic_where_one_is_and_all_can_be() -> None:
    def drawn(low: float) -> list[Panel]:
        pair = {"a": of(Panel(marks=[curve([0.01, 100.0])], y_log=True)), "b": of(Panel(marks=[curve([low, 1.0])]))}
        return list(joined(pair, "figure").parts.panels)

    assert [panel.y_log for panel in drawn(0.1)] == [True, True]
    assert [panel.y_log for panel in drawn(-1.0)] == [False, False]


def test_names_along_an_axis_and_backward_axes_stay() -> None:
    ticks = ([0.0], ["conv1"])
    pair = {}
    for label, size in (("a", 1.0), ("b", 3.0)):
        marks = [Bars(at=[0.0], lengths=[size], across=True)]
        pair[label] = of(Panel(marks=marks, y_ticks=ticks, y_range=(0.5, -0.5), x_label=f"loss\nfinal {size}"))
    one, other = joined(pair, "figure").parts.panels
    assert one.y_range == (0.5, -0.5)
    assert one.x_range == other.x_range
    assert one.x_range is not None
    assert one.x_range[1] > 3.0


def test_an_axis_of_words_runs_on_backwards() -> None:
    bars_of = {label: Bars(at=["flat", "bump"][:count], lengths=[0.5] * count, across=True) for label, count in (("a", 1), ("b", 2))}
    pair = {label: of(Panel(marks=[bar], y_range=(len(bar.at) - 0.5, -0.5))) for label, bar in bars_of.items()}
    assert [panel.y_range for panel in joined(pair, "page").parts.panels] == [(1.5, -0.5)] * 2


def test_what_only_some_show_is_called_by_their_label() -> None:
    pair = {
        "a": of(Panel(marks=[curve([1, 2], label="conv1 (0.5)"), Edge(at=[0.0])])),
        "b": of(Panel(marks=[curve([1, 2], label="conv1 (0.7)"), Edge(at=[0.0])])),
    }
    labels = [[mark.label for mark in panel.marks] for panel in joined(pair, "figure").parts.panels]
    assert labels == [["a: conv1 (0.5)", "not finite"], ["b: conv1 (0.7)", "not finite"]]


def test_curves_on_common_axes_are_told_apart() -> None:
    pictures = {label: of(Panel(marks=[curve([1, 2]), curve([2, 1], color="#E69F00", dash="dot")], y_label="loss")) for label in "abc"}
    (panel,) = joined(pictures, "figure", common=True).parts.panels
    lines = [mark for mark in panel.marks if isinstance(mark, Line)]
    assert len({line.color for line in lines}) == 6
    assert [line.label for line in lines[:2]] == ["a: path", "a: path"]
    assert INK not in {line.color for line in lines}


def test_many_results_have_a_colour_each_and_then_other_dashes() -> None:
    pictures = {f"{k}": of(Panel(marks=[curve([1, 2]), curve([2, 1], color="#E69F00", dash="dot")])) for k in range(9)}
    (panel,) = joined(pictures, "figure", common=True).parts.panels
    lines = [mark for mark in panel.marks if isinstance(mark, Line)]
    by_label = [{line.color for line in lines[k : k + 2]} for k in range(0, 18, 2)]
    assert all(len(colors) == 1 for colors in by_label)
    assert [next(iter(colors)) for colors in by_label[:6]] == list(CYCLE[:6])
    assert len({(line.color, line.dash) for line in lines}) == 18


def test_only_panels_that_all_have_are_laid_over_one_another() -> None:
    loss, accuracy = (Panel(marks=[curve([1, 2])], name=name, y_label=name) for name in ("loss", "accuracy"))
    both = replace(of(loss), parts=stacked([loss, accuracy], (2, 1)))
    for pictures in ({"a": both, "b": of(loss)}, {"b": of(loss), "a": both}):
        made = joined(pictures, "figure", common=True)
        assert [panel.name for panel in made.parts.panels] == ["loss"]


def test_what_differs_on_common_axes_is_not_said_of_all() -> None:
    knots = [Rule(at=0.0), Rule(at=0.5)]
    one = Panel(marks=[curve([1, 2]), *knots], name="loss", y_label="loss (NLL)", epochs=(0.0, 5.0))
    other = Panel(marks=[curve([1, 2]), Rule(at=0.0), Rule(at=0.4)], name="loss", y_label="loss (MSE)", epochs=(0.0, 9.0))
    (panel,) = joined({"a": of(one), "b": of(other)}, "figure", common=True).parts.panels
    assert [mark.at for mark in panel.marks if isinstance(mark, Rule)] == [0.0, 0.5, 0.4]
    assert panel.epochs is None
    assert panel.y_label == "loss"
    (same,) = joined({"a": of(one), "b": of(one)}, "figure", common=True).parts.panels
    assert same.epochs == (0.0, 5.0)
    assert same.y_label == "loss (NLL)"


@pytest.mark.parametrize(
    ("titles", "title"),
    [
        (("Loss surface", "Loss surface"), "Loss surface"),
        (("Test size: 5 samples", "Test size: 9 samples"), "Test size"),
        (("Linear path through it", "Quadratic path through it"), "Path through it"),
        (("One", "Other"), "One / Other"),
    ],
)
def test_a_title_says_what_all_show(titles: tuple[str, str], title: str) -> None:
    made = joined({label: of(plane(1.0), title=own) for label, own in zip("ab", titles, strict=True)}, "figure")
    assert made.title == title
    told = [f"{label}: {own}" for label, own in zip("ab", titles, strict=True)]
    assert (list(made.notes[:2]) == told) is (len(set(titles)) > 1)


def test_notes_that_all_share_stand_once() -> None:
    pair = {"a": of(plane(1.0), notes=("10 samples", "oblique")), "b": of(plane(1.0), notes=("10 samples", "straight"))}
    assert joined(pair, "figure", ["at last"]).notes[1:] == ("10 samples", "a: oblique", "b: straight", "at last")
    pair["b"] = replace(pair["b"], notes=("straight", "10 samples"))  # in another place
    assert joined(pair, "figure").notes[1:] == ("10 samples", "b: straight", "a: oblique")


def test_texts_and_what_is_no_curve_stay_as_they_are() -> None:
    texts = Texts(x=[0.0], y=[0.0], texts=["1"], ways=[(0.0, 1.0)])
    (panel,) = joined({"a": of(Panel(marks=[texts])), "b": of(Panel(marks=[curve([1, 2])]))}, "figure", common=True).parts.panels
    assert panel.marks[0] is texts
