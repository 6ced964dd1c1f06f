"""How pictures are found, and what holds for those of all experiments: the user's style, given axes, notebooks."""

from __future__ import annotations

import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.axis import Tick, XTick
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import nn

import thetascope as ts
from thetascope import experiments
from thetascope.drawing.legends import fitted
from thetascope.drawing.notebook import NotebookFigure
from thetascope.drawing.spec import Bars, ColorBar, Line
from thetascope.errors import ResultError
from thetascope.experiments.framework.pictures import draw_matplotlib, draw_plotly, picture, picture_module, png, save_figure

HOSTILE = "<img src=x onerror=alert(1)> $_{$"
GROUND = "#102030"
STYLE: Any = {
    "figure.facecolor": GROUND,
    "axes.facecolor": GROUND,
    "savefig.facecolor": "auto",
    "text.color": "white",
    "axes.labelcolor": "white",
    "axes.edgecolor": "white",
    "xtick.color": "white",
    "ytick.color": "white",
    "legend.facecolor": GROUND,
    "figure.dpi": 50,
    "font.size": 7.0,
    "axes.grid": True,
}


class Net(nn.Module):
    """With a layer whose name is neither HTML nor a formula nor a comment."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("_$^{$<b>", nn.Linear(4, 5))
        self.more = nn.Sequential(*(nn.Linear(5, 5) for _ in range(6)))  # more layers than colours
        self.out = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.out(self.more(torch.relu(self.get_submodule("_$^{$<b>")(x))))
        return y


@dataclass(frozen=True)
class Parts:
    objective: ts.Objective
    trajectory: ts.Trajectory
    training: ts.Training


@dataclass(frozen=True)
class Kind:
    """A kind of figure: how its result is made, and what `plot` needs besides axes."""

    name: str
    make: Callable[[Parts], ts.Result]
    options: Callable[[ts.Result], dict[str, Any]] = field(default=lambda result: {})


def one_parameter(result: ts.Result) -> dict[str, Any]:
    return {"parameter": str(result.data["parameter"].values[0])}


GRID: Any = {"x": (-1, 1, 3), "y": (-1, 1, 4), "progress": False}
QUIET: Any = {"progress": False}
KINDS = (
    Kind("interpolate model", lambda p: ts.interpolate(p.objective, p.trajectory, alphas=5, **QUIET)),
    Kind("interpolate layer", lambda p: ts.interpolate(p.objective, p.trajectory, level="layer", alphas=5, **QUIET)),
    Kind("interpolate parameter", lambda p: ts.interpolate(p.objective, p.trajectory, level="parameter", parameters=1, alphas=5, **QUIET)),
    Kind("compare_paths model", lambda p: ts.compare_paths(p.objective, p.trajectory, alphas=5, **QUIET)),
    Kind(
        "compare_paths parameter",
        lambda p: ts.compare_paths(p.objective, p.trajectory, "parameter", alphas=9, parameters=1, **QUIET),
        one_parameter,
    ),
    Kind("trajectory_geometry model", lambda p: ts.trajectory_geometry(p.trajectory, **QUIET)),
    Kind("trajectory_geometry layer", lambda p: ts.trajectory_geometry(p.trajectory, "layer", **QUIET)),
    Kind("layer_roles", lambda p: ts.layer_roles(p.objective, p.trajectory, draws=2, **QUIET)),
    Kind("layer_rewind", lambda p: ts.layer_rewind(p.objective, p.trajectory, **QUIET)),
    Kind("checkpoint_average", lambda p: ts.checkpoint_average(p.objective, p.trajectory, greedy=True, **QUIET)),
    Kind("study_epochs", lambda p: ts.study_epochs(p.training, **QUIET)),
    Kind("study_train_size", lambda p: ts.study_train_size(p.training, [5, 20], repeats=2, **QUIET)),
    Kind("study_test_size", lambda p: ts.study_test_size(p.objective, p.trajectory[-1], repeats=5, **QUIET)),
    Kind("surface", lambda p: ts.surface(p.objective, p.trajectory, **GRID)),
    Kind("parameter_atlas", lambda p: ts.parameter_atlas(p.objective, p.trajectory, alphas=9, **QUIET)),
    Kind("trajectory_plane", lambda p: ts.trajectory_plane(p.objective, p.trajectory, 3, 4, **QUIET)),
)


def made() -> dict[str, ts.Result]:
    """A tiny result of each kind."""
    torch.manual_seed(0)
    data = torch.randn(20, 4), torch.randint(3, (20,))
    metrics: Any = {"accuracy": "accuracy", HOSTILE: lambda outputs, targets: outputs.max(1).values}
    parts = Parts(
        ts.Objective(Net(), data, metrics=metrics),
        ts.Trajectory.from_states([Net().state_dict() for _ in range(4)]),
        ts.Training(Net, data, data, lambda p: torch.optim.SGD(p, lr=0.1), epochs=2, batch_size=10, metrics=metrics),
    )
    return {kind.name: kind.make(parts) for kind in KINDS}


@pytest.fixture(scope="module")
def results() -> dict[str, ts.Result]:
    return made()


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


@pytest.fixture
def style() -> Iterator[None]:
    with mpl.rc_context(STYLE):
        yield


def named(experiment: Any, **attrs: Any) -> xr.Dataset:
    return xr.Dataset(attrs={"experiment": experiment, **attrs})


def pictures_that_there_are() -> set[str]:
    with pytest.raises(ResultError) as caught:
        picture_module(named("none such"))
    said, _, listed = str(caught.value).partition("; there are: ")
    assert said == 'there is no figure for "none such"'
    return set(listed.split(", "))


def test_every_kind_is_tested() -> None:
    assert {kind.name for kind in KINDS} == pictures_that_there_are()


def test_pictures_are_found_by_the_names_of_folders() -> None:
    assert picture_module(named("surface")).__name__ == "thetascope.experiments.surface.picture"
    assert picture_module(named("interpolate", level="layer")).__name__ == "thetascope.experiments.interpolate.layer.picture"


def test_pictures_and_what_they_share_load_nothing_that_draws_or_trains() -> None:
    names = [f"thetascope.experiments.{name.replace(' ', '.')}.picture" for name in pictures_that_there_are()]
    code = f"""
import sys
from importlib import import_module
for name in [*{names!r}, "thetascope.experiments.framework.pictures", "thetascope.exports", "thetascope.drawing.history"]:
    import_module(name)
print([name for name in ("torch", "matplotlib", "plotly", "scipy", "sklearn") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


STRANGE = ("", ".", "..", "os", "framework", "shared", "interpolate", "surface/../surface", "surface.picture", "no such", 3, ["surface"])
LEVELS: tuple[dict[str, Any], ...] = ({}, {"level": "nope"}, {"level": ".."}, {"level": 3}, {"level": ""})
ATTRS = [{"experiment": name, **level} for name in STRANGE for level in LEVELS] + [
    {"experiment": "surface", **level} for level in LEVELS[1:]
]


@pytest.mark.parametrize("attrs", ATTRS, ids=str)
def test_names_of_strangers_lead_nowhere(attrs: dict[str, Any]) -> None:
    data = xr.Dataset(attrs=attrs)
    for draw in (draw_matplotlib, draw_plotly):
        with pytest.raises(ResultError, match=r"there is no figure for .*; there are: .*, compare_paths model, .*, surface, "):
            draw(data)
    assert png(data) is None


PICTURE = """
from thetascope.drawing.spec import Line, Panel, Parts, Picture

def picture(data, size=5.0):
    title = f"a title: {float(data['loss']):g} at {size:g}"
    panel = Panel(marks=[Line(x=[0, 1], y=[0, size])])
    return Picture(title=title, notes=("a note",), parts=Parts(parts=[panel]), width=4, height=3)
"""


def test_a_picture_in_an_added_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a_new_one" / "fine"
    folder.mkdir(parents=True)
    for file, content in ((folder.parent / "__init__.py", ""), (folder / "__init__.py", ""), (folder / "picture.py", PICTURE)):
        file.write_text(content)
    monkeypatch.setattr(experiments, "__path__", [*experiments.__path__, str(tmp_path)])
    data = named("a_new_one", level="fine").assign(loss=2.0)
    assert "a_new_one fine" in pictures_that_there_are()
    figure = draw_matplotlib(data, size=3.0)
    assert isinstance(figure, Figure)
    assert figure.get_suptitle() == "a title: 2 at 3"
    assert picture(data, "page").notes == ("a note",)
    assert save_figure(data, tmp_path / "new" / "a.svg").read_text().startswith("<?xml")
    with pytest.raises(ResultError, match=r'the figure of "a_new_one fine" takes no layer=; it takes size='):
        draw_matplotlib(data, layer="0")
    monkeypatch.undo()
    with pytest.raises(ResultError, match='no figure for "a_new_one fine"'):
        draw_matplotlib(data)
    for name in [name for name in sys.modules if name.startswith("thetascope.experiments.a_new_one")]:
        del sys.modules[name]


def test_every_picture_says_what_its_notes_say(kind: Kind, results: dict[str, ts.Result]) -> None:
    notes = picture(results[kind.name].data, "page").notes
    assert notes
    assert all(isinstance(note, str) and note for note in notes)


def pixels(figure: Figure) -> np.ndarray[Any, Any]:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi="figure")
    buffer.seek(0)
    return np.asarray(plt.imread(buffer)[..., :3])


def test_figures_follow_the_style_and_leave_nothing_behind(kind: Kind, results: dict[str, ts.Result], style: None) -> None:
    before = dict(mpl.rcParams)
    figure = results[kind.name].plot()
    assert isinstance(figure, Figure)
    assert figure.get_facecolor()[:3] == to_rgb(GROUND)
    assert figure.dpi == 50
    drawn = pixels(figure)
    np.testing.assert_allclose(drawn[2, 2], to_rgb(GROUND), atol=0.01)
    assert (drawn > 0.97).all(axis=2).sum() > 50  # texts are in the user's white
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before


def test_figures_draw_on_the_axes_that_they_are_given(kind: Kind, results: dict[str, ts.Result], style: None) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9, 4))
    left: Any = axes[0]
    right: Any = axes[1]
    try:
        right.set_title("mine: $x^2$")
        result = results[kind.name]
        drawn = result.plot(ax=left, **kind.options(result))
        assert id(drawn) == id(left)
        assert left.has_data()
        assert left.get_xlabel()
        assert not right.has_data()
        assert right.get_title() == "mine: $x^2$"
        pixels(figure)
        assert plt.get_fignums() == [figure.number]
    finally:
        plt.close(figure)


ON_THE_GROUND = [kind for kind in KINDS if kind.name not in ("surface", "trajectory_plane", "study_test_size")]  # these draw on colours


def seen_color(line: Any) -> tuple[float, float, float]:
    """The lighter one of a line's own colour and its edge's; dark lines on light cells have a light edge."""
    edges = [effect._gc["foreground"] for effect in line.get_path_effects() if hasattr(effect, "_gc")]
    return max((to_rgb(color) for color in [line.get_color(), *edges]), key=max)


@pytest.mark.parametrize("kind", ON_THE_GROUND, ids=lambda kind: kind.name)
def test_every_line_shows_on_a_dark_ground(kind: Kind, results: dict[str, ts.Result], style: None) -> None:
    figure = results[kind.name].plot()
    assert isinstance(figure, Figure)
    seen = {seen_color(line) for ax in figure.axes for line in ax.lines if line.get_color() != "none"}
    assert seen
    assert all(max(color) > 0.4 for color in seen), seen


def test_a_title_of_one_s_own_stays_a_formula(results: dict[str, ts.Result]) -> None:
    ax = Figure().subplots()
    ax.set_title("$x^2$")
    results["interpolate layer"].plot(ax=ax)
    assert ax.title.get_parse_math()
    assert not ax.yaxis.label.get_parse_math()


def test_notebooks_show_the_table_and_the_picture_with_names_as_text(kind: Kind, results: dict[str, ts.Result]) -> None:
    result = results[kind.name]
    page = result._repr_html_()
    head, _, rest = page.partition('<img style="max-width:100%" alt="')
    assert "<img" not in head
    assert "<img" not in rest
    assert "<b>" not in page
    assert "&lt;img src=x" in head or kind.name == "interpolate parameter" or HOSTILE not in result.data
    picture = b64decode(rest.partition("base64,")[2].partition('"')[0])
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 300_000
    assert plt.get_fignums() == []


def test_a_figure_brings_its_own_picture_to_a_notebook(results: dict[str, ts.Result]) -> None:
    figure = results["interpolate model"].plot()
    assert isinstance(figure, NotebookFigure)
    with mpl.rc_context({"savefig.dpi": 600}):
        assert plt.imread(BytesIO(figure._repr_png_())).shape[1] == round(figure.get_figwidth() * figure.dpi)


def test_what_is_not_finished_shows_its_table_alone(results: dict[str, ts.Result]) -> None:
    data = results["compare_paths model"].data.copy(deep=True)
    data["linear_status"][2] = 0
    page = ts.Result(data)._repr_html_()
    assert "1 missing" in page
    assert "<img" not in page


# --- what every picture keeps, whatever its size and options ---------------------------------------------------------------------------

WIDTHS = (3.25, 5.5, 12.0)
GIVEN: dict[str, Any] = {
    "title": HOSTILE, "subtitle": False, "size": (12.0, 12.0), "cmap": "magma", "levels": 5, "vmin": 0.9, "vmax": 1.3, "label": HOSTILE,
    "log": False,
}  # fmt: skip


def drawn_texts(figure: Figure) -> list[tuple[str, Any]]:
    """All texts that are seen, with where they are; those of 3-D axes hang in space."""
    figure.draw_without_rendering()
    deep = {id(text) for ax in figure.axes if ax.name == "3d" for text in ax.findobj(Text)}
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and id(text) not in deep]
    hidden = {id(label) for ax in figure.axes for tick in ax.findobj(Tick) for label in (tick.label1, tick.label2) if not on_axes(tick)}
    return [(text.get_text(), text.get_window_extent()) for text in texts if id(text) not in hidden]


def on_axes(tick: Any) -> bool:
    """Whether a tick lies within the limits of its axis: others are not drawn."""
    axis = tick.axes.xaxis if isinstance(tick, XTick) else tick.axes.yaxis
    low, high = sorted(axis.get_view_interval())
    return bool(low <= tick.get_loc() <= high)


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_at_any_width(kind: Kind, results: dict[str, ts.Result], width: float) -> None:
    figure = results[kind.name].plot(size=width)
    assert isinstance(figure, Figure)
    texts, box = drawn_texts(figure), figure.bbox
    assert figure.get_figwidth() == width
    cut = [text for text, at in texts if at.x0 < -2 or at.y0 < -2 or at.x1 > box.width + 2 or at.y1 > box.height + 2]
    assert not cut
    panels = [ax.get_window_extent() for ax in figure.axes]
    assert min(at.width for at in panels) > 0.1 * figure.dpi
    for legend in figure.legends:
        assert not any(legend.get_window_extent().overlaps(at) for at in panels)


@pytest.mark.slow
def test_names_in_options_are_text_in_both(kind: Kind, results: dict[str, ts.Result]) -> None:
    result, options = results[kind.name], dict[str, Any](title=HOSTILE, label=HOSTILE)
    figure = result.plot(size=7.0, **options)
    assert isinstance(figure, Figure)
    told = [text for text in figure.findobj(Text) if "$" in text.get_text()]
    assert told
    assert not any(text.get_parse_math() for text in told)
    drawn = result.figure(**options)
    drawn.for_each_trace(lambda trace: trace.update(meta=None))  # data for scripts, which no page shows
    page = drawn.to_json()
    assert "img src=x" in page
    assert not re.search(r"<b>|<img|\\u003cb\\u003e|\\u003cimg", page)


@pytest.mark.slow
def test_every_option_is_taken_or_refused_by_one_clear_error(kind: Kind, results: dict[str, ts.Result]) -> None:
    result, is_atlas = results[kind.name], kind.name == "parameter_atlas"
    has_colors = is_atlas or kind.name in ("layer_rewind", "trajectory_geometry model")
    refused = {"levels"} if has_colors else set() if kind.name in ("surface", "trajectory_plane") else {"cmap", "levels"}
    for name in refused:
        with pytest.raises(
            ResultError, match=rf'the page of "{kind.name}" takes no {name}=: it has no co.* it takes title, subtitle, size, '
        ):
            picture(result.data, "page", **{name: GIVEN[name]})
    taken = {name: value for name, value in GIVEN.items() if name not in refused} | ({"vmin": 1e-4, "vmax": 1e-2} if is_atlas else {})
    figure, page = result.plot(**taken), result.figure(**taken)
    assert isinstance(figure, Figure)
    assert figure.get_suptitle() == fitted([HOSTILE], 11.8, "large")
    assert tuple(figure.get_size_inches()) == (12.0, 12.0)
    assert (page.layout.width, page.layout.height) == (1152, 1152)


def lightness(color: Any) -> float:
    """Of a colour printed in grey, from 0 to 100 (CIE L*)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    y = float(np.dot((0.2126, 0.7152, 0.0722), linear))
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def test_curves_of_a_legend_are_told_apart_in_grey(kind: Kind, results: dict[str, ts.Result]) -> None:
    for panel in picture(results[kind.name].data, "figure").parts.panels:
        lines = [mark for mark in panel.marks if isinstance(mark, Line) and mark.label and mark.listed]
        for one, other in combinations({line.label: line for line in lines}.values(), 2):
            alike = (one.dash, one.marker, one.face) == (other.dash, other.marker, other.face)
            assert not alike or abs(lightness(one.color) - lightness(other.color)) > 5, (one.label, other.label)


def test_marks_are_drawn_by_both(kind: Kind, results: dict[str, ts.Result]) -> None:
    result = results[kind.name]
    figure = result.plot()
    assert isinstance(figure, Figure)
    names = {
        text.get_text().strip()
        for legend in [*figure.legends, *(ax.get_legend() for ax in figure.axes)]
        if legend
        for text in legend.get_texts()
    }
    panels = list(picture(result.data, "figure").parts.panels)
    assert sum(ax.has_data() for ax in figure.axes) >= sum(not all(isinstance(mark, ColorBar) for mark in panel.marks) for panel in panels)
    labels = {mark.label for panel in panels for mark in panel.marks if isinstance(mark, Line | Bars) and mark.label and mark.listed}
    assert {fitted([label], 100.0) for label in labels} <= {name.replace("\n", " ") for name in names} | names
    shown = [trace for trace in result.figure().data if trace.visible is not False and trace.type not in ("scatter3d", "surface")]
    assert len(shown) >= 1
    assert any(trace.type in ("contour", "heatmap") or len(trace.x) for trace in shown)
