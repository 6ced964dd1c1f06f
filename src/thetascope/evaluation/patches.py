"""What a convolution sees of the data, laid out once, so that each point's convolution is one matrix product.

The inputs of the first convolution are the same at every point. With few channels (a grey image has one) a convolution proper has
little to do at a time: as a product with patches that are there already, the first convolution of a small network took a third of
the time when tried. Sums are taken in another order, so values are the same within rounding, and only where nothing can overflow:
no output exceeds the largest input times the sum of the absolute weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FINITE = 1e37
"""Where nothing exceeds this, nothing overflows in single precision while it is summed up."""

PATCH_VALUES = 32
"""Patches of more values than this are not laid out: they would take more memory than they spare time."""


@dataclass(frozen=True)
class Patches:
    """The patches of `inputs` that a convolution sees.

    Attributes:
        inputs: ``[N, C, H, W]``.
        columns: ``[N, C · kernel, places]``, the places row by row.
        size: how many places (down, across).
        bound: no input is larger in size.
    """

    inputs: Tensor
    columns: Tensor
    size: tuple[int, int]
    bound: float

    def convolved(self, weight: Tensor, bias: Tensor | None) -> Tensor | None:
        """The convolution's outputs ``[N, C', *size]``; None where they are not known to be finite."""
        if not largest_output(self.bound, weight, bias) < FINITE:
            return None
        filters = weight.flatten(1).expand(len(self.columns), -1, -1)
        outputs = torch.bmm(filters, self.columns) if bias is None else torch.baddbmm(bias[:, None], filters, self.columns)
        return outputs.view(len(self.columns), len(weight), *self.size)

    def seen_by(self, index: Sequence[int], kernel: Sequence[int]) -> Tensor:
        """The inputs ``[N, *size]`` that the filters' value at `index` (channel, row, column) is multiplied with."""
        channel, row, column = index
        return self.columns[:, (channel * kernel[0] + row) * kernel[1] + column].view(-1, *self.size)


def patches_of(inputs: Any, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]) -> Any:
    """The patches of images in single precision on a CPU; anything else as it is."""
    if not (isinstance(inputs, Tensor) and (inputs.dtype, inputs.device.type, inputs.ndim) == (torch.float32, "cpu", 4)):
        return inputs
    images = F.pad(inputs, (padding[1], padding[1], padding[0], padding[0])) if any(padding) else inputs
    count, channels, *extents = images.shape
    places = [(e - d * (k - 1) - 1) // s + 1 for e, k, s, d in zip(extents, kernel, stride, dilation, strict=True)]
    if not count or min(places) < 1:
        return inputs
    sample, channel, *steps = images.stride()
    within = [step * d for step, d in zip(steps, dilation, strict=True)]
    between = [step * s for step, s in zip(steps, stride, strict=True)]
    windows = images.as_strided((count, channels, *kernel, *places), (sample, channel, *within, *between), images.storage_offset())
    columns = windows.reshape(count, channels * math.prod(kernel), math.prod(places))
    return Patches(inputs, columns, (places[0], places[1]), float(inputs.abs().amax()))


def suits(conv: nn.Module) -> bool:
    """Whether a convolution may be a product with patches."""
    if type(conv) is not nn.Conv2d or conv.groups != 1 or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return False
    return conv.in_channels * math.prod(conv.kernel_size) <= PATCH_VALUES


def largest_output(bound: float, weight: Tensor, bias: Tensor | None) -> float:
    """What no output of a convolution exceeds in size whose inputs do not exceed `bound`."""
    most = bound * float(torch.linalg.vector_norm(weight, ord=1))
    return most if bias is None else most + float(torch.linalg.vector_norm(bias, ord=math.inf))
