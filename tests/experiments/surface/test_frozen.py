"""What moves on a random surface, and what stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import thetascope as ts
from thetascope.errors import GeometryError

Tensors = dict[str, torch.Tensor]


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def objective(net: nn.Module) -> ts.Objective:
    torch.manual_seed(1)
    return ts.Objective(net, (torch.randn(30, 4), torch.randint(3, (30,))))


def surface(net: nn.Module, subject: object, **options: object) -> ts.Result:
    return ts.surface(objective(net), subject, x=(-1, 1, 3), y=(-1, 1, 3), progress=False, **options)  # type: ignore[arg-type]


def trained(net: nn.Module, frozen: tuple[str, ...]) -> list[Tensors]:
    first = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    return [first, *({n: t if n in frozen else t + k for n, t in first.items()} for k in (0.1, 0.2))]


def by_hand(net: nn.Module, state: Tensors, moving: tuple[str, ...]) -> np.ndarray:
    """The corner (1, 1) of the surface in plain torch: only `moving` weights move, by the tool's own draws of them."""
    from thetascope.geometry.directions import random_directions
    from thetascope.state import State

    pair = random_directions(State.of(state), moving, normalize="filter", orthogonal=False, seed=0)
    corner = {name: tensor + sum((d[name] for d in pair if name in d.specs), torch.zeros(())) for name, tensor in state.items()}
    torch.manual_seed(1)
    x, y = torch.randn(30, 4), torch.randint(3, (30,))
    return nn.functional.cross_entropy(torch.func.functional_call(net, corner, (x,)), y).detach().numpy()


WEIGHTS = ("0.weight", "2.weight", "4.weight")


def test_what_never_moved_in_a_training_stays() -> None:
    net = model()
    states = trained(net, ("2.weight", "2.bias"))
    found = surface(net, ts.Trajectory.from_states(states)).data
    assert found.attrs["directions"]["frozen"] == dict.fromkeys(("2.weight", "2.bias"), "they are the same in all states")
    assert float(found["loss"][-1, -1]) == pytest.approx(float(by_hand(net, states[-1], ("0.weight", "4.weight"))), rel=1e-6)
    assert "2 frozen tensors kept" in found.attrs["subtitle"]


def test_requires_grad_tells_of_one_state_and_of_equal_ones() -> None:
    net = model()
    net[2].requires_grad_(False)
    state = dict(net.state_dict())
    wanted = float(by_hand(net, state, ("0.weight", "4.weight")))
    for subject in (state, ts.Trajectory.from_states([state, state])):
        found = surface(net, subject).data
        assert found.attrs["directions"]["frozen"] == dict.fromkeys(("2.weight", "2.bias"), "their requires_grad is off")
        assert float(found["loss"][-1, -1]) == pytest.approx(wanted, rel=1e-6)


def test_a_model_all_of_which_is_off_moves_whole() -> None:
    net = model().requires_grad_(False)
    state = dict(net.state_dict())
    found = surface(net, state).data
    assert found.attrs["directions"]["frozen"] == {}
    assert float(found["loss"][-1, -1]) == pytest.approx(float(by_hand(net, state, WEIGHTS)), rel=1e-6)


def test_layers_say_what_moves_even_if_frozen() -> None:
    net = model()
    net[2].requires_grad_(False)
    state = dict(net.state_dict())
    found = surface(net, state, layers=["2"]).data
    assert float(found["loss"][-1, -1]) == pytest.approx(float(by_hand(net, state, ("2.weight",))), rel=1e-6)
    assert found.attrs["directions"]["frozen"] == {}
    states = trained(net, ())
    way = ts.surface(objective(net), states[0], through=[states[2]], layers=["0"], x=(0, 1, 3), y=(0, 0, 1), progress=False).data
    mixed = {name: states[2 if name.startswith("0.") else 0][name] for name in states[0]}
    assert float(way["loss"][0, -1]) == objective(net).score(mixed)["loss"]


def test_ways_to_other_states_move_frozen_tensors_as_the_states_do() -> None:
    net = model()
    states = trained(net, ())
    net[2].requires_grad_(False)
    way = ts.surface(objective(net), states[0], through=[states[2]], x=(0, 1, 3), y=(0, 0, 1), progress=False).data
    assert float(way["loss"][0, -1]) == objective(net).score(states[2])["loss"]


def test_filters_of_one_weight_are_said() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1, groups=3), nn.Flatten(), nn.Linear(12, 3))
    scored = ts.Objective(net, (torch.randn(10, 3, 2, 2), torch.randint(3, (10,))))
    found = ts.surface(scored, net.state_dict(), orthogonal=True, x=(-1, 1, 3), y=(-1, 1, 3), progress=False).data
    assert found.attrs["directions"]["filters_of_one_weight"] == 3
    assert "3 filters of one weight stay in direction 2" in found.attrs["subtitle"]


def test_layers_with_directions_of_ones_own_is_an_error() -> None:
    net = model()
    one = {"0.weight": torch.randn(6, 4)}
    with pytest.raises(GeometryError, match="leave layers= out"):
        surface(net, net.state_dict(), directions=(one, {"2.weight": torch.randn(5, 6)}), layers=["0"])
