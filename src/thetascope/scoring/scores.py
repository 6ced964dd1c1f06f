"""Per-sample values and their sums: everything in float64, divided by the count once."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from thetascope.errors import ObjectiveError
from thetascope.quantities import PAIRED, TOP_SHARE, top_count

Kept = tuple[Tensor, Tensor, bool]
"""Values ``[N]`` in the order of the data, their weights ``[N]``, and whether they are those of samples, or of batches."""
Keep = Literal["", "loss", "all"]


@dataclass(frozen=True)
class Column:
    """One batch's values of the loss or a metric: ``[N]`` values with weights ``[N]``, or one mean for `weight`.

    A sample's weight is 1, or the number of positions that count where a sample has several (tokens).
    """

    values: Tensor
    weights: Tensor

    @property
    def per_sample(self) -> bool:
        """Whether the values are those of single samples."""
        return self.values.ndim == 1


@dataclass(frozen=True)
class WholeColumn(Column):
    """One batch's part in a metric over all data, which is no mean of anything.

    Attributes:
        metric: has update, compute and reset; a copy of it takes the batches of each point.
        outputs: of the model.
        targets: of the batch.
    """

    metric: Any = None
    outputs: Any = None
    targets: Any = None

    @classmethod
    def of(cls, metric: Any, outputs: Any, targets: Any) -> WholeColumn:
        """A batch's part; it has no value of its own."""
        nothing = torch.full((), math.nan, dtype=torch.float64)
        return cls(nothing, torch.zeros_like(nothing), metric, outputs, targets)


def column(name: str, value: Any, weight: Any, samples: int | None) -> Column:
    """Check what a loss, metric or step returned for one batch.

    Args:
        name: of the loss or metric, for messages.
        value: ``[N]`` per-sample values or a scalar mean; a tensor, number or array.
        weight: how much each sample counts ``[N]``, how many samples the mean stands for, or None.
        samples: N where the batch tells it; a mean without a weight stands for so many.

    Raises:
        ObjectiveError: the shape is another, or a mean comes without a count.
    """
    values = _float64(name, value)
    if values.ndim == 0:
        if weight is not None:
            counted = _float64("weight", weight).sum()
            return Column(torch.where(counted.to(values.device) == 0, 0.0, values), counted)
        if samples is None:
            raise ObjectiveError(
                f'the step returned "{name}" as one mean and does not say for how many samples; return the per-sample '
                f'values [N], or add "weight": how many samples the mean stands for'
            )
        return Column(values if samples else torch.zeros_like(values), values.new_full((), samples))
    if values.ndim != 1 or (samples is not None and len(values) != samples):
        wanted = "[N]" if samples is None else f"[{samples}]"
        raise ObjectiveError(f'"{name}" must be per-sample values {wanted} or one mean. Got shape {list(values.shape)} instead.')
    weights = torch.ones_like(values) if weight is None else _float64("weight", weight).to(values.device)
    if weights.shape != values.shape:
        raise ObjectiveError(f'"weight" of per-sample values must be {list(values.shape)}. Got {list(weights.shape)} instead.')
    return Column(torch.where(weights == 0, 0.0, values), weights)  # 0/0 of what does not count is no finding


def _float64(name: str, value: Any) -> Tensor:
    try:
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ObjectiveError(f'"{name}" must be a tensor or a number. Got {_shown(value)} instead.') from error
    if tensor.is_complex():
        raise ObjectiveError(f'"{name}" must be real. Got {tensor.dtype} instead.')
    tensor = tensor.detach()
    return tensor.cpu().double() if tensor.device.type == "mps" else tensor.double()


def _shown(value: Any) -> str:
    return f"a mapping with {', '.join(map(str, value))}"[:200] if isinstance(value, Mapping) else f"a {type(value).__name__}"


FEWEST_BATCHES = 20
"""Where a step gives batches' values only, so many batches at least tell how they spread."""


def top_share(column: Column) -> float:
    """The share of the loss that the top 1 % of the samples carry (at least one; by the size of what each adds); nan where it is 0."""
    parts = (column.values * column.weights).abs()
    total = float(parts.sum())
    return float(parts.topk(top_count(len(parts))).values.sum()) / total if total else math.nan


@dataclass(frozen=True)
class Reference:
    """The values of one state, sample by sample (batch by batch where a step gives no more), which those of points are compared with.

    Attributes:
        columns: by the loss and each metric: values ``[N]``, weights ``[N]``, and whether they are those of samples.
        means: what the state scores.
    """

    columns: Mapping[str, Kept]
    means: Mapping[str, float]

    @property
    def per_sample(self) -> bool:
        """Whether the losses are those of samples."""
        return self.columns["loss"][2]

    @property
    def count(self) -> int:
        """How many losses there are."""
        return len(self.columns["loss"][0])

    @property
    def values_of_itself(self) -> dict[str, float]:
        """What the state scores where it is compared with itself."""
        same = 0.0 if math.isfinite(self.means["loss"]) else math.nan
        error = same if math.isfinite(self.means["loss_standard_error"]) else math.nan
        metrics = {f"{name}{PAIRED}": 0.0 if math.isfinite(self.means[name]) else math.nan for name in self.columns if name != "loss"}
        return {**self.means, **metrics, "excess": same, "excess_se": error}

    @property
    def top_share(self) -> float | None:
        """How much of the loss the top 1 % of the samples carry; None where that says nothing."""
        values, weights, per_sample = self.columns["loss"]
        parts = values * weights
        if not per_sample or len(parts) < 1 / TOP_SHARE or bool((parts < 0).any()) or not bool(parts.sum() > 0):
            return None
        return top_share(Column(values, weights))


@dataclass
class _Sum:
    """Weighted sums of one column, on the device, and with `spread` those of squares. Deviations are from the first batch's mean, so
    that they do not cancel; differences from the reference's values are summed likewise."""

    spread: bool
    reference: Kept | None = None
    keep: bool = False
    parts: list[Tensor] = field(default_factory=list)
    kept: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    count: int = 0
    units: int = 0
    per_sample: bool = True
    center: Tensor | None = None

    def add(self, part: Column) -> None:
        """Take one batch into account."""
        self.per_sample = self.per_sample and part.per_sample
        self.count += part.values.numel() if part.per_sample else 0
        total, weight = (part.values * part.weights).sum(), part.weights.sum().to(part.values.device)
        sums = [total, weight]
        if self.spread:
            values, weights = part.values.reshape(-1), part.weights.reshape(-1)
            if self.center is None:
                self.center = values.mean() if values.numel() else torch.zeros_like(total)
            square = weights**2
            rows = [values - self.center]
            if self.reference is not None:
                rows.append(self._difference(values))
                sums.append((weights * rows[1]).sum())
            deviations = torch.stack(rows)
            sums += [square.sum(), *(square * deviations).sum(1), *(square * deviations**2).sum(1)]
        if self.keep:
            self.kept.append((part.values.reshape(-1), part.weights.reshape(-1)))
        self.units += part.values.numel()
        self.parts.append(torch.stack(sums))

    def values_kept(self) -> Kept:
        """All that was kept."""
        values, weights = (torch.cat(parts) for parts in zip(*self.kept, strict=True))
        return values, weights, self.per_sample

    def _difference(self, values: Tensor) -> Tensor:
        """From the reference's values of the same samples; nan where these are others."""
        assert self.reference is not None
        there = self.reference[0][self.units : self.units + len(values)]
        fits = len(there) == len(values) and self.reference[2] == self.per_sample
        return values - there.to(values.device) if fits else torch.full_like(values, math.nan)

    @cached_property
    def _totals(self) -> list[float]:
        """The sums over all batches, in the order of `add`."""
        found: list[float] = torch.stack(self.parts).sum(0).tolist()
        return found

    @property
    def samples(self) -> int:
        """How many samples, or what the means stand for."""
        return self.count if self.per_sample else round(self._totals[1])

    @property
    def mean(self) -> float:
        """The weighted mean; nan where nothing counts."""
        total, weight = self._totals[:2]
        return total / weight if weight else math.nan

    @property
    def standard_error(self) -> float:
        """Of the mean: ``sqrt(Σ w²(v − mean)²) / Σ w``, with the correction N / (N − 1); nan under 2 samples, or 20 batches."""
        return math.nan if self.center is None else self._error(0, self.mean - float(self.center))

    @property
    def excess(self) -> float:
        """The weighted mean of the differences from the reference."""
        weight = self._totals[1]
        return self._totals[2] / weight if weight and self.reference is not None else math.nan

    @property
    def excess_error(self) -> float:
        """Its standard error: the samples are the same, so that it is one of differences."""
        return math.nan if self.reference is None else self._error(1, self.excess)

    def _error(self, which: int, mean: float) -> float:
        """Of a mean whose deviations were summed, `mean` from where they were taken."""
        if self.units < (2 if self.per_sample else FEWEST_BATCHES):
            return math.nan
        weight, kinds = self._totals[1], 1 if self.reference is None else 2
        zeroth, *rest = self._totals[2 + kinds - 1 :]
        first, second = rest[which], rest[kinds + which]
        spread = second - 2 * mean * first + mean**2 * zeroth
        if math.isnan(spread) or not weight:
            return math.nan
        return math.sqrt(max(spread, 0.0) * self.units / (self.units - 1)) / weight


def _computed(name: str, metric: Any) -> float:
    found = metric.compute()
    try:
        return float(found)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ObjectiveError(f'the metric "{name}" must compute one number. Got {_shown(found)} instead.') from error


class Sums:
    """The running sums of one point over the batches.

    Args:
        spread: whether standard errors will be asked for, which cost more than the sums themselves.
        reference: what the losses are compared with, sample by sample.
        keep: of what each sample's value is held: nothing, the loss for `losses`, or all for `kept`.
        drawn: whether the samples were drawn to tell a standard error, so that the losses must be those of samples.
    """

    def __init__(self, *, spread: bool, reference: Reference | None = None, keep: Keep = "", drawn: bool = False) -> None:
        self._spread, self._reference, self._keep, self._drawn = spread or reference is not None, reference, keep, drawn
        self._sums: dict[str, _Sum] = {}
        self._whole: dict[str, Any] = {}

    def add(self, columns: Mapping[str, Column]) -> None:
        """Take one batch into account.

        Raises:
            ObjectiveError: the names are not those of the batches before.
        """
        if self._sums and self._sums.keys() != columns.keys():
            raise ObjectiveError(f"every batch must give the same values; got {', '.join(columns)} after {', '.join(self._sums)}")
        for name, part in columns.items():
            if isinstance(part, WholeColumn):
                if name not in self._whole:
                    self._whole[name] = copy.deepcopy(part.metric)
                    self._whole[name].reset()
                self._whole[name].update(part.outputs, part.targets)
            if name not in self._sums:
                there = None if self._reference is None else self._reference.columns.get(name)
                keep = self._keep == "all" or (self._keep == "loss" and name == "loss")
                self._sums[name] = _Sum((self._spread and name == "loss") or there is not None, there, keep)
            self._sums[name].add(part)

    @property
    def samples(self) -> int:
        """How many samples the loss was summed over."""
        return self._sums["loss"].samples if self._sums else 0

    def means(self) -> dict[str, float]:
        """The loss and each metric; with `spread` the loss's standard error.

        Raises:
            ObjectiveError: a standard error needs per-sample values, and the loss gives means.
        """
        if not self._sums:
            raise ObjectiveError("the data gave no batch, so there is nothing to score; pass data with at least one sample")
        means = {name: _computed(name, self._whole[name]) if name in self._whole else part.mean for name, part in self._sums.items()}
        loss = self._sums["loss"]
        if self._drawn and not loss.per_sample:
            raise ObjectiveError(
                "samples= gives a standard error, which needs per-sample losses, and the loss returned a mean. "
                'Let it return [N] values (reduction="none"), or leave samples= out'
            )
        if self._spread:
            means["loss_standard_error"] = loss.standard_error
        if self._reference is not None:
            paired = [name for name in self._reference.columns if name != "loss" and name in self._sums]
            means |= {f"{name}{PAIRED}": self._sums[name].excess_error for name in paired}
            means |= {"excess": loss.excess, "excess_se": loss.excess_error}
        return means

    def losses(self) -> Kept:
        """The loss of every sample, where it was kept."""
        return self._sums["loss"].values_kept()

    def kept(self) -> Reference:
        """The values that were kept, but of metrics over all data."""
        return Reference({name: own.values_kept() for name, own in self._sums.items() if name not in self._whole}, self.means())
