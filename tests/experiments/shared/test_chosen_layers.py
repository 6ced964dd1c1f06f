"""The words of layers=, through every experiment that takes them, and the blocks that results hold."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import thetascope as ts
from thetascope.errors import ObjectiveError, StateError
from thetascope.experiments.framework.catalog import experiments
from thetascope.experiments.framework.declaration import words_of
from thetascope.results.store import Layout

Tensors = dict[str, Tensor]
BLOCKS = ["stem", "body.0", "body.1", "head"]
LAYERS = ["stem", "body.0.first", "body.0.norm", "body.0.second", "body.1.first", "body.1.norm", "body.1.second", "head"]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.norm(self.first(x)).relu())  # type: ignore[no-any-return]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.body, self.stem = nn.Linear(4, 3), nn.Sequential(Block(), Block()), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)))  # type: ignore[no-any-return]


def objective(model: nn.Module | None = None, **options: Any) -> ts.Objective:
    torch.manual_seed(1)
    return ts.Objective(model or Residual(), (torch.randn(12, 3), torch.randint(3, (12,))), **options)


def states(still: tuple[str, ...] = ()) -> list[Tensors]:
    """Three states; what begins with one of the names stays where it is."""
    torch.manual_seed(0)
    first = {name: tensor.clone() for name, tensor in Residual().state_dict().items()}

    def moved(by: float) -> Tensors:
        return {n: t + by if t.is_floating_point() and not n.startswith(still) else t.clone() for n, t in first.items()}

    return [first, moved(0.1), moved(0.2)] if still else [first, *({n: t + k for n, t in moved(0.0).items()} for k in (1, 2))]


def by_layers(layers: Any, trajectory: ts.Trajectory | None = None, model: nn.Module | None = None, **options: Any) -> ts.Result:
    trajectory = trajectory or ts.Trajectory.from_states(states())
    return ts.interpolate(objective(model), trajectory, level="layer", alphas=3, layers=layers, progress=False, **options)


# --- blocks -----------------------------------------------------------------------------------------------


def test_a_curve_a_block_equals_that_of_its_layers_together() -> None:
    found = by_layers("blocks").data
    assert found["layer"].values.tolist() == found["block"].values.tolist() == BLOCKS
    named = by_layers({"stem": ["stem"], "body.0": ["body.0.*"], "body.1": ["body.1.*"], "head": ["head"]}).data
    np.testing.assert_array_equal(found["loss"], named["loss"])
    np.testing.assert_array_equal(found["distance"], named["distance"])


def test_a_block_put_back_takes_all_its_tensors_along() -> None:
    recorded, scored = ts.Trajectory.from_states(states()), objective(buffers="path")
    mixed = {name: recorded[0][name] if name.startswith("body.1.") else tensor for name, tensor in recorded[-1].items()}
    found = ts.interpolate(scored, recorded, level="layer", alphas=[0.0, 1.0], layers="blocks", progress=False).data["loss"]
    found = found.sel(layer="body.1", alpha=0.0)
    assert float(found) == pytest.approx(scored.score(mixed)["loss"], rel=1e-6)


def test_every_layer_knows_its_block() -> None:
    found = by_layers(None).data
    assert found["layer"].values.tolist() == LAYERS
    assert found["block"].dims == ("layer",)
    assert found["block"].values.tolist() == ["stem", *["body.0"] * 3, *["body.1"] * 3, "head"]
    assert set(found.groupby("block").mean()["block"].values) == set(BLOCKS)


def test_a_group_over_several_blocks_lies_in_none() -> None:
    groups = {"ends": ["stem", "head"], "firsts": ["body.*.first"], "one": ["body.1.norm", "body.1.second"]}
    assert by_layers(groups).data["block"].values.tolist() == ["", "", "body.1"]


def test_blocks_are_layers_where_there_are_none() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    recorded = ts.Trajectory.from_states([{n: t + k for n, t in model.state_dict().items()} for k in (0, 1, 2)])
    one, other = (by_layers(layers, recorded, model).data for layers in ("blocks", None))
    assert one["layer"].values.tolist() == one["block"].values.tolist() == other["layer"].values.tolist() == ["0", "2"]
    np.testing.assert_array_equal(one["loss"], other["loss"])


def test_the_roles_of_blocks() -> None:
    scored = objective(buffers="path")
    found = ts.layer_roles(scored, ts.Trajectory.from_states(states()), draws=2, layers="blocks", progress=False)
    assert found.data["layer"].values.tolist() == found.data["block"].values.tolist() == BLOCKS
    assert found.data.attrs["with_buffers"] == ["body.0", "body.1"]
    single = ts.layer_roles(objective(), ts.Trajectory.from_states(states()), draws=1, progress=False)
    assert single.data["block"].values.tolist() == ["stem", *["body.0"] * 3, *["body.1"] * 3, "head"]


def test_what_holds_no_layers_along_a_dimension_holds_no_blocks() -> None:
    recorded = ts.Trajectory.from_states(states())
    for options in ({"level": "model"}, {"level": "parameter", "parameters": 1, "layers": "blocks"}):
        assert "block" not in ts.interpolate(objective(), recorded, alphas=3, progress=False, **options).data.variables


def test_where_parameters_are_drawn_blocks_are_all_layers() -> None:
    drawn = [
        ts.interpolate(objective(), ts.Trajectory.from_states(states()), level="parameter", alphas=3, layers=layers, progress=False).data
        for layers in ("blocks", None)
    ]
    assert drawn[0]["parameter"].values.tolist() == drawn[1]["parameter"].values.tolist()
    assert drawn[0]["layer"].values.tolist() == drawn[1]["layer"].values.tolist()


# --- results with blocks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", ["blocks", None])
def test_a_stored_result_holds_blocks_and_is_gone_on_with(layers: Any, tmp_path: Path) -> None:
    recorded = ts.Trajectory.from_states(states())
    whole = by_layers(layers, recorded, out=tmp_path / "r").data
    loaded = ts.load_result(tmp_path / "r").data
    assert "block" in loaded.coords
    assert "block" not in loaded.data_vars
    assert loaded["block"].values.tolist() == whole["block"].values.tolist()
    assert by_layers(layers, recorded, out=tmp_path / "r").data["block"].values.tolist() == whole["block"].values.tolist()
    saved = ts.load_result(by_layers(layers, recorded).save(tmp_path / "s")).data
    assert saved["block"].values.tolist() == whole["block"].values.tolist()


def test_roles_are_derived_and_stored_beside_blocks(tmp_path: Path) -> None:
    recorded = ts.Trajectory.from_states(states())
    for _ in range(2):
        ts.layer_roles(objective(), recorded, draws=1, layers="blocks", out=tmp_path / "r", progress=False)
        loaded = ts.load_result(tmp_path / "r").data
        assert loaded["role"].dims == loaded["block"].dims == ("layer",)
        assert {"block"} <= set(loaded.coords) - set(loaded.data_vars)


def test_a_result_that_an_earlier_version_stored_without_blocks_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, empty = ts.Trajectory.from_states(states()), Layout.empty
    monkeypatch.setattr(Layout, "empty", lambda layout: empty(layout).drop_vars("block"))
    old = by_layers(None, recorded, out=tmp_path / "r").data
    assert "block" not in old.variables
    monkeypatch.undo()
    np.testing.assert_array_equal(by_layers(None, recorded, out=tmp_path / "r").data["loss"], old["loss"])
    by_layers(None, recorded, out=tmp_path / "r").plot()


def test_tables_have_a_column_of_blocks(tmp_path: Path) -> None:
    result = by_layers(None)
    table = result.to_dataframe()
    assert table.groupby("layer")["block"].first().to_dict() == dict(zip(LAYERS, result.data["block"].values.tolist(), strict=True))
    assert "block" in pd.read_csv(result.export(tmp_path / "r.csv")).columns
    with zipfile.ZipFile(result.export(tmp_path / "r.npz")) as archive:
        held = np.load(io.BytesIO(archive.read("block.npy")))
    assert held.tolist() == result.data["block"].values.tolist()
    assert "layer 8" in repr(result)


@pytest.mark.parametrize("layers", ["blocks", "trainable", {"a": ["stem", "head"]}])
def test_pictures_and_words_of_blocks(layers: Any) -> None:
    recorded = ts.Trajectory.from_states(states())
    results = [by_layers(layers, recorded), ts.layer_roles(objective(), recorded, draws=2, layers=layers, progress=False)]
    for result in results:
        result.plot()
        result.figure()
        words = words_of(experiments()[result.experiment], result.data.attrs)
        told = words.how(result.data)
        assert ("block" in told) == (layers == "blocks")
        assert ("layer" in told) == (layers != "blocks")
    by_layers("blocks", recorded).plot(layer="body.1")


def test_a_metric_may_not_be_called_as_the_blocks_are() -> None:
    with pytest.raises(ObjectiveError, match='may not be called "block", which results use themselves'):
        ts.interpolate(
            objective(metrics={"block": lambda outputs, targets: outputs[:, 0]}),
            ts.Trajectory.from_states(states()),
            level="layer",
            alphas=2,
        )


# --- trainable --------------------------------------------------------------------------------------------


def frozen(*names: str) -> nn.Module:
    model = Residual()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(names))
    return model


def test_what_did_not_move_in_the_training_is_not_trainable() -> None:
    recorded = ts.Trajectory.from_states(states(still=("stem", "body.0", "head.bias")))
    assert by_layers("trainable", recorded).data["layer"].values.tolist() == [*LAYERS[4:7], "head"]


def test_requires_grad_tells_too() -> None:
    assert by_layers("trainable", model=frozen("body", "head.weight")).data["layer"].values.tolist() == ["stem", "head"]


def test_all_states_are_looked_at_not_only_the_knots() -> None:
    first, middle, last = states(still=("stem", "body"))
    middle["stem.weight"] = middle["stem.weight"] + 1
    found = by_layers("trainable", ts.Trajectory.from_states([first, middle, last])).data
    assert found["layer"].values.tolist() == ["stem", "head"]


def test_where_nothing_is_trainable_it_is_said() -> None:
    recorded = ts.Trajectory.from_states(states(still=("head",)))
    with pytest.raises(StateError, match='layers="trainable" chooses no layer'):
        by_layers("trainable", recorded, frozen("stem", "body"))


CALLS: dict[str, Mapping[str, Any]] = {
    "interpolate": {"level": "parameter", "parameters": 1, "alphas": 3},
    "layer_roles": {"draws": 1},
    "layer_rewind": {"barriers": False},
    "compare_paths": {"level": "parameter", "parameters": 1, "alphas": 9},
    "parameter_atlas": {"alphas": 3},
}


def test_every_experiment_that_takes_layers_is_looked_at() -> None:
    takes = {name for name, experiment in experiments().items() if "layers" in experiment.of().all_options}
    assert takes == {*CALLS, "surface"}


@pytest.mark.parametrize("name", CALLS)
def test_the_words_go_through_every_experiment(name: str) -> None:
    recorded, call = ts.Trajectory.from_states(states(still=("stem", "body.0"))), getattr(ts, name)
    found = {word: call(objective(), recorded, layers=word, progress=False, **CALLS[name]) for word in ("blocks", "trainable")}
    assert set(found["trainable"].data["layer"].values.tolist()) == set(LAYERS[4:])
    assert set(found["blocks"].data["layer"].values.tolist()) == set(BLOCKS if name in ("layer_roles", "layer_rewind") else LAYERS)
    assert found["blocks"].data.attrs["options"]["layers"] == "blocks"
    with pytest.raises(StateError, match=r'the words "blocks" and "trainable"'):
        call(objective(), recorded, layers="stem", progress=False, **CALLS[name])


def surface(subject: object, layers: Any, model: nn.Module | None = None) -> Any:
    span = (-1.0, 1.0, 3)
    return ts.surface(objective(model), subject, x=span, y=span, layers=layers, progress=False).data  # type: ignore[arg-type]


def test_on_a_surface_frozen_parameters_of_trainable_layers_stay() -> None:
    recorded = ts.Trajectory.from_states(states(still=("stem", "body", "head.bias")))
    chosen, plain, named = (surface(recorded, layers) for layers in ("trainable", None, ["head"]))
    np.testing.assert_array_equal(chosen["loss"], plain["loss"])
    assert chosen.attrs["directions"]["frozen"] == {"head.bias": "they are the same in all states"}
    assert named.attrs["directions"]["frozen"] == {}


def test_a_surface_around_a_state_asks_requires_grad() -> None:
    model, state = frozen("stem", "body"), states()[-1]
    np.testing.assert_array_equal(surface(state, "trainable", model)["loss"], surface(state, None, model)["loss"])


def test_a_surface_of_all_blocks_moves_all() -> None:
    state = states()[-1]
    np.testing.assert_array_equal(surface(state, "blocks")["loss"], surface(state, None)["loss"])
