"""Leaving a model and the random states as they were, whatever happens in between."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thetascope.scoring.restoring import Gradients, Restoring


@dataclass(eq=False)
class RandomStates(Restoring):
    """The global random states of Python, numpy and torch (with its CUDA devices where in use)."""

    python: Any
    numpy: Any
    torch_cpu: Tensor
    torch_cuda: list[Tensor]

    @classmethod
    def capture(cls) -> RandomStates:
        """The present states."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda)  # noqa: NPY002 - the global one is what models use

    def put_back(self) -> None:
        """Set the states back to these."""
        self.restore()

    def restore(self) -> None:
        """Set the states back to these."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002
        torch.set_rng_state(self.torch_cpu)
        if self.torch_cuda:
            torch.cuda.set_rng_state_all(self.torch_cuda)


def seed_all(seed: int) -> None:
    """Seed the global random states of Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


@contextmanager
def preserved_random_states() -> Iterator[None]:
    """Put every global random state back at the end."""
    before = RandomStates.capture()
    with before, before:
        yield


@contextmanager
def recorded() -> Iterator[None]:
    """Have torch record operations for gradients, and put back at the end whether it does."""
    gradients = Gradients(recorded=True)
    with gradients, gradients:
        yield


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Evaluate `model` without gradients and in evaluation mode, and leave no trace in it.

    Put back at the end, also after an exception or Ctrl-C: each module's own attributes (the training flag; what
    hooks compute and store, as the old weight_norm does; lists and mappings that a forward pass fills), parameters
    and buffers by identity, `requires_grad`, `grad`, and all random states. Values of parameters and buffers are
    safe because a pass is given other tensors in their place (see `BoundModel`).
    """
    before, random_states = ModelState(model), RandomStates.capture()
    # the mode's guard puts back when it is let go, so there is none where there is nothing to leave
    ordinary = torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext()
    with before, before, ordinary, random_states, random_states:
        unrecorded = Gradients(recorded=False)
        with unrecorded, unrecorded:
            for module in model.modules():
                # not .eval(), which a model may override with side effects (merging adapters, say)
                module.__dict__["training"] = False
            yield


class ModelState(Restoring):
    """What a model is besides the values of its tensors, to be put back."""

    def __init__(self, model: nn.Module) -> None:
        self._gradients = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
        self._attributes = _attributes(model)

    def put_back(self) -> None:
        """Put back each module's own attributes, what the lists, sets and mappings among them hold, `requires_grad` and `grad`."""
        for parameter, requires_grad, grad in self._gradients:
            if parameter.requires_grad is not requires_grad:
                parameter.requires_grad_(requires_grad)
            if parameter.grad is not grad:
                parameter.grad = grad
        for module, before, containers in self._attributes:
            _put_back(module, before, containers)


@contextmanager
def forgetting(model: nn.Module) -> Iterator[None]:
    """Put back, at the end, each module's own attributes, and what the lists, sets and mappings among them hold."""
    attributes = _attributes(model)
    try:
        yield
    finally:
        for module, before, containers in attributes:
            _put_back(module, before, containers)


def _attributes(model: nn.Module) -> list[tuple[nn.Module, dict[str, Any], dict[str, Any]]]:
    return [(module, dict(module.__dict__), _containers(module)) for module in model.modules()]


def _containers(module: nn.Module) -> dict[str, Any]:
    """Shallow copies of the lists, sets and mappings that a module holds, torch's own tables among them."""
    return {
        name: value.copy() for name, value in module.__dict__.items() if isinstance(value, dict | list | set) and hasattr(value, "copy")
    }


def _put_back(module: nn.Module, before: dict[str, Any], containers: dict[str, Any]) -> None:
    now = module.__dict__
    for name in [name for name in now if name not in before]:
        del now[name]
    for name, value in before.items():
        if now.get(name) is not value:
            now[name] = value
    for name, content in containers.items():
        held = before[name]
        if not _same_members(held, content):
            held.clear()
            held.extend(content) if isinstance(held, list) else held.update(content)


def _same_members(held: Any, content: Any) -> bool:
    if len(held) != len(content):
        return False
    if isinstance(held, dict):
        return all(k in content and content[k] is v for k, v in held.items()) and list(held) == list(content)
    if isinstance(held, set):
        return bool(held == content)
    return all(a is b for a, b in zip(held, content, strict=True))
