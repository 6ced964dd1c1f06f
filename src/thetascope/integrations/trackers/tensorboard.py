"""TensorBoard: scalars, texts and pictures of a SummaryWriter, that of torch or that of tensorboardX."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thetascope.errors import UsageError
from thetascope.integrations.tracker import can, needed

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

    from thetascope.experiments.framework.facts import Value
    from thetascope.experiments.framework.tables import Table

KNOWN_BY = "a SummaryWriter of TensorBoard"


def tracker_of(to: Any, prefix: str) -> TensorBoard | None:
    """A writer of scalars, texts and figures."""
    return TensorBoard(to) if can(to, "add_scalar", "add_text", "add_figure", "flush") else None


def opened(place: str, name: str) -> AbstractContextManager[Any]:
    """A writer into a folder."""
    if not place:
        raise UsageError("TensorBoard needs a folder: --to tensorboard=DIR")
    needed("tensorboard", "tensorboard")
    return _writer(place)


@contextmanager
def _writer(place: str) -> Iterator[Any]:
    writer = needed("torch.utils.tensorboard", "tensorboard").SummaryWriter(place)
    try:
        yield writer
    finally:
        writer.close()


class TensorBoard:
    """A SummaryWriter. What is not finite is written as it is, and TensorBoard marks it in the curve. It keeps no files."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def values(self, values: Mapping[str, Value], step: int) -> None:
        """Numbers as scalars (true is 1), words as texts."""
        for name, value in values.items():
            if isinstance(value, str):
                self._writer.add_text(name, _plain(value), step)
            else:
                self._writer.add_scalar(name, float(value), step)

    def figure(self, name: str, figure: Figure, page: Callable[[], PlotlyFigure], step: int) -> None:
        """As an image."""
        self._writer.add_figure(name, figure, step, close=False)

    def table(self, name: str, table: Table, step: int) -> None:
        """As a text in Markdown."""
        rows = [table.titles, ["---"] * len(table.titles), *([cell.text for cell in row.cells] for row in table.rows)]
        lines = ["| " + " | ".join(cell if cell == "---" else _plain(cell) for cell in row) + " |" for row in rows]
        self._writer.add_text(name, "\n".join([_plain(table.caption), "", *lines, "", _plain(table.note)]), step)

    def report(self, name: str, path: Path, step: int) -> None:
        """TensorBoard keeps no files: a text that says where the report lies."""
        self._writer.add_text(name, f"The report is the file {_plain(str(path.resolve()))}", step)

    def finish(self) -> None:
        """Write what waits."""
        self._writer.flush()


def _plain(text: str) -> str:
    """A text that Markdown shows as it is: names of layers may hold what means something there."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>#|" else " " if letter in "\r\n" else letter for letter in text)
