"""Tensors in safetensors files, read one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from thetascope.errors import CheckpointError
from thetascope.safe_paths import check_inside, check_written
from thetascope.state import TensorSpec

_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "C64": "complex64",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
    "U16": "uint16", "U32": "uint32", "U64": "uint64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip


class SafetensorsSource:
    """The tensors of one safetensors file. Only what is asked for is read, and no file stays open.

    Args:
        path: of the file.
        expected_bytes: how long it was when it was written, where that is known.
        home: the folder that links may not lead out of; None follows all.
    """

    def __init__(self, path: Path, *, expected_bytes: int | None = None, home: Path | None = None) -> None:
        self.path, self._home = path, home
        self._expected_bytes = expected_bytes

    @cached_property
    def specs(self) -> Mapping[str, TensorSpec]:
        """What the file's header promises."""
        with self._opened() as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            return {
                name: TensorSpec(tuple(part.get_shape()), _DTYPES.get(part.get_dtype(), part.get_dtype())) for name, part in slices.items()
            }

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Read the tensors `names` to the CPU."""
        with self._opened() as file:
            present = set(file.keys())
            absent = [name for name in names if name not in present]
            if absent:
                raise CheckpointError(f'"{self.path}" lacks {", ".join(absent)}; it is not the file that was written here. Restore it')
            return {name: file.get_tensor(name) for name in names}

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        """Some values of one tensor; of a long tensor only the rows that they lie in are read."""
        shape = self.specs[name].shape
        if not shape:
            return self.read([name])[name].reshape(-1)[start:stop]
        row = max(1, math.prod(shape[1:]))
        first, last = start // row, -(-stop // row)
        with self._opened() as file:
            rows: Tensor = file.get_slice(name)[first:last]
            return rows.reshape(-1)[start - first * row : stop - first * row].clone()

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        if not self.path.is_file():
            raise CheckpointError(f'"{self.path}" is missing; restore it, or leave this state out')
        if self._home is not None:
            check_inside(self.path, self._home, CheckpointError)
        found = self.path.stat()
        size = found.st_size
        check_written(self.path, found, CheckpointError)
        if self._expected_bytes not in (None, size):
            raise CheckpointError(
                f'"{self.path}" is {size:,} bytes long, {self._expected_bytes:,} were recorded: it was cut short or '
                "altered. Restore it from a copy, or leave this state out"
            )
        try:
            with safe_open(self.path, framework="pt") as file:
                yield file
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f'"{self.path}" is no whole safetensors file ({error}); restore it from a copy') from error


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, contiguous, that a training cannot change any more."""
    # no torch.no_grad(): an interrupt as that ends would leave gradients off in the training
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
