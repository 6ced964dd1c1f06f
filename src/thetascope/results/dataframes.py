"""Datasets as one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
