"""Work that no interrupt reaches: what torch patches while it writes down a model, it puts back only if nothing comes in between."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""After an interrupt the work may go on so long; it takes one to three seconds."""


def uninterrupted(work: Callable[[], T]) -> T:
    """What `work` gives, done in a thread of its own, in the mode of this one. An interrupt is raised once the work is at its end.

    Python raises what interrupts (Ctrl-C, a notebook's stop button, a debugger) in the thread of the caller, wherever that is. In the
    midst of torch.fx or torch.export it would leave modules patched, and every later call of them would fail.

    Raises:
        KeyboardInterrupt: there was an interrupt. Where the work did not end either, it says that the process must be restarted.
    """
    outcome: list[tuple[T | None, BaseException | None]] = []
    done, gate, state, modes = threading.Event(), threading.Lock(), {"begun": False, "given up": False}, _modes()

    def run() -> None:
        with gate:
            if state["given up"]:
                return
            state["begun"] = True
        try:
            with modes():
                outcome.append((work(), None))
        except BaseException as error:  # noqa: BLE001 - handed on
            outcome.append((None, error))
        finally:
            done.set()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name="thetascope-capture", daemon=True)
    interrupt: BaseException | None = None
    while True:
        try:
            if thread.ident is None and interrupt is None:
                thread.start()
            with gate:  # an interrupt may have come before it began
                state["given up"] = interrupt is not None
                waits = state["begun"] or not state["given up"]
            ended = not waits or done.wait(None if interrupt is None else PATIENCE_SECONDS)
            break
        except BaseException as error:  # noqa: BLE001 - raised once the work is at its end
            interrupt = error
    if interrupt is not None and not ended:
        raise KeyboardInterrupt("stopped, while torch was still writing down the model: restart this process to go on") from interrupt
    if interrupt is not None:
        raise interrupt
    found, raised = outcome[0]
    if raised is not None:
        raise raised
    return found  # type: ignore[return-value]


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
