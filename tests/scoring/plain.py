"""The dumb computation: no backend, no functional call. Load the tensors into a model of its own, loop, take the mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thetascope.geometry.points import Points
from thetascope.state import unwrapped
from thetascope.testing.models import Case

Batch = tuple[Tensor, Tensor]


def combined(points: Points, k: int) -> dict[str, Tensor]:
    """The tensors of point `k` in float64 (integers as they are), by numpy."""
    made = {}
    for name in points.basis[points.anchor]:
        parts = [state[name].numpy() for state in points.basis]
        if name not in points.groups:
            made[name] = torch.from_numpy(parts[points.anchor].copy())
            continue
        coefficients = points.coeffs[k, points.groups[name]]
        used = [c * part.astype(np.float64) for c, part in zip(coefficients, parts, strict=True) if c != 0]
        made[name] = torch.from_numpy(np.sum(used, axis=0))
    return made


def loaded(case: Case, tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> nn.Module:
    """Another model of that kind in evaluation mode, holding `tensors`; tied ones may be left out."""
    model = unwrapped(case.model(seed=99)).to(dtype)
    _, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected
    return model.eval()


def plain_scores(model: nn.Module, batches: Iterable[Batch], loss: str) -> dict[str, float]:
    """Mean loss and accuracy over all positions of all batches."""
    dtype = next(model.parameters()).dtype
    losses, right = [], []
    with torch.no_grad():
        for inputs, targets in batches:
            outputs = model(inputs.to(dtype) if inputs.is_floating_point() else inputs).double()
            measure = F.nll_loss if loss == "nll" else F.cross_entropy
            losses.append(measure(outputs, targets, reduction="none").flatten())
            right.append((outputs.argmax(1) == targets).flatten())
    return {"loss": torch.cat(losses).mean().item(), "accuracy": torch.cat(right).double().mean().item()}


def recalibrate(model: nn.Module, batches: Sequence[Batch]) -> None:
    """Set the running statistics of `model` to the averages over `batches`.

    Each normalisation layer is watched from outside: what reaches it is kept, and its mean and unbiased variance taken.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    seen: dict[nn.Module, list[Tensor]] = {norm: [] for norm in norms}
    hooks = [norm.register_forward_pre_hook(lambda norm, args: seen[norm].append(args[0])) for norm in norms]
    for norm in norms:
        norm.train()
    with torch.no_grad():
        for inputs, _ in batches:
            model(inputs)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        values = [x.double().transpose(0, 1).flatten(1) for x in seen[norm]]
        means = np.stack([v.mean(1).numpy() for v in values])
        variances = np.stack([v.var(1, correction=1).numpy() for v in values])
        norm.get_buffer("running_mean").copy_(torch.from_numpy(means.mean(0)))
        norm.get_buffer("running_var").copy_(torch.from_numpy(variances.mean(0)))
    model.eval()


def plain_step_scores(model: nn.Module, batches: Iterable[Any], step: Any) -> dict[str, float]:
    """The weighted means of what a step of the user's own gives."""
    dtype = next(model.parameters()).dtype
    found, weights = dict[str, list[Tensor]](), []
    with torch.no_grad():
        for batch in batches:
            values = step(
                model, [part.to(dtype) if part.is_floating_point() else part for part in batch] if isinstance(batch, tuple) else batch
            )
            weights.append(values.get("weight", torch.ones(len(values["loss"]))).double())
            for name in values.keys() - {"weight"}:
                found.setdefault(name, []).append(values[name].double())
    weight = torch.cat(weights)
    return {name: float((torch.cat(own) * weight).sum() / weight.sum()) for name, own in found.items()}
