"""What a convolution sees of the data, laid out once, so that each point's convolution is one matrix product.

The inputs of the first convolution are the same at every point. With few channels (a grey image has one) a convolution proper has
little to do at a time: as a product with patches that are there already, the first convolution of a small network took half the time
when tried. Where a max pooling follows, its windows stand together, so that it reads them in a row. Sums are taken in another order,
so values are the same within rounding, and only where nothing can overflow: no output exceeds the largest input times the sum of the
absolute weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thetascope.scoring.fast.kernels import max_pool2d, touching_windows

FINITE = 1e37
"""Where nothing exceeds this, nothing overflows in single precision while it is summed up."""

PATCH_VALUES = 32
"""Patches of more values than this are not laid out: they would take more memory than they spare time."""


@dataclass(frozen=True)
class Windowed:
    """A convolution's outputs ``[N, C, windows' values, windows]``, as a max pooling behind it takes them.

    Attributes:
        values: the windows row by row, and so are the values in a window.
        window: its size (down, across).
        size: how many windows (down, across).
    """

    values: Tensor
    window: tuple[int, int]
    size: tuple[int, int]

    def pooled(self) -> Tensor:
        """The largest value of each window ``[N, C, *size]``."""
        return self.values.amax(2).view(*self.values.shape[:2], *self.size)

    def dense(self) -> Tensor:
        """The outputs ``[N, C, H, W]``."""
        return in_rows(self.values, self.window, self.size)


@dataclass(frozen=True)
class Patches:
    """The patches of `inputs` that a convolution sees.

    Attributes:
        inputs: ``[N, C, H, W]``.
        columns: ``[N, C · kernel, places]``, the places row by row, or window by window as in `Windowed`.
        window: of the pooling that follows, (1, 1) for none.
        size: how many windows (down, across); without a pooling how many places.
        bound: no input is larger in size.
    """

    inputs: Tensor
    columns: Tensor
    window: tuple[int, int]
    size: tuple[int, int]
    bound: float

    def convolved(self, weight: Tensor, bias: Tensor | None) -> Tensor | Windowed | None:
        """The convolution's outputs; None where they are not known to be finite."""
        if not largest_output(self.bound, weight, bias) < FINITE:
            return None
        filters = weight.flatten(1).expand(len(self.columns), -1, -1)
        outputs = torch.bmm(filters, self.columns) if bias is None else torch.baddbmm(bias[:, None], filters, self.columns)
        windowed = Windowed(outputs.view(len(self.columns), len(weight), math.prod(self.window), -1), self.window, self.size)
        return windowed if self.window != (1, 1) else windowed.dense()

    def seen_by(self, index: Sequence[int], kernel: Sequence[int]) -> Tensor:
        """The inputs ``[N, H, W]`` that the filters' value at `index` (channel, row, column) is multiplied with."""
        channel, row, column = index
        seen = self.columns[:, (channel * kernel[0] + row) * kernel[1] + column]
        return in_rows(seen.view(len(seen), math.prod(self.window), -1), self.window, self.size)


def in_rows(values: Tensor, window: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Values ``[…, windows' values, windows]`` as rows of pixels ``[…, H, W]``."""
    first = values.shape[:-2]
    if window == (1, 1):
        return values.reshape(*first, *size)
    places = values.view(*first, *window, *size)
    k = len(first)
    return places.permute(*range(k), k + 2, k, k + 3, k + 1).reshape(*first, size[0] * window[0], size[1] * window[1])


def patches_of(
    inputs: Any,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    window: tuple[int, int] = (1, 1),
) -> Any:
    """The patches of images in single precision on a CPU; anything else as it is.

    They stand window by window where a pooling over `window` follows whose windows leave no place out.
    """
    if not (isinstance(inputs, Tensor) and (inputs.dtype, inputs.device.type, inputs.ndim) == (torch.float32, "cpu", 4)):
        return inputs
    images = F.pad(inputs, (padding[1], padding[1], padding[0], padding[0])) if any(padding) else inputs
    count, channels, *extents = images.shape
    places = [(e - d * (k - 1) - 1) // s + 1 for e, k, s, d in zip(extents, kernel, stride, dilation, strict=True)]
    if not count or min(places) < 1:
        return inputs
    if any(p % w for p, w in zip(places, window, strict=True)):
        window = (1, 1)
    size = (places[0] // window[0], places[1] // window[1])
    sample, channel, *steps = images.stride()
    within = [step * d for step, d in zip(steps, dilation, strict=True)]
    between = [step * s for step, s in zip(steps, stride, strict=True)]
    across = [step * w for step, w in zip(between, window, strict=True)]
    shape, strides = (count, channels, *kernel, *window, *size), (sample, channel, *within, *between, *across)
    columns = images.as_strided(shape, strides, images.storage_offset())
    columns = columns.reshape(count, channels * math.prod(kernel), math.prod(places))
    return Patches(inputs, columns, window, size, float(inputs.abs().amax()))


def pooled(given: Any, *window: int) -> Any:
    """Max pooling over windows that do not overlap."""
    if isinstance(given, Windowed):
        return given.pooled()
    found = max_pool2d(given, window)
    return F.max_pool2d(given, window) if found is None else found


def pooling_window(kind: Any, module: nn.Module | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int, int] | None:
    """The window of a max pooling whose windows touch; None for anything else."""
    if isinstance(module, nn.MaxPool2d):
        return touching_windows(module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)
    return touching_windows(*args, **kwargs) if kind in (F.max_pool2d, torch.max_pool2d) else None


def suits(conv: nn.Module) -> bool:
    """Whether a convolution may be a product with patches."""
    if type(conv) is not nn.Conv2d or conv.groups != 1 or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return False
    return conv.in_channels * math.prod(conv.kernel_size) <= PATCH_VALUES


def largest_output(bound: float, weight: Tensor, bias: Tensor | None) -> float:
    """What no output of a convolution exceeds in size whose inputs do not exceed `bound`."""
    most = bound * float(torch.linalg.vector_norm(weight, ord=1))
    return most if bias is None else most + float(torch.linalg.vector_norm(bias, ord=math.inf))
