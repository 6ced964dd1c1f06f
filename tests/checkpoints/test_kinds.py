"""Kinds of checkpoints as they lie on disk, made by hand; what the libraries write themselves is in test_libraries."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import thetascope as ts
from tests.recording.tiny import assert_same
from thetascope.checkpoints import distributed
from thetascope.checkpoints.moments import moment_in_name
from thetascope.checkpoints.open_files import OPEN_FILES
from thetascope.errors import CheckpointError, TrajectoryError

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled", "ignore:.*TypedStorage is deprecated")


def tensors(value: float) -> dict[str, Tensor]:
    return {"fc.weight": torch.full((3, 2), float(value)), "fc.bias": torch.full((3,), float(value)), "head.weight": torch.ones(2, 3)}


def refused(paths: Any, **options: Any) -> str:
    """Why files are refused: in at most ten lines, none of them endless."""
    with pytest.raises((CheckpointError, TrajectoryError)) as caught:
        ts.Trajectory.from_files(paths, **options)
    message = str(caught.value)
    assert len(message) < 1200
    return message


def marks(trajectory: ts.Trajectory) -> list[float]:
    return [float(state["fc.bias"][0]) for state in trajectory]


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def hugging_face(folder: Path, step: int, value: float, **told: Any) -> Path:
    """A checkpoint of Trainer, with its optimizer beside it."""
    place = folder / f"checkpoint-{step}"
    place.mkdir(parents=True)
    save_file(tensors(value), place / "model.safetensors")
    log = [{"step": 1, "loss": 9.0, "epoch": 0.1}, {"step": step, "epoch": step / 4, "loss": value}, {"step": step, "eval_loss": value + 1}]
    write_json(place / "trainer_state.json", {"global_step": step, "epoch": step / 4, "log_history": log, **told})
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        torch.save({"state": {0: torch.zeros(1)}}, place / name)
    return place


# --- Hugging Face -----------------------------------------------------------------------------------------


def test_an_output_of_trainer_is_read_by_one_line(tmp_path: Path) -> None:
    for step in (1000, 500):
        hugging_face(tmp_path, step, step / 10)
    (tmp_path / "runs").mkdir()
    trajectory = ts.Trajectory.from_files(tmp_path)
    assert (trajectory.steps, trajectory.epochs, marks(trajectory)) == ([500, 1000], [125, 250], [50, 100])
    assert [state.metrics for state in trajectory] == [{"loss": 50, "eval_loss": 51}, {"loss": 100, "eval_loss": 101}]
    assert [state.label for state in trajectory] == ['"checkpoint-500"', '"checkpoint-1000"']
    assert repr(trajectory).splitlines()[1:] == [
        "  steps    500, 1,000 (from trainer_state.json)",
        "  epochs   125, 250 (from trainer_state.json)",
        "  metrics  loss, eval_loss (trainer_state.json)",
        "  tensors  3, 15 values (safetensors)",
    ]


def test_what_the_trainer_knows_goes_before_a_folder_s_name(tmp_path: Path) -> None:
    place = hugging_face(tmp_path, 7, 0, global_step=8)
    assert ts.Trajectory.from_files(place).steps == [8]
    (place / "trainer_state.json").unlink()
    trajectory = ts.Trajectory.from_files(place)
    assert (trajectory.steps, trajectory.epochs) == ([7], None)
    assert "(from the names of the files)" in repr(trajectory)
    assert ts.Trajectory.from_files(place / "model.safetensors").steps == [7]


def test_a_list_of_checkpoints_keeps_its_order_or_says_that_it_falls(tmp_path: Path) -> None:
    late, early = (hugging_face(tmp_path, step, step) for step in (20, 10))
    assert marks(ts.Trajectory.from_files([early, late])) == [10, 20]
    message = refused([late, early])
    assert "not in order: 10 follows 20 (from trainer_state.json)" in message
    assert "or say steps=" in message
    assert marks(ts.Trajectory.from_files([late, early], steps=[0, 1], epochs=[0, 0.5])) == [20, 10]


def shards(folder: Path, save: Callable[..., Any] = save_file, suffix: str = "safetensors") -> Path:
    parts = [{"fc.weight": tensors(2)["fc.weight"]}, {n: t for n, t in tensors(2).items() if n != "fc.weight"}]
    name = "model" if suffix == "safetensors" else "pytorch_model"
    files = [f"{name}-0000{i}-of-00002.{suffix}" for i in (1, 2)]
    for file, part in zip(files, parts, strict=True):
        save(part, folder / file)
    index = folder / f"{name}.{suffix}.index.json"
    write_json(index, {"metadata": {}, "weight_map": {n: file for file, part in zip(files, parts, strict=True) for n in part}})
    return index


@pytest.mark.parametrize(("save", "suffix"), [(save_file, "safetensors"), (lambda t, p: torch.save(dict(t), p), "bin")])
def test_a_state_in_shards(tmp_path: Path, save: Any, suffix: str) -> None:
    index = shards(tmp_path, save, suffix)
    for place in (tmp_path, index, [index]):
        trajectory = ts.Trajectory.from_files(place)
        assert_same(trajectory[0], tensors(2))
        assert trajectory[0].piece("fc.weight", 2, 4).tolist() == [2, 2]
        assert "in 2 files" in repr(trajectory)
    part = next(tmp_path.glob("*-00001-of-*"))
    assert f'is one of 2 parts of one state. Pass their index, "{index}"' in refused(part)


def test_shards_that_lack_something(tmp_path: Path) -> None:
    index = shards(tmp_path)
    next(tmp_path.glob("*-00002-of-*")).unlink()
    assert "does not exist or is no file" in refused(index)
    write_json(index, {"weight_map": {"fc.weight": "model-00001-of-00002.safetensors", "x": "model-00001-of-00002.safetensors"}})
    assert 'says where "x" should lie, and nothing lies there' in refused(index)
    write_json(index, [1])
    assert "holds a list where a mapping was expected" in refused(index)
    write_json(index, {"weight_map": {}})
    assert "has no weight_map" in refused(index)


# --- Lightning, DeepSpeed, folders of files ---------------------------------------------------------------


def lightning(path: Path, step: int, epoch: int, value: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {f"model.{name}": tensor for name, tensor in tensors(value).items()} | {"criterion.weight": torch.ones(2)}
    torch.save({"state_dict": content, "global_step": step, "epoch": epoch, "optimizer_states": [{}], "loops": {}}, path)


def test_lightning_s_checkpoints_come_by_their_steps_and_the_last_once(tmp_path: Path) -> None:
    for i, (name, step) in enumerate([("val_loss=1.20-epoch=1", 40), ("val_loss=0.31-epoch=2", 80), ("val_loss=0.05-epoch=10", 440)]):
        lightning(tmp_path / "checkpoints" / f"{name}.ckpt", step, i, i)
    lightning(tmp_path / "checkpoints" / "last.ckpt", 440, 2, 2)
    for folder in (tmp_path, tmp_path / "checkpoints"):
        trajectory = ts.Trajectory.from_files(folder)
        assert (trajectory.steps, trajectory.epochs) == ([40, 80, 440], [0, 1, 2])
        assert [float(state["model.fc.bias"][0]) for state in trajectory] == [0, 1, 2]
    assert "left out, as another file holds the same step: last.ckpt" in repr(trajectory)


def test_a_last_checkpoint_that_is_another_state_stays(tmp_path: Path) -> None:
    lightning(tmp_path / "epoch=1.ckpt", 40, 1, 0)
    lightning(tmp_path / "last.ckpt", 45, 1, 1)
    assert ts.Trajectory.from_files(tmp_path).steps == [40, 45]


def test_the_weights_of_a_loss_beside_the_model_are_left_out(tmp_path: Path) -> None:
    lightning(tmp_path / "a.ckpt", 1, 0, 3)
    model = nn.ModuleDict({"fc": nn.Linear(2, 3), "head": nn.Linear(3, 2, bias=False)})

    def step(model: Any, batch: Tensor) -> dict[str, Tensor]:
        return {"loss": model["head"](model["fc"](batch)).sum(1)}

    objective = ts.Objective.from_step(model, [torch.zeros(4, 2)], step)
    assert_same(objective.bind(ts.Trajectory.from_files(tmp_path / "a.ckpt")[0]), tensors(3))
    plain = ts.Trajectory.from_states([tensors(0), dict(ts.Trajectory.from_files(tmp_path / "a.ckpt")[0])])
    assert [set(state) for state in plain] == [set(tensors(0))] * 2


def test_deepspeed(tmp_path: Path) -> None:
    place = tmp_path / "global_step40"
    place.mkdir()
    torch.save({"module": tensors(4), "global_steps": 40, "optimizer": None}, place / "mp_rank_00_model_states.pt")
    torch.save({"optimizer_state_dict": {}}, place / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    (tmp_path / "latest").write_text("global_step40")
    for path in (tmp_path, place, place / "mp_rank_00_model_states.pt"):
        trajectory = ts.Trajectory.from_files(path)
        assert (trajectory.steps, marks(trajectory)) == ([40], [4])
    for rank in (0, 1):
        torch.save({"module": {}}, place / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt")
    assert "none of which is the whole model. Make one file of it with DeepSpeed's zero_to_fp32.py" in refused([place])


def test_a_folder_of_files_of_any_name(tmp_path: Path) -> None:
    for i, name in enumerate(["model_3.t7", "model_20.t7", "model_100.pkl"]):
        torch.save({"net": tensors(i)}, tmp_path / name)
    torch.save({"state": {}}, tmp_path / "optimizer.pt")
    (tmp_path / "notes.txt").write_text("no checkpoint")
    (tmp_path / "log.npz").write_bytes(b"PK\3\4")
    assert marks(ts.Trajectory.from_files(tmp_path)) == [0, 1, 2]
    assert ts.Trajectory.from_files(tmp_path).steps is None


def test_two_networks_that_end_at_one_epoch_are_two_states(tmp_path: Path) -> None:
    for name in ("a.th", "b.th"):
        torch.save({"state_dict": tensors(1), "epoch": 200, "global_step": 70000}, tmp_path / name)
    trajectory = ts.Trajectory.from_files([tmp_path / "a.th", tmp_path / "b.th"])
    assert (trajectory.steps, trajectory.epochs, trajectory.clock) == (None, None, "state")


def test_what_lies_where(tmp_path: Path) -> None:
    with ts.Recorder(tmp_path / "runs" / "a", nn.Linear(2, 2)):
        pass
    for path in (tmp_path / "runs" / "a", [tmp_path / "runs" / "a"]):
        assert f'is a run directory; open it with ts.Trajectory("{tmp_path / "runs" / "a"}")' in refused(path)
    assert "holds run directories; open one of them" in refused(tmp_path / "runs")
    assert "does not exist" in refused(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "holds no checkpoint files; looked for folders of checkpoints (checkpoint-500, …)" in refused(tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "step", "epoch"),
    [
        ("checkpoint-500", 500, None),
        ("epoch=3-step=120.ckpt", 120, 3),
        ("val_loss=0.31-epoch=2.ckpt", None, 2),
        ("global_step40", 40, None),
        ("step_120.pt", 120, None),
        ("epoch0.5.pt", None, 0.5),
        ("model.epoch3.safetensors", None, 3),
        ("Epoch-12", None, 12),
        ("ep3.pth", None, 3),
        ("iter_1000.pth", 1000, None),
        ("model_300.t7", None, None),
        ("resnet20-12fca82f.th", None, None),
        ("last.ckpt", None, None),
        ("pretrain3.pt", None, None),
        ("footstep7.pt", None, None),
    ],
)
def test_what_names_tell(name: str, step: int | None, epoch: float | None) -> None:
    found = moment_in_name(Path(name))
    assert (found.step, found.epoch) == (step, epoch)


def test_epochs_out_of_files_may_be_fractions(tmp_path: Path) -> None:
    files = []
    for i, epoch in enumerate([0, 0.5, 1.25]):
        files.append(tmp_path / f"{'abc'[i]}.pt")
        torch.save({"state_dict": tensors(i), "epoch": epoch}, files[-1])
    trajectory = ts.Trajectory.from_files(files)
    assert (trajectory.steps, trajectory.epochs) == (None, [0, 0.5, 1.25])
    assert "epochs   0, 0.5, 1.25 (from the files' own)" in repr(trajectory)
    assert "not in order: 0.5 follows 1.25" in refused(files[::-1])


# --- ignore, counters, base -------------------------------------------------------------------------------


def test_names_and_globs_are_left_out(tmp_path: Path) -> None:
    torch.save({**tensors(1), "ema.decay": torch.ones(1), "ema.updates": torch.ones(1)}, tmp_path / "a.pt")
    trajectory = ts.Trajectory.from_files(tmp_path / "a.pt", ignore=["ema.*"])
    assert set(trajectory[0]) == set(tensors(1))
    assert "leave no tensor" in refused(tmp_path / "a.pt", ignore=["*"])
    assert 'ignore must be a list of names or globs, got the string "x"' in refused(tmp_path / "a.pt", ignore="x")


@pytest.mark.parametrize("lacks", [0, 1])
def test_counters_may_lack_in_some_states(tmp_path: Path, lacks: int) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    whole = [{n: t.clone() for n, t in model.state_dict().items()} for _ in range(2)]
    del whole[lacks]["1.num_batches_tracked"]
    trajectory = ts.Trajectory.from_states(whole)
    assert [set(state) for state in trajectory] == [set(whole[lacks])] * 2
    objective = ts.Objective(model, (torch.randn(5, 2), torch.zeros(5, dtype=torch.long)))
    assert set(objective.bind(trajectory[lacks])) == set(model.state_dict())
    assert objective.score(whole[0])["loss"] == objective.score(whole[1])["loss"]


def test_what_is_no_counter_may_not_lack() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    state = {n: t for n, t in model.state_dict().items() if "running_mean" not in n}
    objective = ts.Objective(model, (torch.randn(5, 2), torch.zeros(5, dtype=torch.long)))
    with pytest.raises(ts.ThetascopeError, match=r'lacks "1\.running_mean" \[3\]'):
        objective.score(state)


def test_files_that_hold_what_was_trained_stand_on_a_base(tmp_path: Path) -> None:
    save_file(tensors(0), tmp_path / "base.safetensors")
    files = []
    for i in range(2):
        files.append(tmp_path / f"{i}.pt")
        torch.save({"module.head.weight": torch.full((2, 3), float(i + 5))}, files[-1])
    for base in (tmp_path / "base.safetensors", tensors(0), ts.State.of(tensors(0))):
        trajectory = ts.Trajectory.from_files(files, base=base)
        for i, state in enumerate(trajectory):
            assert_same(state, {**tensors(0), "head.weight": torch.full((2, 3), float(i + 5))})
    other = {**tensors(0), "head.weight": torch.ones(2, 4)}
    assert 'holds what base= does not, or in other shapes: "head.weight"' in refused(files, base=other)
    assert "base is a file, a folder, or a state dict. Got int instead." in refused(files, base=3)


def adapter(folder: Path, config: Mapping[str, Any] | None = None, rank: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        "base_model.model.fc.lora_A.weight": torch.full((rank, 2), 7.0),
        "base_model.model.fc.lora_B.weight": torch.full((3, rank), 8.0),
        "base_model.model.head.weight": torch.full((2, 3), 9.0),
    }
    save_file(made, folder / "adapter_model.safetensors")
    write_json(folder / "adapter_config.json", config or {"peft_type": "LORA", "base_model_name_or_path": "someone/base"})
    return folder


def test_an_adapter_stands_on_its_base(tmp_path: Path) -> None:
    place = adapter(tmp_path / "checkpoint-3")
    expected = {
        "base_model.model.fc.base_layer.weight": tensors(1)["fc.weight"],
        "base_model.model.fc.base_layer.bias": tensors(1)["fc.bias"],
        "base_model.model.fc.lora_A.default.weight": torch.full((2, 2), 7.0),
        "base_model.model.fc.lora_B.default.weight": torch.full((3, 2), 8.0),
        "base_model.model.head.original_module.weight": torch.ones(2, 3),
        "base_model.model.head.modules_to_save.default.weight": torch.full((2, 3), 9.0),
    }
    for path in (place, place / "adapter_model.safetensors", tmp_path):
        assert_same(ts.Trajectory.from_files(path, base=tensors(1))[0], expected)
    assert "is a PEFT adapter, which holds what is added to its base model (someone/base). Name that with base=" in refused(place)


def test_an_adapter_that_does_not_fit(tmp_path: Path) -> None:
    place = adapter(tmp_path)
    message = refused(place, base={"fc.weight": torch.ones(3, 5), "other.weight": torch.ones(2)})
    assert "is an adapter of another model than base=" in message
    assert 'was made for "someone/base"' in message
    adapter(tmp_path, {"peft_type": "PREFIX_TUNING"})
    assert "is an adapter of the kind PREFIX_TUNING; LoRA alone is read" in refused(place, base=tensors(1))


# --- torch.distributed.checkpoint -------------------------------------------------------------------------


def save_distributed(content: Any, folder: Path) -> Path:
    dcp: Any = import_module("torch.distributed.checkpoint")
    dcp.save(content, checkpoint_id=folder, no_dist=True)
    return folder


def test_a_folder_of_torch_distributed_checkpoint(tmp_path: Path) -> None:
    content = {"model": tensors(3), "optimizer": {"state": {"fc.bias": {"exp_avg": torch.zeros(3)}}}, "step": 40, "epoch": 2}
    place = save_distributed(content, tmp_path / "a")
    trajectory = ts.Trajectory.from_files(place)
    assert_same(trajectory[0], tensors(3))
    assert (trajectory.steps, trajectory.epochs) == ([40], [2])
    assert trajectory[0].piece("fc.weight", 1, 4).tolist() == [3, 3, 3]
    assert_same(ts.Trajectory.from_files(save_distributed(tensors(2), tmp_path / "b"))[0], tensors(2))


def test_networks_in_such_a_folder_are_chosen_by_key(tmp_path: Path) -> None:
    place = save_distributed({"app": {"G": tensors(1), "D": tensors(2), "optim": {"x": torch.ones(1)}}}, tmp_path / "a")
    assert 'State dicts lie under "app.G", "app.D": say which with key=' in refused(place)
    assert marks(ts.Trajectory.from_files(place, key="app.D")) == [2]


def test_a_tensor_is_put_together_of_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, parts = save_distributed({"w": torch.arange(12.0).reshape(4, 3)}, tmp_path / "a"), distributed._Part
    source = distributed.DistributedSource(place, None)
    entry = source._names.entries["w"]
    part = entry.parts[0]
    cut = [parts((0, 0), (4, 1), part.file, 0, 0), parts((0, 1), (4, 2), part.file, 0, 0)]
    assert distributed._covers(cut, (4, 3))
    assert not distributed._covers([cut[0], parts((0, 0), (4, 2), part.file, 0, 0)], (4, 3))
    assert not distributed._covers(cut[:1], (4, 3))
    values = {(0, 0): torch.zeros(4, 1), (0, 1): torch.ones(4, 2)}
    monkeypatch.setattr(distributed, "_bytes_of", lambda part: values[part.offsets])
    monkeypatch.setattr(distributed, "load_bytes", lambda content, path: content)
    OPEN_FILES.clear()
    source._names.entries["w"] = distributed._Entry(entry.spec, tuple(cut))  # type: ignore[index]
    assert source.read(["w"])["w"].tolist() == [[0, 1, 1]] * 4


# --- read once --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
def test_a_file_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool) -> None:
    pickled: Any = import_module("thetascope.checkpoints.pickled")
    opened: list[Path] = []
    load = pickled.load_weights_only

    def noted(path: Path, allow: Any) -> Any:
        opened.append(path)
        return load(path, allow)

    monkeypatch.setattr(pickled, "load_weights_only", noted)
    torch.save(tensors(1), tmp_path / "a.pt", _use_new_zipfile_serialization=not old)
    state = ts.Trajectory.from_files(tmp_path / "a.pt")[0]
    for name in state:
        _ = state[name], state.piece(name, 0, 1)
    assert len(opened) == 1
    torch.save(tensors(2), tmp_path / "a.pt", _use_new_zipfile_serialization=not old)
    os.utime(tmp_path / "a.pt", ns=(1, 1))  # whatever the clock's resolution
    assert float(state["fc.bias"][0]) == 2
    assert len(opened) == 2


def test_not_too_many_files_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from thetascope.checkpoints import open_files

    monkeypatch.setattr(open_files, "MOST_FILES", 3)
    for i in range(6):
        torch.save(tensors(i), tmp_path / f"{i}.pt")
    trajectory = ts.Trajectory.from_files([tmp_path / f"{i}.pt" for i in range(6)])
    assert marks(trajectory) == list(range(6))
    assert len(OPEN_FILES._open) <= 3
    monkeypatch.setattr(open_files, "MOST_BYTES", 1)
    for i in range(3):
        torch.save(tensors(i), tmp_path / f"old{i}.pt", _use_new_zipfile_serialization=False)
    assert marks(ts.Trajectory.from_files([tmp_path / f"old{i}.pt" for i in range(3)])) == [0, 1, 2]
    assert len(OPEN_FILES._open) == 1


# --- what is refused --------------------------------------------------------------------------------------


def quantised(path: Path) -> None:
    save_file({"fc.qweight": torch.zeros(2, dtype=torch.int32), "fc.scales": torch.ones(2)}, path)


def bitsandbytes(path: Path) -> None:
    save_file({"fc.weight": torch.zeros(2, dtype=torch.int8), "fc.weight.quant_state.bitsandbytes__nf4": torch.ones(2)}, path)


def exported(path: Path) -> None:
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), path)


def module(path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(2, 2)), path)


def module_inside(path: Path) -> None:
    torch.save({"model": nn.Linear(2, 2), "epoch": 3}, path)


def old_module(path: Path) -> None:
    torch.save(nn.Linear(2, 2), path, _use_new_zipfile_serialization=False)


def own_module(path: Path) -> None:
    torch.save({"model": Own()}, path)


class Own(nn.Module):
    pass


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "GPTQ.safetensors": (quantised, 'holds quantised weights: "fc.qweight". Save the weights before they were quantised, or dequantised'),
    "bitsandbytes.safetensors": (bitsandbytes, "holds quantised weights"),
    "exported.pt2": (
        exported,
        "is an exported program (torch.export.save), not a state dict; where the file was made, save",
    ),
    "module.pt": (module, "a whole model, which needs its code to be built. Where the file was made, save the state dict alone"),
    "module_inside.pt": (module_inside, "a whole model"),
    "old_module.pt": (old_module, "a whole model"),
    "own_module.pt": (own_module, "a whole model"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_state_is_refused_with_what_helps(tmp_path: Path, name: str) -> None:
    make, what = REFUSED[name]
    make(tmp_path / name)
    message = refused(tmp_path / name)
    assert what in message
    assert "allow=" not in message


def test_names_without_end_are_shortened(tmp_path: Path) -> None:
    torch.save({"x" * 10**6: 1, **{f"key{i}": i for i in range(1000)}}, tmp_path / "a.pt")
    assert "and 993 more" in refused(tmp_path / "a.pt")


# --- metrics ----------------------------------------------------------------------------------------------


def at_steps(*steps: int) -> ts.Trajectory:
    return ts.Trajectory.from_states([tensors(step) for step in steps], steps=steps)


def test_metrics_are_joined_by_step(tmp_path: Path) -> None:
    trajectory = at_steps(0, 4, 8)
    expected: list[dict[str, float]] = [{}, {"loss": 0.5}, {"loss": 0.25, "acc": 1}]
    rows: list[dict[str, float]] = [{"step": 4, "loss": 0.5}, {"step": 8, "loss": 0.25}, {"step": 8, "acc": 1}, {"step": 9, "loss": 7}]
    (tmp_path / "metrics.csv").write_text("epoch,step,loss,acc,note\n0,3,0.5,,a\n1,7,0.25,,\n1,7,,1,\n,,,,\n")
    hugging_face(tmp_path / "out", 8, 0.25, log_history=[{"step": 4, "loss": 0.5}, {"step": 8, "loss": 0.25, "acc": 1, "note": "x"}])
    for history in (rows, {4: rows[0], 8: {"loss": 0.25, "acc": 1}}, tmp_path / "metrics.csv", tmp_path, tmp_path / "out"):
        joined = trajectory.with_metrics(history)
        assert [dict(state.metrics) for state in joined] == expected, history
        assert joined.steps == trajectory.steps
        assert [marks(joined), [dict(state.metrics) for state in trajectory]] == [[0, 4, 8], [{}, {}, {}]]
    assert 'metrics  loss, acc (from "metrics.csv")' in repr(trajectory.with_metrics(tmp_path))


def test_histories_that_fit_nothing(tmp_path: Path) -> None:
    with pytest.raises(TrajectoryError, match="the steps of these states are not known: give steps="):
        ts.Trajectory.from_states([tensors(0)]).with_metrics({0: {"loss": 1}})
    with pytest.raises(TrajectoryError, match="the history holds no metrics at the steps 3; there are some at: 100"):
        at_steps(3).with_metrics({100: {"loss": 1}})
    with pytest.raises(TrajectoryError, match="a row of a history has a whole step"):
        at_steps(3).with_metrics([{"loss": 1.0}])
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CheckpointError, match='has no column "step"; there are: a, b'):
        at_steps(3).with_metrics(tmp_path / "a.csv")
    for name in ("a.txt", "none.csv"):
        (tmp_path / "a.txt").write_text("x")
        with pytest.raises(CheckpointError, match=r"is no log that is known|does not exist"):
            at_steps(3).with_metrics(tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match=r"holds no trainer_state\.json, no metrics\.csv and no event files"):
        at_steps(3).with_metrics(tmp_path / "folder")


# --- four real networks -----------------------------------------------------------------------------------


def test_resnets_are_read_as_they_lie_there() -> None:
    folder = os.environ.get("THETASCOPE_RESNET")
    if not folder:
        pytest.skip("THETASCOPE_RESNET names no folder")
    for file in sorted(Path(folder).glob("*.th")):
        trajectory = ts.Trajectory.from_files(file)
        own = torch.load(file, "cpu", weights_only=True)["state_dict"]
        assert_same(trajectory[0], own)
        assert trajectory.steps is None
