"""Seeing whether anything was touched: a model to its last attribute, the global random states, torch's global hooks."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from thetascope.state import tensor_bytes

_GLOBAL_HOOKS = ("_global_forward_pre_hooks", "_global_forward_hooks", "_global_backward_pre_hooks", "_global_backward_hooks")


@dataclass(frozen=True)
class _Member:
    """An object and what stood in it; equal where it is still that very object with that very content."""

    held: object
    content: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Member) and self.held is other.held and self.content == other.content

    __hash__ = object.__hash__


@dataclass(frozen=True)
class Snapshot:
    """What a model and its surroundings are at one moment, by dotted name."""

    entries: Mapping[str, _Member]

    @classmethod
    def of(cls, model: nn.Module) -> Snapshot:
        """Parameters, buffers, gradients, modes, hooks and plain attributes of every module; the random states."""
        entries = dict(_surroundings())
        for name, module in model.named_modules(remove_duplicate=False):
            for attribute, value in vars(module).items():
                entries.update(_entries(".".join(filter(None, ("model", name, attribute))), value))
        return cls(entries)

    def differences(self, model: nn.Module) -> list[str]:
        """The names of what is otherwise now."""
        now = Snapshot.of(model).entries
        return [name for name in dict.fromkeys([*self.entries, *now]) if self.entries.get(name) != now.get(name)]


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Assert that what happens within leaves no trace in `model`, also where it ends with an exception."""
    before = Snapshot.of(model)
    try:
        yield
    finally:
        different = before.differences(model)
        assert not different, f"changed: {', '.join(different)}"


def _entries(name: str, value: object) -> Iterator[tuple[str, _Member]]:
    if isinstance(value, Tensor):
        yield name, _Member(value, (value.dtype, value.shape, value.requires_grad, bytes(tensor_bytes(value))))
        if value.is_leaf:
            yield from _entries(f"{name}.grad", value.grad)
    elif isinstance(value, Mapping):
        yield name, _Member(value, list(value))
        for key, part in value.items():
            yield from _entries(f"{name}.{key}", part)
    elif isinstance(value, list | tuple):
        yield name, _Member(value, len(value))
        for i, part in enumerate(value):
            yield from _entries(f"{name}.{i}", part)
    elif isinstance(value, set):
        yield name, _Member(value, set(value))
    elif isinstance(value, str | int | float | None):
        yield name, _Member(type(value), value)
    else:
        yield name, _Member(value, None)  # a submodule (walked by itself), a hook, whatever else


def _surroundings() -> Iterator[tuple[str, _Member]]:
    yield "random state of Python", _Member(None, random.getstate())
    yield "random state of numpy", _Member(None, repr(np.random.get_state()))  # noqa: NPY002 - the global one is what models use
    yield "random state of torch", _Member(None, bytes(tensor_bytes(torch.get_rng_state())))
    yield "gradients enabled", _Member(None, torch.is_grad_enabled())
    for hooks in _GLOBAL_HOOKS:
        yield from _entries(hooks, getattr(nn.modules.module, hooks))
