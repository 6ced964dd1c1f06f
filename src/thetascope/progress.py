"""Saying what is about to happen, and showing how far it is. On the standard error, so that output stays clean."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from thetascope.shown import fit_for

LONG_SECONDS = 2.0
"""Anything longer is announced and shows its progress."""

HEARTBEAT_SECONDS = 30.0
"""Into a pipe or a file a line is written so often at most."""

NOTEBOOK_SECONDS = 0.5
"""A notebook's line of progress is written anew so often at most."""


def duration(seconds: float) -> str:
    """A length of time as a person says it: 40 ms, 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 0.0995:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if seconds < 3570:
        whole, rest = divmod(round(seconds), 60)
        return f"{whole} min {rest} s" if rest else f"{whole} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def say(text: str, *, shown: bool = True) -> None:
    """Print one line to the standard error."""
    if shown:
        from rich.console import Console

        console = Console(stderr=True, highlight=False)
        console.print(fit_for(console.file, text), markup=False, soft_wrap=True)


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Say on a terminal that something is being loaded, until it is."""
    if not sys.stderr.isatty():
        yield
        return
    text = fit_for(sys.stderr, f"loading {what} …")
    sys.stderr.write(text)
    sys.stderr.flush()
    try:
        yield
    finally:
        sys.stderr.write(f"\r{' ' * len(text)}\r")
        sys.stderr.flush()


@contextmanager
def progress_bar(label: str, total: int, *, shown: bool, most: bool = False) -> Iterator[Callable[..., None]]:
    """A bar with the time left, on a terminal or in a notebook. Yields ``advance(n, note="…")``; `note` stands beside the bar.

    With `most` fewer than `total` may do, and the time left is said to be so at most.

    Where the standard error is a pipe or a file each redrawing would be another line, so there is one every `HEARTBEAT_SECONDS`.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not shown:
        yield lambda n, note="": None
        return
    if console.is_jupyter:
        with _notebook_line(label, total, most) as advance_line:
            yield advance_line
        return
    if not console.is_terminal:
        yield _Lines(label, total, most, HEARTBEAT_SECONDS, say).advance
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(), TextColumn("left, at most" if most else "left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task(label, total=total, note="")

        def advance(n: int, note: str = "") -> None:
            bar.update(task, advance=n)
            if note:
                bar.update(task, note=note)

        yield advance


class _Lines:
    """How far it is in words, written now and then."""

    def __init__(self, label: str, total: int, most: bool, every: float, write: Callable[[str], object]) -> None:
        self._label, self._total, self._every, self._write = label, total, every, write
        self._left = "at most " if most else ""
        self._begin = self._written = time.monotonic()
        self._done, self._note = 0, ""

    def __str__(self) -> str:
        took, done, total = time.monotonic() - self._begin, self._done, self._total
        left = f", {self._left}{duration(took / done * (total - done))} left" if 0 < done < total else ""
        return f"{self._label}: {done:,} of {total:,} in {duration(took)}{left}{f'  {self._note}' if self._note else ''}"

    def advance(self, n: int, note: str = "") -> None:
        """So many more are done."""
        self._done, self._note = self._done + n, note or self._note
        if time.monotonic() - self._written >= self._every:
            self._written = time.monotonic()
            self._write(str(self))


@contextmanager
def _notebook_line(label: str, total: int, most: bool) -> Iterator[Callable[..., None]]:
    """One line below the cell that is written anew; rich's own bar needs a package of widgets in the notebook."""
    display: Any = import_module("IPython.display").display  # untyped, and there in every notebook
    lines = _Lines(label, total, most, NOTEBOOK_SECONDS, lambda text: handle.update({"text/plain": text}, raw=True))
    handle = display({"text/plain": str(lines)}, raw=True, display_id=True)
    try:
        yield lines.advance
    finally:
        handle.update({"text/plain": str(lines)}, raw=True)
