from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import thetascope as ts
from thetascope.demo.network import LeNet
from thetascope.scoring.fast.graph import TracedModel


class InBlocks(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what torch computes of values in blocks."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(isinstance(arg, Tensor) and arg.is_mkldnn for arg in args) and func is not torch.ops.aten._to_dense.default:
            self.steps.append(func.overloadpacket.__name__.removeprefix("mkldnn_"))
        return func(*args, **(kwargs or {}))


class Pooled(nn.Module):
    def __init__(self, *after: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.after = nn.Sequential(*after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.after(self.conv(x)).flatten(1)
        return found


def traced(model: nn.Module) -> tuple[TracedModel, dict[str, torch.Tensor]]:
    objective = ts.Objective(model.eval(), (torch.randn(4, 1, 9, 9), torch.zeros(4, dtype=torch.int64)))
    with objective.model.running():
        return TracedModel(objective.model), dict(model.state_dict())


def order(graph: TracedModel) -> list[str]:
    kinds = [type(graph.module(node)).__name__ for node in graph.nodes if node.op == "call_module"]
    return [kind for kind in kinds if kind != "Conv2d"]


def test_functions_that_say_their_defaults_go_the_same_ways() -> None:
    objective = ts.Objective(LeNet(), (torch.randn(4, 1, 32, 32), torch.zeros(4, dtype=torch.int64)), "nll")
    with objective.model.running():
        graph = TracedModel(objective.model, blocked=True)
        with InBlocks() as blocks:
            graph.run(graph.nodes, dict(LeNet().state_dict()), {graph.input: torch.randn(4, 1, 32, 32)})
    assert blocks.steps == ["convolution", "max_pool2d", "relu"] * 2


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, padding=1, ceil_mode=True)])
def test_max_pooling_goes_before_relu_and_changes_no_bit(pool: nn.Module) -> None:
    model = Pooled(nn.ReLU(), pool)
    graph, tensors = traced(model)
    assert order(graph) == ["MaxPool2d", "ReLU"]
    inputs: Any = torch.randn(4, 1, 9, 9)
    inputs[0, 0, 4, 4], inputs[1, 0, 2, 2], inputs[2, 0, 2, 2] = math.nan, math.inf, -math.inf
    found = graph.run(graph.nodes, tensors, {graph.input: inputs})[graph.output]
    with torch.no_grad():
        assert torch.equal(found.nan_to_num(7.0), model(inputs).nan_to_num(7.0))


@pytest.mark.parametrize("after", [[nn.Tanh(), nn.MaxPool2d(2)], [nn.ReLU(), nn.AvgPool2d(2)], [nn.MaxPool2d(2), nn.ReLU()]])
def test_what_does_not_commute_keeps_its_order(after: list[nn.Module]) -> None:
    graph, _ = traced(Pooled(*after))
    assert order(graph) == [type(module).__name__ for module in after]


def test_a_relu_that_is_needed_elsewhere_stays() -> None:
    class Skips(Pooled):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rectified = torch.relu(self.conv(x))
            return nn.functional.max_pool2d(rectified, 2).sum((2, 3)) + rectified.sum((2, 3))

    graph, _ = traced(Skips())
    names = [node.name for node in graph.nodes]
    assert names.index("relu") < names.index("max_pool2d")


class Nets(nn.Module):
    """Convolutions of many kinds, some of which are not done in blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.pool = nn.Conv2d(1, 6, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True)
        self.grouped, self.reflected = nn.Conv2d(6, 8, 3, groups=2, dilation=2), nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
        self.named, self.last = nn.Conv2d(8, 5, 3, padding="same", bias=False), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.first(x)))
        left = torch.relu(self.grouped(x))
        x = nn.functional.max_pool2d(self.named(self.reflected(left)) + left[:, :5], 3, stride=1, dilation=2)
        found: torch.Tensor = self.last(x.amax((2, 3)))
        return found


def both_ways(inputs: torch.Tensor, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Outputs in blocks and as usual, and what was computed in blocks on the way."""
    model = Nets().eval()
    objective = ts.Objective(model, (inputs, torch.zeros(len(inputs), dtype=torch.int64)), metrics=())
    tensors = {name: tensor * scale for name, tensor in model.state_dict().items()}
    with objective.model.running():
        graph = TracedModel(objective.model, blocked=True)
        with InBlocks() as blocks:
            found = graph.run(graph.nodes, tensors, {graph.input: inputs}, keep=graph.nodes)
        assert all(isinstance(value, Tensor) and not value.is_mkldnn for value in found.values())  # what is handed out is as usual
        model.load_state_dict(tensors)
        return found[graph.output], model(inputs), blocks.steps


def test_in_blocks_the_values_are_the_same() -> None:
    found, expected, steps = both_ways(torch.randn(7, 1, 24, 24))
    assert steps == ["convolution", "max_pool2d", "relu", "convolution", "relu"]  # of `first` and `grouped`
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e38])
def test_what_may_not_be_finite_does_not_go_in_blocks(bad: float) -> None:
    inputs = torch.randn(7, 1, 24, 24)
    inputs[3, 0, 5, 5] = bad
    found, expected, steps = both_ways(inputs)
    assert not steps
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.allclose(found.nan_to_num(), expected.nan_to_num(), rtol=1e-5, atol=1e-6)


def test_weights_that_may_overflow_do_not_go_in_blocks() -> None:
    found, expected, steps = both_ways(torch.randn(7, 1, 24, 24), scale=1e19)
    assert steps == ["convolution", "max_pool2d", "relu"]  # the first convolution is bounded, the grouped one is not
    assert torch.equal(found.isfinite(), expected.isfinite())
