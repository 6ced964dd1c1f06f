"""What thetascope scores. Fill in the three places marked below; as it stands, it is a small example that runs.

``python objective.py`` trains the model once and records it; ``thetascope examine runs/first`` then looks at it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import thetascope as ts


# 1. Your model, as your training builds it. Its values do not matter here: recorded states are put in.
def model() -> nn.Module:
    """A fresh model."""
    return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))


# 2. Your data. Held-out ones are what is scored; a DataLoader will do as well as a pair of tensors.
def held_out_data() -> tuple[Tensor, Tensor]:
    """Inputs and targets that the training does not see."""
    return spirals(500, seed=1)


def training_data() -> tuple[Tensor, Tensor]:
    """Inputs and targets to train on. Delete it, with training(), if you record your own training loop."""
    return spirals(500, seed=0)


def spirals(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """The example's data: points on two noisy spirals, and on which."""
    draw = torch.Generator().manual_seed(seed)
    which = torch.randint(0, 2, (count,), generator=draw)
    turn = 1 + 5 * torch.rand(count, generator=draw)
    angle = turn + torch.pi * which
    points = torch.stack([turn * angle.cos(), turn * angle.sin()], dim=1) / 3
    return points + 0.1 * torch.randn(points.shape, generator=draw), which


# 3. Your loss and metrics: "cross_entropy", "nll", "mse", or a function of (outputs, targets).
LOSS, METRICS = "cross_entropy", ("accuracy",)


def objective() -> ts.Objective:
    """What to score, for ``--objective objective.py:objective``."""
    return ts.Objective(model(), held_out_data(), LOSS, METRICS)


def training() -> ts.Training:
    """A training that can be run again, for ``--training objective.py:training`` (study-epochs, study-train-size)."""
    return ts.Training(
        model,
        training_data(),
        held_out_data(),
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        epochs=20,
        batch_size=50,
        loss=LOSS,
        metrics=METRICS,
        seed=0,
    )


if __name__ == "__main__":
    # The same in a training loop of your own: with ts.Recorder(...) around it, recorder.record(step=…, epoch=…) in it.
    described = training()
    fresh = described.model()
    with ts.Recorder("runs/first", fresh) as recorder:
        described.train(fresh, recorder=recorder)
    print("recorded in runs/first; now: thetascope examine runs/first")
