"""The value of every single sample, for what is computed of subsets of them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from thetascope.errors import ObjectiveError
from thetascope.scoring.memory import halving
from thetascope.scoring.objective import Objective
from thetascope.scoring.scores import Column
from thetascope.state import State


def per_sample_columns(objective: Objective, state: Mapping[str, Tensor]) -> dict[str, Column]:
    """The loss and each metric of every sample ``[N]`` on the CPU, in the order of the data, in one pass over them.

    `state` is scored as it stands, with its own buffers, as `Objective.score` does.

    Raises:
        StateError: the state does not fit the model.
        ObjectiveError: the loss or a metric gives means only, or values for other samples than the loss.
    """
    bound = objective.bind(state)
    return halving(objective, lambda: _columns(objective, bound))


def _columns(objective: Objective, bound: State) -> dict[str, Column]:
    parts: dict[str, list[Column]] = {}
    with objective.model.running():
        tensors = objective.model.tensors_of(bound)
        for batch in objective.batches:
            columns = objective.model.evaluate(tensors, batch)
            _check(columns)
            if parts and parts.keys() != columns.keys():
                raise ObjectiveError(f"every batch must give the same values; got {', '.join(columns)} after {', '.join(parts)}")
            for name, part in columns.items():
                parts.setdefault(name, []).append(Column(part.values.cpu(), part.weights.cpu()))
    if not parts:
        raise ObjectiveError("the data gave no batch, so there is nothing to score; pass data with at least one sample")
    return {name: Column(torch.cat([c.values for c in own]), torch.cat([c.weights for c in own])) for name, own in parts.items()}


def _check(columns: Mapping[str, Column]) -> None:
    means = [name for name, part in columns.items() if not part.per_sample]
    if means:
        raise ObjectiveError(
            f"the value of every sample is needed, and {' and '.join(means)} gave one mean a batch. "
            'Let it return [N] values (reduction="none"), or leave that metric out'
        )
    sizes = {name: len(part.values) for name, part in columns.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ObjectiveError(f"the loss and the metrics must be of the same samples. Got values of different numbers of them: {listed}")
