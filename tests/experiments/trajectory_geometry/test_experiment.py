"""The way of a training from its states alone: which tensors, which layers, what is said, stored and drawn."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import thetascope as ts
from thetascope.errors import GeometryError, ResultError, StateError, TrajectoryError
from thetascope.experiments.framework.catalog import declaration
from thetascope.experiments.framework.declaration import words_of
from thetascope.experiments.trajectory_geometry.experiment import source
from thetascope.report import write_report
from thetascope.state.guessed import space_of_specs
from thetascope.testing.models import QuadraticBowl

QUIET: Any = {"progress": False}
OVER_STATES = {"arc", "from_start", "to_end", "share", "off_line", "step_length", "heading", "turning"}


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = nn.Conv2d(1, 2, 3), nn.Sequential(Block(), Block()), nn.Linear(2, 3)


def walk(count: int = 6, model: nn.Module | None = None) -> list[dict[str, torch.Tensor]]:
    """A random walk, running statistics with it."""
    torch.manual_seed(0)
    state = {name: tensor.clone() for name, tensor in (model or Net()).state_dict().items()}
    states = []
    for _ in range(count):
        states.append({name: tensor.clone() for name, tensor in state.items()})
        for tensor in state.values():
            tensor.add_(torch.randn_like(tensor) if tensor.is_floating_point() else 1)
    return states


def flat(state: dict[str, torch.Tensor], names: list[str]) -> Any:
    return torch.cat([state[name].reshape(-1).double() for name in names]).numpy()


def parameters() -> list[str]:
    return [name for name, _ in Net().named_parameters()]


def said(result: ts.Result) -> str:
    words = words_of(declaration("trajectory_geometry"), result.data.attrs)
    table = words.table
    assert table is not None
    table(result.data)
    return " ".join([words.headline(result.data), words.how(result.data), *words.shows(result.data), words.caveat])


def straight(count: int = 30) -> ts.Trajectory:
    """Gradient descent on an isotropic bowl."""
    torch.manual_seed(1)
    start = torch.randn(40, dtype=torch.float64)
    return ts.Trajectory.from_states([{"position": start * 0.8**t} for t in range(count)], steps=list(range(count)))


def test_the_way_is_that_of_the_parameters() -> None:
    states = walk()
    result = ts.trajectory_geometry(ts.Trajectory.from_states(states), **QUIET)
    rows = np.array([flat(state, parameters()) for state in states])
    assert result.data["step_length"].values[1:] == pytest.approx(np.linalg.norm(np.diff(rows, axis=0), axis=1), rel=1e-9)
    assert result.data.attrs["parameters"] == rows.shape[1]
    assert result.data.attrs["chord"] == pytest.approx(np.linalg.norm(rows[-1] - rows[0]))
    assert {name for name in OVER_STATES if result.data[name].dims == ("state",)} == OVER_STATES
    assert result.data["layer"].values.tolist() == ["stem", "blocks.0.conv", "blocks.0.norm", "blocks.1.conv", "blocks.1.norm", "head"]
    assert result.data["block"].values.tolist() == ["stem", *["blocks.0"] * 2, *["blocks.1"] * 2, "head"]
    assert float(result.data["squared_share"].sum()) == pytest.approx(1)


@pytest.mark.parametrize("layers", [None, "blocks", ["head", "stem"], {"ends": ["stem", "head"], "norms": ["*.norm"]}])
def test_layers_have_ways_of_their_own(layers: Any) -> None:
    states = walk()
    result = ts.trajectory_geometry(ts.Trajectory.from_states(states), "layer", layers, **QUIET).data
    groups = {
        None: {name: [name] for name in ("stem", "blocks.0.conv", "blocks.0.norm", "blocks.1.conv", "blocks.1.norm", "head")},
        "blocks": {name: [name] for name in ("stem", "blocks.0", "blocks.1", "head")},
    }.get(layers if layers is None or isinstance(layers, str) else "", {"head": ["head"], "stem": ["stem"]})  # fmt: skip
    if isinstance(layers, dict):
        groups = {"ends": ["stem", "head"], "norms": ["blocks.0.norm", "blocks.1.norm"]}
    assert result["layer"].values.tolist() == list(groups)
    for label, prefixes in groups.items():
        names = [name for name in parameters() if any(name.startswith(f"{prefix}.") for prefix in prefixes)]
        rows = np.array([flat(state, names) for state in states])
        own, steps = result.sel(layer=label), np.diff(rows, axis=0)
        lengths, chord = np.linalg.norm(steps, axis=1), rows[-1] - rows[0]
        units = steps / lengths[:, None]
        n = len(steps)
        assert float(own["tortuosity"]) == pytest.approx(lengths.sum() / np.linalg.norm(chord))
        assert float(own["mean_cosine"]) == pytest.approx(((units @ units.T).sum() - n) / (n * (n - 1)))
        assert float(own["relative_distance"]) == pytest.approx(np.linalg.norm(chord) / np.linalg.norm(rows[0]))
        np.testing.assert_allclose(own["share"], (rows - rows[0]) @ chord / (chord @ chord), atol=1e-9)
        np.testing.assert_allclose(own["relative_from_start"], np.linalg.norm(rows - rows[0], axis=1) / np.linalg.norm(rows[0]))


def test_trainable_leaves_out_what_never_moved() -> None:
    states = walk()
    for state in states:
        state["stem.weight"], state["stem.bias"] = states[0]["stem.weight"], states[0]["stem.bias"]
    found = ts.trajectory_geometry(ts.Trajectory.from_states(states), "layer", "trainable", **QUIET).data
    assert "stem" not in found["layer"].values
    every = ts.trajectory_geometry(ts.Trajectory.from_states(states), "layer", **QUIET)
    assert "stem did not move" in said(every)


def test_a_permuted_order_of_names_changes_no_number() -> None:
    states = walk()
    turned = [dict(reversed(state.items())) for state in states]
    ours, theirs = (ts.trajectory_geometry(ts.Trajectory.from_states(each), **QUIET).data for each in (states, turned))
    assert theirs["layer"].values.tolist() == ours["layer"].values.tolist()[::-1]
    for name in OVER_STATES:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(ours["relative_from_start"], theirs["relative_from_start"].sel(layer=ours["layer"]), rtol=1e-12)


def test_steps_and_epochs_are_told_where_they_are_known() -> None:
    plain = ts.trajectory_geometry(ts.Trajectory.from_states(walk()), **QUIET)
    assert "step" not in plain.data.coords
    assert "epoch" not in plain.data.coords
    assert "step" not in said(plain).replace("steps", "").replace("step between", "").replace("longest step", "")
    some = ts.Trajectory.from_states(walk(), steps=[0, 3, 5, 9, 12, 20], epochs=[0, 1, 2, 3, 4, 5])
    known = ts.trajectory_geometry(some, **QUIET)
    assert known.data["step"].values.tolist() == [0, 3, 5, 9, 12, 20]
    assert known.data["epoch"].values.tolist() == [0, 1, 2, 3, 4, 5]
    assert "(epoch " in said(known)


def test_a_run_directory_says_what_its_parameters_and_layers_are(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[2].register_buffer("mean_of_mine", torch.ones(3))
    with ts.Recorder(tmp_path / "run", model) as recorder:
        for step in range(1, 4):
            with torch.no_grad():
                for tensor in model.state_dict().values():
                    tensor.add_(torch.randn_like(tensor) if tensor.is_floating_point() else 1)
            recorder.record(step=step, epoch=step)
    trajectory = ts.Trajectory(tmp_path / "run")
    result = ts.trajectory_geometry(trajectory, out="run", **QUIET)
    assert result.path == tmp_path / "run" / "results" / "trajectory_geometry"
    assert result.data.attrs["parameters"] == sum(p.numel() for p in model.parameters())
    assert ts.trajectory_geometry(trajectory, out="run", **QUIET).data.identical(ts.load_result(result.path).data)
    assert "engine" not in result.data.attrs
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert page.index("What was measured while it trained?") < page.index("What path did the optimizer take?")
    assert "Part of this result cannot be shown" not in page


def test_another_training_at_the_same_place_is_refused(tmp_path: Path) -> None:
    ts.trajectory_geometry(ts.Trajectory.from_states(walk()), out=tmp_path / "r", **QUIET)
    with pytest.raises(ResultError, match="states was"):
        ts.trajectory_geometry(ts.Trajectory.from_states(walk(5)), out=tmp_path / "r", **QUIET)
    with pytest.raises(ResultError, match="level was model, now layer"):
        ts.trajectory_geometry(ts.Trajectory.from_states(walk()), "layer", out=tmp_path / "r", **QUIET)


def test_a_plan_says_how_many_states_it_would_read(tmp_path: Path) -> None:
    arguments = {"trajectory": ts.Trajectory.from_states(walk()), "level": "model", "layers": None, "out": tmp_path / "r", **QUIET}
    job = declaration("trajectory_geometry").job(arguments)
    plan = job.plan()
    assert (plan.todo, plan.unit, plan.stored) == (6, "states", 0)
    assert plan.time.seconds > 0
    job.run()
    assert (job.plan().todo, job.plan().stored) == (0, 6)


@pytest.mark.parametrize(
    ("states", "options", "error", "message"),
    [
        (walk(1), {}, TrajectoryError, "two states or more, and this trajectory has 1"),
        (walk(2), {"level": "parameter"}, TrajectoryError, "level must be one of model, layer"),
        (walk(2), {"layers": ["stem"]}, TrajectoryError, "layers has no meaning"),
        (walk(2), {"level": "layer", "layers": ["nothing"]}, StateError, 'no layer matches "nothing"'),
        ([{"n": torch.ones(2, dtype=torch.int64)}] * 2, {}, StateError, "no floating parameters"),
    ],
)
def test_bad_calls_say_what_is_wrong(states: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ts.trajectory_geometry(ts.Trajectory.from_states(states), **options, **QUIET)


def test_a_diverged_state_is_named() -> None:
    states = walk()
    states[4]["head.bias"][0] = torch.nan
    with pytest.raises(GeometryError, match="state 4 holds values that are not finite"):
        ts.trajectory_geometry(ts.Trajectory.from_states(states), **QUIET)
    states[4]["head.bias"][0] = 0
    states[3]["blocks.0.norm.running_var"][0] = torch.nan  # which is no parameter
    ts.trajectory_geometry(ts.Trajectory.from_states(states), **QUIET)


@pytest.mark.parametrize("level", ["model", "layer"])
def test_equal_states_have_no_way_and_no_warnings(level: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = ts.trajectory_geometry(ts.Trajectory.from_states([walk()[0]] * 3), level, **QUIET)
        text = said(result)
        result.plot()
        result.figure()
    assert "no parameter moved" in text if level == "model" else "ended elsewhere" in text
    assert np.isnan(result.data["share"]).all()


def test_nothing_says_that_a_straight_training_left_its_line() -> None:
    trajectory = straight()
    result = ts.trajectory_geometry(trajectory, **QUIET)
    text = said(result)
    assert "went straight" in text
    assert "left the straight line" not in text
    objective = ts.Objective.from_step(QuadraticBowl([1.0] * 40, [0.0] * 40), QuadraticBowl.data(), step=QuadraticBowl.step)
    for name, made in (("interpolate", ts.interpolate), ("compare_paths", ts.compare_paths)):
        found = made(objective, trajectory, progress=False)
        words = words_of(declaration(name), found.data.attrs)
        text = " ".join([words.headline(found.data), words.how(found.data), *words.shows(found.data), words.caveat])
        assert "The training went along the straight line" in text
        assert "did not go along" not in text
        assert "left the straight line" not in text
        assert "It did not go at an even pace" in text  # which is another thing
    gaps = found.data.attrs["gaps"]
    assert gaps["linear_by_place"] == pytest.approx(0, abs=1e-6)
    assert gaps["linear"] > 0.5


def test_a_crooked_training_is_told_by_how_much() -> None:
    angles = torch.linspace(0, math.pi, 101, dtype=torch.float64)
    states = [{"w": torch.stack([torch.cos(a), torch.sin(a)])} for a in angles]
    text = said(ts.trajectory_geometry(ts.Trajectory.from_states(states), **QUIET))
    assert "1.571 times as long as the straight line" in text
    assert "up to 50 % of its length" in text


def test_tied_tensors_in_memory_count_once() -> None:
    states = []
    for t in range(3):
        shared = torch.full((2, 2), float(t))
        states.append({"a.weight": shared, "b.weight": shared, "c.weight": torch.full((2, 2), float(t))})
    result = ts.trajectory_geometry(ts.Trajectory.from_states(states), **QUIET)
    assert result.data["layer"].values.tolist() == ["a", "c"]
    assert result.data.attrs["parameters"] == 8


def test_what_names_tell_of_a_model() -> None:
    model = Net()
    known, guessed = ts.ParameterSpace.of_model(model), space_of_specs(ts.State.of(model.state_dict()).specs)
    assert guessed.parameters == known.parameters
    assert set(guessed.buffers) == set(known.buffers)
    assert {label: [y.name for y in own] for label, own in guessed.blocks.items()} == {
        label: [y.name for y in own] for label, own in known.blocks.items()
    }
    normal = nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2))
    assert set(space_of_specs(ts.State.of(normal.state_dict()).specs).parameters) == {"bias", "parametrizations.weight.original"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        older = nn.utils.spectral_norm(nn.Linear(2, 2))
    assert set(space_of_specs(ts.State.of(older.state_dict()).specs).parameters) == {"bias", "weight_orig"}
    odd = {"forward.weight": torch.ones(1), "training": torch.ones(1), "a": torch.ones(1), "a.b": torch.ones(1)}
    assert len(space_of_specs(ts.State.of(odd).specs).parameters) == 4


# --- pictures -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[1, 5, 39])
def results(request: pytest.FixtureRequest) -> list[ts.Result]:
    """Of a training with so many layers, at both levels."""
    model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(request.param)])
    trajectory = ts.Trajectory.from_states(walk(12, model), steps=[3 * t for t in range(12)])
    return [ts.trajectory_geometry(trajectory, level, progress=False) for level in ("model", "layer")]


def test_both_renderers_draw_any_number_of_layers(results: list[ts.Result]) -> None:
    for result in results:
        figure = result.plot()
        assert isinstance(figure, Figure)
        figure.draw_without_rendering()
        assert result.figure().data
        labels = {axes.get_xlabel() for axes in figure.axes}
        assert "step" in labels


def test_one_variable_is_drawn_alone(results: list[ts.Result]) -> None:
    for result in results:
        for name in ("share", "relative_from_start"):
            assert isinstance(result.plot(variable=name), Figure)
        with pytest.raises(ResultError, match='no variable "loss"; there are: '):
            result.plot(variable="loss")


def test_the_way_is_drawn_in_lengths_of_the_line() -> None:
    figure: Any = ts.trajectory_geometry(ts.Trajectory.from_states(walk()), **QUIET).plot(variable="share")
    result = ts.trajectory_geometry(ts.Trajectory.from_states(walk()), **QUIET)
    path = max(figure.axes[0].lines, key=lambda line: len(line.get_xdata()))
    np.testing.assert_allclose(path.get_xdata(), result.data["share"])
    np.testing.assert_allclose(path.get_ydata(), result.data["off_line"] / result.data.attrs["chord"])


def test_the_work_is_bounded_and_told() -> None:
    work = source(ts.Trajectory.from_states(walk()), "layer", None)
    assert work.measurement.reads == 6
