"""A dataset whose texts can be drawn, printed and written: names and attributes may come from a stranger's file."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from thetascope.shown import is_fit, shown


def showable(data: xr.Dataset) -> xr.Dataset:
    """The dataset with texts as `thetascope.shown.shown` shows them; itself where all are fit already."""
    names = {name: shown(str(name)) for name in [*data.variables, *data.dims] if not is_fit(str(name))}
    variables = {name: shown_values for name, variable in data.variables.items() if (shown_values := _shown_values(variable)) is not None}
    attrs = _shown_part(data.attrs)
    if not names and not variables and attrs is data.attrs:
        return data
    return data.assign_coords({n: v for n, v in variables.items() if n in data.coords}).assign(
        {n: v for n, v in variables.items() if n not in data.coords}
    ).rename(names).assign_attrs(attrs)  # fmt: skip


def _shown_values(variable: xr.Variable) -> xr.Variable | None:
    """A variable of texts of which some are not fit, with those that are."""
    if variable.dtype.kind not in "OUT" or is_fit("".join(map(str, variable.values.ravel()))):
        return None
    texts = np.array([shown(str(text)) for text in variable.values.ravel()], variable.dtype if variable.dtype.kind == "T" else object)
    return variable.copy(data=texts.reshape(variable.shape))


def _shown_part(part: Any) -> Any:
    """Of attributes, which are JSON; the very same where all of it is fit."""
    if isinstance(part, str):
        return part if is_fit(part) else shown(part)
    if isinstance(part, dict):
        made: Any = {_shown_part(key): _shown_part(value) for key, value in part.items()}
        same = all(key is other and value is made[other] for (key, value), other in zip(part.items(), made, strict=False))
        return part if same and len(made) == len(part) else made
    if isinstance(part, list | tuple):
        made = [_shown_part(one) for one in part]
        return part if all(one is other for one, other in zip(part, made, strict=True)) else made
    return part
