from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from thetascope.scoring.fast.kernels import max_pool2d


@pytest.mark.parametrize("size", [2, 3, (2, 3), (1, 2)])
@pytest.mark.parametrize("shape", [(3, 4, 8, 9), (2, 1, 7, 7), (1, 5, 30, 30)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_max_pooling_is_torchs_bit_for_bit(size: Any, shape: tuple[int, ...], layout: torch.memory_format, dtype: torch.dtype) -> None:
    inputs = torch.randn(shape, dtype=dtype).contiguous(memory_format=layout)
    inputs[0, 0, 0, 0], inputs[-1, -1, 2, 2] = math.nan, -math.inf
    found = max_pool2d(inputs, size)
    assert found is not None
    assert torch.equal(found.isnan(), F.max_pool2d(inputs, size).isnan())
    assert torch.equal(found.nan_to_num(), F.max_pool2d(inputs, size).nan_to_num())


@pytest.mark.parametrize("options", [{"stride": 1}, {"padding": 1}, {"dilation": 2}, {"ceil_mode": True}, {"stride": (2, 3)}], ids=str)
def test_other_windows_are_left_to_torch(options: dict[str, Any]) -> None:
    assert max_pool2d(torch.randn(2, 3, 9, 9), 2, **options) is None


def test_inputs_of_other_kinds_are_left_to_torch() -> None:
    assert max_pool2d(torch.randn(3, 9, 9), 2) is None
    assert max_pool2d(torch.zeros(1, 1, 4, 4, dtype=torch.int64), 2) is None
    assert max_pool2d(torch.randn(1, 1, 1, 1), 2) is None
