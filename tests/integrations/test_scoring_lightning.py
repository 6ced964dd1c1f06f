"""A LightningModule scored by its own step, without a Trainer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import thetascope as ts
from thetascope.errors import ObjectiveError
from thetascope.testing.snapshots import Snapshot

if TYPE_CHECKING:
    import lightning.pytorch as pl
    import torchmetrics
else:
    pl = pytest.importorskip("lightning.pytorch")
    torchmetrics = pytest.importorskip("torchmetrics")

pytestmark = pytest.mark.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
ROWS = 23


def data() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(ROWS, 4, generator=draw), torch.randint(0, 3, (ROWS,), generator=draw)


def loader(size: int = 5) -> Any:
    return DataLoader(TensorDataset(*data()), batch_size=size)


class Module(pl.LightningModule):
    """Logs as people do: a loss that is returned, a share, a metric over all data, one of a collection."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
        self.f1 = torchmetrics.F1Score("multiclass", num_classes=3, average="macro")
        self.more = torchmetrics.MetricCollection({"auroc": torchmetrics.AUROC("multiclass", num_classes=3)})
        self.seen: list[int] = []

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, targets = batch
        logits = self.net(inputs)
        loss = F.cross_entropy(logits, targets)
        self.seen.append(batch_idx)
        self.log("val_loss", loss, prog_bar=True)
        self.log_dict({"val_acc": (logits.argmax(1) == targets).float().mean()}, on_epoch=True)
        self.f1(logits, targets)
        self.log("val_f1", self.f1)
        self.more.update(logits.softmax(1), targets)
        self.log("val_auroc", self.more["auroc"])
        return loss

    def test_step(self, batch: Any, place: int, dataloader_idx: int = 0) -> None:
        self.log("test_loss", F.cross_entropy(self.net(batch[0]), batch[1]), batch_size=len(batch[0]))
        self.log("margin", 1.0)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Silent(Module):
    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.log("a_loss", 1.0)
        self.log("b_loss", 2.0)
        return None  # type: ignore[return-value]


def state() -> dict[str, Tensor]:
    torch.manual_seed(5)
    return {name: tensor + 0.3 * torch.randn_like(tensor) for name, tensor in Module().state_dict().items()}


@pytest.mark.parametrize("size", [1, 5, ROWS])
def test_it_scores_what_the_module_would_log(size: int) -> None:
    module, moved = Module(), state()
    before = Snapshot.of(module)
    scored = ts.Objective.from_lightning(module, loader(size)).score(moved)
    assert Snapshot.of(module) == before
    assert module.seen == []
    plain = Module()
    plain.load_state_dict(state())
    with torch.no_grad():
        logits, targets = plain.net(data()[0]).double(), data()[1]
    assert scored["loss"] == pytest.approx(float(F.cross_entropy(logits, targets)), rel=1e-6)
    assert scored["val_loss"] == pytest.approx(scored["loss"], rel=1e-6)
    assert scored["val_acc"] == pytest.approx(float((logits.argmax(1) == targets).double().mean()), rel=1e-6)
    f1, auroc = torchmetrics.F1Score("multiclass", num_classes=3, average="macro"), torchmetrics.AUROC("multiclass", num_classes=3)
    assert scored["val_f1"] == pytest.approx(float(f1(logits, targets)), rel=1e-6)
    assert scored["val_auroc"] == pytest.approx(float(auroc(logits.softmax(1), targets)), rel=1e-6)
    assert scored["samples"] == ROWS


def test_it_scores_what_a_trainer_validates(tmp_path: Any) -> None:
    module = Module()
    module.load_state_dict(state())
    quiet: Any = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": tmp_path}
    (logged,) = pl.Trainer(accelerator="cpu", **quiet).validate(module, loader(), verbose=False)
    scored = ts.Objective.from_lightning(Module(), loader()).score(state())
    assert {name: scored[name] for name in logged} == pytest.approx(logged, rel=1e-6)


def test_a_logged_loss_of_another_step() -> None:
    scored = ts.Objective.from_lightning(Module(), loader(), "test_step").score(state())
    wanted = ts.Objective.from_lightning(Module(), loader()).score(state())
    assert scored == {"loss": pytest.approx(wanted["loss"], rel=1e-9), "margin": 1.0, "samples": ROWS}
    named = ts.Objective.from_lightning(Module(), loader(), loss="val_acc").score(state())
    assert named["loss"] == wanted["val_acc"]


def test_hooks_around_a_batch_are_called() -> None:
    class Scaled(Module):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return [2 * batch[0], batch[1]]

    scored = ts.Objective.from_lightning(Scaled(), loader()).score(state())
    inputs, targets = data()
    wanted = ts.Objective.from_lightning(Module(), DataLoader(TensorDataset(2 * inputs, targets), batch_size=5)).score(state())
    assert scored == wanted


def test_weights_of_the_user_s_own() -> None:
    heavy = ts.Objective.from_lightning(Module(), loader(20), weight=lambda batch: len(batch[0]) ** 2, batches="fixed").score(state())
    parts = [ts.Objective.from_lightning(Module(), [batch]).score(state())["loss"] for batch in loader(20)]
    assert heavy["loss"] == pytest.approx((400 * parts[0] + 9 * parts[1]) / 409, rel=1e-6)


def test_it_walks_a_path_and_leaves_the_module_as_it_was() -> None:
    trajectory = ts.Trajectory.from_states([{n: t.clone() for n, t in Module().state_dict().items()}, state()])
    module = Module()
    before = Snapshot.of(module)
    result = ts.interpolate(ts.Objective.from_lightning(module, loader()), trajectory, alphas=3, progress=False)
    assert Snapshot.of(module) == before
    plain = ts.interpolate(ts.Objective.from_step(Module(), loader(), step=_plain), trajectory, alphas=3, progress=False)
    assert result.data["loss"].values == pytest.approx(plain.data["loss"].values, rel=1e-6)
    assert {"val_acc", "val_f1", "val_auroc"} <= set(result.data.data_vars)


def _plain(model: Any, batch: Any) -> Any:
    return {"loss": F.cross_entropy(model.net(batch[0]), batch[1], reduction="none")}


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ObjectiveError, match=r'LightningModule with a "validation_step"\. Got Linear'):
        ts.Objective.from_lightning(nn.Linear(2, 2), loader())
    with pytest.raises(ObjectiveError, match='with a "predict"'):
        ts.Objective.from_lightning(Module(), loader(), "predict")
    with pytest.raises(ObjectiveError, match=r"returned no loss and logged a_loss, b_loss .*say which logged value it is \(loss=\)"):
        ts.Objective.from_lightning(Silent(), loader()).score(state())
    assert ts.Objective.from_lightning(Silent(), loader(), loss="a_loss")


def test_every_experiment_on_a_training_of_a_trainer(tmp_path: Any) -> None:
    from thetascope.integrations.lightning import RecorderCallback

    quiet: Any = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    pl.Trainer(accelerator="cpu", max_epochs=3, callbacks=[RecorderCallback(tmp_path / "run")], **quiet).fit(Trained(), loader(), loader())
    trajectory, objective = ts.Trajectory(tmp_path / "run"), ts.Objective.from_lightning(Trained(), loader())
    line = ts.interpolate(objective, trajectory, alphas=3, out="run", progress=False)
    ts.interpolate(objective, trajectory, level="layer", alphas=3, out="run", progress=False)
    ts.layer_roles(objective, trajectory, draws=1, out="run", progress=False)
    ts.layer_rewind(objective, trajectory, states=3, barriers=False, out="run", progress=False)
    ts.surface(objective, trajectory, x=(-0.5, 0.5, 3), y=(-0.5, 0.5, 3), out="run", progress=False)
    ts.trajectory_plane(objective, trajectory, x=3, y=3, out="run", progress=False)
    assert ts.write_report(tmp_path / "run").exists()
    inputs, targets = data()
    for alpha, loss in zip(line.data["alpha"].values, line.data["loss"].values, strict=True):
        plain = Trained()
        plain.load_state_dict({n: torch.lerp(trajectory[0][n], trajectory[-1][n], float(alpha)) for n in trajectory[0]})
        with torch.no_grad():
            assert loss == pytest.approx(float(F.cross_entropy(plain.net(inputs), targets)), rel=1e-5)
    recorded = trajectory[-1].metrics["val_loss"]
    assert line.data["loss"].values[-1] == pytest.approx(recorded, rel=1e-5)


class Trained(Module):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])
