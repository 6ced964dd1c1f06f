"""The results of a run, also those that cannot be read or are not finished."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from thetascope.errors import ResultError, ThetascopeError
from thetascope.results import Result, load_result
from thetascope.results.showing import showable
from thetascope.results.stored import UNTIL
from thetascope.safe_paths import check_inside
from thetascope.shown import message, shown

PathLike = str | os.PathLike[str]
Given = Result | PathLike


@dataclass(frozen=True)
class Found:
    """A result and what it is called; or, where it cannot be read, why. `older` are those of the same call before its training went on."""

    name: str
    result: Result | None
    problem: str = ""
    older: tuple[Found, ...] = ()

    @property
    def last_step(self) -> int:
        """Of the states that it is about; −1 where none is known."""
        if self.result is None:
            return -1
        try:  # attributes may hold anything
            return max((int(state["step"]) for state in self.result.data.attrs["states"] if state["step"] is not None), default=-1)
        except (LookupError, TypeError, ValueError):
            return -1

    @property
    def missing(self) -> int:
        """How many points are not scored."""
        return 0 if self.result is None else self.result.status_counts()["missing"]


def find_results(run: Path, given: Iterable[Given] | Given | None) -> list[Found]:
    """What lies in RUN/results, by name, then what is named besides.

    Raises:
        ResultError: a path that is named does not exist.
    """
    folder = run / "results"
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")) if folder.is_dir() else []
    found = _newest([_loaded(path, run) for path in inside])
    seen = {path.resolve() for path in inside}
    named = [] if given is None else [given] if isinstance(given, Result | str | os.PathLike) else list(given)
    for extra in named:
        if isinstance(extra, Result):
            if extra.path is None or extra.path.resolve() not in seen:
                found.append(_found(extra.path.name if extra.path else extra.experiment, extra))
            continue
        path = Path(extra)
        if not path.exists():
            raise ResultError(f'"{path}" does not exist; name a stored result, or leave it out: what lies in "{folder}" is taken anyway')
        if path.resolve() not in seen:
            found.append(_loaded(path))
            seen.add(path.resolve())
    return found


def _newest(found: list[Found]) -> list[Found]:
    """Results of one call before and after its training went on are one: the newest, with the older ones."""
    calls: dict[str, list[Found]] = {}
    for one in found:
        calls.setdefault(one.name.partition(UNTIL)[0], []).append(one)
    told = []
    for of_call in calls.values():
        readable = sorted((one for one in of_call if one.result is not None), key=lambda one: one.last_step)
        told += [one for one in of_call if one.result is None]
        told += [replace(readable[-1], older=tuple(readable[:-1]))] if readable else []
    return told


def _loaded(path: Path, home: Path | None = None) -> Found:
    """A stored result; what lies in a run is read where no link leads out of that."""
    try:
        if home is not None:
            check_inside(path, home, ResultError)
        return _found(path.name, load_result(path))
    except Exception as error:  # noqa: BLE001 - one result that cannot be read costs itself, not the page
        return Found(shown(path.name), None, problem_of(error))


def _found(name: str, result: Result) -> Found:
    """A result whose texts can stand in a page."""
    told = Result(showable(result.data), result.path)
    told.in_progress = result.in_progress
    return Found(shown(name), told)


def problem_of(error: Exception) -> str:
    """An error as the page tells it; one that nobody raised on purpose with its kind."""
    return message(str(error) if isinstance(error, ThetascopeError) else f"{type(error).__name__}: {error}")
