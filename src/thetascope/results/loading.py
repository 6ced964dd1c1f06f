"""Loading what was stored."""

from __future__ import annotations

from pathlib import Path

from thetascope.files import is_locked
from thetascope.results.result import Result
from thetascope.results.stored import dataset


def load_result(path: str | Path) -> Result:
    """Load a stored result, finished or not. Points that are not what was stored are missing, with a warning.

    Where another process is filling it, what is finished is there, and `Result.in_progress` says so.

    Raises:
        ResultError: no result lies there, it is damaged, or of another format.

    Example:
        >>> path = ts.interpolate(objective, trajectory, alphas=5).save("results/line")
        >>> ts.load_result(path).data["loss"].sizes["alpha"]
        5
    """
    goes_on = is_locked(Path(path))
    result = Result(dataset(Path(path)), Path(path))
    result.in_progress = goes_on
    return result
