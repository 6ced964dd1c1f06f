from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text

from thetascope.arrays import Floats
from thetascope.errors import ResultError
from thetascope.experiments.framework.pictures import draw_matplotlib, draw_plotly, save_figure
from thetascope.experiments.trajectory_plane.picture import LONGEST
from thetascope.experiments.trajectory_plane.walks import NEAR, WALKS, info, numbers, reached, times_of
from thetascope.experiments.trajectory_plane.words import WORDS

HOSTILE = "<img src=x onerror=alert(1)>"


def loss_at(x: Any, y: Any) -> Any:
    return 0.05 + 0.1 * x**2 + 0.4 * y**2


def plane(trainings: int = 1, states: int = 8, labels: list[str] | None = None, wide: bool = False, **attrs: Any) -> xr.Dataset:
    """Trainings that spiral into the last state at 0, and leave the plane on the way: there their own loss is half of the plane's."""
    x, y = np.linspace(-1, 6, 15), np.linspace(-2, 4 if not wide else 1.5, 11)
    loss = loss_at(*np.meshgrid(x, y))
    t = np.arange(states)
    columns: dict[str, list[Floats]] = {}
    for i in range(trainings):
        along = 5 * (states - 1 - t) / max(states - 1, 1)
        across = (0.5 + 0.4 * i) * np.sin(along) * (1 if wide else 2)
        off = np.where((t > 0) & (t < states - 1), 1.5, 0.0)
        below = loss_at(along, across)
        own = np.where(off > 0, below / 2, below)
        values = {
            "path_x": along, "path_y": across, "path_loss": own, "path_accuracy": 1 - 0.1 * own, "path_status": np.ones(states),
            "plane_loss": below, "plane_accuracy": 1 - 0.1 * below, "plane_status": np.ones(states), "off_plane": off,
            "distance": np.hypot(along, across), "step": 100 * t, "epoch": t / 2, "progress": t / max(states - 1, 1),
            "training": np.full(states, i),
        }  # fmt: skip
        for name, column in values.items():
            columns.setdefault(name, []).append(np.asarray(column, np.float64))
    whole = {"path_status": np.int8, "plane_status": np.int8, "step": np.int64, "training": np.int64}
    variables: dict[str, Any] = {name: ("state", np.concatenate(c).astype(whole.get(name, np.float64))) for name, c in columns.items()}
    variables |= {"loss": (("y", "x"), loss), "accuracy": (("y", "x"), np.clip(1 - 0.1 * loss, 0, 1))}
    variables["status"] = (("y", "x"), np.ones(loss.shape, np.int8))
    variables["explained_variance_ratio"] = ("component", np.array([0.891, 0.1, 0.009]))
    variables["random_walk_ratio"] = ("component", np.array([0.87, 0.1, 0.02]))
    variables["correlated_walk_ratio"] = ("component", np.array([0.885, 0.105, 0.01]))
    variables["equal_walk_ratio"] = ("component", np.array([0.61, 0.15, 0.07]))
    told = labels or [f"seed {i}" for i in range(trainings)]
    base = {
        "experiment": "trajectory_plane", "mean_cosine": 0.3456,
        "title": "plane of the training", "scored": ["loss", "accuracy"], "loss_name": "nll",
        "samples_scored": 500, "buffers": "path", "floating_buffers": 0,
        "directions": {"kind": "pca", "normalize": None, "orthogonal": True, "seed": None, "norms": [1.0, 1.0], "cosine": 0.0},
        "axis_labels": {"x": "PC 1", "y": "PC 2"}, "marks": [{"x": 0.0, "y": 0.0, "label": "final state"}],
        "subtitle": f"{states * trainings} recorded states", "trainings": [{"label": label, "states": states} for label in told],
    }  # fmt: skip
    return xr.Dataset(variables, coords={"x": x, "y": y}, attrs={**base, **attrs})


def altered(data: xr.Dataset, **variables: Any) -> xr.Dataset:
    data = data.copy(deep=True)
    for name, values in variables.items():
        data[name] = (data[name].dims, np.asarray(values))
    return data


def drawn(data: xr.Dataset, **options: Any) -> Figure:
    figure = draw_matplotlib(data, **options)
    assert isinstance(figure, Figure)
    figure.savefig(BytesIO(), dpi=40)
    return figure


def test_info_holds_what_the_result_holds() -> None:
    data = plane()
    found = info(data)
    (walk,) = found.walks
    np.testing.assert_array_equal(walk.x, data["path_x"].values)
    np.testing.assert_array_equal(walk.own["loss"], data["path_loss"].values)
    np.testing.assert_array_equal(walk.below["accuracy"], data["plane_accuracy"].values)
    assert (found.grid.x_label, found.grid.y_label) == ("PC 1: 89.1 % of the variance", "PC 2: 10.0 % of the variance")
    assert list(found.shares) == ["training", *WALKS.values()]
    assert found.shares[WALKS["equal_walk_ratio"]].tolist() == pytest.approx([61.0, 15.0, 7.0])
    assert found.shares[WALKS["correlated_walk_ratio"]].tolist() == pytest.approx([88.5, 10.5, 1.0])
    assert found.grid.marks == ()  # the center is the last state, which is marked itself


def test_a_difference_from_independent_steps_is_called_what_it_is() -> None:
    said = (
        "successive steps have a mean cosine of 0.346; a difference from the walk of independent steps "
        "(99.1 % against 97.0 % in two components) says that steps are correlated, not more"
    )
    data = plane()
    assert info(data).correlated == said
    assert any(said in text.get_text().replace("\n", " ") for text in drawn(data).findobj(Text))
    told = " ".join(WORDS.shows(data))
    assert f"S{said[1:]}; the walk with this cosine is the one to compare it with." in told
    assert "A random walk of steps of these lengths with the training's mean cosine would have 99 %." in told
    assert WORDS.headline(data).startswith(
        "the plane holds 99% of the variance (a random walk's 97%, and 99% if its successive steps have the training's mean cosine, 0.35)"
    )
    unknown = altered(data, correlated_walk_ratio=np.full(3, np.nan))
    unknown.attrs["mean_cosine"] = float("nan")
    assert "cosine" not in " ".join([WORDS.headline(unknown), *WORDS.shows(unknown)])
    assert WALKS["correlated_walk_ratio"] not in info(unknown).shares
    drawn(unknown)


def test_a_share_that_the_label_tells_is_not_told_twice() -> None:
    found = info(plane(axis_labels={"x": "PC 1: 89 % of the variance", "y": "PC 2"}))
    assert found.grid.x_label == "PC 1: 89 % of the variance"


def test_the_gap_to_the_plane_is_said() -> None:
    found = info(plane())
    assert (
        found.note("loss")
        == "colours show the plane's loss; a state's own loss differs by a factor of up to 2: states lie up to 1.5 off the plane"
    )
    assert "differs by up to 0.1" in found.note("accuracy")
    figure = drawn(plane())
    assert any(text.get_text().replace("\n", " ").endswith(found.note("loss")) for text in figure.findobj(Text))
    page = draw_plotly(plane()).layout.title.text.replace("<br><sub>", "").replace("</sub>", "").replace("&#x27;", "'")
    assert found.note("loss") in page
    own = Figure().subplots()
    draw_matplotlib(plane(), own)
    legend = own.get_legend()
    assert legend is not None
    assert legend.get_title().get_text().replace("\n", " ") == found.note("loss")
    near = altered(plane(), plane_loss=plane()["path_loss"].values * 1.01)
    assert "differs by up to 1 %" in info(near).note("loss")
    unknown = altered(plane(), path_loss=np.full(8, np.nan))
    assert "is not known" in info(unknown).note("loss")


def test_the_path_runs_from_the_first_state_to_the_last() -> None:
    data = plane(2)
    figure = drawn(data)
    lines = {str(line.get_label()): line for line in figure.axes[0].lines}
    np.testing.assert_array_equal(lines["seed 1"].get_xdata(), data["path_x"].values[8:])
    np.testing.assert_array_equal(lines["seed 1"].get_ydata(), data["path_y"].values[8:])
    np.testing.assert_array_equal(lines["first state"].get_xdata(), [5.0, 5.0])
    np.testing.assert_array_equal(lines["last state"].get_xdata(), [0.0, 0.0])
    assert len({lines[f"seed {i}"].get_color() for i in range(2)}) == len({lines[f"seed {i}"].get_marker() for i in range(2)}) == 2
    assert {"seed 0", "seed 1", "first state", "last state", "epoch"} == {text.get_text() for text in figure.legends[0].get_texts()}


@pytest.mark.parametrize("wide", [False, True])
def test_the_panels_beside_it(wide: bool) -> None:
    data = plane(wide=wide)
    main, shares, values, distances = drawn(data).axes
    assert main.get_xlabel() == "PC 1: 89.1 % of the variance"
    heights = np.array([[bar.get_height() for bar in bars.patches] for bars in shares.containers if isinstance(bars, BarContainer)])
    np.testing.assert_allclose(heights, np.array([[89.1, 10, 0.9], [87, 10, 2], [88.5, 10.5, 1], [61, 15, 7]]))
    lines = {str(line.get_label()): np.asarray(line.get_ydata()) for line in values.lines}
    np.testing.assert_array_equal(lines["at the states themselves"], data["path_loss"].values)
    np.testing.assert_array_equal(lines["on the plane below them"], data["plane_loss"].values)
    assert values.get_xlabel() == "epoch"
    np.testing.assert_array_equal(distances.lines[0].get_ydata(), data["off_plane"].values)
    np.testing.assert_array_equal(distances.lines[0].get_xdata(), data["epoch"].values)


def test_parts_do_not_overlap() -> None:
    figure = draw_matplotlib(plane(3, labels=[f"a training with a long name, seed {i}" for i in range(3)]))
    assert isinstance(figure, Figure)
    figure.savefig(BytesIO())
    boxes = [axis.get_tightbbox() for axis in figure.axes] + [figure.legends[0].get_window_extent()]
    for i, one in enumerate(boxes):
        for other in boxes[i + 1 :]:
            assert one is not None
            assert other is not None
            assert not one.overlaps(other)


def test_whole_epochs_are_numbered_and_none_too_near_to_another() -> None:
    found = info(plane())
    assert [entry[-1] for entry in numbers(found)][:2] == ["3", "0"]  # the last state, at epoch 3.5, is no whole one
    crowded = info(plane(states=200))
    placed = numbers(crowded)
    assert 5 < len(placed) < 40
    size = np.array([np.ptp(crowded.grid.x), np.ptp(crowded.grid.y)])
    points = np.array([entry[:2] for entry in placed]) / size
    for i, point in enumerate(points):
        assert (np.abs(points[:i] - point) > NEAR).any(axis=1).all()


def test_numbers_are_written_on_the_outer_side_of_a_bend() -> None:
    data = altered(plane(states=3), path_x=[0.0, 2.0, 4.0], path_y=[0.0, 2.0, 0.0], epoch=[0.0, 1.0, 2.0])
    (across, up), *_ = [entry[2:4] for entry in numbers(info(data)) if entry[-1] == "1"]
    assert up == pytest.approx(1)
    assert across == pytest.approx(0)


def test_steps_are_numbered_where_there_are_no_epochs() -> None:
    data = altered(plane(), epoch=np.full(8, np.nan))
    found = info(data)
    assert not found.by_epoch
    assert [entry[-1] for entry in numbers(found)][:2] == ["700", "0"]
    figure = drawn(data)
    assert figure.axes[2].get_xlabel() == "share of the training's steps"
    assert "step" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert found.walks[0].told(2, "loss").startswith("step 200: own loss")


def test_states_and_cells_without_a_finite_value() -> None:
    data = plane()
    own, below = data["path_loss"].values.copy(), data["plane_loss"].values.copy()
    own[2], below[3] = np.inf, np.nan
    status = np.ones(8, np.int8)
    status[2] = 2
    loss = data["loss"].values.copy()
    loss[0, 0] = np.nan
    cells = np.where(np.isfinite(loss), 1, 2).astype(np.int8)
    odd = altered(data, path_loss=own, plane_loss=below, path_status=status, loss=loss, status=cells)
    assert "by a factor of up to 2:" in info(odd).note("loss")  # of the states where both are known
    figure = drawn(odd)
    (marks,) = (line for line in figure.axes[2].lines if line.get_label() == "not finite")
    np.testing.assert_array_equal(marks.get_xdata(), [1.0])
    assert "not finite: 1 of 165 cells" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert info(odd).walks[0].told(2, "loss") == "epoch 1, step 200: own loss without a finite value"
    draw_plotly(odd).to_json()


def test_nothing_finite_at_all_still_draws() -> None:
    data = plane()
    nothing = {name: np.full(8, np.nan) for name in ("path_loss", "plane_loss", "path_accuracy", "plane_accuracy")}
    twos = {"path_status": np.full(8, 2), "status": np.full((11, 15), 2)}
    broken = altered(data, **nothing, **twos, loss=np.full((11, 15), np.nan), accuracy=np.full((11, 15), np.nan))
    drawn(broken)
    draw_plotly(broken).to_json()


def test_one_state_and_one_row() -> None:
    one = plane(states=1)
    drawn(one)
    assert len(draw_plotly(one).frames) == 1
    row = plane().isel(y=[4])
    drawn(row)
    draw_plotly(row).to_json()


def test_on_axes_only_the_plane_is_drawn() -> None:
    own = Figure().subplots()
    axis = draw_matplotlib(plane(), own, variable="accuracy")
    assert axis is own
    assert isinstance(axis, Axes)
    assert axis.child_axes[0].get_ylabel() == "accuracy"
    with pytest.raises(ResultError, match="loss, accuracy"):
        draw_matplotlib(plane(), own, variable="recall")
    with pytest.raises(ResultError, match="loss, accuracy"):
        draw_plotly(plane(), variable="recall")


def test_a_path_beyond_the_grid_is_not_cut_off() -> None:
    data = plane()
    far = altered(data, path_x=data["path_x"].values * 2)
    assert drawn(far).axes[0].get_xlim() == (-1, 10)


def test_another_result_is_refused() -> None:
    with pytest.raises(ResultError, match="lacks off_plane"):
        info(plane().drop_vars("off_plane"))


def test_the_legend_has_room_for_what_is_told_while_the_optimizer_walks() -> None:
    long = draw_plotly(plane(labels=["a training with a name of its own, longer than others"]))
    names = [trace.name for frame in long.frames for trace in frame.data if trace.name]
    assert long.layout.legend.entrywidth >= 7 * max(map(len, names))
    assert draw_plotly(plane()).layout.legend.entrywidth < long.layout.legend.entrywidth


def test_plotly_walks_state_by_state() -> None:
    data = plane(2)
    found = info(data)
    figure = draw_plotly(data)
    assert len(figure.frames) == 8
    moved = figure.frames[3].data
    by_trace = dict(zip(figure.frames[3].traces, moved, strict=True))
    assert not any(part.type == "scatter" for part in moved)  # moving one would take the contours off the page
    for place, part in by_trace.items():
        assert figure.data[place].type == part.type
    np.testing.assert_array_equal(moved[0].x, data["path_x"].values[:4])
    assert list(moved[1].x) == [data["path_x"].values[3]]
    own, below = data["path_loss"].values[3], data["plane_loss"].values[3]
    assert (
        moved[1].text[0]
        == f"seed 0<br>epoch 1.5, step 300: own loss {own:.4g}<br>loss on the plane below: {below:.4g}<br>1.5 off the plane"
    )
    assert list(moved[2].z) == found.grid.fields[0].scale.position(np.array([own])).tolist()
    np.testing.assert_array_equal(moved[3].y, data["path_y"].values[8:12])
    slider = figure.layout.sliders[0]
    assert [step.label for step in slider.steps] == [f"{t / 2:g}" for t in range(8)]
    assert [step.args[0][0] for step in slider.steps] == [frame.name for frame in figure.frames]
    kinds, player = figure.layout.updatemenus
    assert [button.label for button in kinds.buttons] == ["contours", "heat map", "3-D"]
    assert [button.label for button in player.buttons] == ["▶ play", "❚❚ pause"]
    assert "scatter3d" in {trace.type for trace, seen in zip(figure.data, kinds.buttons[2].args[0]["visible"], strict=True) if seen}


def test_trainings_with_other_epochs_walk_by_their_share_of_the_steps() -> None:
    data = plane(2)
    uneven = data.isel(state=[0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 15])
    figure = draw_plotly(uneven)
    assert len(figure.frames) == 8
    assert figure.layout.sliders[0].currentvalue.prefix == "share of the training's steps: "
    assert figure.layout.sliders[0].steps[7].label == "100 %"
    assert len(figure.frames[4].data[3].x) == 2  # the second has reached its second of three states


def test_many_states_are_thinned_out() -> None:
    assert len(draw_plotly(plane(states=400)).frames) == LONGEST


def test_when_states_are_reached() -> None:
    (walk,) = info(plane()).walks
    times = times_of(walk)
    assert [reached(times, time) for time in (0.0, 0.1, 1 / 7, 0.5, 1.0)] == [0, 0, 1, 3, 7]
    (stuck,) = info(altered(plane(), progress=np.zeros(8))).walks
    np.testing.assert_allclose(times_of(stuck), np.linspace(0, 1, 8))


def test_names_are_shown_as_text() -> None:
    odd = plane(2, labels=[HOSTILE, "_hidden $x^{$ %{x}"], title=HOSTILE, axis_labels={"x": HOSTILE, "y": "$y_{"})
    assert "<img" not in draw_plotly(odd).to_html(include_plotlyjs=False)
    figure = drawn(odd)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert HOSTILE in labels
    assert any("_hidden" in label for label in labels)


def test_a_page_does_not_start_walking_by_itself(tmp_path: Path) -> None:
    page = save_figure(plane(), tmp_path / "plane.html").read_text(encoding="utf-8")
    assert "Plotly.addFrames" in page
    assert "Plotly.animate(" not in page


def recorded(data: xr.Dataset, factor: Any) -> xr.Dataset:
    """The same states, as they score with the buffers that they were recorded with."""
    own = data["path_loss"].values
    values = {"loss_recorded": own * factor, "accuracy_recorded": data["path_accuracy"].values - 0.25}
    return data.assign({name: ("state", column) for name, column in values.items()})


def test_buffers_and_distance_are_told_apart_by_numbers() -> None:
    """Off the plane losses are half of the plane's, and the recorded buffers make them five times as large."""
    data = recorded(plane(floating_buffers=2, buffers="recalibrate"), 5.0)
    assert info(data).note("loss") == (
        "colours show the plane's loss; a state's own loss differs by a factor of up to 2: states lie up to 1.5 off the plane; as recorded "
        "it differs by a factor of up to 5 from that, by its buffers alone"
    )
    assert "as recorded it differs by up to 0.25 from that" in info(data).note("accuracy")
    assert any(info(data).note("loss")[1:] in said for said in WORDS.shows(data))
    kept = info(plane(floating_buffers=2, buffers="path")).note("loss")
    assert kept.endswith("states lie up to 1.5 off the plane, and keep the buffers that they were recorded with")
    several = recorded(plane(trainings=2), np.r_[np.ones(8), np.full(8, 3.0)])
    assert info(several).gap_recorded("loss") == "differs by a factor of up to 3"  # the largest of all trainings


def test_the_side_panel_has_hollow_marks_for_states_as_recorded() -> None:
    data = recorded(plane(), 5.0)
    side = next(ax for ax in drawn(data).axes if ax.get_ylabel().startswith("loss (NLL"))
    by_label = {line.get_label(): line for line in side.lines}
    hollow, own = by_label["as recorded"], by_label["at the states themselves"]
    np.testing.assert_allclose(np.asarray(hollow.get_ydata()), 5 * data["path_loss"].values)
    assert (hollow.get_markerfacecolor(), hollow.get_linestyle()) == ("none", "None")
    assert own.get_markerfacecolor() not in ("none", "white")
    assert by_label["on the plane below them"].get_marker() == "x"
    assert any("(as recorded: " in text for trace in draw_plotly(data).data for text in (trace.text or ()) if isinstance(text, str))
    two = next(ax for ax in drawn(recorded(plane(trainings=2), 5.0)).axes if ax.get_ylabel().startswith("loss (NLL"))
    assert sum(line.get_markerfacecolor() == "none" for line in two.lines) == 2


def test_captions_and_words_say_what_was_done_with_buffers() -> None:
    calibration = {"rows": 2000, "batches": 8, "batch": 250, "layers": 2}
    data = plane(
        floating_buffers=2, buffers="recalibrate", calibration=calibration, calibration_is_own_data=True, statistics_left=["n.peak"]
    )
    said = (
        "running statistics estimated anew at each point from 2,000 of the objective's own inputs (8 batches of 250); statistics of n.peak "
        "are left as they are: not understood"
    )
    assert said in info(data).grid.notes
    data.attrs["center"] = {"label": "final state", "step": 700}
    assert WORDS.how(data).endswith(f" R{said[1:].replace('estimated', 'were estimated')}.")
    heavy = plane(reference={"top_share": 0.5})
    assert "standard errors are rough" in info(heavy).grid.notes[-1]
    assert WORDS.shows(heavy)[-1].endswith("carry 50 % of the loss: standard errors are rough.")


def test_in_space_the_path_lies_on_the_surface_and_the_states_where_they_are() -> None:
    data = plane(2)
    own = draw_matplotlib(data, Figure().add_subplot(projection="3d"), kind="3d")
    assert isinstance(own, Axes)
    lines: dict[str, Any] = {str(line.get_label()): line for line in own.lines}
    scale = info(data).grid.field(None).scale
    dots = lines["seed 0, at the states themselves"].get_data_3d()
    x, y, loss = (np.asarray(data[name].values[:8]) for name in ("path_x", "path_y", "path_loss"))
    np.testing.assert_allclose(dots, np.stack([x, y, scale.position(loss)]))
    x, y, z = lines["seed 1, on the plane below the states"].get_data_3d()
    assert np.abs(z - scale.position(loss_at(x, y))).max() < 0.07
    for label, k in (("first state", 0), ("last state", 7)):
        assert {lines[label].get_data_3d()[0][i] for i in (0, 1)} == set(data["path_x"].values[[k, k + 8]])
    page = draw_plotly(data, kind="3d")
    assert page.layout.updatemenus[0].active == 2
    assert {trace.type for trace in page.data if trace.visible} == {"surface", "scatter3d"}
    assert any("drawn smooth between 15 × 11 cells" in text.get_text() for text in drawn(data, kind="3d").findobj(Text))


def test_one_kind_alone() -> None:
    assert [ax.name for ax in drawn(plane(), kind="3d").axes] == ["3d"]
    assert [ax.name for ax in drawn(plane(), kind="heatmap", variable="accuracy").axes] == ["rectilinear"]
    with pytest.raises(ResultError, match="contour, heatmap, 3d"):
        draw_matplotlib(plane(), kind="cuts")
    with pytest.raises(ResultError, match="projection"):
        draw_matplotlib(plane(), Figure().subplots(), kind="3d")
    assert [ax.name for ax in drawn(plane().isel(y=[4]), kind="3d").axes] == ["rectilinear"]
