"""The data of a training: checked, chosen and cut into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from thetascope.errors import TrainingError
from thetascope.scoring.batches import is_dataset, is_pair
from thetascope.scoring.pytrees import map_tensors


def checked_count(name: str, value: object, least: int = 1) -> int:
    """A whole number of at least `least`, or an error."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise TrainingError(f"{name} must be a whole number of at least {least}. Got {value!r} instead.")
    return value


def checked_samples(data: Any) -> int:
    """How many training samples there are, at least one.

    Raises:
        TrainingError: the data are neither a pair of tensors nor a map-style dataset, or empty.
    """
    if is_pair(data):
        inputs, targets = data
        if not inputs.ndim or not targets.ndim or len(inputs) != len(targets):
            raise TrainingError(
                f"the training inputs {list(inputs.shape)} and targets {list(targets.shape)} must have one row a sample, equally many"
            )
        count = len(inputs)
    elif is_dataset(data):
        count = len(data)
    else:
        hint = "; pass its dataset, for a training makes batches of its own" if isinstance(data, DataLoader) else ""
        raise TrainingError(
            f"train_data must be (inputs, targets) tensors or a map-style Dataset with a length. Got {type(data).__name__} instead{hint}."
        )
    if count == 0:
        raise TrainingError("train_data hold no sample, so there is nothing to train on")
    return count


def checked_indices(indices: Sequence[int] | Tensor | None, samples: int) -> Tensor:
    """Which samples to train on, all of them where none are named.

    Raises:
        TrainingError: they are no numbers of samples ``[n]``.
    """
    if indices is None:
        return torch.arange(samples)
    chosen = torch.as_tensor(indices)
    if chosen.ndim != 1 or not len(chosen) or chosen.is_floating_point() or chosen.dtype == torch.bool:
        raise TrainingError(f"indices must be whole numbers [n], at least one. Got {chosen.dtype} {list(chosen.shape)} instead.")
    if int(chosen.min()) < 0 or int(chosen.max()) >= samples:
        raise TrainingError(
            f"indices must lie in 0 to {samples - 1} for {samples:,} samples. Got {int(chosen.min())} to {int(chosen.max())} instead."
        )
    return chosen.long()


def train_batches(data: Any, shuffled: Tensor, batch_size: int, device: torch.device) -> Iterator[tuple[Any, Tensor]]:
    """The samples of those numbers, in this order, in batches on the device."""
    parts = torch.split(shuffled, batch_size)
    if is_pair(data):
        inputs, targets = data
        for part in parts:
            yield inputs[part.to(inputs.device)].to(device), targets[part.to(targets.device)].to(device)
        return
    sampler: Any = [part.tolist() for part in parts]
    # a generator of its own, or the loader would draw from the random states that the model draws from
    for batch in DataLoader(data, batch_sampler=sampler, generator=torch.Generator()):
        if not (isinstance(batch, tuple | list) and len(batch) == 2 and isinstance(batch[1], Tensor)):
            kind = f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, tuple | list) else type(batch).__name__
            raise TrainingError(f"train_data must give (input, target) pairs. Got a {kind} instead.")
        yield map_tensors(batch[0], lambda tensor: tensor.to(device)), batch[1].to(device)
