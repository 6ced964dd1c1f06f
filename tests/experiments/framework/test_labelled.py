"""Several objectives by label: each label's part is what a call with that objective alone gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.figure import Figure
from torch import nn

import thetascope as ts
from thetascope.drawing.spec import Line
from thetascope.drawing.with_matplotlib import texts_of
from thetascope.errors import ObjectiveError, ResultError, UsageError
from thetascope.experiments.framework.catalog import experiment_of
from thetascope.experiments.framework.declaration import words_of
from thetascope.experiments.framework.pictures import picture
from thetascope.experiments.interpolate import EXPERIMENT as INTERPOLATE
from thetascope.results.labelled import labels_of, only
from thetascope.scoring.runner import Runner
from thetascope.testing.models import trained_states

LABELS = ["train", "test"]


def net(*, norm: bool = False) -> nn.Module:
    torch.manual_seed(3)
    middle: list[nn.Module] = [nn.BatchNorm1d(5)] if norm else []
    return nn.Sequential(nn.Linear(3, 5), *middle, nn.Tanh(), nn.Linear(5, 3))


def data(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, generator=generator), torch.randint(3, (count,), generator=generator)


def objectives(model: nn.Module, **options: Any) -> dict[str, ts.Objective]:
    return {label: ts.Objective(model, data(count, count), **options) for label, count in zip(LABELS, (40, 23), strict=True)}


def training(model: nn.Module, count: int = 6) -> ts.Trajectory:
    return ts.Trajectory.from_states(list(trained_states(model, *data(40, 40), steps=count - 1)), steps=range(count))


CALLS: dict[str, Callable[..., ts.Result]] = {
    "interpolate": lambda o, t, **how: ts.interpolate(o, t, alphas=5, **how),
    "interpolate quadratic": lambda o, t, **how: ts.interpolate(o, t, "quadratic", alphas=5, **how),
    "interpolate layer": lambda o, t, **how: ts.interpolate(o, t, level="layer", alphas=3, **how),
    "interpolate parameter": lambda o, t, **how: ts.interpolate(o, t, level="parameter", alphas=3, parameters=2, **how),
    "compare_paths": lambda o, t, **how: ts.compare_paths(o, t, alphas=5, **how),
    "compare_paths parameter": lambda o, t, **how: ts.compare_paths(o, t, level="parameter", alphas=3, parameters=2, **how),
    "layer_roles": lambda o, t, **how: ts.layer_roles(o, t, draws=2, **how),
    "layer_rewind": lambda o, t, **how: ts.layer_rewind(o, t, states=3, **how),
    "checkpoint_average": lambda o, t, **how: ts.checkpoint_average(o, t, greedy=True, **how),
    "surface": lambda o, t, **how: ts.surface(o, t, x=(-1, 1, 3), y=(-1, 1, 5), **how),
    "surface tolerance": lambda o, t, **how: ts.surface(o, t, x=(-0.5, 0.5, 15), y=(-0.5, 0.5, 15), tolerance=0.2, **how),
    "trajectory_plane": lambda o, t, **how: ts.trajectory_plane(o, t, x=3, y=4, **how),
    "trajectory_plane tolerance": lambda o, t, **how: ts.trajectory_plane(o, t, x=15, y=15, tolerance=0.2, **how),
}


def plain(attrs: dict[str, Any]) -> dict[str, Any]:
    """Without what is of the moment."""
    return {name: value for name, value in attrs.items() if name not in ("created", "threads")}


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "norm"])
@pytest.mark.parametrize("name", CALLS)
def test_each_part_is_the_result_of_its_objective_alone(name: str, norm: bool) -> None:
    model = net(norm=norm)
    trajectory, both = training(model), objectives(model)
    result = CALLS[name](both, trajectory, engine="eager", progress=False)
    assert labels_of(result.data) == LABELS
    assert result.data["data"].values.tolist() == LABELS
    scored = [str(n) for n in result.data.data_vars if "loss" in str(n) or str(n).endswith("status")]
    assert all(result.data[n].dims[0] == "data" for n in scored)
    for label, objective in objectives(model).items():
        alone = CALLS[name](objective, trajectory, engine="eager", progress=False)
        part = only(result.data, label)
        xr.testing.assert_equal(part, alone.data)
        assert set(part.variables) == set(alone.data.variables)
        np.testing.assert_equal(plain(part.attrs), plain(alone.data.attrs))


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_a_stopped_result_goes_on(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = net()
    trajectory = training(model)
    share_of, calls, stop = Runner.share, 0, 0

    def counted(self: Runner, request: Any, units: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise KeyboardInterrupt
        return share_of(self, request, units)

    monkeypatch.setattr(Runner, "share", counted)
    whole = CALLS[name](objectives(model), trajectory, engine="eager", progress=False)
    for share in (0.3, 0.8):  # with the first objective, and with the second
        times, calls = calls, 0
        stop, place = max(2, round(share * times)), tmp_path / f"{share}"
        with pytest.raises(KeyboardInterrupt):
            CALLS[name](objectives(model), trajectory, engine="eager", progress=False, out=place)
        stopped, stop, calls = calls, 0, 0
        result = CALLS[name](objectives(model), trajectory, engine="eager", progress=False, out=place)
        assert calls <= times - stopped + 2  # what was stored is not scored anew, but for one point of each
        xr.testing.assert_equal(result.data, whole.data)
        assert ts.load_result(place).data.drop_encoding().identical(result.data)
        calls = times
    np.testing.assert_equal(plain(result.data.attrs)["by_data"], plain(whole.data.attrs)["by_data"])
    again = CALLS[name](objectives(model), trajectory, progress=False, out=place)
    xr.testing.assert_equal(again.data, whole.data)


def test_what_no_objective_has_a_part_in_stands_once() -> None:
    model = net()
    result = ts.interpolate(objectives(model), training(model), alphas=3, progress=False)
    assert result.data["progress"].dims == result.data["step"].dims == ("state",)
    attrs = result.data.attrs
    assert attrs["samples_scored"] == {"train": 40, "test": 23}
    assert list(attrs["fingerprint"]) == list(attrs["reference"]) == LABELS
    assert attrs["loss_name"] == "cross_entropy"
    assert attrs["distance"] > 0
    assert {"samples_scored", "fingerprint", "reference"} <= set(attrs["by_data"])
    assert "loss, train" in repr(result)
    assert "40 train samples and 23 test samples" in repr(result)


def test_numbers_of_an_objective_are_by_label() -> None:
    model = net()
    roles = ts.layer_roles(objectives(model), training(model), draws=1, progress=False)
    assert list(roles.data.attrs["gain"]) == LABELS
    assert roles.data["role"].dims == roles.data["share"].dims == ("data", "layer")
    assert roles.data["distance"].dims == ("layer",)
    paths = ts.compare_paths(objectives(model), training(model), alphas=3, progress=False)
    assert list(paths.data.attrs["gaps"]) == LABELS


def test_keys_and_places_are_those_of_one_objective(tmp_path: Path) -> None:
    model = net()
    with ts.Recorder(tmp_path / "run", model) as recorder:
        recorder.record(step=1)
        model.load_state_dict({name: 1.1 * tensor for name, tensor in model.state_dict().items()})
        recorder.record(step=2)
    trajectory = ts.Trajectory(tmp_path / "run")
    result = ts.interpolate(objectives(model), trajectory, alphas=3, out="run", progress=False)
    assert result.path == tmp_path / "run" / "results" / "interpolate-alphas=3"
    assert result.data.attrs["key"] == "interpolate-alphas=3"
    assert result.data.attrs["options"] == {"alphas": 3}
    with pytest.raises(ResultError, match="another call"):  # one objective alone is another call
        ts.interpolate(objectives(model)["test"], trajectory, alphas=3, out="run", progress=False)


def test_the_order_of_labels_does_not_matter_to_a_stored_result(tmp_path: Path) -> None:
    model = net()
    trajectory, place = training(model), tmp_path / "r"
    stored = ts.interpolate(objectives(model), trajectory, alphas=3, out=place, progress=False)
    turned = dict(reversed(objectives(model).items()))
    xr.testing.assert_equal(ts.interpolate(turned, trajectory, alphas=3, out=place, progress=False).data, stored.data)


def test_other_data_under_a_label_is_named(tmp_path: Path) -> None:
    model = net()
    trajectory, place, other = training(model), tmp_path / "r", ts.Objective(net(), data(9, 9))
    ts.interpolate(objectives(model), trajectory, alphas=3, out=place, progress=False)
    with pytest.raises(ResultError, match=r"test\.data was"):
        ts.interpolate({**objectives(model), "test": other}, trajectory, alphas=3, out=place, progress=False)


def test_a_plan_counts_all() -> None:
    model = net()
    given = {"trajectory": training(model), "kind": "linear", "level": "model", "alphas": 3, "layers": None, "parameters": None}
    plan = INTERPOLATE.job({**given, "objective": objectives(model)}).plan()
    alone = INTERPOLATE.job({**given, "objective": objectives(model)["test"]}).plan()
    assert plan.todo == 2 * alone.todo
    assert plan.scored_on == "40 train samples and 23 test samples"
    assert "train and test data" in plan.title


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda both, model: {}, "two or more"),
        (lambda both, model: {"train": both["train"]}, "pass one objective as it is"),
        (lambda both, model: {**both, "": both["test"]}, "called by words"),
        (lambda both, model: {**both, 3: both["test"]}, "called by words"),
        (lambda both, model: {**both, "other": "test.py"}, '"other" must be a ts.Objective'),
        (lambda both, model: {**both, "test": ts.Objective(nn.Linear(3, 3), data(9, 9))}, "of different models"),
        (lambda both, model: {**both, "test": ts.Objective(model, data(9, 9), metrics=())}, "one lacks accuracy"),
        (lambda both, model: {**both, "test": ts.Objective(model, data(9, 9), buffers="final")}, "at the same points: buffers"),
    ],
)
def test_what_is_no_mapping_of_objectives_is_an_error(given: Any, message: str) -> None:
    model = net()
    with pytest.raises(ObjectiveError, match=message):
        ts.interpolate(given(objectives(model), model), training(model), alphas=3, progress=False)


def test_experiments_of_one_objective_say_so() -> None:
    model = net()
    both: Any = objectives(model)
    with pytest.raises(UsageError, match="parameter_atlas takes one objective"):
        ts.parameter_atlas(both, training(model))
    with pytest.raises(UsageError, match="study_test_size takes one objective"):
        ts.study_test_size(both, training(model)[-1])


@pytest.fixture(scope="module")
def results() -> dict[str, ts.Result]:
    model = net(norm=True)
    trajectory = training(model)
    return {name: call(objectives(model), trajectory, progress=False) for name, call in CALLS.items()}


@pytest.mark.parametrize("name", CALLS)
class TestPicturesAndWords:
    def test_a_figure_names_all(self, results: dict[str, ts.Result], name: str) -> None:
        drawn = results[name].plot()
        assert isinstance(drawn, Figure)
        drawn.draw_without_rendering()
        said = " ".join(text.get_text() for text in texts_of(drawn))
        assert all(f"{label}" in said for label in LABELS)
        assert "scored on train and test data; weight decay or another regulariser is not in the loss" in " ".join(said.split())
        assert len(drawn.axes) >= 2

    def test_a_page_names_all(self, results: dict[str, ts.Result], name: str) -> None:
        page = results[name].figure()
        said = page.to_json()
        assert "train" in said
        assert "test" in said
        for menu in page.layout.updatemenus:  # what a button changes it changes for every trace
            for button in menu.buttons:
                if button.method == "update":
                    assert all(len(values) == len(page.data) for values in button.args[0].values())

    def test_one_is_drawn_as_a_result_of_it_alone(self, results: dict[str, ts.Result], name: str) -> None:
        result = results[name]
        alone, one = picture(result.one("test").data, "figure"), picture(result.data, "figure", data="test")
        assert len(list(one.parts.panels)) == len(list(alone.parts.panels))
        assert one.title == f"{alone.title}, test data"
        assert one.notes == (*alone.notes, "scored on test data; weight decay or another regulariser is not in the loss")
        assert not any("regulariser" in note for note in alone.notes)

    def test_axes_take_one(self, results: dict[str, ts.Result], name: str) -> None:
        ax = Figure().subplots()
        with pytest.raises(ResultError, match='choose one with data="train"'):
            results[name].plot(ax)
        chosen = {"parameter": str(results[name].data["parameter"].values[0])} if name == "compare_paths parameter" else {}
        assert results[name].plot(ax, data="test", **chosen) is ax
        with pytest.raises(ResultError, match='no data "other"; there are: train, test'):
            results[name].plot(ax, data="other")
        with pytest.raises(ResultError, match="of one objective"):
            results[name].one("test").plot(ax, data="test")

    def test_words_are_said_by_label(self, results: dict[str, ts.Result], name: str) -> None:
        found = results[name].data
        experiment = experiment_of(found.attrs)
        assert experiment is not None
        words, alone = words_of(experiment, found.attrs), words_of(experiment, only(found, "test").attrs)
        assert words.question == alone.question
        headlines = [alone.headline(only(found, label)) for label in LABELS]
        assert words.headline(found) == f"train: {headlines[0]} / test: {headlines[1]}"
        assert "train: " in words.how(found)
        assert "test: " in words.how(found)
        assert set(alone.shows(only(found, "test"))) <= {told.removeprefix("test: ") for told in words.shows(found)}
        assert words.caveat.startswith(alone.caveat)
        assert "weight decay" in words.caveat
        if words.table is not None:
            assert alone.table is not None
            table = words.table(found)
            assert table.titles == ("data", *alone.table(only(found, "test")).titles)
            assert {row.cells[0].text for row in table.rows} == set(LABELS)

    def test_tables_hold_all(self, results: dict[str, ts.Result], name: str, tmp_path: Path) -> None:
        assert set(results[name].to_dataframe()["data"].dropna()) == set(LABELS)
        assert results[name].export(tmp_path / "r.csv").exists()
        assert results[name].export(tmp_path / "r.npz").exists()


def test_files_of_one_objective_say_so(results: dict[str, ts.Result], tmp_path: Path) -> None:
    for name, suffix in (("surface", ".vti"), ("trajectory_plane", ".vtp"), ("trajectory_plane", ".gif")):
        with pytest.raises(ResultError, match=r'export result\.one\("train"\)'):
            results[name].export(tmp_path / f"r{suffix}")
    assert results["surface"].one("train").export(tmp_path / "r.vti").exists()


def test_curves_of_both_are_told_apart(results: dict[str, ts.Result]) -> None:
    for name in ("interpolate", "compare_paths"):
        panel = next(picture(results[name].data, "figure").parts.panels)
        curves = [mark for mark in panel.marks if isinstance(mark, Line) and mark.dash]
        assert len({mark.color for mark in curves}) == len(curves) >= 4
        assert {mark.label.partition(":")[0] for mark in curves} == set(LABELS)


def test_a_report_shows_all(results: dict[str, ts.Result], tmp_path: Path) -> None:
    text = ts.write_report(tmp_path, results.values()).read_text(encoding="utf-8")
    assert "cannot be shown" not in text
    assert "train: " in text
    assert "40 train samples and 23 test samples" in text
    assert "--objective train=SPEC --objective test=SPEC" in text
