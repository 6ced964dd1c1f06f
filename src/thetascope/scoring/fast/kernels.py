"""Single steps of a pass with exactly the same values, computed faster on a CPU, or without writing to what they are given.

To add one: a function that answers `None` where it does not apply, and its place in `FUNCTIONS` or `MODULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def max_pool2d(
    inputs: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Tensor | None:
    """Max pooling over windows that do not overlap, as maxima of strided slices.

    torch's own kernel took 14 times as long for few channels when tried. A maximum is the same whatever its order, and both let
    NaN through.
    """
    window = touching_windows(kernel_size, stride, padding, dilation, ceil_mode)
    if not (window and isinstance(inputs, Tensor) and inputs.ndim == 4 and inputs.device.type == "cpu" and inputs.is_floating_point()):
        return None
    rows, columns = window
    height, width = inputs.shape[2] // rows * rows, inputs.shape[3] // columns * columns
    if max(window) > 4 or not (height and width) or inputs.requires_grad:
        return None
    found = inputs[:, :, 0:height:rows]
    for i in range(1, rows):
        found = torch.maximum(found, inputs[:, :, i:height:rows])
    wide = found
    found = wide[..., 0:width:columns]
    for j in range(1, columns):
        found = torch.maximum(found, wide[..., j:width:columns])
    return found


def touching_windows(
    kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: Any = False, return_indices: Any = False
) -> tuple[int, int] | None:
    """The windows of a max pooling that touch and leave no gap; None for any other, or where sizes are no plain numbers."""
    size = _pair(kernel_size)
    plain = _pair(stride or kernel_size) == size and _pair(padding) == (0, 0) and _pair(dilation) == (1, 1)
    return size if plain and not ceil_mode and not return_indices else None


def _pair(value: Any) -> tuple[int, int] | None:
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    return both if len(both) == 2 and all(isinstance(one, int) for one in both) else None


def _pooled(module: nn.Module, inputs: Any) -> Tensor | None:
    assert isinstance(module, nn.MaxPool2d)
    if module.return_indices:
        return None
    return max_pool2d(inputs, module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)


def _max_pool2d(*args: Any, return_indices: bool = False, **kwargs: Any) -> Tensor | None:
    return None if return_indices or len(args) > 6 else max_pool2d(*args, **kwargs)


FUNCTIONS: Mapping[Any, Callable[..., Tensor | None]] = {
    F.max_pool2d: _max_pool2d, torch.max_pool2d: _max_pool2d, torch.ops.aten.max_pool2d.default: _max_pool2d
}  # fmt: skip
MODULES: Mapping[type[nn.Module], Callable[[nn.Module, Any], Tensor | None]] = {nn.MaxPool2d: _pooled}
