"""The folders that modules are found in, for a command: nothing of a folder that is examined is ever imported by its place.

Python puts the working folder first where a command is started as ``python -m``, and it may be a stranger's run. This module is
loaded before all that is found on the path, so it imports nothing that is.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

RUN_FILE = "run.json"
"""What makes a folder a run directory."""

_examined: list[str] = []
"""The folders that this command looks at."""


def run_around(folder: str) -> str | None:
    """The run directory that a folder is or lies in, as far as that is seen from its path."""
    place = os.path.realpath(folder)
    while True:
        if os.path.lexists(os.path.join(place, RUN_FILE)):
            return place
        above = os.path.dirname(place)
        if above == place:
            return None
        place = above


def leave_runs_out() -> None:
    """Take the working folder off the path where it lies in a run directory, by whatever name it stands there."""
    try:
        here = os.getcwd()
    except FileNotFoundError:  # it was removed
        here = ""
    if here and run_around(here) is None:
        return
    _take_off(here)
    if here and os.path.lexists("matplotlibrc"):  # which matplotlib would read when it is imported, and evaluate in part
        os.chdir(os.sep)
        try:
            import matplotlib as _  # noqa: F401
        finally:
            os.chdir(here)


def leave_out(examined: Iterable[str | os.PathLike[str]]) -> None:
    """Take folders that are examined off the path, and keep them off."""
    _examined[:] = [os.path.realpath(place) for place in examined if os.path.isdir(place)]
    for place in list(sys.path):
        if _why_not(place or os.curdir):
            _take_off(os.path.realpath(place or os.curdir))


def find_in(folder: str | os.PathLike[str]) -> str:
    """Let modules be found in a folder too, after all other places: none of the tool's own can be put in the place of another.

    Returns:
        Why they are not: the folder is examined, or lies in what is. Else nothing.
    """
    place = os.path.realpath(folder)
    why = _why_not(place)
    if not why and place not in map(os.path.realpath, sys.path):
        sys.path.append(place)
    return why


def _why_not(place: str) -> str:
    if (run := run_around(place)) is not None:
        return f'it lies in the run directory "{run}"'
    inside = [one for one in _examined if os.path.join(os.path.realpath(place), "").startswith(os.path.join(one, ""))]
    return f'it lies in "{inside[0]}", which is examined' if inside else ""


def _take_off(folder: str) -> None:
    sys.path[:] = [place for place in sys.path if place not in ("", ".") and os.path.realpath(place) != folder]
