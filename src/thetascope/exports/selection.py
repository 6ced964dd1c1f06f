"""Choosing one of a result's scored variables."""

from __future__ import annotations

from thetascope.errors import ResultError
from thetascope.results.result import Result


def only_variable(result: Result, variable: str | None) -> Result:
    """The result with only this one of its scored variables and its standard error, all else as it is."""
    if variable is None:
        return result
    check_scored(result, variable)
    data = result.data
    others = [name for name in data.attrs["scored"] if name not in (variable, f"{variable}_standard_error")]
    dropped = [f"{prefix}{name}{end}" for prefix in data.attrs["units"] for name in others for end in ("", "_status")]
    return Result(data.drop_vars(dropped, errors="ignore"), result.path)


def check_scored(result: Result, variable: str) -> None:
    """An error where no scored variable is called so."""
    scored = result.data.attrs.get("scored", ())
    if variable not in scored:
        raise ResultError(f'no scored variable is called "{variable}"; there are: {", ".join(scored) or "none"}')
