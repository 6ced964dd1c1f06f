"""MLflow: metrics with their steps, tags for words, and pictures, tables and the report as artifacts of the active run."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from thetascope.integrations.tracker import can, needed

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

    from thetascope.experiments.framework.facts import Value
    from thetascope.experiments.framework.tables import Table

KNOWN_BY = "the mlflow module"

LONGEST_NAME = 250
"""Characters of a name that MLflow takes."""
MOST_AT_ONCE = 500
"""Metrics in one request; MLflow takes 1,000."""
_OTHERS = re.compile(r"[^A-Za-z0-9_.\- ]|_(?=x[0-9A-F]+_)")
"""What MLflow's names do not hold, and what would be read as a character that is written by its number."""


def tracker_of(to: Any, prefix: str) -> MLflow | None:
    """The module, with its functions that log to the active run."""
    return MLflow(to, prefix) if can(to, "log_metrics", "set_tags", "log_figure", "log_artifact", "log_text", "active_run") else None


def opened(place: str, name: str) -> AbstractContextManager[Any]:
    """The module with a new run, at the tracking address `place`, or at MLflow's own."""
    return _run(needed("mlflow", "mlflow"), place, name)


@contextmanager
def _run(mlflow: ModuleType, uri: str, name: str) -> Iterator[Any]:
    before = mlflow.get_tracking_uri()
    if uri:
        mlflow.set_tracking_uri(uri)
    try:
        with mlflow.start_run(run_name=name):
            yield mlflow
    finally:
        mlflow.set_tracking_uri(before)


class MLflow:
    """The active run. Files keep what is not finite as it is; databases keep NaN, and take the largest number for infinity."""

    def __init__(self, mlflow: Any, prefix: str) -> None:
        self._mlflow, self._prefix, self._escaped = mlflow, prefix, False

    def values(self, values: Mapping[str, Value], step: int) -> None:
        """Numbers as metrics (true is 1), words as tags."""
        words = {self._named(name): value for name, value in values.items() if isinstance(value, str)}
        numbers = {self._named(name): float(value) for name, value in values.items() if not isinstance(value, str)}
        names = list(numbers)
        for first in range(0, len(names), MOST_AT_ONCE):
            self._mlflow.log_metrics({name: numbers[name] for name in names[first : first + MOST_AT_ONCE]}, step=step)
        if words:
            self._mlflow.set_tags(words)

    def figure(self, name: str, figure: Figure, page: Callable[[], PlotlyFigure], step: int) -> None:
        """As a picture and as an interactive page."""
        self._mlflow.log_figure(figure, f"{self._named(name)}.png")
        self._mlflow.log_figure(page(), f"{self._named(name)}.html")

    def table(self, name: str, table: Table, step: int) -> None:
        """As a .csv file, which MLflow shows."""
        from thetascope.results.dataframes import unrun

        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(map(unrun, table.titles))
        writer.writerows([unrun(cell.text) if cell.value is None else cell.value for cell in row.cells] for row in table.rows)
        self._mlflow.log_text(text.getvalue(), f"{self._named(name)}.csv")

    def report(self, name: str, path: Path, step: int) -> None:
        """The file itself, beside what else was logged."""
        self._mlflow.log_artifact(str(path), artifact_path=self._named(name).rpartition("/")[0])

    def finish(self) -> None:
        """Say how names are to be read, where any was changed. The run is the user's, who ends it."""
        if self._escaped:
            self._mlflow.set_tag(
                f"{self._named(self._prefix)}/names", "in names, _x5B_ stands for the character with the number 5B (hexadecimal)"
            )

    def _named(self, name: str) -> str:
        """A name that MLflow takes."""
        made = escaped(name)
        self._escaped = self._escaped or made != name
        return made


def escaped(name: str) -> str:
    """A name in letters, digits, ``_``, ``-``, ``.``, blanks and ``/``; others are written by their numbers: ``[`` is ``_x5B_``.

    Names differ if what they stand for does. One that is too long ends in a part of its hash.
    """
    parts = [_OTHERS.sub(lambda found: f"_x{ord(found[0]):X}_", part) for part in name.split("/")]
    parts = ["_x_" if not part else part.replace(".", "_x2E_") if set(part) == {"."} else part for part in parts]
    made = "/".join(parts)
    return made if len(made) <= LONGEST_NAME else f"{made[: LONGEST_NAME - 17]}-{sha256(name.encode()).hexdigest()[:16]}"
