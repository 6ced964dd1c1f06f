"""Saying what is about to happen, and showing how far it is. On the standard error, so that output stays clean."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

LONG_SECONDS = 2.0
"""Anything longer is announced and shows its progress."""

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

        Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)


@contextmanager
def progress_bar(label: str, total: int, *, shown: bool) -> Iterator[Callable[..., None]]:
    """A bar with the time left, on a terminal or in a notebook. Yields ``advance(n, note="…")``; `note` stands beside the bar.

    Where the standard error is a pipe or a file there is none: each redrawing would be another line there.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not shown or not (console.is_terminal or console.is_jupyter):
        yield lambda n, note="": None
        return
    if console.is_jupyter:
        with _notebook_line(label, total) as advance_line:
            yield advance_line
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
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task(label, total=total, note="")

        def advance(n: int, note: str = "") -> None:
            bar.update(task, advance=n)
            if note:
                bar.update(task, note=note)

        yield advance


@contextmanager
def _notebook_line(label: str, total: int) -> Iterator[Callable[..., None]]:
    """One line below the cell that is written anew; rich's own bar needs a package of widgets in the notebook."""
    display: Any = import_module("IPython.display").display  # untyped, and there in every notebook
    begin = shown_at = time.monotonic()
    done, noted = 0, ""

    def line() -> dict[str, str]:
        took = time.monotonic() - begin
        left = f", {duration(took / done * (total - done))} left" if 0 < done < total else ""
        return {"text/plain": f"{label}: {done:,} of {total:,} in {duration(took)}{left}{f'  {noted}' if noted else ''}"}

    handle = display(line(), raw=True, display_id=True)

    def advance(n: int, note: str = "") -> None:
        nonlocal done, noted, shown_at
        done, noted = done + n, note or noted
        if time.monotonic() - shown_at >= NOTEBOOK_SECONDS:
            shown_at = time.monotonic()
            handle.update(line(), raw=True)

    try:
        yield advance
    finally:
        handle.update(line(), raw=True)
