"""Recordings for the tests of the live view: states that are known number by number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import thetascope as ts

Metrics = Mapping[str, float]


def network() -> nn.Module:
    """Two layers."""
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("first", nn.Linear(4, 6))
    model.add_module("second", nn.Linear(6, 3))
    return model


def moves(seed: int = 1) -> Callable[[int, str, Tensor], Tensor]:
    """A random walk, the same each time."""
    generator = torch.Generator().manual_seed(seed)
    return lambda step, name, values: values + 0.05 * torch.randn(values.shape, generator=generator)


def record(
    run: Path,
    count: int,
    move: Callable[[int, str, Tensor], Tensor] | None = None,
    metrics: Sequence[Metrics] | None = None,
    *,
    every: int = 1,
    epochs: bool = True,
    max_states: int | None = None,
) -> list[dict[str, Tensor]]:
    """Record so many steps besides the initial state, each moved from the one before; the states."""
    model, change = network(), move or moves()
    states = [{name: values.clone() for name, values in model.state_dict().items()}]
    with ts.Recorder(run, model, max_states=max_states) as recorder:
        for step in range(1, count + 1):
            state = {name: change(step, name, values) for name, values in states[-1].items()}
            model.load_state_dict(state)
            states.append({name: values.clone() for name, values in state.items()})
            recorder.record(step=step * every, epoch=step if epochs else None, metrics=None if metrics is None else metrics[step - 1])
    return states
