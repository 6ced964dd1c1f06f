"""Datasets as one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

FORMULA = tuple("=+-@\t\r\n＝＋－＠")
"""What a cell begins with that a spreadsheet runs."""

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def to_dataframe(data: xr.Dataset) -> pd.DataFrame:
    """One table with a row per point of each variable: its dimensions, its variables, its status.

    Variables over different dimensions stand below one another, told apart by the column ``dims``.
    """
    import pandas as pd

    groups: dict[tuple[str, ...], list[str]] = {}
    for name, variable in data.data_vars.items():
        groups.setdefault(tuple(map(str, variable.dims)), []).append(str(name))
    tables = []
    for dims, names in groups.items():
        part = data[names]
        table = part.to_dataframe().reset_index() if dims else pd.DataFrame({n: [part[n].item()] for n in names})
        tables.append(table if len(groups) == 1 else table.assign(dims=", ".join(dims)))
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


def unrun(cell: object) -> object:
    """A cell of a table for spreadsheets: a text that would be run as a formula begins with an apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) and not _is_number(cell) else cell


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `unrun` for its texts and the names of its columns; numbers are as they were."""
    texts = {name: table[name].map(unrun) for name in table.columns if table[name].dtype.kind not in "biufc"}
    return table.assign(**texts).rename(columns={name: unrun(name) for name in table.columns})


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
