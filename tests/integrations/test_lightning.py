"""Trainings by Lightning, recorded by one line; what is recorded is compared with a loop in plain torch."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import thetascope as ts
from tests.integrations.compared import assert_equal
from tests.processes import ended, forked, together
from thetascope.errors import RecordingError
from thetascope.recording.run_directory import RunDirectory

if TYPE_CHECKING:
    import lightning.pytorch as pl

    from thetascope.integrations.lightning import RecorderCallback
else:
    pl = pytest.importorskip("lightning.pytorch")
    from thetascope.integrations.lightning import RecorderCallback

pytestmark = pytest.mark.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
BATCHES, ROWS = 4, 10


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))


def data() -> DataLoader[tuple[Tensor, ...]]:
    draw = torch.Generator().manual_seed(1)
    rows = BATCHES * ROWS
    return DataLoader(TensorDataset(torch.randn(rows, 4, generator=draw), torch.randint(0, 3, (rows,), generator=draw)), batch_size=ROWS)


class Module(pl.LightningModule):
    """A classifier with a schedule, which logs a loss of each kind."""

    def __init__(self, fails_at: int = -1, slow: float = 0.0) -> None:
        super().__init__()
        self.net, self.fails_at, self.slow = net(), fails_at, slow

    def training_step(self, batch: Any, _index: int) -> Tensor:
        if self.global_step == self.fails_at:
            raise ValueError("as it was asked to")
        time.sleep(self.slow)
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=True, on_epoch=False)
        self.log("mean_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, _index: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def on_train_epoch_end(self) -> None:
        self.log("late", float(self.current_epoch))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


def fit(run: Path, every: Any = "epoch", *, epochs: int = 3, module: Module | None = None, ckpt_path: Any = None, **options: Any) -> None:
    recorder = {name: options.pop(name) for name in ("module_name", "max_states", "trainable_only") if name in options}
    callback = RecorderCallback(run, every, module=recorder.pop("module_name", None), **recorder)
    also = options.pop("also", [])
    checkpoints = pl.callbacks.ModelCheckpoint(run.parent / "checkpoints", filename="{epoch}", save_top_k=-1)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 1}
    trainer = pl.Trainer(accelerator="cpu", max_epochs=epochs, callbacks=[*also, callback, checkpoints], **(quiet | options))
    trainer.fit(module or Module(), data(), data(), ckpt_path=ckpt_path)


def plain(run: Path, at: set[int], *, epochs: int = 3, accumulate: int = 1) -> None:
    """The same training as a loop, recorded after the steps in `at`."""
    model, step = net(), 0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ts.Recorder(run, model) as recorder:
        for epoch in range(epochs):
            for place, (inputs, targets) in enumerate(data(), 1):
                (nn.functional.cross_entropy(model(inputs), targets) / accumulate).backward()  # type: ignore[no-untyped-call]
                if place % accumulate == 0:
                    optimizer.step()
                    optimizer.zero_grad()
                    step += 1
                    if step in at:
                        recorder.record(step=step, epoch=epoch + place / BATCHES)
            optimizer.param_groups[0]["lr"] *= 0.5


@pytest.mark.parametrize(("every", "at"), [("epoch", {4, 8, 12}), (3, {3, 6, 9, 12}), (5, {5, 10, 12})])
def test_states_are_those_of_a_plain_loop_bit_for_bit(tmp_path: Path, every: Any, at: set[int]) -> None:
    fit(tmp_path / "run", every, module_name="net")
    plain(tmp_path / "plain", at)
    assert_equal(tmp_path / "run", tmp_path / "plain")


def test_steps_of_the_optimizer_are_counted(tmp_path: Path) -> None:
    fit(tmp_path / "run", 2, module_name="net", accumulate_grad_batches=2)
    plain(tmp_path / "plain", {2, 4, 6}, accumulate=2)
    assert_equal(tmp_path / "run", tmp_path / "plain")


def test_metrics_are_those_of_the_state(tmp_path: Path) -> None:
    fit(tmp_path / "run", max_states=2)
    objective = ts.Objective(net(), data(), metrics=())
    records = list(RunDirectory.open(tmp_path / "run").read_log().records.values())
    assert [sorted(r.metrics) for r in records] == [[]] + 3 * [["late", "lr-SGD", "mean_loss", "train_loss", "val_loss"]]
    assert [r.metrics["lr-SGD"] for r in records[1:]] == [0.1, 0.05, 0.025]
    assert [r.metrics["late"] for r in records[1:]] == [0, 1, 2]
    last = {name.removeprefix("net."): tensor for name, tensor in ts.Trajectory(tmp_path / "run")[-1].tensors().items()}
    assert records[-1].metrics["val_loss"] == pytest.approx(objective.score(last)["loss"], rel=1e-6)


@pytest.mark.parametrize("every", ["epoch", 4])
def test_rates_are_those_of_the_step_beside_a_monitor_too(tmp_path: Path, every: Any) -> None:
    fit(tmp_path / "run", every, also=[pl.callbacks.LearningRateMonitor()], logger=pl.loggers.CSVLogger(tmp_path))
    assert [state.metrics.get("lr-SGD") for state in ts.Trajectory(tmp_path / "run")] == [None, 0.1, 0.05, 0.025]


def test_metrics_of_another_state_are_left_out(tmp_path: Path) -> None:
    fit(tmp_path / "run", 2, check_val_every_n_epoch=2, epochs=4)
    found = {state.step: set(state.metrics) for state in ts.Trajectory(tmp_path / "run")}
    steps, of_epoch = {"lr-SGD", "train_loss"}, {"mean_loss", "late"}
    assert found == {0: set(), 2: steps, 6: steps, 10: steps, 14: steps} | {4: steps | of_epoch, 12: steps | of_epoch} | {
        8: steps | of_epoch | {"val_loss"},
        16: steps | of_epoch | {"val_loss"},
    }


def test_a_resumed_training_goes_on_in_the_run(tmp_path: Path) -> None:
    fit(tmp_path / "run", epochs=2)
    fit(tmp_path / "run", epochs=4, ckpt_path=tmp_path / "checkpoints" / "epoch=1.ckpt")
    fit(tmp_path / "whole", epochs=4)
    assert_equal(tmp_path / "run", tmp_path / "whole")


def test_a_training_that_goes_back_drops_what_followed(tmp_path: Path) -> None:
    fit(tmp_path / "whole", 3, epochs=4)
    fit(tmp_path / "run", 3, epochs=2)
    with pytest.warns(UserWarning, match="from step 5 on is dropped"):
        fit(tmp_path / "run", 3, epochs=4, ckpt_path=tmp_path / "checkpoints" / "epoch=0.ckpt")
    assert_equal(tmp_path / "run", tmp_path / "whole")


def test_a_new_run_of_a_resumed_training_begins_at_its_step(tmp_path: Path) -> None:
    fit(tmp_path / "whole", epochs=3)
    fit(tmp_path / "run", epochs=3, ckpt_path=tmp_path / "checkpoints" / "epoch=0.ckpt")
    ours, theirs = ts.Trajectory(tmp_path / "run"), ts.Trajectory(tmp_path / "whole")
    assert (ours.steps, ours.epochs) == ([4, 8, 12], [1, 2, 3])
    torch.testing.assert_close(ours[0].tensors(), theirs[1].tensors(), rtol=0, atol=0)


def test_an_error_in_the_training_closes_the_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="as it was asked to"):
        fit(tmp_path / "run", 2, module=Module(fails_at=7), max_states=2)
    assert ts.Trajectory(tmp_path / "run").steps == [0, 6]
    with ts.Recorder(tmp_path / "run", Module(), max_states=2):
        pass


def test_a_kill_loses_the_state_in_flight_at_most(tmp_path: Path) -> None:
    child = forked(lambda: fit(tmp_path / "run", 1, epochs=1000, module=Module(slow=0.02)))
    log, stop = tmp_path / "run" / "log.jsonl", time.monotonic() + 60
    while time.monotonic() < stop and (not log.exists() or log.read_text().count('"record"') < 12):
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    assert ended(child) == -signal.SIGKILL
    records = log.read_text().count('"event":"record"')
    steps = ts.Trajectory(tmp_path / "run").steps or []
    assert records >= 12
    assert steps == list(range(len(steps)))
    assert len(steps) >= records - 1


def _two(run: Path) -> None:
    fit(run, 3, strategy="ddp", devices=2, use_distributed_sampler=False, module_name="net", epochs=2)


def test_two_processes(tmp_path: Path) -> None:
    assert together(tmp_path, _two, tmp_path / "run") == []
    plain(tmp_path / "plain", {3, 6, 8}, epochs=2)
    assert_equal(tmp_path / "run", tmp_path / "plain", rtol=1e-6)  # both see the same batches; means over processes round


def test_what_is_off_is_said_at_once(tmp_path: Path) -> None:
    for every in (0, -1, True, "step", 1.5):
        with pytest.raises(RecordingError, match=r'every must be "epoch" or a number of optimizer steps of at least 1\. Got'):
            RecorderCallback(tmp_path / "run", every)  # type: ignore[arg-type]
    with pytest.raises(RecordingError, match="max_states must be at least 2"):
        RecorderCallback(tmp_path / "run", max_states=1)
    with pytest.raises(RecordingError, match='has no part "model"; there are: net'):
        fit(tmp_path / "run", module_name="model")
    assert not (tmp_path / "run").exists()
