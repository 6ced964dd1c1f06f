"""The data as batches that can be walked again in the same order, on the device where they fit."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from thetascope.errors import ObjectiveError
from thetascope.evaluation.preserve import RandomStates, preserved_random_states, seed_all
from thetascope.state import tensor_bytes

RESIDENT_SHARE = 0.25
"""How much of the free memory the data may take to stay on the device."""


def map_tensors(batch: Any, change: Callable[[Tensor], Any]) -> Any:
    """The same nest of mappings, lists and tuples with `change` applied to each tensor."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return _like(batch, {key: map_tensors(value, change) for key, value in batch.items()})
    if isinstance(batch, list | tuple):
        return _like(batch, [map_tensors(value, change) for value in batch])
    return batch


def _like(batch: Any, content: Any) -> Any:
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
    """N where all tensors of a batch share their first dimension, else None."""
    sizes = {tensor.shape[0] for tensor in tensors_of(batch) if tensor.ndim}
    return sizes.pop() if len(sizes) == 1 else None


def is_pair(data: Any) -> bool:
    """Whether `data` are (inputs, targets) tensors."""
    return isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data)


@dataclass(frozen=True)
class Survey:
    """What one walk over the data found."""

    batches: int
    rows: int | None
    bytes: int
    fingerprint: str


class Batches:
    """Data as batches on a device.

    Args:
        data: (inputs, targets) tensors, cut into batches of `batch_size`; a Dataset; or an iterable of batches
            that can be walked again, whose own batches are kept.
        device: where the batches are handed out.
        inputs_dtype: what the floating inputs of pairs, or all floating tensors of other batches, are cast to.
        batch_size: rows a batch, for tensors and Datasets.
        samples: keep that many rows, drawn once without replacement with `seed`; None keeps all.
        seed: of the drawing, and of whatever is random in walking the data (a shuffling DataLoader).

    Raises:
        ObjectiveError: the data can be walked only once, or lengths do not match.
    """

    def __init__(
        self,
        data: Any,
        *,
        device: torch.device,
        inputs_dtype: torch.dtype | None,
        batch_size: int,
        samples: int | None,
        seed: int,
    ) -> None:
        _check_data(data)
        if samples is not None and (isinstance(samples, bool) or not isinstance(samples, int) or samples < 2):
            raise ObjectiveError(f"samples must be at least 2, so that their spread is known. Got {samples} instead.")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ObjectiveError(f"batch_size must be a whole number of at least 1. Got {batch_size!r} instead.")
        self._data, self._device, self._dtype = data, device, inputs_dtype
        self.batch_size, self._samples, self._seed = batch_size, samples, seed
        self._generators = [(g, g.get_state()) for g in _generators_of(data)]
        self._resident: list[Any] | None = None
        self._survey: Survey | None = None

    def cast(self, dtype: torch.dtype | None) -> Batches:
        """The same data with floating inputs in another dtype."""
        other = copy.copy(self)
        other._dtype, other._resident, other._survey = dtype, None, None
        return other

    def rebatched(self, batch_size: int) -> None:
        """Use another batch size from now on."""
        if batch_size != self.batch_size:
            self.batch_size, self._resident, self._survey = batch_size, None, None

    @property
    def survey(self) -> Survey:
        """What there is, found in one walk; the batches stay on the device where they fit."""
        if self._survey is None:
            self._survey = self._surveyed()
        return self._survey

    @property
    def resident(self) -> bool:
        """Whether the batches stay on the device between walks."""
        _ = self.survey
        return self._resident is not None

    def first(self) -> Any:
        """The first batch.

        Raises:
            ObjectiveError: there is none.
        """
        for batch in self._walk() if self._resident is None else self._resident:
            return batch
        raise ObjectiveError("the data gave no batch, so there is nothing to score; pass data with at least one sample")

    def __iter__(self) -> Iterator[Any]:
        _ = self.survey
        return iter(self._resident) if self._resident is not None else self._walk()

    def fingerprint_again(self) -> str:
        """The fingerprint of one more walk; it differs where the data are random."""
        total = _DataHash()
        for batch in self:
            total.add(batch)
        return total.hexdigest()

    def _surveyed(self) -> Survey:
        held: list[Any] | None = []
        budget = _memory_budget(self._device)
        total, count, rows, size = _DataHash(), 0, 0, 0
        known = True
        for batch in self._walk():
            total.add(batch)
            found = rows_of(batch)
            known, rows = known and found is not None, rows + (found or 0)
            count += 1
            size += sum(t.numel() * t.element_size() for t in tensors_of(batch) if not self._shares(t))
            if held is not None:
                held.append(batch)
                held = held if size <= budget else None
        self._resident = held
        return Survey(count, rows if known else None, size, total.hexdigest())

    def _shares(self, tensor: Tensor) -> bool:
        """Whether a batch is a view of data that are in memory anyway."""
        return is_pair(self._data) and any(tensor.untyped_storage().data_ptr() == part.untyped_storage().data_ptr() for part in self._data)

    def _walk(self) -> Iterator[Any]:
        """The batches on the device, in the same order each time, drawn from random states of their own."""
        before = [generator.get_state() for generator, _ in self._generators]
        try:
            for generator, state in self._generators:
                generator.set_state(state)
            with preserved_random_states():
                seed_all(self._seed)
                source = iter(self._source())
                own = RandomStates.capture()
            while True:
                with preserved_random_states():
                    own.restore()
                    try:
                        batch = next(source)
                    except StopIteration:
                        return
                    own = RandomStates.capture()
                yield self._placed(batch)
        finally:
            for (generator, _), state in zip(self._generators, before, strict=True):
                generator.set_state(state)

    def _source(self) -> Iterable[Any]:
        whole = self._data
        if is_pair(whole):
            inputs, targets = whole
            if self._samples is not None and self._samples < len(inputs):
                chosen = self._drawn(len(inputs)).to(inputs.device)
                inputs, targets = inputs[chosen], targets[chosen.to(targets.device)]
            return ((inputs[i : i + self.batch_size], targets[i : i + self.batch_size]) for i in range(0, len(inputs), self.batch_size))
        if _is_dataset(whole):
            whole = DataLoader(whole, batch_size=self.batch_size)
        return whole if self._samples is None else self._sampled(whole)

    def _drawn(self, total: int) -> Tensor:
        generator = torch.Generator().manual_seed(self._seed)
        return torch.randperm(total, generator=generator)[: self._samples].sort().values

    def _sampled(self, batches: Iterable[Any]) -> Iterator[Any]:
        sizes = []
        for batch in batches:
            size = rows_of(batch)
            if size is None:
                raise ObjectiveError(
                    "samples= draws rows, so all tensors of a batch must share their first dimension; these do not. "
                    "Leave samples= out and pass fewer data"
                )
            sizes.append(size)
        chosen, start = self._drawn(sum(sizes)), 0
        for batch, size in zip(batches, sizes, strict=True):
            mine = chosen[(chosen >= start) & (chosen < start + size)] - start
            start += size
            if len(mine):
                yield _rows(batch, mine, size)

    def _placed(self, batch: Any) -> Any:
        """The batch on the device, its floating inputs in the dtype of the evaluation."""

        def place(tensor: Tensor) -> Tensor:
            casts = self._dtype is not None and tensor.is_floating_point()
            return tensor.to(self._device, self._dtype) if casts else tensor.to(self._device)

        if isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(p, Tensor) for p in batch):
            return _like(batch, (place(batch[0]), batch[1].to(self._device)))  # targets keep their precision
        if not isinstance(batch, Tensor | Mapping | list | tuple) and hasattr(batch, "to"):
            return batch.to(self._device)  # a graph, say, that knows how to move itself
        return map_tensors(batch, place)


def _check_data(data: Any) -> None:
    if is_pair(data):
        inputs, targets = data
        if not inputs.ndim or not targets.ndim or len(inputs) != len(targets):
            raise ObjectiveError(f"inputs {list(inputs.shape)} and targets {list(targets.shape)} must have one row a sample, equally many")
        return
    if _is_dataset(data):
        return
    if isinstance(data, str | bytes | Mapping | Tensor) or not isinstance(data, Iterable):
        raise ObjectiveError(
            "data must be (inputs, targets) tensors, a Dataset or an iterable of batches such as a DataLoader. "
            f"Got {type(data).__name__} instead."
        )
    if isinstance(data, Iterator):
        raise ObjectiveError(
            f"the data are walked several times, and a {type(data).__name__} can be walked only once; pass a list or a DataLoader"
        )


def _is_dataset(data: Any) -> bool:
    return isinstance(data, Dataset) and not isinstance(data, IterableDataset) and hasattr(data, "__len__")


def _generators_of(data: Any) -> list[torch.Generator]:
    """The generators that a DataLoader and its samplers hold, each once."""
    sampler = getattr(data, "sampler", None)
    inner = getattr(getattr(data, "batch_sampler", None), "sampler", None)
    found = {id(g): g for owner in (data, sampler, inner) if isinstance(g := getattr(owner, "generator", None), torch.Generator)}
    return list(found.values())


def _rows(batch: Any, chosen: Tensor, size: int) -> Any:
    """Some rows of every tensor, array and list of `size` in a batch."""
    if isinstance(batch, Tensor):
        return batch[chosen.to(batch.device)] if batch.ndim else batch
    if isinstance(batch, Mapping):
        return _like(batch, {key: _rows(value, chosen, size) for key, value in batch.items()})
    if isinstance(batch, list | tuple):
        if len(batch) == size and all(isinstance(value, str | int | float) for value in batch):
            return _like(batch, [batch[i] for i in chosen.tolist()])
        return _like(batch, [_rows(value, chosen, size) for value in batch])
    return batch[chosen.numpy()] if isinstance(batch, np.ndarray) and len(batch) == size else batch


class _DataHash:
    """A hash of the data row by row, whatever batches they come in."""

    def __init__(self) -> None:
        self._leaves: list[Any] = []
        self._shapes: list[object] = []

    def add(self, batch: Any) -> None:
        for place, leaf in enumerate([*tensors_of(batch), *_plain_values(batch)]):
            if place == len(self._leaves):
                self._leaves.append(hashlib.sha256())
                self._shapes.append(None)
            shape = (str(leaf.dtype), tuple(leaf.shape[1:])) if isinstance(leaf, Tensor) else type(leaf).__name__
            if shape != self._shapes[place]:
                self._leaves[place].update(repr(shape).encode())
                self._shapes[place] = shape
            self._leaves[place].update(tensor_bytes(leaf) if isinstance(leaf, Tensor) else repr(leaf).encode())

    def hexdigest(self) -> str:
        return hashlib.sha256("".join(leaf.hexdigest() for leaf in self._leaves).encode()).hexdigest()


def _plain_values(batch: Any) -> Iterator[str | int | float]:
    """The strings and numbers in a batch."""
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    if isinstance(batch, list | tuple):
        for value in batch:
            yield from _plain_values(value)
    elif isinstance(batch, str | int | float):
        yield batch


def _memory_budget(device: torch.device) -> float:
    """Bytes that the data may take on `device`."""
    if device.type == "cuda":
        return RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
    with suppress(ValueError, OSError, AttributeError):
        return RESIDENT_SHARE * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return float(2**30)
