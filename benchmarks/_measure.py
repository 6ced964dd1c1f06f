"""What the benchmarks share: peak memory while something runs, ratios with their spread, the machine's description."""

from __future__ import annotations

import ctypes
import gc
import json
import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import psutil
import torch

Arguments = ParamSpec("Arguments")
Found = TypeVar("Found")


@dataclass
class Peak:
    """Bytes that the process held beyond what it held before: its own (unique set), at the highest."""

    base: int = 0
    highest: int = 0

    @property
    def extra(self) -> int:
        """Above the start."""
        return max(0, self.highest - self.base)


def _trim() -> None:
    """Give back what is free already: what an allocator keeps from before would hide what is used from now on."""
    gc.collect()
    with suppress(AttributeError, OSError):  # glibc's own
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Watch this process's memory from a thread, every 2 ms; less often where looking takes long: at most a twentieth of a core."""
    _trim()
    process, done = psutil.Process(), threading.Event()
    found = Peak(process.memory_full_info().uss)

    def watch() -> None:
        while not done.is_set():
            start = time.perf_counter()
            found.highest = max(found.highest, process.memory_full_info().uss)
            time.sleep(max(0.002, 20 * (time.perf_counter() - start)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()


@dataclass(frozen=True)
class Ratio:
    """How many times as fast, round by round; the rounds' median is the figure, and their extremes its spread."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure."""
        return statistics.median(self.rounds)

    def __str__(self) -> str:
        return f"{self.median:.1f} times as fast ({min(self.rounds):.1f} to {max(self.rounds):.1f} in {len(self.rounds)} rounds)"


def timed(call: Callable[Arguments, Found], *args: Arguments.args, **kwargs: Arguments.kwargs) -> tuple[float, Found]:
    """How many seconds a call takes, and what it gives."""
    start = time.perf_counter()
    found = call(*args, **kwargs)
    return time.perf_counter() - start, found


def report(benchmark: str, figures: Mapping[str, Any]) -> None:
    """Print the figures as one line of JSON, with the machine."""
    machine = {
        "platform": platform.platform(),
        "cores": psutil.cpu_count(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "memory_bytes": psutil.virtual_memory().total,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    print(json.dumps({"benchmark": benchmark, **figures, "machine": machine}))
