"""Portions of a result that several processes score without knowing of one another, such as the tasks of a job array, and joining them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thetascope.errors import ResultError, UsageError
from thetascope.results.filled import Filled
from thetascope.results.result import Result
from thetascope.results.status import MISSING, named
from thetascope.results.stored import dataset, put
from thetascope.safe_paths import check_below
from thetascope.shown import warn

if TYPE_CHECKING:
    import xarray as xr

FOLDER = ".parts"
"""Beside a result; what it is called is no result's name, so that no report takes a portion for one."""

PART = "part"
"""The attribute that says which portion a result holds: its number and how many there are."""


@dataclass(frozen=True)
class Portion:
    """One of `count` portions of the points of a call, the `number`-th from 1; each a stretch of them in their order."""

    number: int
    count: int

    def __post_init__(self) -> None:
        whole = all(isinstance(given, int) and not isinstance(given, bool) for given in (self.number, self.count))
        if not whole or not 1 <= self.number <= self.count:
            raise UsageError(f"a part is one of so many, such as 2/8: the second of eight. Got {self.number!r}/{self.count!r} instead.")

    @classmethod
    def of(cls, text: str) -> Portion:
        """The portion that a command line names, such as 2/8.

        Raises:
            UsageError: it names none.
        """
        number, slash, count = text.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal()):
            raise UsageError(f'--part: a part is one of so many, such as 2/8: the second of eight. Got "{text}" instead.')
        return cls(int(number), int(count))

    def __str__(self) -> str:
        return f"{self.number} of {self.count}"

    def place(self, path: Path) -> Path:
        """Where it is stored of the result at `path`.

        Raises:
            PlaceError: a link lies on the way.
        """
        place = folder_of(path) / f"{self.number}-of-{self.count}"
        check_below(path.parent, place)
        return place

    def mine(self, size: int) -> NDArray[np.bool_]:
        """Which of so many points are its own, flat."""
        own = np.zeros(size, np.bool_)
        own[(self.number - 1) * size // self.count : self.number * size // self.count] = True
        return own


_asked: ContextVar[Portion | None] = ContextVar("portion", default=None)


def asked() -> Portion | None:
    """The portion that calls score here; None where they score all points."""
    return _asked.get()


@contextmanager
def part(number: int, of: int) -> Iterator[None]:
    """Score a part of the points of each call within it, so that several processes share the work without knowing of one another.

    Each part is stored beside the result's own place. `thetascope merge` joins them once all are there; the call itself then finds all
    points stored, and derives and draws what follows. A call that is not made of points, or estimates some of them, has no parts.

    Args:
        number: which part, from 1.
        of: how many there are.

    Raises:
        UsageError: there is no such part; or, of a call within it, it has no place to be stored (out=), or no parts.

    Example:
        >>> with ts.part(2, of=8):                                                 # doctest: +SKIP
        ...     ts.surface(objective, trajectory, 51, 51, out="run")
    """
    token = _asked.set(Portion(number, of))
    try:
        yield
    finally:
        _asked.reset(token)


class OnlyMine:
    """A store of which a portion is to fill: to whoever fills it, all else is done."""

    def __init__(self, store: Filled, portion: Portion) -> None:
        self._store, self._portion = store, portion
        self.evaluated, self.unit, self.values = store.evaluated, store.unit, store.values
        self.write, self.write_cells, self.write_estimates = store.write, store.write_cells, store.write_estimates

    @property
    def data(self) -> xr.Dataset:
        """What is there."""
        return self._store.data

    def done(self, prefix: str) -> NDArray[np.bool_]:
        """Which points are stored or others', flat."""
        done = self._store.done(prefix)
        return done | ~self._portion.mine(done.size)

    def estimate(self, prefix: str, values: Mapping[str, ArrayLike], attrs: Mapping[str, Any]) -> None:
        """Nothing is estimated of a portion.

        Raises:
            ResultError: always.
        """
        raise ResultError("a part of a grid cannot be estimated from the others, which are scored elsewhere")

    def add(self, variables: Mapping[str, tuple[tuple[str, ...], ArrayLike]], attrs: Mapping[str, Any]) -> None:
        """Add attributes."""
        self._store.add(variables, attrs)


def folder_of(path: Path) -> Path:
    """Where the portions of the result at `path` lie."""
    return path.parent / FOLDER / path.name


def results_in_parts(home: Path) -> list[Path]:
    """The places of the results in ``home/results`` of which there are portions."""
    folder = home / "results" / FOLDER
    return sorted(home / "results" / found.name for found in folder.iterdir() if found.is_dir()) if folder.is_dir() else []


def merge(path: str | os.PathLike[str]) -> Result:
    """Join the parts of a result, which calls within `part` (or ``--part i/n``) scored, and store it at its own place.

    What follows from all points together is not derived yet: the same call without a part does that, and scores none of them again. The
    parts are left where they are.

    Args:
        path: where the result belongs, such as ``runs/mine/results/surface``; a call that has parts says so.

    Returns:
        The joined result, with every point scored.

    Raises:
        ResultError: a part is missing, not finished or of another call, or something else lies at `path`.

    Example:
        >>> ts.merge("runs/mine/results/surface").status_counts()["missing"]       # doctest: +SKIP
        0
    """
    place = Path(path)
    places = _places(place)
    pieces = [_portion(piece, Portion(n, len(places))) for n, piece in enumerate(places, 1)]
    _check_alike(places, pieces)
    whole = pieces[0].copy(deep=True)
    made = [{"engine": piece.attrs["engine"]["name"], "device": piece.attrs["device"]} for piece in pieces]
    whole.attrs = {**{name: value for name, value in pieces[0].attrs.items() if name != PART}, "parts": made}
    for prefix in whole.attrs["units"]:
        for n, piece in enumerate(pieces[1:], 2):
            own = Portion(n, len(pieces)).mine(piece[named(prefix, "status")].size)
            for name in (*whole.attrs["scored"], "status"):
                whole[named(prefix, name)].values.reshape(-1)[own] = piece[named(prefix, name)].values.reshape(-1)[own]
    if not place.exists():
        put(whole, place, replace=False)
    return Result(_same(place, whole), place)


def _check_alike(places: Sequence[Path], pieces: Sequence[xr.Dataset]) -> None:
    """Refuse parts of several calls; parts of one call that several engines computed are a warning."""
    for place, piece in zip(places[1:], pieces[1:], strict=True):
        if piece.attrs["fingerprint"] != pieces[0].attrs["fingerprint"] or piece.sizes != pieces[0].sizes:
            raise ResultError(
                f'"{place}" is a part of another call than "{places[0]}": model, data or settings changed between them. Remove the parts '
                "that are not wanted, and score them again"
            )
    engines = sorted({piece.attrs["engine"]["name"] for piece in pieces})
    if len(engines) > 1:
        warn(f"these parts were computed by several engines ({', '.join(engines)}), whose last bits differ; name one with --engine", 3)


def _same(place: Path, whole: xr.Dataset) -> xr.Dataset:
    """What lies at the place, once it is seen to be what the parts make.

    Raises:
        ResultError: it is something else.
    """
    there = dataset(place)
    if there.attrs.get("fingerprint") != whole.attrs["fingerprint"] or _missing(there, None):
        raise ResultError(f'"{place}" exists already, and is not what these parts make: remove it, or move it away')
    return there


def _places(path: Path) -> list[Path]:
    """Where all portions lie, in their order.

    Raises:
        ResultError: there is none, or some are missing.
    """
    folder = folder_of(path)
    found = sorted(place.name for place in folder.iterdir() if place.is_dir()) if folder.is_dir() else []
    counts = sorted({int(name.rpartition("-of-")[2]) for name in found if name.rpartition("-of-")[2].isdecimal()})
    if not counts:
        raise ResultError(f'there are no parts of "{path}": score some with --part, such as --part 1/8')
    if len(counts) > 1:
        told = " and of ".join(map(str, counts))
        raise ResultError(f'"{folder}" holds parts of {told}; remove those that are not wanted')
    places = [Portion(n, counts[0]).place(path) for n in range(1, counts[0] + 1)]
    missing = [f"{n}/{counts[0]}" for n, place in enumerate(places, 1) if place.name not in found]
    if missing:
        raise ResultError(f'of "{path}" these parts are missing: {_few(missing)}. Score them with --part')
    return places


def _portion(place: Path, portion: Portion) -> xr.Dataset:
    data = dataset(place)
    if data.attrs.get(PART) != [portion.number, portion.count]:
        raise ResultError(f'"{place}" is not part {portion} of a result; remove it')
    left = _missing(data, portion)
    if left:
        raise ResultError(
            f'part {portion} is not finished: {left:,} of its points are not scored ("{place}"). The same command goes on with it'
        )
    return data


def _missing(data: xr.Dataset, portion: Portion | None) -> int:
    """How many of its points are not scored."""
    left = 0
    for prefix in data.attrs["units"]:
        missing = data[named(prefix, "status")].values.ravel() == MISSING
        left += int((missing if portion is None else missing & portion.mine(missing.size)).sum())
    return left


def _few(names: Sequence[str]) -> str:
    return ", ".join(names if len(names) <= 12 else [*names[:12], f"and {len(names) - 12} more"])
