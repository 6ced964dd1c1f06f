"""Watching until it ends: a page, a terminal, TensorBoard, each as often as its share of a core allows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from thetascope.files import is_locked
from thetascope.live.pacing import Allowance
from thetascope.live.page import FILE, write_page
from thetascope.live.terminal import news, rendered
from thetascope.live.watcher import SHARE, View, opened
from thetascope.recording.log import Record
from thetascope.scoring.objective import Objective

if TYPE_CHECKING:
    from thetascope.live.watcher import Watcher

INTERVAL = 2.0
"""Seconds between two looks at the log."""

Show = Callable[[View], None]
ToTracker = Callable[["Watcher", Record], None]


def watch(
    run: Path,
    *,
    interval: float = INTERVAL,
    once: bool = False,
    until_over: bool = False,
    tell: Callable[[str], None] | None = None,
    board: Path | None = None,
    objective: Objective | None = None,
) -> Path:
    """Follow a recording, and keep ``RUN/live.html`` fresh, until it is interrupted.

    Args:
        run: the run directory.
        interval: seconds between two looks, over 0.
        once: look once and measure everything, for a run that is over.
        until_over: end once nobody records any more.
        tell: is told what is new, in plain lines; None shows all of it on the terminal.
        board: the folder of a TensorBoard to log to.
        objective: scores the line so far, when the machine has time.

    Returns:
        The path of the page.

    Raises:
        RecordingError: `run` is no run directory.
        PlaceError: a link lies where the page is to be written.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the training needs the others
    try:
        with _board(board) as log, _screen(tell) as show:
            watcher, pace = opened(run, None if once else SHARE, objective), Allowance(SHARE, interval)
            seen_recording = fresh = False
            while True:
                over = not is_locked(run)  # asked before the log is read: what was written before is read
                seen_recording |= not over
                fresh |= watcher.update(lambda record: log(watcher, record))
                last = once or (until_over and over and seen_recording)
                if last or ((fresh or not (run / FILE).exists()) and pace.is_due):
                    with pace.counted():
                        view = watcher.view()
                        write_page(run, view, max(interval, pace.least_between))
                        show(view)
                    fresh = False
                if last:
                    return run / FILE
                time.sleep(interval)
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _screen(tell: Callable[[str], None] | None) -> Iterator[Show]:
    """What shows a view: the whole terminal, or lines of what is new."""
    if tell is not None:
        told: list[str] = []
        last = -1

        def lines(view: View) -> None:
            nonlocal last
            for line in news(told, view, last):
                tell(line)
            told[:] = view.alarms
            last = max([last, *(one.record.step for one in view.measured)])

        yield lines
        return
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        yield lambda view: live.update(rendered(view), refresh=True)


@contextmanager
def _board(folder: Path | None) -> Iterator[ToTracker]:
    """What logs the scalars of a measured record to TensorBoard."""
    if folder is None:
        yield lambda watcher, record: None
        return
    from thetascope.errors import missing_library

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise missing_library("tensorboard", error) from error
    writer: Any = SummaryWriter(str(folder))

    def log(watcher: Watcher, record: Record) -> None:
        newest = watcher.newest
        values = {**record.metrics, "moved_per_step": newest.step, "cosine": newest.turn}
        values |= {f"distance/{layer}": value for layer, value in newest.distance.items()}
        for name, value in values.items():
            if not math.isnan(value):
                writer.add_scalar(name, value, record.step)
        writer.flush()

    try:
        yield log
    finally:
        writer.close()
