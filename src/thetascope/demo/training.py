"""The demo's training: the thesis's recipe for MNIST, and one of its own for the digits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from thetascope.demo.images import Images
from thetascope.progress import progress_bar
from thetascope.recording import Recorder


@dataclass(frozen=True)
class Recipe:
    """Stochastic gradient descent whose learning rate shrinks by a factor after each epoch."""

    epochs: int
    learning_rate: float
    momentum: float
    batch_size: int
    decay: float


MNIST_RECIPE = Recipe(epochs=15, learning_rate=0.01, momentum=0.5, batch_size=64, decay=0.7)
"""The thesis's, as its published tool nnvis 1.1.4 sets it."""

DIGITS_RECIPE = Recipe(epochs=15, learning_rate=0.05, momentum=0.9, batch_size=32, decay=0.9)
"""For 1,438 images: the recipe for MNIST makes too few and too small steps on so few (accuracy under 0.2)."""


def train(model: nn.Module, images: Images, recipe: Recipe, recorder: Recorder, *, seed: int, progress: bool) -> float:
    """Train `model`, recording it after every epoch and at the exact half of all steps.

    Shows loss, accuracy and the time left.

    Returns:
        The held-out accuracy at the end, in [0, 1].
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=recipe.decay)
    generator = torch.Generator().manual_seed(seed)
    count = len(images.train_labels)
    per_epoch = -(-count // recipe.batch_size)
    total = per_epoch * recipe.epochs
    recorder.record(step=0, epoch=0, metrics=held_out(model, images))
    step = 0
    found: dict[str, float] = {}
    with progress_bar(f"training on {images.name}", total, shown=progress) as advance:
        for epoch in range(1, recipe.epochs + 1):
            model.train()
            for chosen in torch.split(torch.randperm(count, generator=generator), recipe.batch_size):
                loss = F.nll_loss(model(images.train_images[chosen]), images.train_labels[chosen])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                step += 1
                if step == total // 2 and step % per_epoch:
                    recorder.record(step=step, epoch=step / per_epoch)
                advance(1)
            scheduler.step()
            found = held_out(model, images)
            recorder.record(step=step, epoch=epoch, metrics=found)
            advance(0, f"loss {found['test_loss']:.4f}, accuracy {found['test_accuracy']:.4f}")
    return found["test_accuracy"]


def held_out(model: nn.Module, images: Images) -> dict[str, float]:
    """Loss and accuracy on the images held out."""
    model.eval()
    with torch.no_grad():
        outputs = torch.cat([model(part) for part in torch.split(images.test_images, 1000)])
    right = (outputs.argmax(1) == images.test_labels).double().mean()
    return {"test_loss": float(F.nll_loss(outputs.double(), images.test_labels)), "test_accuracy": float(right)}
