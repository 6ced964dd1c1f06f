"""Work that no interrupt reaches, and waiting that an interrupt leaves no lock behind in.

Python raises what interrupts (Ctrl-C, a notebook's stop button) in the main thread, between any two steps. In the midst of
``threading.Condition.__enter__`` that is after the lock was taken and before anybody knows: it is never freed, and whoever needs it, such
as the thread that zarr reads and writes in, waits for ever. So what waits for threads of a library is done in a thread of its own, and
that is waited for by a lock of the interpreter's, which is taken or is not.
"""

from __future__ import annotations

import _thread
import atexit
import contextvars
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""After an interrupt the work may go on so long; it takes seconds."""


class Thread(Generic[T]):
    """Work in a thread of its own, which is waited for without leaving a lock behind.

    Args:
        work: what is done, from `start` on.
        name: the thread's.
        daemon: whether the process may end before the work does.

    It is none of `threading.Thread`, which takes such a lock as it begins.
    """

    def __init__(self, work: Callable[[], T], name: str, *, daemon: bool = True) -> None:
        self._work, self._ended = work, False
        self._bell = threading.Lock()
        self._bell.acquire()
        self._value: T | None = None
        self._error: BaseException | None = None
        self._gate, self._begun, self._given_up = threading.Lock(), False, False
        self._name, self._daemon = name, daemon

    def start(self) -> None:
        """Begin."""
        _thread.start_new_thread(contextvars.copy_context().run, (self._run,))

    def _run(self) -> None:
        threading.current_thread().name = self._name
        with self._gate:
            if self._given_up:
                return
            self._begun = True
        if not self._daemon:
            _waited_for[self] = os.getpid()
        try:
            self._value = self._work()
        except BaseException as error:  # noqa: BLE001 - handed on
            self._error = error
        finally:
            del self._work
            self._ended = True
            _waited_for.pop(self, None)
            self._bell.release()

    def give_up(self) -> bool:
        """Do not begin, where it has not begun yet, for an interrupt may have come before; whether it had."""
        with self._gate:
            if not self._begun:
                self._given_up = True
            return self._begun

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end, at most so long; whether it has come. May be interrupted. What was given up does not begin."""
        until = None if seconds is None else time.monotonic() + seconds
        while not (self._ended or self._given_up):  # an interrupt may come as soon as the bell was heard
            if not self._bell.acquire(timeout=-1 if until is None else max(0.0, until - time.monotonic())):
                break
        return self._ended

    def result(self) -> T:
        """What the work gave, once it has ended.

        Raises:
            BaseException: what the work raised.
        """
        self.wait()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]


_waited_for: dict[Thread[Any], int] = {}
"""Work that the process does not end before, and in which process it is done: a forked copy has no such thread."""


@atexit.register
def _end() -> None:
    for thread, process in list(_waited_for.items()):
        if process == os.getpid():
            thread.wait()


def uninterrupted(work: Callable[[], T], doing: str, modes: Callable[[], AbstractContextManager[None]] = nullcontext) -> T:
    """What `work` gives, done in a thread of its own. An interrupt is raised once the work is at its end.

    Args:
        work: what is done.
        doing: what is said to be at work still, where it does not end after an interrupt.
        modes: entered in the thread, for what is kept for each thread.

    Raises:
        KeyboardInterrupt: there was an interrupt. Where the work did not end either, it says that the process must be restarted.
    """

    def within() -> T:
        with modes():
            return work()

    thread, interrupt = Thread(within, f"thetascope: {doing}"), None
    while True:
        try:
            if interrupt is None:
                thread.start()
                thread.wait()
                ended = True
            else:
                ended = not thread.give_up() or thread.wait(PATIENCE_SECONDS)
            break
        except BaseException as error:  # noqa: BLE001 - raised once the work is at its end
            interrupt = error
    if interrupt is not None:
        if not ended:
            raise KeyboardInterrupt(f"stopped, while {doing}: restart this process to go on") from interrupt
        raise interrupt
    return thread.result()
