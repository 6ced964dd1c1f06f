"""Batches as pytrees: mappings, lists and tuples of tensors, walked, cut and hashed whatever their shape."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thetascope.state import tensor_bytes


def map_leaves(batch: Any, change: Callable[[Any], Any]) -> Any:
    """The same pytree of mappings, lists and tuples with `change` applied to whatever is none."""
    if isinstance(batch, Mapping):
        return like(batch, {key: map_leaves(value, change) for key, value in batch.items()})
    if isinstance(batch, list | tuple):
        return like(batch, [map_leaves(value, change) for value in batch])
    return change(batch)


def map_tensors(batch: Any, change: Callable[[Tensor], Any]) -> Any:
    """The same pytree with `change` applied to each tensor."""
    return map_leaves(batch, lambda leaf: change(leaf) if isinstance(leaf, Tensor) else leaf)


def is_object(leaf: Any) -> bool:
    """Whether a leaf may hold tensors of its own, as a graph does, so that nobody sees when they are written to."""
    return not isinstance(leaf, Tensor) and hasattr(leaf, "__dict__")


def like(batch: Any, content: Any) -> Any:
    """`content` as the kind of container that `batch` is (a named tuple, a tokenizer's mapping)."""
    if type(batch) is type(content):
        return content
    if hasattr(batch, "_fields"):
        return type(batch)(*content)
    try:
        return type(batch)(content)
    except TypeError:
        return content


def tensors_of(batch: Any) -> list[Tensor]:
    """All tensors of a batch in a fixed order."""
    found: list[Tensor] = []
    map_tensors(batch, found.append)
    return found


def rows_of(batch: Any) -> int | None:
    """N where all tensors of a batch share their first dimension, and have rows that can be taken; else None."""
    tensors = [tensor for tensor in tensors_of(batch) if tensor.ndim]
    sizes = {tensor.shape[0] for tensor in tensors}
    return sizes.pop() if len(sizes) == 1 and all(tensor.layout is torch.strided for tensor in tensors) else None


def shapes_of(batch: Any) -> str:
    """A batch in few words, for messages."""
    if isinstance(batch, Tensor):
        return f"{str(batch.dtype).removeprefix('torch.')} {list(batch.shape)}"
    if isinstance(batch, Mapping):
        return "{" + ", ".join(f"{key}: {shapes_of(value)}" for key, value in list(batch.items())[:8]) + "}"
    if isinstance(batch, list | tuple):
        return f"({', '.join(map(shapes_of, batch[:8]))}{', …' if len(batch) > 8 else ''})"
    return type(batch).__name__


def holds_images(batch: Any) -> bool:
    """Whether some tensor of a batch is of images, ``[N, C, H, W]``."""
    return any(tensor.ndim == 4 and tensor.is_floating_point() for tensor in tensors_of(batch))


def cut(batch: Any, rows: int | None) -> list[Any]:
    """A batch in parts of so many rows, views of it; whole where its tensors do not share their first dimension.

    No part is of a single row: several operations treat that as another shape.
    """
    total = rows_of(batch)
    if rows is None or total is None or total <= rows:
        return [batch]
    parts = max(1, min(-(-total // rows), total // 2))
    bounds = [total * n // parts for n in range(parts + 1)]
    return [_part(batch, start, stop, total) for start, stop in pairwise(bounds)]


def _part(batch: Any, start: int, stop: int, total: int) -> Any:
    if isinstance(batch, Tensor):
        return batch[start:stop] if batch.ndim else batch
    if isinstance(batch, Mapping):
        return like(batch, {key: _part(value, start, stop, total) for key, value in batch.items()})
    if isinstance(batch, list | tuple):
        if len(batch) == total and all(isinstance(value, str | int | float) for value in batch):
            return like(batch, list(batch[start:stop]))
        return like(batch, [_part(value, start, stop, total) for value in batch])
    return batch[start:stop] if isinstance(batch, np.ndarray) and len(batch) == total else batch


def select_rows(batch: Any, chosen: Tensor, size: int) -> Any:
    """Some rows of every tensor, array and list of `size` in a batch."""
    if isinstance(batch, Tensor):
        return batch[chosen.to(batch.device)] if batch.ndim else batch
    if isinstance(batch, Mapping):
        return like(batch, {key: select_rows(value, chosen, size) for key, value in batch.items()})
    if isinstance(batch, list | tuple):
        if len(batch) == size and all(isinstance(value, str | int | float) for value in batch):
            return like(batch, [batch[i] for i in chosen.tolist()])
        return like(batch, [select_rows(value, chosen, size) for value in batch])
    return batch[chosen.numpy()] if isinstance(batch, np.ndarray) and len(batch) == size else batch


def stacked(batches: Sequence[Any]) -> Any:
    """Batches of one form as one, row after row.

    Raises:
        ValueError: their forms differ, or something in them has no rows.
    """
    first = batches[0]
    if isinstance(first, Tensor):
        if not first.ndim or any(not isinstance(b, Tensor) or b.shape[1:] != first.shape[1:] for b in batches):
            raise ValueError("tensors of other shapes")
        return torch.cat(list(batches))
    if isinstance(first, Mapping) and all(isinstance(b, Mapping) and b.keys() == first.keys() for b in batches):
        return like(first, {key: stacked([b[key] for b in batches]) for key in first})
    if isinstance(first, list | tuple) and all(type(b) is type(first) and len(b) == len(first) for b in batches):
        return like(first, [stacked(list(parts)) for parts in zip(*batches, strict=True)])
    raise ValueError("batches that cannot be joined")


class DataHash:
    """A hash of the data row by row, whatever batches they come in."""

    def __init__(self) -> None:
        self._leaves: list[Any] = []
        self._shapes: list[object] = []

    def add(self, batch: Any) -> None:
        """Take one batch into account."""
        for place, leaf in enumerate([*tensors_of(batch), *plain_values(batch)]):
            if place == len(self._leaves):
                self._leaves.append(hashlib.sha256())
                self._shapes.append(None)
            array = isinstance(leaf, Tensor | np.ndarray)
            shape = (str(leaf.dtype), tuple(leaf.shape[1:])) if array else type(leaf).__name__
            if shape != self._shapes[place]:
                self._leaves[place].update(repr(shape).encode())
                self._shapes[place] = shape
            self._leaves[place].update(_bytes_of(leaf))

    def hexdigest(self) -> str:
        """SHA-256 over all rows so far."""
        return hashlib.sha256("".join(leaf.hexdigest() for leaf in self._leaves).encode()).hexdigest()


def _bytes_of(leaf: Any) -> bytes | memoryview:
    if isinstance(leaf, Tensor) and leaf.layout is not torch.strided:
        held = leaf.to_sparse_coo().coalesce()  # type: ignore[no-untyped-call]
        return bytes(tensor_bytes(held.indices())) + bytes(tensor_bytes(held.values()))
    if isinstance(leaf, Tensor):
        return tensor_bytes(leaf)
    if isinstance(leaf, np.ndarray):
        return repr(leaf.tolist()).encode() if leaf.dtype.hasobject else np.ascontiguousarray(leaf).tobytes()
    return repr(leaf).encode(errors="backslashreplace")


def plain_values(batch: Any) -> Iterator[Any]:
    """What in a batch is no tensor: strings, numbers and arrays, the keys of mappings, what objects hold (a graph, say)."""
    if isinstance(batch, Mapping):
        yield from (repr(key) for key in batch)
        batch = list(batch.values())
    if isinstance(batch, list | tuple):
        for value in batch:
            yield from plain_values(value)
    elif isinstance(batch, str | bytes | int | float | complex | np.ndarray | np.generic):
        yield batch
    elif not isinstance(batch, Tensor) and hasattr(batch, "__dict__"):
        for name, value in vars(batch).items():
            yield name
            yield from tensors_of(value)
            yield from plain_values(value)
