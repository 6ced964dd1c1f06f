"""A small model with parameters and buffers, and ways to set, read and compare its values."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Tiny(nn.Module):
    """Two linear layers around a normalisation: float and integer buffers, ten tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.second(self.norm(self.first(x)))
        return logits


def fill(model: nn.Module, value: float) -> None:
    """Set every value of `model` to `value`, in place."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(value)


def filled(value: float) -> Tiny:
    """A `Tiny` model whose every value is `value`."""
    model = Tiny()
    fill(model, value)
    return model


def values(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the model's tensors."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Names, dtypes, shapes and every bit."""
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name
