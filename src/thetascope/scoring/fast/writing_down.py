"""Writing down a model, which no interrupt reaches: what torch patches for it, it puts back only if nothing comes in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

import torch

from thetascope.uninterrupted import uninterrupted

T = TypeVar("T")


def written_down(work: Callable[[], T]) -> T:
    """What `work` gives, done in a thread of its own, in the modes of this one.

    In the midst of torch.fx or torch.export an interrupt would leave modules patched, and every later call of them would fail.

    Raises:
        KeyboardInterrupt: there was an interrupt, which is raised once the work is at its end.
    """
    return uninterrupted(work, "torch was still writing down the model", _modes())


def _modes() -> Callable[[], AbstractContextManager[None]]:
    """What torch keeps for each thread, as it is in this one."""
    gradients, device = torch.is_grad_enabled(), torch.get_default_device()
    cast = {kind: torch.get_autocast_dtype(kind) for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)}

    @contextmanager
    def modes() -> Iterator[None]:
        with ExitStack() as held:
            held.enter_context(torch.set_grad_enabled(gradients))
            if device.type != "cpu":
                held.enter_context(device)
            for kind, dtype in cast.items():
                held.enter_context(torch.autocast(kind, dtype))
            yield

    return modes
