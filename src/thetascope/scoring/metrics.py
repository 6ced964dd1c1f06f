"""Losses and metrics by name, and the step that applies them to a batch of (inputs, targets).

To add one: write a function of (outputs, targets) that returns a `Column`, and name it in LOSSES or METRICS.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thetascope.errors import ObjectiveError
from thetascope.scoring.pytrees import shapes_of
from thetascope.scoring.scores import Column, WholeColumn, column

Loss = str | Callable[[Any, Any], Any]


class WholeMetric(Protocol):
    """A metric over all data, as torchmetrics' are."""

    def update(self, outputs: Any, targets: Any, /) -> object:
        """Take a batch."""
        ...

    def compute(self) -> Any:
        """One number of all batches since `reset`."""
        ...

    def reset(self) -> object:
        """Forget all batches."""
        ...


Measure = Loss | WholeMetric
Metrics = Sequence[str] | Mapping[str, Measure]
Step = Callable[[nn.Module, Any], Mapping[str, Any]]
IGNORED = -100
"""The target that torch's classification losses leave out, as in padded token sequences."""

RESERVED = (
    *("loss", "status", "samples", "weight", "loss_standard_error", "excess", "excess_se"),
    *("alpha", "state", "step", "epoch", "progress", "distance", "layer", "block", "parameter", "midpoint", "pattern", "role", "share"),
    *("x", "y", "component", "training", "off_plane", "check", "zarr.json"),
)
"""Names that results use themselves."""


LONGEST = 70
"""Bytes of a metric's name: files are called by it, escaped, with what stands before and behind."""


def check_name(name: object) -> None:
    """Whether a metric may be called so: results and files are named by it.

    Raises:
        ObjectiveError: it may not.
    """
    if name != "loss" and name in RESERVED:
        raise ObjectiveError(f'a metric may not be called "{name}", which results use themselves; choose another name')
    if not isinstance(name, str) or not name.isprintable() or not name.strip() or name[0] in "._" or len(name.encode()) > LONGEST:
        raise ObjectiveError(
            f"a metric's name is printable text that does not begin with a dot or underscore and has at most {LONGEST} bytes, because "
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


def accuracy(outputs: Tensor, targets: Tensor, ignored: int = IGNORED) -> Column:
    """The share of right answers, in [0, 1]: the largest output of dimension 1 is the target class."""
    if outputs.ndim < 2 or outputs.shape[1] < 2:
        raise ObjectiveError(
            f"accuracy needs an output for each class, [N, C]. Got outputs {list(outputs.shape)} instead: every answer would be the same. "
            "Pass metrics=() or a function of (outputs, targets)"
        )
    chosen = outputs.argmax(1)
    wanted = targets.argmax(1) if targets.is_floating_point() and targets.shape == outputs.shape else targets
    if wanted.is_floating_point() or chosen.shape != wanted.shape:
        raise ObjectiveError(
            f"accuracy needs class indices or probabilities as targets. Got {targets.dtype} {list(targets.shape)} for "
            f"outputs {list(outputs.shape)} instead. For regression pass metrics=()"
        )
    return _over_positions((chosen == wanted).double(), _counted(outputs, targets, ignored))


LOSSES: Mapping[str, Callable[[Tensor, Tensor], Column]] = {"cross_entropy": cross_entropy, "nll": nll, "mse": mse}
METRICS: Mapping[str, Callable[[Tensor, Tensor], Column]] = {"accuracy": accuracy, **LOSSES}


def _wide(values: Tensor) -> Tensor:
    return values.cpu().double() if values.device.type == "mps" else values.double()


def _targets(targets: Tensor) -> Tensor:
    return _wide(targets) if targets.is_floating_point() else targets


def _counted(outputs: Tensor, targets: Tensor, ignored: int = IGNORED) -> Tensor:
    """Which positions count, in the shape of per-position values."""
    if targets.is_floating_point():
        return torch.ones(targets.shape[:1] + outputs.shape[2:], dtype=torch.float64, device=targets.device)
    return (targets != ignored).double()


def _over_positions(values: Tensor, counted: Tensor) -> Column:
    """Weighted mean over each sample's positions, which counts as much as they do together."""
    counted = counted.to(values.device)
    if values.ndim == 1:
        return Column(torch.where(counted > 0, values, 0.0), counted)
    counted = counted.flatten(1)
    weights = counted.sum(1)
    total = torch.where(counted > 0, values.flatten(1) * counted, 0.0).sum(1)
    return Column(total / torch.where(weights > 0, weights, 1.0), weights)


def chosen_metrics(metrics: Metrics, loss: Loss, targets: Any) -> dict[str, Measure]:
    """The metrics by name. The default accuracy is left out where the targets are no classes.

    Raises:
        ObjectiveError: an unknown name, or one that results use themselves.
    """
    if isinstance(metrics, str):
        raise ObjectiveError(f'metrics must be a list of names or {{name: function}}, got the string "{metrics}": write ("{metrics}",)')
    chosen: dict[str, Measure] = dict(metrics) if isinstance(metrics, Mapping) else {name: name for name in metrics}
    for name, metric in chosen.items():
        if name == "loss":
            raise ObjectiveError('a metric may not be called "loss", which results use themselves; choose another name')
        check_name(name)
        _known(metric, METRICS, "metric")
    if chosen == {"accuracy": "accuracy"}:
        default = _default_accuracy(loss, targets)
        return {} if default is None else {"accuracy": default}
    return chosen


@dataclass(frozen=True)
class _Classes:
    """The default accuracy: of exclusive classes, an output each; nothing where the outputs turn out to be something else.

    Attributes:
        ignored: the target that does not count.
        sure: whether the loss is one of exclusive classes, along dimension 1.
        largest: class that was seen.
    """

    ignored: int = IGNORED
    sure: bool = True
    largest: int = 0

    def __call__(self, outputs: Any, targets: Any) -> Column | None:
        """As `accuracy`."""
        if (
            not isinstance(outputs, Tensor)
            or not isinstance(targets, Tensor)
            or outputs.ndim < 2
            or outputs.shape[1] <= max(1, self.largest)
        ):
            return None
        wanted = outputs.shape if targets.is_floating_point() else outputs.shape[:1] + outputs.shape[2:]
        classes_last = not self.sure and outputs.ndim > 2 and targets.shape == outputs.shape[:-1]
        return accuracy(outputs, targets, self.ignored) if targets.shape == wanted and not classes_last else None


class _Binary:
    """The default accuracy of one column: right where it is beyond the threshold as the target is."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def __call__(self, outputs: Any, targets: Any) -> Column | None:
        """Of outputs and targets ``[N]`` or ``[N, 1]``."""
        if not isinstance(outputs, Tensor) or outputs.shape != targets.shape:
            return None
        right = ((outputs > self.threshold) == (targets > 0.5)).double().flatten()
        return Column(right, torch.ones_like(right))


BINARY: Mapping[Any, float] = {
    nn.BCEWithLogitsLoss: 0.0, F.binary_cross_entropy_with_logits: 0.0, nn.BCELoss: 0.5, F.binary_cross_entropy: 0.5,
    nn.SoftMarginLoss: 0.0, F.soft_margin_loss: 0.0,
}  # fmt: skip
"""Losses of one column, and what separates its two answers."""

SUMS_TO_ONE = 1e-2
"""By how much probabilities of classes may miss 1, after rounding to half precision."""

EXCLUSIVE = ("cross_entropy", "nll", nn.CrossEntropyLoss, F.cross_entropy, nn.NLLLoss, F.nll_loss)
"""Losses of exclusive classes."""


def _default_accuracy(loss: Loss, targets: Any) -> Loss | None:
    """The accuracy that is meant where none is asked for: only of exclusive classes."""
    loss = _as_module(loss)
    kinds: tuple[Any, ...] = type(loss).__mro__ if isinstance(loss, nn.Module) else (loss,)
    if not isinstance(targets, Tensor) or not targets.ndim:
        return None
    zero_one = bool(((targets == 0) | (targets == 1)).all())
    binary = [threshold for known, threshold in BINARY.items() if known in kinds]
    if binary:
        return _Binary(binary[0]) if zero_one and targets.numel() == len(targets) else None
    exclusive = any(known in kinds for known in EXCLUSIVE)
    if targets.is_floating_point():  # probabilities of classes, else a regression or labels that may hold together
        shares = exclusive and targets.ndim > 1 and bool(((targets.sum(1) - 1).abs() < SUMS_TO_ONE).all())
        return _Classes() if shares else None
    if not exclusive and (isinstance(loss, str) or (targets.ndim > 1 and zero_one)):  # squared errors; labels that may hold together
        return None
    ignored = getattr(loss, "ignore_index", IGNORED)
    counted = targets[targets != ignored]
    largest = int(counted.max()) if counted.numel() else 0
    return "accuracy" if isinstance(loss, str) and exclusive else _Classes(ignored, exclusive, largest)


def _as_module(measure: Any) -> Any:
    """A loss that torch's function of it was given options for, as torch's module."""
    kind = {F.cross_entropy: nn.CrossEntropyLoss, F.nll_loss: nn.NLLLoss}.get(measure.func) if isinstance(measure, partial) else None
    with suppress(TypeError):
        return measure if kind is None or measure.args else kind(**measure.keywords)
    return measure


def _per_sample(loss: nn.Module) -> Callable[[Any, Any], Any] | None:
    """One of torch's losses that gives a mean, as values of samples and what each counts; None where it is another.

    So that the mean over all data is the same whatever batches they come in.
    """
    if getattr(loss, "reduction", None) != "mean":
        return None
    if isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) and type(loss).forward in (nn.CrossEntropyLoss.forward, nn.NLLLoss.forward):
        return _Weighted(loss)
    return _Elementwise(loss) if any(type(loss).forward is kind.forward for kind in ELEMENTWISE) else None


ELEMENTWISE = (
    *(nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCELoss, nn.BCEWithLogitsLoss, nn.KLDivLoss, nn.PoissonNLLLoss),
    *(nn.SoftMarginLoss, nn.MultiLabelSoftMarginLoss),
)
"""Losses whose mean is over all values alike."""


class _Weighted:
    """Cross-entropy or negative log-likelihood with torch's denominator: the classes' weights of the targets that are not ignored."""

    def __init__(self, loss: nn.CrossEntropyLoss | nn.NLLLoss) -> None:
        self.smoothing = getattr(loss, "label_smoothing", 0.0)
        self.loss, self.weight, self.ignored = loss, loss.weight, loss.ignore_index
        if self.smoothing and self.weight is not None and bool((self.weight == 0).any()):
            raise ObjectiveError(
                "label smoothing gives targets of a class of weight 0 a loss that no sample counts for, so that no mean over samples is "
                "the same in all batches. Leave label_smoothing out, or give the class a weight"
            )

    def __call__(self, outputs: Tensor, targets: Tensor) -> Column:
        """Of outputs ``[N, C]`` or ``[N, C, …]``."""
        weight = None if self.weight is None else self.weight.to(outputs)
        soft = targets.is_floating_point()
        if isinstance(self.loss, nn.NLLLoss):
            values = F.nll_loss(outputs, targets, weight, ignore_index=self.ignored, reduction="none").double()
        else:
            values = F.cross_entropy(
                outputs, targets, weight, ignore_index=self.ignored, reduction="none", label_smoothing=self.smoothing
            ).double()
        counted = _counted(outputs, targets, self.ignored)
        if weight is not None and not soft:
            counted = counted * weight.double()[torch.where(targets == self.ignored, 0, targets)]
            values = values / torch.where(counted > 0, counted, 1.0)
        return _over_positions(values, counted)


class _Elementwise:
    """A loss whose mean is over all values: each sample's is over its own."""

    def __init__(self, loss: nn.Module) -> None:
        self.loss = copy.copy(loss)
        self.loss.reduction = "none"  # type: ignore[assignment]
        self.held = dict(loss.named_buffers())

    def __call__(self, outputs: Tensor, targets: Tensor) -> Column:
        """Of outputs and targets of one shape: nothing is broadcast."""
        if outputs.shape != targets.shape:
            name, shapes = type(self.loss).__name__, f"{list(outputs.shape)} and {list(targets.shape)}"
            raise ObjectiveError(f"{name} needs outputs and targets of one shape. Got {shapes} instead.")
        held = {name: tensor.to(outputs) for name, tensor in self.held.items()}
        values = torch.func.functional_call(self.loss, held, (outputs, targets)).double()
        values = values.flatten(1).mean(1) if values.ndim > 1 else values
        return Column(values, torch.ones_like(values))


OF_SAMPLES = (_Classes, _Binary, _Weighted, _Elementwise)
"""Measures that give each sample its own value, as those by name do."""


@dataclass(frozen=True)
class LossKind:
    """Which of the known losses one is ("" for another), and what it weighs and ignores."""

    name: str = ""
    weight: Tensor | None = None
    ignored: int = IGNORED
    smoothing: float = 0.0


def _kind_of(measure: Any) -> LossKind:
    for name, known in LOSSES.items():
        if measure is known:
            return LossKind(name)
    if isinstance(measure, _Weighted):
        name = "nll" if isinstance(measure.loss, nn.NLLLoss) else "cross_entropy"
        return LossKind(name, measure.weight, measure.ignored, measure.smoothing)
    return LossKind("mse" if isinstance(measure, _Elementwise) and isinstance(measure.loss, nn.MSELoss) else "")


class SupervisedStep:
    """Feeds inputs to the model and scores its outputs against the targets."""

    def __init__(self, loss: Loss, metrics: Mapping[str, Measure]) -> None:
        self._measures = {"loss": _known(loss, LOSSES, "loss")} | {n: _known(m, METRICS, "metric") for n, m in metrics.items()}
        self.given, given = dict(metrics), [loss, *metrics.values()]
        self.loss_kind, self.names = _kind_of(self._measures["loss"]), tuple(self._measures)
        self.by_name = all(isinstance(m, str) or isinstance(k, OF_SAMPLES) for m, k in zip(given, self._measures.values(), strict=True))
        """Whether all are known measures, which give each sample its own value."""
        self.whole = [name for name, metric in metrics.items() if _is_whole(metric)]
        """Metrics over all data, which need every output of a point."""
        self._needs_tensor = any(isinstance(m, str) for m in given)

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
        return self._found(self._measures, outputs, targets)

    def metrics(self, outputs: Any, targets: Any) -> dict[str, Column]:
        """The metrics without the loss."""
        return self._found({name: measure for name, measure in self._measures.items() if name != "loss"}, outputs, targets)

    @staticmethod
    def _found(measures: Mapping[str, Callable[[Any, Any], Any]], outputs: Any, targets: Any) -> dict[str, Column]:
        found = {name: _measured(name, measure, outputs, targets) for name, measure in measures.items()}
        return {name: column for name, column in found.items() if column is not None}

    def losses(self, outputs: Any, targets: Any) -> Column:
        """The loss alone."""
        found = _measured("loss", self._measures["loss"], outputs, targets)
        assert found is not None
        return found


def _measured(name: str, measure: Callable[[Any, Any], Any], outputs: Any, targets: Any) -> Column | None:
    try:
        value = measure(outputs, targets)
    except (ValueError, RuntimeError, IndexError, TypeError) as error:
        if isinstance(error, ObjectiveError | torch.OutOfMemoryError) or "memory" in str(error):
            raise
        raise ObjectiveError(f"{name} failed on outputs {shapes_of(outputs)} and targets {shapes_of(targets)}: {error}") from error
    if value is None and isinstance(measure, _Classes | _Binary):
        return None
    return value if isinstance(value, Column) else column(name, value, None, len(targets))


def _is_whole(measure: Any) -> bool:
    """Whether it is a metric over all data, as torchmetrics' are."""
    return not isinstance(measure, str | type) and all(callable(getattr(measure, name, None)) for name in ("update", "compute", "reset"))


def _known(measure: Measure, named: Mapping[str, Callable[[Tensor, Tensor], Column]], what: str) -> Callable[[Any, Any], Any]:
    if _is_whole(measure):
        if what == "loss":
            raise ObjectiveError("the loss must be a mean over samples; what has update, compute and reset is a metric over all data")
        return partial(WholeColumn.of, measure)
    if callable(measure):
        module = _as_module(measure)
        return (_per_sample(module) if isinstance(module, nn.Module) else None) or measure
    if not isinstance(measure, str) or measure not in named:
        raise ObjectiveError(f'unknown {what} "{measure}"; there are {", ".join(named)}, or pass a function of (outputs, targets)')
    return named[measure]
