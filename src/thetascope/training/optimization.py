"""What a training lowers and how: the mean loss of a batch, the optimizer, the schedule of learning rates."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from thetascope.errors import TrainingError
from thetascope.scoring.metrics import Loss


def _mse(outputs: Tensor, targets: Tensor) -> Tensor:
    if outputs.shape != targets.shape:
        raise TrainingError(f"mse needs outputs and targets of one shape. Got {list(outputs.shape)} and {list(targets.shape)} instead.")
    return F.mse_loss(outputs, targets)


MEAN_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"cross_entropy": F.cross_entropy, "nll": F.nll_loss, "mse": _mse}


def mean_loss(loss: Loss, outputs: Any, targets: Tensor) -> Tensor:
    """The mean loss of a batch in the model's own precision, for a gradient to be taken of.

    Raises:
        TrainingError: it is no tensor, or does not depend on what can be trained.
    """
    value = MEAN_LOSSES[loss](outputs, targets) if isinstance(loss, str) else loss(outputs, targets)
    if not isinstance(value, Tensor):
        raise TrainingError(
            f"the loss must return a tensor, [N] per-sample values or their mean. It returned {type(value).__name__} instead."
        )
    if not value.requires_grad:
        raise TrainingError(
            "the loss does not depend on any parameter that requires a gradient, so nothing can be trained; "
            "is there a detach() or no_grad() in the model or the loss?"
        )
    return value.mean()


def optimization(
    model: nn.Module, optimizer_factory: Callable[[Any], Optimizer], scheduler_factory: Callable[[Any], Any] | None
) -> tuple[Optimizer, LRScheduler | None]:
    """The optimizer and scheduler of `model`, checked.

    Raises:
        TrainingError: a factory returns something else, or an optimizer of other parameters than the model's.
    """
    parameters = list(model.parameters())
    optimizer = optimizer_factory(parameters)
    if not isinstance(optimizer, Optimizer):
        raise TrainingError(f"optimizer_factory must return a torch.optim.Optimizer. It returned {type(optimizer).__name__} instead.")
    own = {id(parameter) for parameter in parameters}
    if any(id(parameter) not in own for group in optimizer.param_groups for parameter in group["params"]):
        raise TrainingError("the optimizer holds parameters of another model; optimizer_factory must use the parameters that it is given")
    if scheduler_factory is None:
        return optimizer, None
    scheduler = scheduler_factory(optimizer)
    if isinstance(scheduler, ReduceLROnPlateau) or not isinstance(scheduler, LRScheduler):
        raise TrainingError(
            "scheduler_factory must return a scheduler of torch.optim.lr_scheduler whose step() needs no argument. "
            f"It returned {type(scheduler).__name__} instead."
        )
    return optimizer, scheduler


def learning_rates(optimizer: Optimizer, scheduler: LRScheduler | None, epochs: int) -> list[list[float]]:
    """Of each epoch and group of parameters; one line where they never change. It steps the scheduler."""

    def present() -> list[float]:
        return [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]

    if scheduler is None:
        return [present()]
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no optimizer step was made: none is wanted
        for _ in range(epochs):
            rates.append(present())
            scheduler.step()
    return rates
