"""What transformers, PEFT, Lightning and torch.distributed write, read by one line: bit for bit what they load themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import thetascope as ts
from tests.recording.tiny import assert_same
from thetascope.errors import CheckpointError, TrajectoryError

pytestmark = pytest.mark.slow


def written(kind: str, folder: Path, *needs: str) -> Any:
    """Let a library write to a folder; what it loads of that itself."""
    for name in needs:
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "tests.checkpoints.children", kind, str(folder)],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / "expected.pt")


def assert_equal(found: ts.Trajectory, expected: Any) -> None:
    assert len(found) == len(expected)
    for state, own in zip(found, expected, strict=True):
        assert_same(state, own)


def test_transformers(tmp_path: Path) -> None:
    expected = written("transformers", tmp_path, "transformers", "accelerate")
    found = ts.Trajectory.from_files(tmp_path / "out")
    assert_equal(found, expected)
    assert (found.steps, found.epochs) == ([2, 4, 6], [0.5, 1.0, 1.5])
    assert {"loss", "eval_loss"} <= set(found[-1].metrics)
    assert "(from trainer_state.json)" in repr(found)
    assert_equal(ts.Trajectory.from_files([tmp_path / "out" / f"checkpoint-{step}" for step in (2, 6)]), expected[::2])
    assert_equal(
        ts.Trajectory.from_files([tmp_path / "out" / f"checkpoint-{step}" / "model.safetensors" for step in (2, 6)]), expected[::2]
    )
    for place in (tmp_path / "shards", tmp_path / "shards" / "model.safetensors.index.json"):
        whole = ts.Trajectory.from_files(place)
        assert_equal(whole, expected[-1:])
        assert "in 5 files" in repr(whole)
    with pytest.raises(CheckpointError, match=r"is one of 5 parts of one state\. Pass their index"):
        ts.Trajectory.from_files(tmp_path / "shards" / "model-00001-of-00005.safetensors")


def test_peft(tmp_path: Path) -> None:
    expected = written("peft", tmp_path, "transformers", "accelerate", "peft")
    found = ts.Trajectory.from_files(tmp_path / "out", base=tmp_path / "base")
    assert_equal(found, expected)
    assert found.steps == [2, 4, 6]
    with pytest.raises(CheckpointError, match="is a PEFT adapter, which holds what is added to its base model") as caught:
        ts.Trajectory.from_files(tmp_path / "out")
    assert "Name that with base=" in str(caught.value)
    other = {name: torch.zeros(3, 3) for name in ("a.weight", "b.weight")}
    with pytest.raises(CheckpointError, match="is an adapter of another model than base=") as caught:
        ts.Trajectory.from_files(tmp_path / "out", base=other)
    assert len(str(caught.value)) < 1000


def test_lightning(tmp_path: Path) -> None:
    expected = written("lightning", tmp_path, "lightning")
    for place in (tmp_path / "run", tmp_path / "run" / "checkpoints"):
        found = ts.Trajectory.from_files(place)
        assert (found.steps, found.epochs) == ([4, 8, 12], [0, 1, 2])
        assert "left out, as another file holds the same step: last.ckpt" in repr(found)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    objective = ts.Objective(model, (torch.randn(6, 3), torch.arange(6) % 2))
    assert_same(objective.bind(found[-1]), expected)  # without the weights of the loss, which lie beside the model's
    for name in ("metrics.csv", ".", "tensorboard"):
        if name == "tensorboard" and find_spec("tensorboard") is None:
            continue
        logged = found.with_metrics(tmp_path / "run" / name)
        assert all("train_loss" in state.metrics for state in logged), name


def test_two_processes_under_fsdp(tmp_path: Path) -> None:
    expected = written("distributed", tmp_path)
    found = ts.Trajectory.from_files(tmp_path / "run")
    assert_equal(found, expected)
    assert found.steps == [10, 20]
    assert_equal(ts.Trajectory.from_files(tmp_path / "run" / "step-20"), expected[1:])
    assert_equal(ts.Trajectory.from_files(tmp_path / "run" / "step-20", key="model"), expected[1:])
    for rank in (0, 1):
        with pytest.raises((CheckpointError, TrajectoryError), match=r"one process's part of sharded tensors \(DTensor\)") as caught:
            ts.Trajectory.from_files(tmp_path / f"rank{rank}.pt")
        assert len(str(caught.value)) < 1000


@pytest.mark.filterwarnings("ignore")
def test_torch_s_own_reader_agrees(tmp_path: Path) -> None:
    written("distributed", tmp_path)
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    dcp_to_torch_save(tmp_path / "run" / "step-20", tmp_path / "whole.pt")
    own = torch.load(tmp_path / "whole.pt")["model"]
    assert_equal(ts.Trajectory.from_files(tmp_path / "run" / "step-20"), [own])
