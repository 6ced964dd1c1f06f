"""Putting back what was changed, at the end of a ``with``, and at no later moment."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Self

import torch


class _StillOpen(threading.local):
    """What is to be put back in this thread, the outermost first."""

    def __init__(self) -> None:
        self.stack: list[Restoring] = []


_open = _StillOpen()


class Restoring(ABC):
    """Puts something back at the end of a ``with``, which is written twice, ``with it, it:``, since one time may be interrupted.

    An interrupt may also leave the generator of an inner ``with`` hanging, in a traceback that somebody keeps. Python ends it when that
    is let go, at any later moment and in any thread. So what an outer one has put back already no inner one puts back again.
    """

    def __enter__(self) -> Self:
        if self not in _open.stack:
            _open.stack.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self in _open.stack:
            self.put_back()
            del _open.stack[_open.stack.index(self) :]

    @abstractmethod
    def put_back(self) -> None:
        """Put it back; again does no harm."""


class Gradients(Restoring):
    """Has torch record operations for gradients, or not."""

    def __init__(self, *, recorded: bool) -> None:
        self._recorded, self._before = recorded, torch.is_grad_enabled()

    def __enter__(self) -> Self:
        super().__enter__()
        torch.set_grad_enabled(self._recorded)
        return self

    def put_back(self) -> None:
        """As it was when this was made."""
        torch.set_grad_enabled(self._before)
