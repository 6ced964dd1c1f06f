"""Choosing one of a result's scored variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thetascope.errors import ResultError
from thetascope.results.status import named

if TYPE_CHECKING:
    import xarray as xr


def only_variable(data: xr.Dataset, variable: str | None) -> xr.Dataset:
    """The data with only this one of the scored variables and its standard error, all else as it is."""
    if variable is None:
        return data
    check_scored(data, variable)
    others = [name for name in data.attrs["scored"] if name not in (variable, f"{variable}_standard_error")]
    dropped = [named(prefix, name + end) for prefix in data.attrs["units"] for name in others for end in ("", "_status")]
    return data.drop_vars(dropped, errors="ignore")


def check_scored(data: xr.Dataset, variable: str) -> None:
    """An error where no scored variable is called so."""
    scored = data.attrs.get("scored", ())
    if variable not in scored:
        raise ResultError(f'no scored variable is called "{variable}"; there are: {", ".join(scored) or "none"}')
