"""Which dimensions of a weight tell its output units apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import thetascope as ts
from thetascope.geometry.directions import random_directions
from thetascope.scoring.output_units import output_units
from thetascope.state import State


class Stored(nn.Module):
    """Weights that are stored in ways of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 5)
        self.inout = nn.Parameter(torch.randn(5, 7))  # as Hugging Face's Conv1D
        self.experts = nn.Parameter(torch.randn(3, 7, 4))
        self.left = nn.Parameter(torch.randn(9, 4))
        self.heads = nn.Parameter(torch.randn(9, 2, 3))  # in, heads, values
        self.table = nn.Embedding(11, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.addmm(torch.zeros(7), self.linear(self.table(x).mean(1)), self.inout)
        x = torch.bmm(x.expand(3, *x.shape), self.experts).sum(0)
        x = (self.left @ x.T).T
        return x @ self.heads.reshape(9, 6)


def units(model: nn.Module, inputs: Tensor) -> dict[str, tuple[int, ...]]:
    objective = ts.Objective(model, (inputs, torch.zeros(len(inputs), dtype=torch.long)))
    with objective.model.running():
        found = output_units(objective.model, objective.batches, objective.model.tensors_of(objective.bind(model.state_dict())))
    return {name: (*unit.view, *unit.dims) for name, unit in found.items()}


def test_products_tell_the_output_units_apart() -> None:
    found = units(Stored(), torch.randint(11, (12, 5)))
    assert found == {"inout": (5, 7, 1), "experts": (3, 7, 4, 0, 2), "heads": (9, 2, 3, 1, 2)}


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions_hold_their_outputs_behind_their_inputs(groups: int) -> None:
    model = nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=groups), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert units(model, torch.randn(9, 4, 5, 5)) == {"0.weight": (groups, 4 // groups, 6 // groups, 3, 3, 0, 2)}


def test_usual_layers_hold_them_first() -> None:
    assert units(nn.Sequential(nn.Conv2d(2, 3, 3, groups=1), nn.Flatten(), nn.Linear(27, 4)), torch.randn(9, 2, 5, 5)) == {}
    assert units(nn.Sequential(nn.Conv1d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(12, 4)), torch.randn(9, 4, 5)) == {}


def test_filters_of_a_transposed_convolution_keep_the_length_of_each_output_unit() -> None:
    weight = torch.randn(4, 3, 2, 2) * torch.tensor([0.1, 1.0, 30.0]).reshape(1, 3, 1, 1)  # three output units of three sizes
    model = nn.Sequential(nn.ConvTranspose2d(4, 6, 2, groups=2), nn.Flatten(), nn.Linear(24, 5))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()} | {"0.weight": weight}
    objective = ts.Objective(model, (torch.randn(20, 4, 1, 1), torch.zeros(20, dtype=torch.long)))
    with objective.model.running():
        found = output_units(objective.model, objective.batches, state)
    for orthogonal in (False, True):
        pair = random_directions(State.of(state), ["0.weight"], normalize="filter", orthogonal=orthogonal, seed=1, units=found)
        for direction in pair:
            for group in (slice(0, 2), slice(2, 4)):  # the inputs of a group
                for unit in range(3):
                    got, wanted = direction["0.weight"][group, unit].norm(), weight[group, unit].norm()
                    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=0)
        if orthogonal:
            one, other = (direction["0.weight"][:2, 1] for direction in pair)
            assert abs(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0)) < 1e-5


def test_a_surface_does_not_change_where_one_layer_is_scaled_up_and_the_next_down() -> None:
    """One factor a layer is what filter normalisation removes (Li et al. 2018), however its weights are stored."""

    class InOut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Parameter(torch.randn(6, 8)), nn.Parameter(torch.randn(8, 3))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x @ self.first) @ self.second

    torch.manual_seed(0)
    model, x, y = InOut().double(), torch.randn(40, 6).double(), torch.randint(3, (40,))
    scaled = {"first": model.first.detach() * 4.0, "second": model.second.detach() / 4.0}
    objective = ts.Objective(model, (x, y))
    axis = (-1.0, 1.0, 3)
    one, other = (ts.surface(objective, state, x=axis, y=axis, progress=False).data["loss"] for state in (model.state_dict(), scaled))
    torch.testing.assert_close(torch.from_numpy(one.values), torch.from_numpy(other.values), rtol=1e-9, atol=0)
