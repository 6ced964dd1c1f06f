"""loss="model": the loss that a model computes itself, and how many labels it is the mean over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from thetascope.errors import ObjectiveError
from thetascope.scoring.calling import called, labels_of, part
from thetascope.scoring.metrics import IGNORED, Measure, SupervisedStep, chosen_metrics
from thetascope.scoring.pytrees import like, rows_of, select_rows, shapes_of
from thetascope.scoring.scores import Column

Weight = Callable[[Any], Any]

SHORT, LONG = 3, 8
"""So many labels of two rows are left to tell what a loss is the mean over."""

CLOSE = 1e-5
"""How near a mean must come, relative to the loss, where it is computed in single precision at least."""


def _all(batch: Any) -> Tensor:
    return (labels_of(batch) != IGNORED).sum()


def _shifted(batch: Any) -> Tensor:
    return (labels_of(batch)[:, 1:] != IGNORED).sum()


def _rows(batch: Any) -> int:
    return rows_of(batch) or 1


COUNTS: Mapping[str, Weight] = {"labels but the first": _shifted, "labels": _all, "rows": _rows}
"""What a model's loss may be the mean over."""


class ModelLoss:
    """Feeds a batch to the model as keyword arguments, and takes the loss that it computes.

    Args:
        weight: batch -> how much its loss weighs; None finds it by `find_weight`.
        metrics: of (outputs, labels), by name.
    """

    def __init__(self, weight: Weight | None, metrics: Mapping[str, Measure]) -> None:
        self.weight, self.given = weight, dict(metrics)
        self._measures = SupervisedStep("mse", metrics)

    @classmethod
    def of(cls, weight: Weight | None, metrics: Any, first: Any) -> ModelLoss:
        """The step for batches such as the first; "accuracy" is that of samples' classes.

        Raises:
            ObjectiveError: the batch is no mapping, or a metric is off.
        """
        if not isinstance(first, Mapping):
            raise ObjectiveError(
                f'loss="model" needs batches that are mappings of the model\'s keyword arguments. Got {shapes_of(first)} instead.'
            )
        labels = first.get("labels")
        chosen = chosen_metrics(metrics, "cross_entropy", labels)
        if chosen == {"accuracy": "accuracy"} and not (isinstance(labels, Tensor) and labels.ndim == 1):
            chosen = {}
        return cls(weight, chosen)

    def __call__(self, model: nn.Module, batch: Any) -> dict[str, Any]:
        """Score one batch."""
        outputs = called(model, batch)
        loss = part(outputs, "loss", 0)
        if not isinstance(loss, Tensor):
            raise ObjectiveError(
                f'the model gave no loss for {shapes_of(batch)}: batches need what it is computed from ("labels", as a rule). '
                "For a loss of your own see ts.steps and Objective.from_step"
            )
        weight = 1.0 if self.weight is None else self.weight(batch)
        return {"loss": (loss, weight)} | self._measured(outputs, batch)

    def _measured(self, outputs: Any, batch: Any) -> dict[str, Any]:
        if not self.given:
            return {}
        logits = part(outputs, "logits", 1)
        given = logits if all(isinstance(metric, str) for metric in self.given.values()) else outputs
        return self._measures.metrics(given, labels_of(batch))

    def find_weight(self, batch: Any, score: Callable[[Any], Mapping[str, Column]], precision: float) -> None:
        """Find what the loss is the mean over, by three passes: over two rows with few labels and more of them, and over both.

        Args:
            batch: any of the data.
            score: scores a batch with a state in the model's place.
            precision: of the coarsest values in it.

        Raises:
            ObjectiveError: it is no mean over labels or rows.
        """
        if self.weight is not None:
            return
        labels, size = batch.get("labels"), rows_of(batch)
        if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.ndim < 2 or labels.shape[1] < SHORT or size is None:
            self.weight = _all if isinstance(labels, Tensor) and labels.ndim == 1 and not labels.is_floating_point() else _rows
            return
        both = _with_few_labels(select_rows(batch, torch.tensor([0, size - 1]), size))
        parts = [select_rows(both, torch.tensor([row]), 2) for row in (0, 1)]
        first, second, whole = (float(score(each)["loss"].values.mean()) for each in (*parts, both))
        off = {}
        for name, count in COUNTS.items():
            weights = [float(count(each)) for each in parts]
            mean = (weights[0] * first + weights[1] * second) / sum(weights)
            off[name] = abs(mean - whole)
        best = min(off, key=lambda name: off[name])
        if not off[best] <= max(CLOSE, 10 * precision) * abs(whole):
            raise ObjectiveError(
                f"the model's loss is no mean over its labels or rows: two rows score {first:.6g} and {second:.6g}, together {whole:.6g}. "
                "Say how much a batch weighs (weight=, a function of the batch), or score it by ts.steps or a step of your own"
            )
        self.weight = COUNTS[best]


def _with_few_labels(batch: Any) -> Any:
    """Two rows, the first with few labels and the second with more: what their loss is the mean over then shows."""
    labels = batch["labels"]
    given = torch.where(labels == IGNORED, 0, labels)
    kept = torch.full_like(labels, IGNORED)
    for row, count in enumerate((SHORT, LONG)):
        kept[row, :count] = given[row, :count]
    return like(batch, {**batch, "labels": kept})
