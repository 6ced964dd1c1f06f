"""The data as batches that can be walked again in the same order, on the device where they fit."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from thetascope.errors import ObjectiveError
from thetascope.scoring.pytrees import DataHash, cut, like, map_tensors, rows_of, select_rows, stacked, tensors_of
from thetascope.scoring.untouched import RandomStates, preserved_random_states, recorded, seed_all

RESIDENT_SHARE = 0.25
"""How much of the free memory the data may take to stay on the device."""


def is_pair(data: Any) -> bool:
    """Whether `data` are (inputs, targets) tensors."""
    return isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data)


def is_dataset(data: Any) -> bool:
    """Whether `data` are a map-style dataset with a length."""
    return isinstance(data, Dataset) and not isinstance(data, IterableDataset) and hasattr(data, "__len__")


@dataclass(frozen=True)
class Survey:
    """What one walk over the data found."""

    rows: int | None
    fingerprint: str
    count: int


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
        whole: leave out a last part of a batch where the batches are cut here, unless it is the only one.
        most: of data whose batches are given, end with the batch that reaches so many rows.

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
        whole: bool = False,
        most: int | None = None,
    ) -> None:
        _check_data(data)
        if samples is not None and (isinstance(samples, bool) or not isinstance(samples, int) or samples < 2):
            raise ObjectiveError(f"samples must be at least 2, so that their spread is known. Got {samples} instead.")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ObjectiveError(f"batch_size must be a whole number of at least 1. Got {batch_size!r} instead.")
        self._data, self._device, self._dtype = data, device, inputs_dtype
        self.batch_size, self._samples, self._seed, self._whole, self._most = batch_size, samples, seed, whole, most
        self._part = (0.0, 1.0)
        self._of_batches: int | None = None
        self._generators = [(g, g.get_state()) for g in _generators_of(data)]
        self._resident: list[Any] | None = None
        self._survey: Survey | None = None
        self._whole_fingerprint: str | None = None
        self._hashed: str | None = None
        """The fingerprint, where the same rows were hashed in other batches."""

    def cast(self, dtype: torch.dtype | None) -> Batches:
        """The same data with floating inputs in another dtype."""
        other = copy.copy(self)
        other._dtype, other._resident, other._survey, other._hashed, other._whole_fingerprint = dtype, None, None, None, None
        return other

    @property
    def samples(self) -> int | None:
        """How many rows are drawn; None where all are kept."""
        return self._samples

    @property
    def known_rows(self) -> int | None:
        """How many rows there are, where the batches are cut here; None where they are given."""
        found = len(self._data[0]) if is_pair(self._data) else len(self._data) if is_dataset(self._data) else None
        return found if found is None or self._of_batches is not None else len(self._of_part(range(found)))

    def part(self, low: float, high: float, samples: int | None, *, by_batches: bool = False) -> Batches:
        """The rows of a part of all, from one share to another of an order drawn once with the seed; of them so many samples, or all.

        With `by_batches` whole batches are parted, as they are: where rows do not stand for themselves.
        """
        other = self.resampled(samples)
        other._part, other._of_batches, other._whole_fingerprint = (low, high), self.survey.count if by_batches else None, None
        return other

    def _of_part(self, rows: Any) -> Any:
        low, high = (round(end * len(rows)) for end in self._part)
        return rows[low:high]

    def _draws(self, total: int) -> bool:
        """Whether not all of so many rows are kept."""
        return self._parts_rows or (self._samples is not None and self._samples < total)

    @property
    def _parts_rows(self) -> bool:
        return self._part != (0.0, 1.0) and self._of_batches is None

    def resample(self, samples: int | None) -> None:
        """Keep another number of rows from now on."""
        if samples != self._samples:
            self._samples, self._resident, self._survey, self._hashed = samples, None, None, None

    @property
    def resampled_fingerprint(self) -> str:
        """Of all rows, however many are kept."""
        if self._whole_fingerprint is None:
            self._whole_fingerprint = (self if self._samples is None else self.resampled(None)).survey.fingerprint
        return self._whole_fingerprint

    def resampled(self, samples: int | None) -> Batches:
        """So many rows of the same data, or all."""
        other = copy.copy(self)
        other._samples, other._resident, other._survey, other._hashed = samples, None, None, None
        return other

    def rebatched(self, batch_size: int) -> None:
        """Use another batch size from now on; the same rows are not hashed again."""
        if batch_size != self.batch_size:
            self._hashed = self._survey.fingerprint if self._survey is not None and not self._whole else self._hashed
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

    def spread(self, rows: int) -> Any:
        """So many rows from all over the data where these stay in memory and can be joined, else of the first batch."""
        resident = self._resident if self.resident else None
        held = resident or [self.first()]
        chosen = [held[n * len(held) // rows] for n in range(rows)] if len(held) > rows else held
        parts = []
        for n, batch in enumerate(chosen):
            size, wanted = rows_of(batch), rows * (n + 1) // len(chosen) - rows * n // len(chosen)
            if size is None:
                return held[0]
            parts.append(select_rows(batch, torch.arange(min(size, wanted)) * size // max(1, min(size, wanted)), size))
        try:
            return stacked(parts)
        except (ValueError, TypeError, RuntimeError):
            return cut(held[0], rows)[0]

    def __iter__(self) -> Iterator[Any]:
        _ = self.survey
        if self._resident is not None:
            return iter(self._resident)
        return self._walk() if self._device.type != "cuda" else _one_ahead(self._walk())

    def fingerprint_again(self) -> str:
        """The fingerprint of one more walk; it differs where the data are random."""
        total = DataHash()
        for batch in self:
            total.add(batch)
        return total.hexdigest()

    def _surveyed(self) -> Survey:
        held: list[Any] | None = []
        budget = _memory_budget(self._device)
        total, rows, size = DataHash(), list[int | None](), 0
        for batch in self._walk():
            if self._hashed is None:
                total.add(batch)
            rows.append(rows_of(batch))
            size += sum(t.numel() * t.element_size() for t in tensors_of(batch) if not self._shares(t))
            if held is not None:
                held.append(batch)
                held = held if size <= budget else None
        self._resident = held
        return Survey(None if None in rows else sum(filter(None, rows)), self._hashed or total.hexdigest(), len(rows))

    def _shares(self, tensor: Tensor) -> bool:
        """Whether a batch is a view of data that are in memory anyway."""
        return is_pair(self._data) and any(tensor.untyped_storage().data_ptr() == part.untyped_storage().data_ptr() for part in self._data)

    def _walk(self) -> Iterator[Any]:
        """The batches on the device, in the same order each time, drawn from random states of their own."""
        before = [generator.get_state() for generator, _ in self._generators]
        try:
            for generator, state in self._generators:
                generator.set_state(state)
            with preserved_random_states(), recorded():  # views of tensors that want gradients still do
                seed_all(self._seed)
                source = iter(self._source())
                own = RandomStates.capture()
            while True:
                with preserved_random_states(), recorded():
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
        """The batches of all rows that are kept, or those of the part."""
        if self._of_batches is not None:
            kept, whole = set(self._ordered(self._of_batches).tolist()), self.part(0.0, 1.0, self._samples)
            return (batch for place, batch in enumerate(whole._batches()) if place in kept)
        return self._batches()

    def _batches(self) -> Iterable[Any]:
        whole = self._data
        if is_pair(whole):
            inputs, targets = whole
            if self._draws(len(inputs)):
                chosen = self._drawn(len(inputs)).to(inputs.device)
                inputs, targets = inputs[chosen], targets[chosen.to(targets.device)]
            size = self.batch_size
            stop = len(inputs) // size * size if self._whole and len(inputs) >= size else len(inputs)
            return ((inputs[i : i + size], targets[i : i + size]) for i in range(0, stop, size))
        if is_dataset(whole):
            whole = DataLoader(whole, batch_size=self.batch_size, drop_last=self._whole and len(whole) >= self.batch_size)
        if self._samples is not None or self._parts_rows:
            whole = self._sampled(whole)
        return whole if self._most is None else self._until(whole, self._most)

    @staticmethod
    def _until(batches: Iterable[Any], most: int) -> Iterator[Any]:
        seen = 0
        for batch in batches:
            yield batch
            seen += rows_of(batch) or 0
            if seen >= most:
                return

    def _drawn(self, total: int) -> Tensor:
        drawn: Tensor = self._ordered(total)[: self._samples].sort().values
        return drawn

    def _ordered(self, total: int) -> Tensor:
        """The places of the part among so many, in the order that is drawn."""
        part: Tensor = self._of_part(torch.randperm(total, generator=torch.Generator().manual_seed(self._seed)))
        return part

    def _sampled(self, batches: Iterable[Any]) -> Iterator[Any]:
        sizes = []
        for batch in batches:
            size = rows_of(batch)
            if size is None:
                raise ObjectiveError(
                    "rows are drawn, for samples= or holdout=, so all tensors of a batch must share their first dimension; these do not. "
                    "Leave samples= out, or set holdout=None, and pass fewer data"
                )
            sizes.append(size)
        chosen, start = self._drawn(sum(sizes)), 0
        for batch, size in zip(batches, sizes, strict=True):
            mine = chosen[(chosen >= start) & (chosen < start + size)] - start
            start += size
            if len(mine):
                yield select_rows(batch, mine, size)

    def _placed(self, batch: Any) -> Any:
        """The batch on the device, its floating inputs in the dtype of the evaluation."""

        def place(tensor: Tensor) -> Tensor:
            casts = self._dtype is not None and tensor.is_floating_point()
            if self._device.type == "cuda" and tensor.device.type == "cpu" and self._resident is None and self._survey is not None:
                tensor = tensor.pin_memory().to(self._device, non_blocking=True)  # while the batch before is scored
            own = tensor.clone() if tensor.is_inference() else tensor  # what inference mode made does not tell when it is written to
            placed = own.detach().to(self._device, self._dtype) if casts else own.detach().to(self._device)
            return placed.requires_grad_() if tensor.requires_grad else placed

        with torch.inference_mode(False):
            if is_pair(batch):
                targets = batch[1].clone() if batch[1].is_inference() else batch[1]
                return like(batch, (place(batch[0]), targets.to(self._device)))  # targets keep their precision
            if not isinstance(batch, Tensor | Mapping | list | tuple) and hasattr(batch, "to"):
                return copy.copy(batch).to(self._device)  # a graph, say, that knows how to move itself, and may do that in place
            return map_tensors(batch, place)


def _one_ahead(batches: Iterator[Any]) -> Iterator[Any]:
    """The batches, each loaded before the one in front of it is used."""
    waiting = next(batches, None)
    for batch in batches:
        yield waiting
        waiting = batch
    if waiting is not None:
        yield waiting


def _check_data(data: Any) -> None:
    if is_pair(data):
        inputs, targets = data
        if not inputs.ndim or not targets.ndim or len(inputs) != len(targets):
            raise ObjectiveError(f"inputs {list(inputs.shape)} and targets {list(targets.shape)} must have one row a sample, equally many")
        return
    if is_dataset(data):
        return
    if isinstance(data, tuple) and any(isinstance(part, Tensor) for part in data):
        raise ObjectiveError(
            f"data must be (inputs, targets) tensors, a Dataset or an iterable of batches. Got {len(data)} parts instead, some tensors: "
            "make a torch.utils.data.TensorDataset of tensors with a row a sample, a list [batch] of one batch, and score it by from_step"
        )
    if isinstance(data, str | bytes | Mapping | Tensor) or not isinstance(data, Iterable):
        raise ObjectiveError(
            "data must be (inputs, targets) tensors, a Dataset or an iterable of batches such as a DataLoader. "
            f"Got {type(data).__name__} instead."
        )
    if isinstance(data, Iterator):
        raise ObjectiveError(
            f"the data are walked several times, and a {type(data).__name__} can be walked only once; pass a list or a DataLoader"
        )


def _generators_of(data: Any) -> list[torch.Generator]:
    """The generators that a DataLoader and its samplers hold, each once."""
    sampler = getattr(data, "sampler", None)
    inner = getattr(getattr(data, "batch_sampler", None), "sampler", None)
    found = {id(g): g for owner in (data, sampler, inner) if isinstance(g := getattr(owner, "generator", None), torch.Generator)}
    return list(found.values())


def _memory_budget(device: torch.device) -> float:
    """Bytes that the data may take on `device`."""
    if device.type == "cuda":
        return RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
    with suppress(ValueError, OSError, AttributeError):
        return RESIDENT_SHARE * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return float(2**30)
