"""Surfaces within a tolerance on other networks than the thesis's: how often the true error is above the reported one.

Small networks of several kinds are trained on scikit-learn's digits. Each plane is scored whole once; then estimates within several
tolerances are made from its cells as they would be asked for.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import thetascope as ts
from _measure import report
from thetascope.arrays import Floats
from thetascope.demo.images import load_digits
from thetascope.experiments.framework.tolerance import estimated

TOLERANCES = (0.05, 0.01, 0.003)
RANGES = (0.3, 1.0, 2.0)
EPOCHS, BATCH, LEARNING_RATE = 15, 64, 3e-3


class Convolutions(nn.Sequential):
    """Two convolutions with or without batch normalisation."""

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__(
            *(nn.Conv2d(1, 8, 3, padding=1), norm(8), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, padding=1), norm(16), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.LazyLinear(10)),
        )


class Residual(nn.Module):
    """Blocks with layer normalisation and GELU beside a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Sequential(nn.Flatten(), nn.LazyLinear(64)), nn.Linear(64, 10)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64)) for _ in range(4))

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        value = self.stem(images)
        for block in self.blocks:
            value = value + block(value)
        logits: Tensor = self.head(value)
        return logits


class Transformer(nn.Module):
    """One encoder layer over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.head = nn.LazyLinear(32), nn.Linear(32, 10)
        self.encoder = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.encoder(self.rows(images[:, 0])).mean(1))
        return logits


def perceptron(activation: Callable[[], nn.Module], depth: int) -> nn.Module:
    """Hidden layers of 64."""
    hidden = [part for _ in range(depth) for part in (nn.LazyLinear(64), activation())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, 10))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, int]] = {
    "tanh": (lambda: perceptron(nn.Tanh, 2), "cross_entropy", EPOCHS),
    "tanh, not trained": (lambda: perceptron(nn.Tanh, 2), "cross_entropy", 0),
    "tanh, squared error": (lambda: perceptron(nn.Tanh, 2), "mse", EPOCHS),
    "ReLU, 4 hidden layers": (lambda: perceptron(nn.ReLU, 4), "cross_entropy", EPOCHS),
    "convolutions": (lambda: Convolutions(lambda channels: nn.Identity()), "cross_entropy", EPOCHS),
    "convolutions, BatchNorm": (lambda: Convolutions(nn.BatchNorm2d), "cross_entropy", EPOCHS),
    "convolutions, BatchNorm, squared error": (lambda: Convolutions(nn.BatchNorm2d), "mse", EPOCHS),
    "residual, LayerNorm, GELU": (Residual, "cross_entropy", EPOCHS),
    "transformer": (Transformer, "cross_entropy", EPOCHS),
}
"""The network, its loss, and for how many epochs it is trained."""


def target_of(labels: Tensor, loss: str) -> Tensor:
    """The labels as the loss takes them."""
    return labels if loss == "cross_entropy" else F.one_hot(labels, 10).float()


def trained(make: Callable[[], nn.Module], images: Tensor, labels: Tensor, loss: str, epochs: int) -> nn.Module:
    """The network after a training with Adam."""
    torch.manual_seed(0)
    model = make()
    model(images[:2])  # lazy layers take their shapes
    optimizer, targets = torch.optim.Adam(model.parameters(), LEARNING_RATE), target_of(labels, loss)
    score = F.cross_entropy if loss == "cross_entropy" else F.mse_loss
    for _ in range(epochs):
        for some in torch.split(torch.randperm(len(images)), BATCH):
            optimizer.zero_grad()
            torch.autograd.backward(score(model(images[some]), targets[some]))
            optimizer.step()
    return model.eval()


def planes(seeds: int, side: int) -> Iterator[tuple[str, Floats]]:
    """Each network's loss on planes of several ranges and seeds, every cell scored."""
    images = load_digits()
    seen, unseen = (F.avg_pool2d(part, 4) for part in (images.train_images, images.test_images))  # 8 × 8 pixels, as they come
    for name, (make, loss, epochs) in NETWORKS.items():
        model = trained(make, seen, images.train_labels, loss, epochs)
        data = (unseen, target_of(images.test_labels, loss))
        objective, states = ts.Objective(model, data, loss, metrics=()), ts.Trajectory.from_states([model.state_dict()])
        for reach in RANGES:
            axis = (-reach, reach, side)
            for seed in range(seeds):
                yield name, ts.surface(objective, states, x=axis, y=axis, seed=seed, progress=False).data["loss"].values
                objective.cache.points.clear()


def found(loss: Floats, tolerance: float) -> dict[str, Any]:
    """What an estimate of a surface says, and how far off it is."""

    def score(cells: Sequence[int]) -> dict[str, Floats]:
        return {"loss": loss.flat[np.asarray(cells)]}

    estimate = estimated((loss.shape[0], loss.shape[1]), tolerance, score)
    whole = estimate.evaluated == loss.size
    true = 0.0 if whole else float(np.max(np.abs(estimate.values["loss"] - loss) / np.abs(loss)))
    return {"tolerance": tolerance, "evaluated": estimate.evaluated, "whole": whole, "reported": estimate.errors["loss"], "true": true}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """How many planes were estimated, with how many cells, and how the true errors compare with the reported ones and the tolerance."""
    part = [row for row in rows if not row["whole"]]
    return {
        "planes": len(rows),
        "estimated": len(part),
        "cells": float(np.mean([row["evaluated"] for row in part])) if part else 0.0,
        "under_reported": sum(row["true"] <= row["reported"] for row in part),
        "largest_share_of_reported": max((row["true"] / row["reported"] for row in part), default=0.0),
        "largest_share_of_tolerance": max((row["true"] / row["tolerance"] for row in part), default=0.0),
    }


def told(name: str, found: dict[str, float]) -> None:
    """Print a summary as a line."""
    text = f"{name}: {found['estimated']} of {found['planes']} planes estimated"
    if found["estimated"]:
        text += (
            f" from {found['cells']:.0f} cells on the mean; true error under the reported one for {found['under_reported']}, at most "
            f"{found['largest_share_of_reported']:.2f} times it and {found['largest_share_of_tolerance']:.2f} times the tolerance"
        )
    print(text, flush=True)


def main() -> None:
    """Print for each network and tolerance what was scored and how the errors compare, as text and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4, help="of the directions")
    parser.add_argument("--grid", type=int, default=31)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # so small networks gain nothing by a second thread, and lose where others compute
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, loss in planes(arguments.seeds, arguments.grid):
        for tolerance in TOLERANCES:
            rows.setdefault(f"{name}, tolerance {tolerance:g}", []).append(found(loss, tolerance))
    every = {name: summary(of_one) for name, of_one in rows.items()}
    every["all"] = summary([row for of_one in rows.values() for row in of_one])
    for name, one in every.items():
        told(name, one)
    report("networks", {"grid": arguments.grid, "seeds": arguments.seeds, "estimates": every})


if __name__ == "__main__":
    main()
