"""Tensors spilled to disk: a large basis that is computed once, and read again for each point."""

from __future__ import annotations

import math
import mmap
import tempfile
import weakref
from collections.abc import Hashable
from typing import IO

import torch
from torch import Tensor

from thetascope.state.states import tensor_bytes


class Spilled:
    """Tensors in a temporary file that has no name, so that it is gone when nobody holds it, however the process ends."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - open as long as this
        weakref.finalize(self, self._file.close)
        self._places = dict[Hashable, tuple[int, torch.Size, torch.dtype]]()
        self._end = 0

    def put(self, key: Hashable, tensor: Tensor) -> None:
        """Write a tensor.

        Raises:
            OSError: there is no room; what was put before is there still.
        """
        start = -(-self._end // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY  # where a mapping may begin
        self._file.seek(start)
        left = tensor_bytes(tensor)
        while left:
            left = left[self._file.write(left) :]
        self._places[key], self._end = (start, tensor.shape, tensor.dtype), self._file.tell()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._places

    def get(self, key: Hashable) -> Tensor:
        """A tensor on the CPU, mapped from the file as long as it is held. Writing to it changes nothing there."""
        start, shape, dtype = self._places[key]
        size = math.prod(shape) * dtype.itemsize
        if not size:
            return torch.empty(shape, dtype=dtype)
        mapped = mmap.mmap(self._file.fileno(), size, access=mmap.ACCESS_COPY, offset=start)
        return torch.frombuffer(mapped, dtype=dtype).reshape(shape)
