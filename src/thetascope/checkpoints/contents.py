"""What a checkpoint holds: where in it the state dict lies, and when in the training it was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thetascope.checkpoints.opened import Moment, dense_problem, listed, shortened
from thetascope.errors import CheckpointError

WRAPPER_KEYS = ("state_dict", "model", "model_state_dict", "net", "module")
"""Under which training loops, Lightning and DeepSpeed keep the state dict."""
STEP_KEYS, EPOCH_KEYS = ("global_step", "global_steps", "step", "iteration"), ("epoch",)
"""Under which they say when in the training it was written."""

LARGEST_RATIO, SPARE_BYTES = 8, 2**24
"""A state may take so many times its file's size (tied tensors stand in it once), and so much more."""
DEEPEST = 3


def state_dict_in(content: Any, key: str | None, path: Path) -> dict[str, Tensor]:
    """The mapping of names to tensors in what a checkpoint holds.

    Raises:
        CheckpointError: there is none, or nothing where the key says.
    """
    if key is not None:
        if not isinstance(key, str):
            raise CheckpointError(f'key is a text, nested with dots as in key="nets.G". Got {type(key).__name__} instead.')
        found = _tensors(_under(content, key, path))
        if found:
            return found
        raise CheckpointError(f'"{path}" holds no state dict under key="{shortened(key)}"{_elsewhere(content)}')
    if isinstance(content, Mapping):
        for candidate in (content, *(content[name] for name in WRAPPER_KEYS if name in content)):
            found = _tensors(candidate)
            if found:
                return found
        keys = _keys_in(content)
        if len(keys) == 1:  # there is one network in it, wherever it lies
            return _tensors(_under(content, keys[0], path))
    holds = listed(content) if isinstance(content, Mapping) else f"a {type(content).__name__}"
    where = _elsewhere(content) or ". Say where it lies with key=…"
    raise CheckpointError(f'"{path}" holds no state dict at its top or under {", ".join(WRAPPER_KEYS)}; it holds: {holds}{where}')


def _under(content: Any, key: str, path: Path) -> Any:
    """What lies under a key, or, where there is none of that name, under its parts one after another."""
    here, left = content, key
    while left:
        if not isinstance(here, Mapping):
            break
        names = {name for name in here if isinstance(name, str)}
        parts = left.split(".")
        head = next((".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in names), None)
        if head is None:
            break
        here, left = here[head], left[len(head) + 1 :]
    if left:
        holds = listed(content) if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise CheckpointError(f'"{path}" has nothing under key="{shortened(key)}"; it holds: {holds}{_elsewhere(content)}')
    return here


def _tensors(candidate: Any) -> dict[str, Tensor]:
    """The candidate, if it is a state dict, without the extra states of modules."""
    if not isinstance(candidate, Mapping):
        return {}
    tensors = {name if isinstance(name, str) else shortened(name): t for name, t in candidate.items() if isinstance(t, Tensor)}
    extra = any(not isinstance(value, Tensor) and not str(name).endswith("_extra_state") for name, value in candidate.items())
    return {} if extra else tensors


def _elsewhere(content: Any) -> str:
    """Under which keys there are state dicts; nothing where there are none."""
    keys = _keys_in(content)
    return f". State dicts lie under {listed(keys)}: say which with key=" if keys else ""


def _keys_in(content: Any) -> list[str]:
    return [key for key in _keys_of(content, (), DEEPEST) if not any(part.startswith("optim") for part in key.split("."))]


def _keys_of(content: Any, above: tuple[str, ...], deep: int) -> Iterator[str]:
    for name, part in content.items() if isinstance(content, Mapping) and deep else ():
        if isinstance(name, str) and isinstance(part, Mapping):
            if _tensors(part):
                yield ".".join((*above, name))
            else:
                yield from _keys_of(part, (*above, name), deep - 1)


def moment_in(content: Any) -> Moment:
    """When a checkpoint was written, as it says itself."""
    if not isinstance(content, Mapping):
        return Moment()
    step = next((found for name in STEP_KEYS if (found := _number(content.get(name))) is not None), None)
    epoch = next((found for name in EPOCH_KEYS if (found := _number(content.get(name))) is not None), None)
    return Moment(int(step) if step is not None and step.is_integer() else None, epoch)


def _number(value: Any) -> float | None:
    """A number that counts something; None of all else."""
    if isinstance(value, Tensor) and value.numel() == 1 and value.device.type != "meta" and not value.is_complex():
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        return None
    return float(value)


def check_tensors(tensors: Mapping[str, Tensor], path: Path, size: int) -> None:
    """Whether all tensors are dense and together not much larger than their files: one value may be expanded to any size.

    Raises:
        CheckpointError: they are not.
    """
    problem = dense_problem(tensors)
    if problem:
        raise CheckpointError(f'"{path}" {problem}')
    odd = [name for name, t in tensors.items() if t.layout != torch.strided or t.is_quantized or t.is_meta]
    if odd:
        raise CheckpointError(f'"{path}" holds tensors that are sparse, quantised or without values: {listed(odd)}. Save dense ones')
    promised = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if promised > LARGEST_RATIO * size + SPARE_BYTES:
        raise CheckpointError(
            f'"{path}" is {size:,} bytes long and promises tensors of {promised:,}: it was made to fill the memory, or saved '
            "with expanded tensors. Save contiguous ones"
        )
