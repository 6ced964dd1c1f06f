from __future__ import annotations

from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import nn

import thetascope as ts
from thetascope.drawing.spec import Bars, Line, Panel
from thetascope.errors import ResultError
from thetascope.experiments.framework.pictures import draw_matplotlib, draw_plotly
from thetascope.experiments.layer_roles.picture import BAR, BARS, picture
from thetascope.experiments.layer_roles.ranking import ranked
from thetascope.experiments.layer_roles.words import WORDS
from thetascope.testing.models import case

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def data() -> xr.Dataset:
    """Four layers of known losses: final 0.5, initial 2.5, so that the threshold lies at 1."""
    chosen = case("LeNet")
    objective = ts.Objective(chosen.model(), chosen.data(), loss=chosen.loss)
    made = ts.layer_roles(objective, ts.Trajectory.from_states(chosen.states(2)), draws=3, layers=["conv*", "fc[12]"], progress=False)
    data = made.data.copy(deep=True)
    data["end_loss"][:] = [2.5, 0.5]
    data["reinit_loss"][:] = [0.6, 1.5, 0.4, 2.0]
    data["share"] = (data["reinit_loss"] - 0.5) / 2.0
    data["role"][:] = ["ambient", "critical", "ambient", "critical"]
    data["rerandom_loss"][:] = np.array([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0], [0.5, 0.5, 0.8], [3.0, 1.0, 2.0]])
    data["critical_in"] = ("layer", ["", "both", "", "both"])
    data.attrs |= {"undecided": [], "gain": 2.0, "gain_from": "initial", "gain_accuracy": 0.0}
    return data


def drawn(data: xr.Dataset) -> Figure:
    figure = draw_matplotlib(data)
    assert isinstance(figure, Figure)
    figure.savefig(BytesIO())
    return figure


def panels(data: xr.Dataset) -> list[Panel]:
    return list(picture(data).parts.panels)


def ends(panel: Panel) -> list[list[float]]:
    """Where the bars of both kinds end."""
    return [(bars.base + bars.lengths).tolist() for bars in panel.marks if isinstance(bars, Bars)]


def lines(panel: Panel) -> dict[str, float]:
    """Where the lines across all rows stand, by the first word of what they are called."""
    return {
        mark.label.split()[0].rstrip(":"): mark.x[0] for mark in panel.marks if isinstance(mark, Line) and len(mark.x) == 2 and mark.label
    }


def altered(data: xr.Dataset, **variables: Any) -> xr.Dataset:
    data = data.copy(deep=True)
    for name, values in variables.items():
        data[name] = (data[name].dims, np.asarray(values))
    return data


def renamed(data: xr.Dataset, names: list[str]) -> xr.Dataset:
    return data.assign_coords(layer=names)


def test_layers_are_ranked_by_share(data: xr.Dataset) -> None:
    _, rows = ranked(data)
    assert [row.name for row in rows] == ["fc2", "conv2", "conv1", "fc1"]
    assert [row.role for row in rows] == ["critical", "critical", "ambient", "ambient"]
    assert [row.verdict for row in rows] == ["● critical  75 %", "● critical  50 %", "○ ambient  5.0 %", "○ ambient  −5.0 %"]
    loss, accuracy = panels(data)
    assert ends(loss) == [pytest.approx([2.0, 1.5, 0.6, 0.4]), pytest.approx([2.0, 2.0, 2.0, 0.6])]
    assert lines(loss) == {"initial": 2.5, "final": 0.5, "threshold": 1.0}
    assert not loss.x_log
    assert "threshold" not in lines(accuracy)
    assert ends(accuracy)[0] == pytest.approx(data["reinit_accuracy"].values[[3, 1, 0, 2]].tolist())
    assert "10 samples" in picture(data).notes[0]


def test_undecided_layers_come_last_in_their_own_order(data: xr.Dataset) -> None:
    _, some = ranked(altered(data, share=[np.nan, 0.5, np.nan, 0.75]))
    assert [row.name for row in some] == ["fc2", "conv2", "conv1", "fc1"]
    _, none = ranked(altered(data, share=[np.nan] * 4))
    assert [row.name for row in none] == ["conv1", "conv2", "fc1", "fc2"]


def test_bars_start_at_the_final_value_and_end_at_the_layers(data: xr.Dataset) -> None:
    axis = drawn(data).axes[0]
    reinit, rerandom = (c for c in axis.containers if isinstance(c, BarContainer))
    for bars, ends, shift in ((reinit, [2.0, 1.5, 0.6, 0.4], -BAR / 2), (rerandom, [2.0, 2.0, 2.0, 0.6], BAR / 2)):
        for row, (bar, end) in enumerate(zip(bars.patches, ends, strict=True)):
            assert bar.get_x() == 0.5
            assert bar.get_x() + bar.get_width() == pytest.approx(end)
            assert bar.get_y() + bar.get_height() / 2 == pytest.approx(row + shift)
    assert [bar.get_hatch() for bar in (*reinit.patches[:1], *rerandom.patches[:1])] == [None, "////"]  # told apart in grey
    lines = {str(line.get_label()): line for line in axis.lines}
    assert np.asarray(lines["threshold: 25 % of the gain"].get_xdata())[0] == 1.0
    assert np.asarray(lines["initial state"].get_xdata())[0] == 2.5
    dots = lines["each draw, lowest to highest"]
    assert sorted(np.asarray(dots.get_xdata()).tolist()) == sorted(data["rerandom_loss"].values.ravel().tolist())
    assert axis.get_ylim()[0] > axis.get_ylim()[1]  # the first row on top


def test_all_panels_or_one_on_an_axis(data: xr.Dataset, tmp_path: Path) -> None:
    figure = drawn(data)
    assert [axis.get_xlabel().split("\n")[0] for axis in figure.axes] == ["loss (NLL, nats)", "accuracy"]
    assert "final 0.5, initial 2.5, threshold 1" in figure.axes[0].get_xlabel().replace("\n", " ")
    assert figure.axes[0].get_yticklabels()[0].get_text() == "fc2\n● critical  75 %"
    figure.savefig(tmp_path / "a.svg")
    own = Figure().subplots()
    axis = draw_matplotlib(data, own, variable="accuracy")
    assert axis is own
    assert isinstance(axis, Axes)
    assert axis.get_xlabel().startswith("accuracy")
    with pytest.raises(ResultError, match="loss, accuracy"):
        draw_matplotlib(data, own, variable="recall")


@pytest.mark.parametrize("size", [(3.3, 3.0), (6.4, 4.8), (10, 12)])
def test_the_legend_on_an_axis_covers_no_row(data: xr.Dataset, size: tuple[float, float]) -> None:
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    figure.savefig(BytesIO())
    draw_matplotlib(data, axis)
    figure.savefig(BytesIO())
    legend = axis.get_legend()
    assert legend is not None
    highest = axis.transData.transform((0, -BAR))[1]
    assert legend.get_window_extent().y0 >= highest
    assert legend.get_window_extent().y1 <= figure.bbox.y1  # not cut off


def headings(figure: Figure) -> list[Text]:
    """The title and the notes."""
    texts: list[Any] = figure.findobj(Text)
    found = [text for text in texts if text.get_text().startswith(("Critical and", "one layer changed"))]
    assert len(found) == 2
    return found


def test_the_figure_s_parts_do_not_overlap(data: xr.Dataset) -> None:
    names = [f"encoder.layers.{i}.self_attention.attention.output.projection.dense" for i in range(4)]
    figure = drawn(renamed(data, names))
    canvas = figure.bbox
    legend = figure.legends[0].get_window_extent()
    for axis in figure.axes:
        around = axis.get_tightbbox()
        assert around is not None
        assert not legend.overlaps(around)
    for text in (*figure.axes[0].get_yticklabels(), *headings(figure)):
        extent = text.get_window_extent()
        assert extent.x0 >= canvas.x0
        assert extent.x1 <= canvas.x1
    labels = [text.get_text().split("\n")[0] for text in figure.axes[0].get_yticklabels()]
    assert len(set(labels)) == 4
    assert all(len(label) == 44 and "…" in label for label in labels)


def test_names_that_would_become_the_same_are_not_shortened(data: xr.Dataset) -> None:
    names = [f"{'a' * 30}{middle}{'b' * 30}" for middle in "wxyz"]
    labels = [text.get_text().split("\n")[0] for text in drawn(renamed(data, names)).axes[0].get_yticklabels()]
    assert sorted(labels) == names


def of_layers(count: int, draws: int) -> xr.Dataset:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(count)))
    states = [{name: tensor + shift for name, tensor in model.state_dict().items()} for shift in (0.0, 0.01)]
    objective = ts.Objective(model, (torch.randn(5, 4), torch.randint(4, (5,))))
    return ts.layer_roles(objective, ts.Trajectory.from_states(states), draws=draws, progress=False).data


def test_the_height_grows_with_the_layers_so_that_none_overlap() -> None:
    figure = drawn(of_layers(BARS, 1))
    extents = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(extents) == BARS
    for upper, lower in pairwise(extents):
        assert upper.y0 > lower.y1
    assert not figure.legends[0].get_window_extent().overlaps(figure.axes[0].get_window_extent())


def test_more_layers_are_rows_of_an_image_with_every_draw_and_the_roles_as_marks() -> None:
    data = of_layers(BARS + 6, 3).copy(deep=True)
    roles = ["critical", *["ambient"] * (BARS + 4), "undecided"]
    data["role"] = ("layer", roles)
    data["share"] = ("layer", np.linspace(0.9, 0.1, BARS + 6)[::-1])  # ranked, the last would come first
    figure = drawn(data)
    axis = figure.axes[0]
    mesh = next(mesh for mesh in axis.collections if isinstance(mesh, QuadMesh))
    values: Any = np.ma.filled(np.ma.asarray(mesh.get_array()), np.nan)
    np.testing.assert_allclose(values[:, 0], data["reinit_loss"])
    np.testing.assert_allclose(values[:, 2:], data["rerandom_loss"])
    assert np.isnan(values[:, 1]).all()  # a gap
    marks = {str(line.get_label()): line for line in axis.lines if str(line.get_label()).startswith(("crit", "amb", "und"))}
    told = {name.partition(":")[0]: (line.get_marker(), np.asarray(line.get_ydata()).tolist()) for name, line in marks.items()}
    assert told["critical"] == ("o", [0.5])
    assert told["undecided"] == ("x", [BARS + 5.5])
    assert {text.get_text() for text in figure.legends[0].get_texts()} == set(marks)
    extents = [label.get_window_extent() for label in axis.get_yticklabels()]
    for upper, lower in pairwise(extents):
        assert upper.y0 > lower.y1
    image, *rest = draw_plotly(data).data
    np.testing.assert_allclose(np.asarray(image.z)[:, 2:], data["rerandom_loss"], rtol=1e-6)
    assert image.meta["layers"] == data["layer"].values.tolist()
    assert image.text[0][3] == f"{data['layer'].values[0]}<br>● critical  10 %<br>draw 1 of 3"
    assert any(trace.name == f"critical: 1 of {BARS + 6} layers" for trace in rest)


def test_values_that_are_not_finite_are_marked_and_not_averaged_away(data: xr.Dataset) -> None:
    draws = data["rerandom_loss"].values.copy()
    draws[3, 1:] = [np.inf, np.inf]
    status = np.where(np.isfinite(draws), 1, 2)
    bad = altered(
        data, rerandom_loss=draws, rerandom_status=status, reinit_loss=[np.nan, 1.5, 0.4, 2.0], reinit_status=[2, 1, 1, 1],
        share=[np.nan, 0.5, -0.05, 0.75],
    )  # fmt: skip
    assert np.isnan(ends(panels(bad)[0])[1][0])  # fc2 has 2 draws that are not finite
    axis = drawn(bad).axes[0]
    (marks,) = (line for line in axis.lines if str(line.get_label()).startswith("not finite"))
    np.testing.assert_allclose(np.asarray(marks.get_ydata()), [3 - BAR / 2, 0 + BAR / 2])
    assert [text.get_text() for text in axis.texts] == ["2 of 3"]
    figure = draw_plotly(bad)
    (trace,) = (t for t in figure.data if t.name.startswith("not finite") and len(t.x))
    assert list(trace.text) == ["conv1<br>re-initialised: not finite", "fc2<br>re-randomised: 2 of 3 draws not finite"]


def test_nothing_finite_at_all_still_draws(data: xr.Dataset) -> None:
    nans = {name: np.full(data[name].shape, np.nan) for name in ("reinit_loss", "rerandom_loss", "end_loss", "share")}
    twos = {name: np.full(data[name].shape, 2) for name in ("reinit_status", "rerandom_status", "end_status")}
    broken = altered(data, **nans, **twos, role=["undecided"] * 4)
    drawn(broken)
    draw_plotly(broken).to_json()


def test_a_final_state_that_is_not_finite_still_shows_the_layers(data: xr.Dataset) -> None:
    broken = altered(data, end_loss=[2.5, np.nan], share=[np.nan] * 4)
    bars = next(c for c in drawn(broken).axes[0].containers if isinstance(c, BarContainer))
    assert [bar.get_width() for bar in bars.patches] == [0.6, 1.5, 0.4, 2.0]


def test_losses_far_beyond_the_gain_are_drawn_on_a_logarithmic_axis(data: xr.Dataset) -> None:
    far = data["rerandom_loss"].values * 100
    assert panels(altered(data, rerandom_loss=far))[0].x_log
    assert drawn(altered(data, rerandom_loss=far)).axes[0].get_xscale() == "log"
    assert draw_plotly(altered(data, rerandom_loss=far)).layout.xaxis.type == "log"
    negative = altered(data, rerandom_loss=far, reinit_loss=[-1.0, 1.5, 0.4, 2.0])
    assert not panels(negative)[0].x_log


def test_what_a_reader_must_know_stands_below_the_title() -> None:
    chosen = case("tied attention")
    objective = ts.Objective(chosen.model(), chosen.data(), loss=chosen.loss)
    notes = picture(ts.layer_roles(objective, ts.Trajectory.from_states(chosen.states(2)), draws=2, progress=False).data).notes
    assert any("never called" in note and "attention.out_proj" in note for note in notes)
    assert any("normal distribution" in note and "attention.in_proj_weight" in note for note in notes)
    normed = case("BatchNorm ResNet block")
    objective = ts.Objective(normed.model(), normed.data(), loss=normed.loss, buffers="path")
    statistics = picture(ts.layer_roles(objective, ts.Trajectory.from_states(normed.states(2)), draws=2, progress=False).data).notes
    assert "re-initialised with their running statistics, re-randomised without: norm1, norm2" in statistics
    objective = ts.Objective(chosen.model(), chosen.data(), loss=chosen.loss)
    same = ts.layer_roles(objective, ts.Trajectory.from_states(chosen.states(1) * 2), draws=2, progress=False).data
    assert any(note.startswith("undecided: the training gained nothing") for note in picture(same).notes)
    assert {row.role for row in ranked(same)[1]} == {"undecided"}


def test_an_unfinished_result_says_how_to_go_on(data: xr.Dataset) -> None:
    with pytest.raises(ResultError, match=r"not finished.*same out="):
        draw_matplotlib(data.drop_vars(["share", "role"]))


def test_standard_errors_are_no_panel() -> None:
    chosen = case("linear")
    objective = ts.Objective(chosen.model(), chosen.data(20), samples=12)
    data = ts.layer_roles(objective, ts.Trajectory.from_states(chosen.states(2)), draws=2, progress=False).data
    assert [panel.name for panel in panels(data)] == ["loss", "accuracy"]


def test_plotly_draws_the_same_values(data: xr.Dataset) -> None:
    figure = draw_plotly(data)
    reinit, mean = figure.data[:2]
    dots = next(trace for trace in figure.data if trace.name == "each draw, lowest to highest")
    np.testing.assert_allclose(np.asarray(reinit.base, float) + np.asarray(reinit.x, float), [2.0, 1.5, 0.6, 0.4])
    np.testing.assert_allclose(np.asarray(mean.base, float) + np.asarray(mean.x, float), [2.0, 2.0, 2.0, 0.6])
    assert sorted(dots.x) == sorted(data["rerandom_loss"].values.ravel())
    assert figure.layout.yaxis.ticktext[0] == "fc2<br>● critical  75 %"
    assert len([trace for trace in figure.data if trace.showlegend]) == 6


def test_hostile_names_are_shown_as_text(data: xr.Dataset) -> None:
    strange = renamed(data, [HOSTILE, "$a_{b}$", "%{x} & <b>", "_hidden"])
    figure = draw_plotly(strange)
    everything = [*figure.layout.yaxis.ticktext, *(text for trace in figure.data for text in (trace.text or ()))]
    assert not any("<img" in text or "<b>" in text for text in everything)
    assert any("&lt;img src=x onerror=alert(1)&gt;" in text for text in everything)
    assert "<img" not in figure.to_html(include_plotlyjs=False)
    assert not any("%{x}" in str(trace.hovertemplate) for trace in figure.data)
    labels = [text.get_text() for text in drawn(strange).axes[0].get_yticklabels()]
    assert any(label.startswith(HOSTILE) for label in labels)
    assert any(label.startswith("$a_{b}$") for label in labels)
    assert not any(text.get_parse_math() for text in drawn(strange).axes[0].get_yticklabels())

    chosen = case("linear")
    objective = ts.Objective(chosen.model(), chosen.data(), metrics={HOSTILE: "accuracy"})
    named = ts.layer_roles(objective, ts.Trajectory.from_states(chosen.states(2)), draws=2, progress=False).data
    assert "<img" not in draw_plotly(named).layout.xaxis2.title.text


def test_one_draw_has_no_spread(data: xr.Dataset) -> None:
    one = data.isel(draw=[0])
    labels = [str(line.get_label()) for line in drawn(one).axes[0].lines]
    assert "each draw, lowest to highest" not in labels
    assert any(isinstance(c, BarContainer) and c.get_label() == "re-randomised: one draw" for c in drawn(one).axes[0].containers)


def test_ends_as_recorded_are_named_beside_those_of_the_policy(data: xr.Dataset) -> None:
    data = data.assign(loss_recorded=("end", [16.2, 0.55]), accuracy_recorded=("end", [0.1, 0.9]))
    loss = panels(data)[0]
    assert loss.x_label.endswith("\nfinal 0.5, initial 2.5, threshold 1\nas recorded: final 0.55, initial 16.2")
    about = {mark.label: mark.about for mark in loss.marks if isinstance(mark, Line)}
    assert about["initial state"] == "initial state (as recorded: 16.2)"
    assert lines(loss)["initial"] == 2.5  # where it is drawn is under the policy
    names = [trace.hovertemplate for trace in draw_plotly(data).data if trace.name == "initial state"]
    assert names[0].startswith("initial state (as recorded: 16.2)")


def test_words_and_captions_say_errors_tails_and_buffers(data: xr.Dataset) -> None:
    data["excess_se"][:] = [0.1, 0.2, 0.02, 0.04]
    data.attrs |= {"floating_buffers": 2, "buffers": "path", "with_buffers": ["conv1"]}
    data.attrs["reference"]["top_share"] = 0.3
    (said,) = [told for told in WORDS.shows(data) if told.startswith("Re-initialising")]
    assert "(± 2 standard errors, paired): fc2 75 % ± 4.0 %, conv2 50 % ± 20 %, conv1 5.0 % ± 10 %" in said
    assert "running statistics are put back with their layers" in picture(data).notes
    assert WORDS.how(data).endswith("Running statistics are put back with their layers.")
    assert "carry 30 % of the loss: standard errors are rough" in WORDS.shows(data)[-1]
    data["excess_se"][:] = np.nan
    (said,) = [told for told in WORDS.shows(data) if told.startswith("Re-initialising")]
    assert "(without a known error): fc2 75 %, conv2" in said
    assert "here costs are without a known error, so that they alone decide" in WORDS.how(data)
