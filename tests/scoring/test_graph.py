from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

import thetascope as ts
from thetascope.scoring.fast.graph import Graph, traced


class Pooled(nn.Module):
    def __init__(self, *after: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.after = nn.Sequential(*after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.after(self.conv(x)).flatten(1)
        return found


def graph_of(model: nn.Module) -> tuple[Graph, dict[str, torch.Tensor]]:
    objective = ts.Objective(model.eval(), (torch.randn(4, 1, 9, 9), torch.zeros(4, dtype=torch.int64)))
    with objective.model.running():
        return traced(objective.model), dict(model.state_dict())


def order(graph: Graph) -> list[str]:
    kinds = [type(graph.module(node)).__name__ for node in graph.nodes if node.op == "call_module"]
    return [kind for kind in kinds if kind != "Conv2d"]


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, padding=1, ceil_mode=True)])
def test_max_pooling_goes_before_relu_and_changes_no_bit(pool: nn.Module) -> None:
    model = Pooled(nn.ReLU(), pool)
    graph, tensors = graph_of(model)
    assert order(graph) == ["MaxPool2d", "ReLU"]
    inputs: Any = torch.randn(4, 1, 9, 9)
    inputs[0, 0, 4, 4], inputs[1, 0, 2, 2], inputs[2, 0, 2, 2] = math.nan, math.inf, -math.inf
    found = graph.run(graph.nodes, tensors, {graph.input: inputs})[graph.output]
    with torch.no_grad():
        assert torch.equal(found.nan_to_num(7.0), model(inputs).nan_to_num(7.0))


@pytest.mark.parametrize("after", [[nn.Tanh(), nn.MaxPool2d(2)], [nn.ReLU(), nn.AvgPool2d(2)], [nn.MaxPool2d(2), nn.ReLU()]])
def test_what_does_not_commute_keeps_its_order(after: list[nn.Module]) -> None:
    graph, _ = graph_of(Pooled(*after))
    assert order(graph) == [type(module).__name__ for module in after]


def test_a_relu_that_is_needed_elsewhere_stays() -> None:
    class Skips(Pooled):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rectified = torch.relu(self.conv(x))
            return nn.functional.max_pool2d(rectified, 2).sum((2, 3)) + rectified.sum((2, 3))

    graph, _ = graph_of(Skips())
    names = [node.name for node in graph.nodes]
    assert names.index("relu") < names.index("max_pool2d")
