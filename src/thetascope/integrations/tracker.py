"""What a tracker of experiments can do, as far as findings need it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from thetascope.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

    from thetascope.experiments.framework.facts import Value
    from thetascope.experiments.framework.tables import Table


class Tracker(Protocol):
    """Where findings are logged: a run of a tracker. All names have slashes between their parts; steps are those of the training."""

    def values(self, values: Mapping[str, Value], step: int) -> None:
        """Log numbers and words by name, at one step."""

    def figure(self, name: str, figure: Figure, page: Callable[[], PlotlyFigure], step: int) -> None:
        """Log a picture; `page` makes the interactive one, for trackers that show such."""

    def table(self, name: str, table: Table, step: int) -> None:
        """Log a table."""

    def report(self, name: str, path: Path, step: int) -> None:
        """Log a report: the file where the tracker keeps files, else where it lies."""

    def finish(self) -> None:
        """Let all that was logged be written."""


class TrackerModule(Protocol):
    """A module of `thetascope.integrations.trackers`."""

    KNOWN_BY: str
    """What users pass, in words."""

    def tracker_of(self, to: Any, prefix: str) -> Tracker | None:
        """The tracker behind what a user passed; None where that is something else.

        Raises:
            UsageError: it is of this kind, but cannot be logged to as it is.
        """

    def opened(self, place: str, name: str) -> AbstractContextManager[Any]:
        """A new run called `name`, which a user may pass; `place` is what a command line says of where, "" nothing.

        Raises:
            UsageError: the tracker is not installed, or needs a place.
        """


def can(to: Any, *methods: str) -> bool:
    """Whether something has all these methods; asking imports nothing."""
    return all(callable(getattr(to, name, None)) for name in methods)


def needed(name: str, extra: str) -> ModuleType:
    """A tracker's module.

    Raises:
        UsageError: it is not installed; one line says how to.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(f"{extra} is not installed: pip install thetascope[{extra}]") from error
