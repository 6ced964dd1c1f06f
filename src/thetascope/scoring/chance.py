"""What a model would score that knows how often each target comes, and nothing of its inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from thetascope.scoring.batches import Batches
from thetascope.scoring.metrics import SupervisedStep


def chance_of(step: Any, batches: Batches) -> Mapping[str, float]:
    """By the loss and "accuracy", where there is such a value; one walk over the targets.

    Of cross-entropy and negative log-likelihood the entropy of the class frequencies, weighted as the loss weighs classes and without
    what it ignores; of the mean squared error the variance of the targets around their mean, value by value; of accuracy the share of
    the most frequent class.
    """
    if not isinstance(step, SupervisedStep):
        return {}
    kind = step.loss_kind
    found: dict[str, float] = {}
    if kind.name in ("cross_entropy", "nll"):
        weighted, plain = _frequencies(batches, kind.weight, kind.ignored)
        if weighted is not None and not kind.smoothing:
            share = weighted[weighted > 0] / weighted.sum()
            found["loss"] = float(-(share * share.log()).sum())
        if plain is not None and "accuracy" in step.names and float(plain.sum()) > 0:
            found["accuracy"] = float(plain.max() / plain.sum())
    elif kind.name == "mse":
        found["loss"] = _variance(batches)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _frequencies(batches: Batches, weight: Tensor | None, ignored: int) -> tuple[Tensor | None, Tensor | None]:
    """How much each class counts, weighted and plain; of soft targets the mean probabilities, whose largest is no share of a class."""
    plain, soft = torch.zeros(0, dtype=torch.float64), False
    for _, targets in batches:
        if not isinstance(targets, Tensor):
            return None, None
        if targets.is_floating_point():
            soft = True
            counts = targets.double().movedim(1, -1).flatten(0, -2).sum(0).cpu()
        else:
            counted = targets[targets != ignored]
            counts = torch.bincount(counted.flatten(), minlength=len(plain)).double().cpu()
        if len(counts) > len(plain):
            plain = torch.cat([plain, torch.zeros(len(counts) - len(plain), dtype=torch.float64)])
        plain[: len(counts)] += counts
    if not len(plain) or not float(plain.sum()) > 0:
        return None, None
    weighted = plain if weight is None or soft else plain * weight.double().cpu()[: len(plain)]
    return weighted, None if soft else plain


def _variance(batches: Batches) -> float:
    """Of the targets around their mean over the samples, averaged over values."""
    count, total, square, first = 0, None, None, None
    for _, targets in batches:
        values = targets.double()
        first = values[0] if first is None else first
        shifted = values - first
        total = shifted.sum(0) if total is None else total + shifted.sum(0)
        square = (shifted**2).sum(0) if square is None else square + (shifted**2).sum(0)
        count += len(values)
    if total is None or square is None:
        return math.nan
    return float((square / count - (total / count) ** 2).clamp(min=0).mean())
