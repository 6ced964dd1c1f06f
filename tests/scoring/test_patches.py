from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thetascope as ts
from thetascope.scoring.fast.graph import TracedModel
from thetascope.scoring.fast.patches import PATCH_VALUES, Patches, patches_of

GEOMETRIES = [
    {"kernel_size": 3},
    {"kernel_size": (2, 5), "stride": (2, 1), "padding": (1, 2)},
    {"kernel_size": (3, 2), "dilation": (2, 3), "padding": 1, "bias": False},
]


def outputs(model: nn.Module, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[Any]]:
    """What a graph on patches gives, what the model gives, and the patches on the way."""
    objective = ts.Objective(model.eval(), (inputs, torch.zeros(len(inputs), dtype=torch.int64)), metrics=())
    with objective.model.running(), torch.no_grad():
        graph = TracedModel(objective.model, unfolded=True)
        values = graph.run(graph.nodes, dict(model.state_dict()), {graph.input: inputs}, keep=graph.nodes)
        return values[graph.output], model(inputs), [value for value in values.values() if isinstance(value, Patches)]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_of_the_data_is_a_product_with_patches(geometry: dict[str, Any], layout: torch.memory_format) -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, **geometry), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found, expected, patches = outputs(model, torch.randn(5, 2, 11, 13).contiguous(memory_format=layout))
    assert len(patches) == 1
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_slice_of_a_batch_has_its_own_patches() -> None:
    images, conv = torch.randn(9, 1, 8, 8), nn.Conv2d(1, 3, 3)
    part = patches_of(images[4:7], (3, 3), (1, 1), (0, 0), (1, 1))
    with torch.no_grad():
        assert torch.allclose(part.convolved(conv.weight, conv.bias), conv(images)[4:7], rtol=1e-5, atol=1e-6)


class Later(nn.Module):
    """Convolutions that patches do not suit: of values that move, of too many channels, grouped, reflected, same padding, hooked."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        options: dict[str, dict[str, Any]] = {"grouped": {"groups": 2}, "reflected": {"padding": 1, "padding_mode": "reflect"}}
        options["same"] = {"padding": "same"}
        self.before = nn.Conv2d(2, 2, 1, groups=2) if kind == "moving" else nn.Identity()
        self.conv = nn.Conv2d(4 if kind == "wide" else 2, 4, 3, **options.get(kind, {}))
        if kind == "hooked":
            self.conv.register_forward_hook(lambda module, args, output: output + 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.conv(self.before(x)).mean((2, 3))
        return found


@pytest.mark.parametrize("kind", ["moving", "wide", "grouped", "reflected", "same", "hooked"])
def test_other_convolutions_stay_as_they_are(kind: str) -> None:
    channels = 4 if kind == "wide" else 2
    assert 2 * 9 <= PATCH_VALUES < 4 * 9
    found, expected, patches = outputs(Later(kind), torch.randn(3, channels, 7, 7))
    assert not patches
    assert torch.equal(found, expected)


class Convolved(nn.Module):
    """A convolution of the data, and what comes behind it."""

    def __init__(self, after: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.conv, self.pool, self.ceiled = nn.Conv2d(1, 3, 3), nn.MaxPool2d(2), nn.MaxPool2d(2, ceil_mode=True)
        self.after = after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self, self.conv(x)).flatten(1)


FUSED: dict[str, Callable[..., torch.Tensor]] = {
    "module": lambda model, x: model.pool(x),
    "function": lambda model, x: F.max_pool2d(x, (2, 3)),
    "names": lambda model, x: F.max_pool2d(x, kernel_size=2, stride=2),
    "behind a ReLU": lambda model, x: F.max_pool2d(torch.relu(x), 2),
}
APART: dict[str, Callable[..., torch.Tensor]] = {
    "overlapping": lambda model, x: F.max_pool2d(x, 3, 2),
    "padded": lambda model, x: F.max_pool2d(x, 2, padding=1),
    "ceiled": lambda model, x: model.ceiled(x),
    "used twice": lambda model, x: F.max_pool2d(x, 2) + x[:, :, ::2, ::2],
    "means": lambda model, x: F.avg_pool2d(x, 2),
}


def windows_on_the_way(after: Callable[..., torch.Tensor], size: int, *, blocked: bool = False) -> bool:
    """Whether the patches stand window by window; outputs are compared with the model's."""
    model, inputs = Convolved(after).eval(), torch.randn(5, 1, size, size)
    objective = ts.Objective(model, (inputs, torch.zeros(5, dtype=torch.int64)), metrics=())
    with objective.model.running(), torch.no_grad():
        graph = TracedModel(objective.model, unfolded=True, blocked=blocked)
        values = graph.run(graph.nodes, dict(model.state_dict()), {graph.input: inputs}, keep=graph.nodes)
        conv = next(node for node in graph.nodes if node.op == "call_module")
        assert torch.allclose(values[conv], model.conv(inputs), rtol=1e-5, atol=1e-6)
        assert torch.allclose(values[graph.output], model(inputs), rtol=1e-5, atol=1e-6)
    (patches,) = (value for value in values.values() if isinstance(value, Patches))
    return patches.window != (1, 1)


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("after", FUSED.values(), ids=FUSED)
def test_a_pooling_takes_its_windows_in_a_row(after: Callable[..., torch.Tensor], blocked: bool) -> None:
    assert windows_on_the_way(after, 14, blocked=blocked)


@pytest.mark.parametrize("after", APART.values(), ids=APART)
def test_other_poolings_take_rows_of_pixels(after: Callable[..., torch.Tensor]) -> None:
    assert not windows_on_the_way(after, 14)


def test_windows_that_would_leave_places_out_are_none() -> None:
    assert not windows_on_the_way(FUSED["module"], 15)


@pytest.mark.parametrize("where", ["inputs", "weight", "bias"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e38])
def test_what_may_overflow_goes_through_the_convolution_itself(where: str, bad: float) -> None:
    model, inputs = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten()), torch.randn(3, 1, 7, 7)
    {"inputs": inputs, "weight": model.state_dict()["0.weight"], "bias": model.state_dict()["0.bias"]}[where].view(-1)[1] = bad
    found, expected, _ = outputs(model, inputs)
    assert torch.equal(found.nan_to_num(7.0), expected.nan_to_num(7.0))


def test_images_in_other_precision_stay_as_they_are() -> None:
    given = torch.randn(2, 1, 5, 5, dtype=torch.float64)
    assert patches_of(given, (3, 3), (1, 1), (0, 0), (1, 1)) is given


def test_images_smaller_than_the_kernel_are_the_convolutions_to_refuse() -> None:
    given = torch.randn(2, 1, 2, 2)
    assert patches_of(given, (3, 3), (1, 1), (0, 0), (1, 1)) is given
