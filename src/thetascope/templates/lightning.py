"""What thetascope scores: a LightningModule, by its own validation step. As it stands, it is a small example that runs.

``python objective.py`` trains the module once and records it; ``thetascope examine runs/first`` then looks at it.
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import thetascope as ts
from thetascope.integrations.lightning import RecorderCallback


# 1. Your LightningModule. Its values do not matter for scoring: recorded states are put in.
class Module(pl.LightningModule):
    """The example's network, which tells two spirals apart."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        inputs, targets = batch
        loss = nn.functional.cross_entropy(self.net(inputs), targets)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss, which is scored; what is logged besides becomes a metric."""
        inputs, targets = batch
        outputs = self.net(inputs)
        self.log("accuracy", (outputs.argmax(1) == targets).float().mean())
        return nn.functional.cross_entropy(outputs, targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """What trains it."""
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


# 2. Your data: what your Trainer is given, such as datamodule.val_dataloader(). Held-out ones are what is scored.
def loader(seed: int, *, shuffle: bool = False) -> DataLoader[tuple[Tensor, ...]]:
    """The example's data: points on two noisy spirals, and on which."""
    draw = torch.Generator().manual_seed(seed)
    which = torch.randint(0, 2, (500,), generator=draw)
    turn = 1 + 5 * torch.rand(500, generator=draw)
    angle = turn + torch.pi * which
    points = torch.stack([turn * angle.cos(), turn * angle.sin()], dim=1) / 3
    return DataLoader(TensorDataset(points + 0.1 * torch.randn(points.shape, generator=draw), which), batch_size=50, shuffle=shuffle)


def module() -> Module:
    """A fresh module."""
    torch.manual_seed(0)
    return Module()


# 3. Which step scores; loss="val_loss" names a logged value, where the step returns none.
def objective() -> ts.Objective:
    """What to score, for ``--objective objective.py:objective``."""
    return ts.Objective.from_lightning(module(), loader(seed=1), step="validation_step")


if __name__ == "__main__":
    # The same in a training of your own: one more callback.
    trainer = pl.Trainer(max_epochs=20, logger=False, enable_checkpointing=False, callbacks=[RecorderCallback("runs/first", every="epoch")])
    trainer.fit(module(), loader(seed=0, shuffle=True), loader(seed=1))
    print("recorded in runs/first; now: thetascope examine runs/first")
