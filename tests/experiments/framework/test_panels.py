"""ts.panels: several results in one picture, by both renderers."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from torch import nn

import thetascope as ts
from thetascope.drawing.spec import FieldMark
from thetascope.drawing.with_matplotlib import texts_of
from thetascope.errors import ResultError
from thetascope.experiments.framework.panels import panels_picture
from thetascope.testing.models import trained_states

SMALL, WIDE = "small $4$", "<b>wide</b>"
QUIET: Any = {"progress": False}
CALLS: dict[str, Callable[[ts.Objective, ts.Trajectory], ts.Result]] = {
    "surface": lambda o, t: ts.surface(o, t, x=(-1, 1, 5), y=(-1, 1, 4), **QUIET),
    "line": lambda o, t: ts.surface(o, t, through=[t[0]], x=(0, 1, 5), y=(0, 0, 1), **QUIET),
    "plane": lambda o, t: ts.trajectory_plane(o, t, x=5, y=4, **QUIET),
    "interpolate": lambda o, t: ts.interpolate(o, t, alphas=5, **QUIET),
    "compare": lambda o, t: ts.compare_paths(o, t, alphas=5, **QUIET),
    "layer": lambda o, t: ts.interpolate(o, t, level="layer", alphas=5, **QUIET),
    "parameter": lambda o, t: ts.interpolate(o, t, level="parameter", alphas=5, parameters=2, **QUIET),
    "patterns": lambda o, t: ts.compare_paths(o, t, level="parameter", alphas=9, parameters=2, **QUIET),
    "roles": lambda o, t: ts.layer_roles(o, t, draws=2, **QUIET),
    "rewind": lambda o, t: ts.layer_rewind(o, t, **QUIET),
    "average": lambda o, t: ts.checkpoint_average(o, t, greedy=True, **QUIET),
    "atlas": lambda o, t: ts.parameter_atlas(o, t, alphas=9, **QUIET),
    "size": lambda o, t: ts.study_test_size(o, t[-1], repeats=4, **QUIET),
}
PLANES = ("surface", "plane")
ON_COMMON_AXES = ("interpolate", "compare")


def data(count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, 3, generator=generator), torch.randint(3, (count,), generator=generator)


def network(width: int) -> tuple[nn.Module, ts.Trajectory]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 3))
    return model, ts.Trajectory.from_states(list(trained_states(model, *data(), steps=5)))


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, ts.Result]]:
    made = {label: network(width) for label, width in ((SMALL, 3), (WIDE, 8))}
    return {
        name: {label: call(ts.Objective(model, data()), trajectory) for label, (model, trajectory) in made.items()}
        for name, call in CALLS.items()
    }


def drawn(figure: Figure) -> str:
    figure.draw_without_rendering()
    return " ".join(" ".join(text.get_text() for text in texts_of(figure)).split())


def bars_in(figure: Figure) -> list[Any]:
    return [child for ax in figure.axes for child in ax.child_axes if child.get_ylabel()]


@pytest.mark.parametrize("name", CALLS)
def test_every_kind_of_result_is_drawn_by_both_with_names_as_text(results: dict[str, dict[str, ts.Result]], name: str) -> None:
    figure = ts.panels(results[name])
    said = drawn(figure)
    assert SMALL in said
    assert WIDE in said
    assert all(not text.get_parse_math() for text in texts_of(figure) if SMALL in text.get_text())
    page = figure.figure()
    told = json.dumps(page.to_plotly_json(), default=str, ensure_ascii=False)
    assert "&lt;b&gt;wide" in told
    assert "<b>" not in told
    assert plt.get_fignums() == []
    for menu in page.layout.updatemenus:  # what a button changes it changes for every trace
        for button in menu.buttons:
            if button.method == "update":
                assert all(len(values) == len(page.data) for values in button.args[0].values())


def test_it_is_a_figure_of_matplotlib(results: dict[str, dict[str, ts.Result]], tmp_path: Path) -> None:
    figure = ts.panels(results["interpolate"])
    assert isinstance(figure, Figure)
    assert id(figure.figure) == id(figure.axes[0].get_figure(root=True))  # what matplotlib takes for the figure is the figure
    for suffix in ("png", "pdf", "svg"):
        figure.savefig(tmp_path / f"a.{suffix}")
        assert (tmp_path / f"a.{suffix}").stat().st_size > 1000
    assert figure._repr_png_().startswith(b"\x89PNG")
    figure = ts.panels(results["surface"])
    again = pickle.loads(pickle.dumps(figure))
    again.savefig(BytesIO())
    assert len(again.figure().data) == len(figure.figure().data)


@pytest.mark.parametrize("kind", ["contour", "heatmap", "3d"])
def test_surfaces_have_one_scale_and_one_bar(results: dict[str, dict[str, ts.Result]], kind: str) -> None:
    figure = ts.panels(results["surface"], kind)
    figure.draw_without_rendering()
    assert [ax.get_title(loc="left") for ax in figure.axes] == [SMALL, WIDE]
    assert len(bars_in(figure)) == 1
    values = np.concatenate([result.data["loss"].values.ravel() for result in results["surface"].values()])
    ends = [values.min(), values.max()]
    if kind == "3d":
        one, other = ([tick.get_text() for tick in ax.get_zticklabels()] for ax in figure.axes)  # type: ignore[attr-defined]
        assert one == other != []
    else:
        wanted = QuadMesh if kind == "heatmap" else QuadContourSet
        shown = [next(child for child in ax.get_children() if isinstance(child, wanted)) for ax in figure.axes]
        norms = [mappable.norm for mappable in shown]
        assert [norm(ends[0]) for norm in norms] == pytest.approx([0.0, 0.0])
        assert [norm(ends[1]) for norm in norms] == pytest.approx([1.0, 1.0])
        assert norms[0](np.median(values)) == norms[1](np.median(values))
        if kind == "contour":
            levels = [of.levels for of in shown if isinstance(of, QuadContourSet)]
            np.testing.assert_array_equal(levels[0], levels[1])
    assert "one scale of colours and heights for all" in drawn(figure)
    picture = panels_picture({label: result.data for label, result in results["surface"].items()}, "figure", kind=kind)
    scales = [mark.field.scale for panel in picture.parts.panels for mark in panel.marks if isinstance(mark, FieldMark)]
    assert scales[0] is scales[1]
    assert scales[0].levels[[0, -1]].tolist() == ends


@pytest.mark.parametrize("name", PLANES)
def test_a_page_of_planes_has_them_side_by_side_on_one_scale(results: dict[str, dict[str, ts.Result]], name: str) -> None:
    page = ts.panels(results[name]).figure()
    flat = [trace for trace in page.data if trace.type in ("heatmap", "surface") and trace.z is not None]
    assert [trace.showscale for trace in flat].count(True) == 2  # a heat map and a surface, of which one is visible
    assert len({tuple(trace.colorbar.ticktext or ()) for trace in flat}) == 1
    assert {(trace.zmin, trace.zmax) for trace in flat if trace.type == "heatmap"} == {(0, 1)}
    low = [np.nanmin(np.array(trace.z, np.float64)) for trace in flat]
    assert min(low) == pytest.approx(0.0)  # only one has the lowest
    assert max(low) > 0
    assert {trace.xaxis for trace in page.data if trace.type == "heatmap"} == {"x", "x2"}
    assert {trace.scene for trace in page.data if trace.type == "surface"} == {"scene", "scene2"}
    left, right = page.layout.scene.domain.x, page.layout.scene2.domain.x
    assert left[1] <= right[0]
    assert page.layout.scene.zaxis.ticktext == page.layout.scene2.zaxis.ticktext
    assert left == page.layout.xaxis.domain
    names = [(trace.name, trace.meta) for trace in page.data if trace.showlegend]
    assert len(names) == len(set(names))
    kinds = next(menu for menu in page.layout.updatemenus if menu.buttons[-1].label == "3-D")
    axes = kinds.buttons[-1].args[1]
    assert axes["xaxis.visible"] is axes["yaxis2.visible"] is False
    visible = kinds.buttons[-1].args[0]["visible"]
    assert [shown for trace, shown in zip(page.data, visible, strict=True) if trace in flat and trace.type == "surface"] == [True, True]


def test_a_page_switches_the_variable_of_all(results: dict[str, dict[str, ts.Result]]) -> None:
    page = ts.panels(results["surface"]).figure()
    menu = next(menu for menu in page.layout.updatemenus if menu.buttons[0].label == "loss")
    assert [button.label for button in menu.buttons] == ["loss", "accuracy"]
    accuracy = menu.buttons[1].args[0]
    shares = [np.array(z, np.float64) for z, trace in zip(accuracy["z"], page.data, strict=True) if trace.type == "heatmap"]
    every = np.concatenate([result.data["accuracy"].values.ravel() for result in results["surface"].values()])
    for share, result in zip(shares, results["surface"].values(), strict=True):
        np.testing.assert_allclose(share, (result.data["accuracy"].values - every.min()) / np.ptp(every))
    assert {"scene.zaxis.tickvals", "scene2.zaxis.tickvals"} <= set(menu.buttons[1].args[1])


@pytest.mark.parametrize("name", ON_COMMON_AXES)
def test_curves_lie_on_common_axes(results: dict[str, dict[str, ts.Result]], name: str) -> None:
    figure, alone = ts.panels(results[name]), results[name][SMALL].plot()
    assert isinstance(alone, Figure)
    assert len(figure.axes) == len(alone.axes)
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert {label.partition(": ")[0] for label in labels} >= {SMALL, WIDE}


def test_what_stands_side_by_side_has_common_axes(results: dict[str, dict[str, ts.Result]]) -> None:
    for name in ("layer", "parameter", "line"):
        every = list(panels_picture({label: result.data for label, result in results[name].items()}, "figure").parts.panels)
        half = len(every) // 2
        assert half * 2 == len(every)
        for one, other in zip(every[:half], every[half:], strict=True):
            assert one.y_range == other.y_range is not None
            assert one.x_range == other.x_range is not None
    figure = ts.panels(results["roles"])
    figure.draw_without_rendering()
    limits = [ax.get_xlim() for ax in figure.axes]
    assert limits[: len(limits) // 2] == limits[len(limits) // 2 :]


def test_a_plane_is_shown_without_what_stands_beside_it(results: dict[str, dict[str, ts.Result]]) -> None:
    figure = ts.panels(results["plane"])
    assert [ax.get_title(loc="left") for ax in figure.axes] == [SMALL, WIDE]
    assert all(any(isinstance(child, QuadContourSet | PathCollection) for child in ax.get_children()) for ax in figure.axes)


def test_results_of_several_objectives_count_as_one_for_each() -> None:
    model, trajectory = network(3)
    both = ts.surface(
        {"train": ts.Objective(model, data()), "test": ts.Objective(model, data(9))}, trajectory, x=(-1, 1, 3), y=(-1, 1, 3), **QUIET
    )
    assert [ax.get_title(loc="left") for ax in ts.panels({"a": both}).axes] == ["a, train", "a, test"]
    assert [ax.get_title(loc="left") for ax in ts.panels({"a": both, "b": both}, data="test").axes] == ["a", "b"]
    with pytest.raises(ResultError, match='no data "other"'):
        ts.panels({"a": both}, data="other")


def test_one_result_is_drawn_too(results: dict[str, dict[str, ts.Result]]) -> None:
    figure = ts.panels({"alone": results["surface"][SMALL]})
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["alone"]
    assert "one scale" not in drawn(figure)


def test_options_are_those_of_the_pictures(results: dict[str, dict[str, ts.Result]]) -> None:
    assert "accuracy" in drawn(ts.panels(results["surface"], variable="accuracy"))
    with pytest.raises(ResultError, match=r'the figure of "interpolate model" takes no kind='):
        ts.panels(results["interpolate"], "3d")
    with pytest.raises(ResultError, match='no kind "flat"'):
        ts.panels(results["surface"], "flat")


def test_what_was_not_measured_alike_is_said() -> None:
    model, trajectory = network(3)
    grid: Any = {"x": (-0.5, 0.5, 15), "y": (-0.5, 0.5, 15), **QUIET}
    exact = ts.surface(ts.Objective(model, data()), trajectory, **grid)
    rough = ts.surface(ts.Objective(model, data(9)), trajectory, tolerance=0.2, **grid)
    said = drawn(ts.panels({"a": exact, "b": rough}))
    assert "not measured alike: samples 40 (a), 9 (b); tolerance none (a), 20% (b)" in said
    other = ts.Result(exact.data.assign_attrs(loss_name="mse"))
    said = drawn(ts.panels({"a": exact, "b": other}))
    assert "not measured alike: loss cross entropy (a), mse (b)" in said
    assert "nats" not in said  # the bar is called by what both show
    assert "not measured alike" not in drawn(ts.panels({"a": exact, "b": exact}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda r: {}, "results of one experiment by their labels.*Got an empty mapping"),
        (lambda r: [r["surface"][SMALL]], "Got list"),
        (lambda r: {"": r["surface"][SMALL]}, "Got the label ''"),
        (lambda r: {3: r["surface"][SMALL]}, "Got the label 3"),
        (lambda r: {"a": "runs/a"}, 'Got str for "a"'),
        (lambda r: {"a": r["surface"][SMALL], "b": r["plane"][SMALL]}, 'Got several: "a" is of surface, "b" is of trajectory_plane'),
        (lambda r: {"a": r["interpolate"][SMALL], "b": r["layer"][SMALL]}, '"a" is of interpolate model, "b" is of interpolate layer'),
    ],
)
def test_what_cannot_be_drawn_together_is_an_error(results: dict[str, dict[str, ts.Result]], given: Any, message: str) -> None:
    with pytest.raises(ResultError, match=message):
        ts.panels(given(results))
