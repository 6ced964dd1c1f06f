"""How often something may be done, so that it takes a share of a processor's time and no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Allowance:
    """What is done at most so often that it takes `share` of a core, and at most once in `least` seconds.

    Args:
        share: of the time that passes, over 0.
        least: seconds.
        clock: the processor's time, and the wall's; for tests.
    """

    def __init__(
        self, share: float, least: float, clock: tuple[Callable[[], float], Callable[[], float]] = (time.process_time, time.monotonic)
    ) -> None:
        self._share, self._least = share, least
        self._processor, self._wall = clock
        self._free_at, self._took = -float("inf"), 0.0

    @property
    def is_due(self) -> bool:
        """Whether it may be done now."""
        return self._wall() >= self._free_at

    @property
    def least_between(self) -> float:
        """Seconds between two times, as the last one took."""
        return max(self._least, self._took / self._share)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Doing it."""
        start, begun = self._processor(), self._wall()
        try:
            yield
        finally:
            self._took = self._processor() - start
            self._free_at = begun + self.least_between
