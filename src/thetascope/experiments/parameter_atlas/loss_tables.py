"""The loss as a function of one output of a linear layer: tabulated once a sample, it serves every weight of that output.

A weight W[j, i] of a linear layer moves output j of sample s by δ · x[s, i], a bias by δ. So with ℓ_s(t), the change of the loss of
sample s when its output j moves by t,

    F_ji(δ) = mean over s of ℓ_s(δ · x[s, i])

is the change of the loss for every weight of the row j and every δ. ℓ_s is tabulated at places that lie densest around 0 and read
cubically in between; F is made at a few values of δ an input and read likewise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx

from thetascope.arrays import Floats
from thetascope.scoring.fast.single_edits import Route, Routes
from thetascope.scoring.metrics import SupervisedStep
from thetascope.scoring.objective import Objective

_Numbers = TypeVar("_Numbers", Tensor, Floats)

PLACES = 129
"""So many values of ℓ_s are tabulated: odd, so that 0 is one of them."""

DENSITY = 5.0
"""c: the places are at sinh(c u) / sinh(c) of the largest shift, u even in [-1, 1]."""

NODES = 65
"""At so many values of δ an input F is made; in between it is read cubically. Odd, so that 0 is one."""

SPREAD = 3.0
"""As `DENSITY`, for the nodes in δ."""

SAMPLES = 96
"""So many samples are tabulated at once: the table then stays in the processor's cache."""

BLOCK_BYTES = 2**27
"""So much memory the values of F may take, of all inputs and the outputs of a block."""

BLOCK_OUTPUTS = 64
"""At most so many outputs make a block, which is what is finished at once."""


@dataclass(frozen=True)
class Curves:
    """F of all weights into some outputs of one layer.

    Attributes:
        reach: ``[inputs + 1]``: δ of input i lies within ±reach[i]; the last is the bias.
        values: ``[NODES, inputs + 1, outputs]`` at the nodes.
    """

    reach: Floats
    values: Floats

    def at(self, delta: Floats) -> Floats:
        """F at ``delta[inputs + 1, outputs, A]``: ``[inputs + 1, outputs, A]``. Exactly 0 where δ is."""
        scale = np.where(self.reach > 0, self.reach, 1.0)[:, None, None]
        rank = (np.arcsinh(delta / scale * math.sinh(SPREAD)) / SPREAD + 1.0) * ((NODES - 1) / 2)
        low = np.clip(np.floor(rank).astype(np.int64) - 1, 0, NODES - 4)
        found = np.zeros_like(delta)
        i, j = np.ogrid[: delta.shape[0], : delta.shape[1]]
        for k, share in enumerate(_cubic(rank - low)):
            found += share * self.values[low + k, i[..., None], j[..., None]]
        return np.where(delta == 0, 0.0, found)


def nodes() -> Floats:
    """Of δ, as shares of the reach, ``[NODES]`` rising from -1 to 1."""
    found: Floats = np.sinh(SPREAD * np.linspace(-1.0, 1.0, NODES)) / math.sinh(SPREAD)
    found[NODES // 2] = 0.0
    return found


def block_outputs(inputs: int) -> int:
    """How many outputs of a layer with so many inputs make a block."""
    return max(1, min(BLOCK_OUTPUTS, BLOCK_BYTES // (8 * NODES * (inputs + 1))))


class Tabulation:
    """The curves of one linear layer, whose inputs and outputs are ``[N, inputs]`` and ``[N, outputs]``.

    Args:
        objective: whose loss gives a value a sample.
        routes: of its traced model in the state that is edited.
        route: of the layer's weight.
    """

    def __init__(self, objective: Objective, routes: Routes, route: Route) -> None:
        self._objective, self._routes, self._route = objective, routes, route
        step = objective.model.step
        assert isinstance(step, SupervisedStep)
        self._step = step
        self._largest: Tensor | None = None

    def curves(self, outputs: Sequence[int], reach: Floats) -> Curves:
        """F of all weights into `outputs`, in one walk over the data.

        Args:
            outputs: which.
            reach: ``[inputs + 1]``, how far a weight from each input, and a bias, moves at most.
        """
        widest = float((reach * self.largest().double().cpu().numpy()).max())
        total, weight = np.zeros((NODES, len(reach), len(outputs))), 0.0
        if widest == 0 or not math.isfinite(widest):
            return Curves(reach, total if widest == 0 else np.full_like(total, np.nan))
        places = self._places(widest)
        for inputs, base, targets in self._chunks():
            table, weights = self._table(base, targets, outputs, places)
            weight += float(weights.sum())
            self._gather(inputs, table, reach, widest, total)
        return Curves(reach, total / weight)

    def seconds(self) -> float:
        """How long all outputs will take, from a few samples and one output."""
        inputs, base, targets = next(self._chunks())
        outputs, width = self._routes.tensors[self._route.site.tensor].shape[0], inputs.shape[1]
        start = time.perf_counter()
        table, _ = self._table(base, targets, [0], self._places(1.0))
        table_seconds = time.perf_counter() - start
        reach = np.full(width, 1.0 / max(float(inputs.abs().max()), 1e-30))
        start = time.perf_counter()
        self._gather(inputs, table, reach, 1.0, np.zeros((NODES, width, 1)))
        gather_seconds = time.perf_counter() - start
        rows = self._objective.batches.survey.rows or len(inputs)
        blocks = math.ceil(outputs / block_outputs(width - 1))
        return rows / len(inputs) * (outputs * table_seconds + blocks * gather_seconds)

    def largest(self) -> Tensor:
        """The largest absolute input ``[inputs + 1]`` over all samples; 1 for the bias."""
        if self._largest is None:
            found = [inputs.abs().amax(0) for inputs, _, _ in self._chunks()]
            self._largest = torch.stack(found).amax(0)
        return self._largest

    def _chunks(self) -> Iterator[tuple[Tensor, dict[fx.Node, object], Tensor]]:
        """The layer's inputs with a column of ones, what the way on needs, and the targets, of a few samples at a time."""
        model, node = self._objective.model, self._route.site.inputs
        for given, targets in self._objective.batches:
            whole = model.guarded(given)
            for start in range(0, len(whole), SAMPLES):
                base = self._routes.base([self._route], whole[start : start + SAMPLES])
                inputs: Tensor = base[node]
                yield torch.cat([inputs, inputs.new_ones(len(inputs), 1)], 1), base, targets[start : start + SAMPLES]

    def _places(self, widest: float) -> Tensor:
        u = torch.linspace(-1.0, 1.0, PLACES, dtype=torch.float64)
        found = widest * torch.sinh(DENSITY * u) / math.sinh(DENSITY)
        found[PLACES // 2] = 0.0
        return found

    def _table(self, base: dict[fx.Node, object], targets: Tensor, outputs: Sequence[int], places: Tensor) -> tuple[Tensor, Tensor]:
        """ℓ_s, weighted: ``[N · PLACES, outputs]``, and the samples' weights ``[N]``."""
        node = self._route.site.node
        old = base[node]
        assert isinstance(old, Tensor)
        count, shifts = len(old), places.to(old.device, old.dtype)
        repeated = targets.repeat(PLACES, *(1 for _ in targets.shape[1:]))
        table = old.new_empty(count, PLACES, len(outputs))
        weights = old.new_empty(0)
        for place, j in enumerate(outputs):
            found = self._route.way.outputs(base, self._routes.tensors, j, old[:, j] + shifts[:, None])
            column = self._step.losses(found, repeated)
            losses = (column.values * column.weights).view(PLACES, count)
            table[:, :, place] = (losses - losses[PLACES // 2]).T.to(old.dtype)
            weights = column.weights[:count]
        return table.view(count * PLACES, len(outputs)), weights

    def _gather(self, inputs: Tensor, table: Tensor, reach: Floats, widest: float, total: Floats) -> None:
        """Add Σ_s ℓ_s(δ · x[s, i]) at all nodes to `total`. An input of 0 moves nothing."""
        column, row = inputs.T.nonzero(as_tuple=True)
        shifts = inputs[row, column] * torch.from_numpy(reach).to(inputs)[column]
        offsets = torch.zeros(inputs.shape[1], dtype=torch.int64, device=inputs.device)
        offsets[1:] = torch.bincount(column, minlength=inputs.shape[1]).cumsum(0)[:-1] * 4
        for n, node in enumerate(nodes()):
            if node == 0:
                continue
            rank = torch.asinh(shifts * (node * math.sinh(DENSITY) / widest)) * ((PLACES - 1) / (2 * DENSITY)) + (PLACES - 1) / 2
            low = (rank.long() - 1).clamp_(0, PLACES - 4)
            where = (row * PLACES + low)[:, None] + torch.arange(4, device=row.device)
            shares = torch.stack(_cubic(rank - low), 1)
            found = F.embedding_bag(where.view(-1), table, offsets, mode="sum", per_sample_weights=shares.view(-1))
            total[n] += found.double().cpu().numpy()


def _cubic(x: _Numbers) -> tuple[_Numbers, _Numbers, _Numbers, _Numbers]:
    """What the values at 0, 1, 2 and 3 count for at x: Lagrange's cubic polynomials."""
    one, two, three = x - 1, x - 2, x - 3
    return one * two * three / -6, x * two * three / 2, x * one * three / -2, x * one * two / 6
