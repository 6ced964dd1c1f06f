"""What decides the last bits of a float on a device, beside the model: which device, and how it multiplies."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch


def arithmetic_of(device: torch.device) -> dict[str, Any]:
    """The precision of matrix products, and of a GPU its name, CUDA, cuDNN and whether TF32 is allowed; plain values."""
    found: dict[str, Any] = {"matmul_precision": torch.get_float32_matmul_precision()}
    if device.type != "cuda":
        return found
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    found |= {"device": torch.cuda.get_device_name(device), "cuda": torch.version.cuda, "cudnn": cudnn}
    with suppress(RuntimeError):  # torch refuses to say where its newer settings of precision were used
        found["tf32_convolutions"] = torch.backends.cudnn.allow_tf32
        found["tf32_products"] = torch.backends.cuda.matmul.allow_tf32
    return found
