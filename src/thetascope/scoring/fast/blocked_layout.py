"""Values in oneDNN's own layout on their way from convolution to convolution, in single precision on a CPU.

Channels stand in blocks of as many as the processor computes at once. torch otherwise brings the value of each convolution back into
rows of pixels, and pools those, which took two fifths of the time of a small network. The values are the same.
What oneDNN's pooling and ReLU make of NaN and infinities is not what torch makes of them, so values go in blocks only where
they are known to be finite: no output of a convolution exceeds the largest input times the sum of its absolute weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thetascope.scoring.fast.patches import FINITE, largest_output


@dataclass(frozen=True)
class Blocked:
    """A value in blocks ``[N, C, H, W]``, none of it larger than `bound` in size."""

    value: Tensor
    bound: float

    def dense(self) -> Tensor:
        """In rows of pixels."""
        return self.value.to_dense()


def _convolved(given: Any, conv: Any, held: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> Blocked | None:
    """The convolution of a value; None where that is not known to be the same in blocks."""
    if args or kwargs or "weight" not in held or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return None
    weight, bias = held["weight"], held.get("bias")
    if isinstance(given, Blocked):
        value, bound = given.value, given.bound
    elif _is_plain(given) and weight.dtype == torch.float32:
        value, bound = given.contiguous().to_mkldnn(), float(given.abs().amax())
    else:
        return None
    bound = largest_output(bound, weight, bias)
    if not bound < FINITE:
        return None
    return Blocked(F.conv2d(value, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups), bound)


def _is_plain(value: Any) -> bool:
    kind = (torch.float32, "cpu", 4)
    return isinstance(value, Tensor) and (value.dtype, value.device.type, value.ndim) == kind and value.numel() > 0


def _rectified(given: Any, module: Any, held: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> Blocked | None:
    return Blocked(torch.relu(given.value), given.bound) if isinstance(given, Blocked) and not (args or any(kwargs.values())) else None


def _pooled(given: Any, module: Any, held: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> Blocked | None:
    if not isinstance(given, Blocked) or kwargs.pop("return_indices", False) or len(args) > 5:
        return None
    if module is not None:
        args = (module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)
    dilation = args[3] if len(args) > 3 else kwargs.get("dilation", 1)
    if dilation not in (1, (1, 1), [1, 1]):
        return None
    return Blocked(F.max_pool2d(given.value, *args, **kwargs), given.bound)


STEPS: Mapping[Any, Callable[..., Blocked | None]] = {
    nn.Conv2d: _convolved,
    **dict.fromkeys((nn.ReLU, F.relu, torch.relu, "relu"), _rectified),
    **dict.fromkeys((nn.MaxPool2d, F.max_pool2d, torch.max_pool2d), _pooled),
}
"""What is done in blocks: the function of (value, module, its tensors, further arguments) for a module's class, a function, or a
method's name; it answers None where the step is to be done as usual."""
