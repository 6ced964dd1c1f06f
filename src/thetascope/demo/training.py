"""The demo's training: the thesis's recipe for MNIST, and one of its own for the digits."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from thetascope.demo.images import Images
from thetascope.demo.network import LeNet
from thetascope.training.training import Training


@dataclass(frozen=True)
class Hyperparameters:
    """Stochastic gradient descent whose learning rate shrinks by a factor after each epoch."""

    epochs: int
    learning_rate: float
    momentum: float
    batch_size: int
    decay: float


MNIST_RECIPE = Hyperparameters(epochs=15, learning_rate=0.01, momentum=0.5, batch_size=64, decay=0.7)
"""The thesis's, as its published tool nnvis 1.1.4 sets it."""

DIGITS_RECIPE = Hyperparameters(epochs=15, learning_rate=0.03, momentum=0.9, batch_size=48, decay=0.9)
"""For 1,433 images; 30 steps an epoch, so that half of the training is a whole step.

The recipe for MNIST makes too few and too small steps on so few images (accuracy under 0.2).
"""


def lenet_training(images: Images, recipe: Hyperparameters, seed: int) -> Training:
    """The thesis's network trained on `images`, scored on those held out."""
    return Training(
        LeNet,
        (images.train_images, images.train_labels),
        (images.test_images, images.test_labels),
        lambda parameters: torch.optim.SGD(parameters, lr=recipe.learning_rate, momentum=recipe.momentum),
        recipe.epochs,
        recipe.batch_size,
        loss="nll",
        scheduler_factory=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=recipe.decay),
        seed=seed,
    )
