"""Losses and metrics by name, and the step that applies them to a batch of (inputs, targets).

To add one: write a function of (outputs, targets) that returns a `Column`, and name it in LOSSES or METRICS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thetascope.errors import ObjectiveError
from thetascope.scoring.scores import Column, column

Loss = str | Callable[[Any, Any], Any]
Metrics = Sequence[str] | Mapping[str, Loss]
Step = Callable[[nn.Module, Any], Mapping[str, Any]]
IGNORED = -100
"""The target that torch's classification losses leave out, as in padded token sequences."""

RESERVED = (
    *("loss", "status", "samples", "weight", "loss_standard_error"),
    *("alpha", "state", "step", "epoch", "progress", "distance", "layer", "parameter", "midpoint", "pattern", "role", "share"),
    *("x", "y", "component", "training", "off_plane", "check", "zarr.json"),
)
"""Names that results use themselves."""


def check_name(name: object) -> None:
    """Whether a metric may be called so: results and files are named by it.

    Raises:
        ObjectiveError: it may not.
    """
    if name != "loss" and name in RESERVED:
        raise ObjectiveError(f'a metric may not be called "{name}", which results use themselves; choose another name')
    if not isinstance(name, str) or not name.isprintable() or not name.strip() or name[0] in "._" or len(name.encode()) > 80:
        raise ObjectiveError(
            "a metric's name is printable text that does not begin with a dot or underscore and has at most 80 bytes, because "
            f"files are named by it. Got {name!r} instead."
        )


FROM_STEP = """
    def step(model, batch):
        outputs = model(batch["input_ids"])                 # whatever your batch and model need
        losses = torch.nn.functional.cross_entropy(outputs.logits, batch["labels"], reduction="none")
        return {"loss": losses, "accuracy": outputs.logits.argmax(-1) == batch["labels"]}   # [N] values each

    objective = ts.Objective.from_step(model, data, step=step)"""


def cross_entropy(outputs: Tensor, targets: Tensor) -> Column:
    """Cross-entropy of logits ``[N, C]`` or ``[N, C, …]`` with class indices ``[N, …]`` or probabilities."""
    return _over_positions(F.cross_entropy(_wide(outputs), _targets(targets), reduction="none"), _counted(outputs, targets))


def nll(outputs: Tensor, targets: Tensor) -> Column:
    """Negative log-likelihood of log-probabilities ``[N, C]`` or ``[N, C, …]`` with class indices ``[N, …]``."""
    return _over_positions(F.nll_loss(_wide(outputs), targets, reduction="none"), _counted(outputs, targets))


def mse(outputs: Tensor, targets: Tensor) -> Column:
    """Squared error, averaged over each sample's values. Both shapes must be equal: nothing is broadcast."""
    if outputs.shape != targets.shape:
        raise ObjectiveError(f"mse needs outputs and targets of one shape. Got {list(outputs.shape)} and {list(targets.shape)} instead.")
    errors = (_wide(outputs) - _wide(targets)) ** 2
    return Column(
        errors.flatten(1).mean(1) if errors.ndim > 1 else errors, torch.ones(len(errors), dtype=torch.float64, device=errors.device)
    )


def accuracy(outputs: Tensor, targets: Tensor) -> Column:
    """The share of right answers, in [0, 1]: the largest output of dimension 1 is the target class."""
    chosen = outputs.argmax(1)
    wanted = targets.argmax(1) if targets.is_floating_point() and targets.shape == outputs.shape else targets
    if wanted.is_floating_point() or chosen.shape != wanted.shape:
        raise ObjectiveError(
            f"accuracy needs class indices or probabilities as targets. Got {targets.dtype} {list(targets.shape)} for "
            f"outputs {list(outputs.shape)} instead. For regression pass metrics=()"
        )
    return _over_positions((chosen == wanted).double(), _counted(outputs, targets))


LOSSES: Mapping[str, Callable[[Tensor, Tensor], Column]] = {"cross_entropy": cross_entropy, "nll": nll, "mse": mse}
METRICS: Mapping[str, Callable[[Tensor, Tensor], Column]] = {"accuracy": accuracy, **LOSSES}


def _wide(values: Tensor) -> Tensor:
    return values.cpu().double() if values.device.type == "mps" else values.double()


def _targets(targets: Tensor) -> Tensor:
    return _wide(targets) if targets.is_floating_point() else targets


def _counted(outputs: Tensor, targets: Tensor) -> Tensor:
    """Which positions count, in the shape of per-position values."""
    if targets.is_floating_point():
        return torch.ones(targets.shape[:1] + outputs.shape[2:], dtype=torch.float64, device=targets.device)
    return (targets != IGNORED).double()


def _over_positions(values: Tensor, counted: Tensor) -> Column:
    """Mean over each sample's counted positions, weighted by their number."""
    counted = counted.to(values.device)
    if values.ndim == 1:
        return Column(torch.where(counted > 0, values, 0.0), counted)
    counted = counted.flatten(1)
    weights = counted.sum(1)
    total = torch.where(counted > 0, values.flatten(1), 0.0).sum(1)
    return Column(total / weights.clamp(min=1), weights)


def chosen_metrics(metrics: Metrics, loss: Loss, targets: Any) -> dict[str, Loss]:
    """The metrics by name. The default accuracy is left out where the targets are no classes.

    Raises:
        ObjectiveError: an unknown name, or one that results use themselves.
    """
    if isinstance(metrics, str):
        raise ObjectiveError(f'metrics must be a list of names or {{name: function}}, got the string "{metrics}": write ("{metrics}",)')
    chosen: dict[str, Loss] = dict(metrics) if isinstance(metrics, Mapping) else {name: name for name in metrics}
    for name, metric in chosen.items():
        if name == "loss":
            raise ObjectiveError('a metric may not be called "loss", which results use themselves; choose another name')
        check_name(name)
        _known(metric, METRICS, "metric")
    is_regression = loss == "mse" and isinstance(targets, Tensor) and targets.is_floating_point()
    if is_regression and chosen == {"accuracy": "accuracy"}:
        return {}
    return chosen


class SupervisedStep:
    """Feeds inputs to the model and scores its outputs against the targets."""

    def __init__(self, loss: Loss, metrics: Mapping[str, Loss]) -> None:
        self._measures = {"loss": _known(loss, LOSSES, "loss")} | {n: _known(m, METRICS, "metric") for n, m in metrics.items()}
        self.by_name = all(isinstance(m, str) for m in [loss, *metrics.values()])
        """Whether all are known measures, which give each sample its own value."""
        self._needs_tensor = any(isinstance(m, str) for m in [loss, *metrics.values()])

    def __call__(self, model: nn.Module, batch: Any) -> dict[str, Column]:
        """Score one batch of (inputs, targets)."""
        inputs, targets = batch
        return self.measure(model(inputs), targets)

    def measure(self, outputs: Any, targets: Any) -> dict[str, Column]:
        """The loss and each metric of a batch's outputs."""
        if not isinstance(outputs, Tensor) and self._needs_tensor:
            raise ObjectiveError(
                f"the model returned a {type(outputs).__name__}, not a tensor. Say how it is scored with a step of your own:\n{FROM_STEP}"
            )
        return {name: _measured(name, measure, outputs, targets) for name, measure in self._measures.items()}

    def losses(self, outputs: Any, targets: Any) -> Column:
        """The loss alone."""
        return _measured("loss", self._measures["loss"], outputs, targets)


def _measured(name: str, measure: Callable[[Any, Any], Any], outputs: Any, targets: Any) -> Column:
    try:
        value = measure(outputs, targets)
    except (ValueError, RuntimeError, IndexError, TypeError) as error:
        if isinstance(error, ObjectiveError | torch.OutOfMemoryError) or "memory" in str(error):
            raise
        raise ObjectiveError(f"{name} failed on outputs {_described(outputs)} and targets {_described(targets)}: {error}") from error
    return value if isinstance(value, Column) else column(name, value, None, len(targets))


def _described(value: Any) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def _known(measure: Loss, named: Mapping[str, Callable[[Tensor, Tensor], Column]], what: str) -> Callable[[Any, Any], Any]:
    if callable(measure):
        return measure
    if measure not in named:
        raise ObjectiveError(f'unknown {what} "{measure}"; there are {", ".join(named)}, or pass a function of (outputs, targets)')
    return named[measure]
