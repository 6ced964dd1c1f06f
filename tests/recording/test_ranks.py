"""A training in several processes: the first one writes, tensors in parts are put together, no process dies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import thetascope as ts
from tests.processes import together
from thetascope.errors import RecordingError
from thetascope.recording.ranks import is_first
from thetascope.recording.run_directory import RunDirectory

STEPS = 4
Wrap = Callable[[nn.Module], nn.Module]


class Net(nn.Module):
    """Parameters, buffers, a tie and a frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.second = nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Linear(6, 6)
        self.head = nn.Linear(6, 5)
        self.second.requires_grad_(False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.head(self.second(self.norm(self.first(inputs)).relu()))
        return hidden


class Tied(nn.Module):
    """One weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.out = nn.Linear(3, 3), nn.Linear(3, 3)
        self.out.weight = self.embed.weight

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.out(self.embed(inputs).relu())
        return found


def plain(model: nn.Module) -> nn.Module:
    return model


def ddp(model: nn.Module) -> nn.Module:
    return DistributedDataParallel(model)


def fsdp2(model: nn.Module) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for part in model.children() if isinstance(model, Net) else ():
        fully_shard(part, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def train(model: nn.Module, steps: range, recorder: ts.Recorder | None) -> None:
    """All processes see the same batches, so that one process trains alike."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for step in steps:
        inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss = (model(inputs) ** 2).mean()
        loss.backward()
        optimizer.step()
        if recorder is not None:
            recorder.record(step=step, epoch=step / 2, metrics={"train_loss": loss.item()})
            recorder.amend({"val_loss": 2 * loss.item()})


def record(run: Path, make: Callable[[], nn.Module], wrap: Wrap, options: dict[str, Any], before: int = 0) -> None:
    """A training of some steps; of those `before` no one knows."""
    model = wrap(make())
    train(model, range(1, before + 1), None)
    with ts.Recorder(run, model, **options) as recorder:
        train(model, range(before + 1, before + STEPS + 1), recorder)


def assert_equal(one: Path, other: Path) -> None:
    """Two runs with the same records and states; gradients were means over processes, which rounds."""
    ours, theirs = ts.Trajectory(one), ts.Trajectory(other)
    assert (ours.steps, ours.epochs) == (theirs.steps, theirs.epochs)
    for own, there in zip(ours, theirs, strict=True):
        assert own.metrics == pytest.approx(dict(there.metrics), rel=1e-5)
        assert list(own) == list(there)
        torch.testing.assert_close(own.tensors(), there.tensors(), rtol=1e-5, atol=1e-6)
    assert RunDirectory.open(one).space == RunDirectory.open(other).space


@pytest.mark.parametrize(
    ("make", "wrap", "options"),
    [
        (Net, ddp, {}),
        (Net, ddp, {"trainable_only": True, "max_states": 3}),
        (Net, fsdp2, {}),
        (Net, fsdp2, {"trainable_only": True}),
        (Tied, fsdp2, {"max_states": 3}),
    ],
    ids=["ddp", "ddp-trainable", "fsdp2", "fsdp2-trainable", "fsdp2-tied"],
)
def test_two_processes_write_what_one_would(make: Callable[[], nn.Module], wrap: Wrap, options: dict[str, Any], tmp_path: Path) -> None:
    assert together(tmp_path, record, tmp_path / "two", make, wrap, options) == []
    record(tmp_path / "one", make, plain, options)
    assert_equal(tmp_path / "two", tmp_path / "one")
    assert together(tmp_path, record, tmp_path / "two", make, wrap, {**options, "resumed_at": STEPS}, STEPS) == []
    record(tmp_path / "one", make, plain, {**options, "resumed_at": STEPS}, STEPS)
    assert_equal(tmp_path / "two", tmp_path / "one")
    assert (ts.Trajectory(tmp_path / "two").steps or [])[-1] == 2 * STEPS


def _in_the_first_alone(run: Path) -> None:
    model = ddp(Net())
    if dist.get_rank() == 0:
        with ts.Recorder(run, model) as recorder:
            recorder.record(step=1)
    dist.barrier()


def test_the_first_process_may_record_alone(tmp_path: Path) -> None:
    assert together(tmp_path, _in_the_first_alone, tmp_path / "run") == []
    assert ts.Trajectory(tmp_path / "run").steps == [0, 1]


def _error_in_the_first(run: Path) -> None:
    model = fsdp2(Net())
    with pytest.raises(RecordingError, match="holds files that no Recorder wrote"), ts.Recorder(run, model):
        pass
    with ts.Recorder(run.parent / "other", model) as recorder:
        recorder.record(step=5)
        train(model, range(1, 2), None)
        with pytest.raises(RecordingError, match="would replace the initial state"):
            recorder.record(step=0)
        recorder.record(step=6)


def test_all_processes_hear_of_an_error_and_go_on(tmp_path: Path) -> None:
    (tmp_path / "run" / "states").mkdir(parents=True)
    (tmp_path / "run" / "states" / "mine.txt").touch()
    assert together(tmp_path, _error_in_the_first, tmp_path / "run") == []
    assert ts.Trajectory(tmp_path / "other").steps == [0, 5, 6]


def _bf16(run: Path) -> None:
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    model: Any = fully_shard(Tied(), mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
    with ts.Recorder(run, model) as recorder:
        with torch.no_grad():
            model(torch.randn(4, 3))  # the root's parameters stay together after it, in its precision
        recorder.record(step=1)


def test_states_have_the_precision_of_the_parts(tmp_path: Path) -> None:
    assert together(tmp_path, _bf16, tmp_path / "run") == []
    first, last = ts.Trajectory(tmp_path / "run")
    assert {first[name].dtype for name in first} == {torch.float32}
    assert torch.equal(first["out.bias"], last["out.bias"])
    assert torch.equal(first["out.bias"], Tied().out.bias)


def test_what_cannot_be_put_together_is_named() -> None:
    model = Net()
    setattr(model.first.weight, "ds_id", 3)  # noqa: B010 - as DeepSpeed marks what it divided
    with pytest.raises(RecordingError, match="ZeRO-3"), ts.Recorder("never", model):
        pass
    kind = type("FullyShardedDataParallel", (nn.Module,), {})
    wrapped = nn.Sequential(kind())
    with pytest.raises(RecordingError, match="FSDP2"), ts.Recorder("never", wrapped):
        pass
    assert not Path("never").exists()


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ({}, True),
        ({"RANK": "1"}, True),  # of a job in an array, say
        ({"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"WORLD_SIZE": "2", "RANK": "0"}, True),
        ({"WORLD_SIZE": "4", "LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
        ({"WORLD_SIZE": "4", "LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"WORLD_SIZE": "4", "LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
    ],
)
def test_who_writes_before_there_is_a_group(names: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert is_first() is first
    if not first:
        with pytest.warns(UserWarning, match="this process recorded nothing"), ts.Recorder(tmp_path / "run", Net()) as recorder:
            recorder.record(step=1)
        assert not (tmp_path / "run").exists()
