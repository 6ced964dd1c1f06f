"""Tables of the report: rows that sort, each owned by a layer or by none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thetascope.experiments.framework.phrases import number

MOST_ROWS = 200
"""More rows are left out; the table says so."""


@dataclass(frozen=True)
class Cell:
    """What is shown, and the number that it sorts by where it is one."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Row:
    """Cells, and the layer that the row is about."""

    cells: tuple[Cell, ...]
    layer: str | None = None


@dataclass(frozen=True)
class Table:
    """A caption, titles of the columns, rows, and a last row that stays last."""

    caption: str
    titles: tuple[str, ...]
    rows: tuple[Row, ...]
    total: tuple[Cell, ...] = ()
    note: str = ""
    numeric: tuple[bool, ...] = field(init=False)

    def __post_init__(self) -> None:
        columns = range(len(self.titles))
        object.__setattr__(self, "numeric", tuple(any(row.cells[i].value is not None for row in self.rows) for i in columns))


def cell(value: Any) -> Cell:
    """A number or a text as a cell; what is not finite is told so and sorts last."""
    if isinstance(value, Cell):
        return value
    if isinstance(value, bool | str) or value is None:
        return Cell("" if value is None else str(value))
    finite = bool(np.isfinite(value))
    return Cell(number(value) if finite else str(float(value)), float(value) if finite else None)


def table(caption: str, titles: Sequence[str], rows: Iterable[Sequence[Any]], layer_at: int | None = None) -> Table:
    """A table of plain values; `layer_at` is the column that names each row's layer."""
    every = [tuple(row) for row in rows]
    made = tuple(Row(tuple(map(cell, row)), None if layer_at is None else str(row[layer_at])) for row in every[:MOST_ROWS])
    left = len(every) - len(made)
    return Table(caption, tuple(titles), made, note=f"{left:,} more rows are left out here." if left else "")
