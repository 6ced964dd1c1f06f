"""What an experiment finds, as data: a key, its type, its meaning, and what reads it off a result.

Each experiment lists its facts in its ``words.py``. Results, trackers and the docs' tables take them from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

Value = bool | int | float | str
"""Of a finding."""

Read = Callable[["xr.Dataset"], Any]


@dataclass(frozen=True)
class Fact:
    """One of the findings of an experiment.

    Attributes:
        key: in snake_case. One that ends in ``/<layer>``, ``/<metric>`` or the like stands for a key for each of these.
        kind: float, int, bool or str: the type of its values.
        meaning: what it is, with its unit, in one line.
        read: takes a result's dataset, of one objective. It gives the value, or a mapping of names to values where the key is one for
            each of several; None is not known. A number that is not finite is a value, unless `kind` is int.
    """

    key: str
    kind: type[bool] | type[int] | type[float] | type[str]
    meaning: str
    read: Read

    @property
    def stem(self) -> str:
        """The key without what stands for a name."""
        return self.key.partition("/")[0]

    def of(self, data: xr.Dataset) -> dict[str, Value]:
        """What a result says of it, by key; nothing where it is not known."""
        found = self.read(data)
        if "/" not in self.key:
            found = {"": found}
        typed = {name: self._typed(value) for name, value in (found or {}).items()}
        return {f"{self.stem}/{name}" if name else self.stem: value for name, value in typed.items() if value is not None}

    def _typed(self, value: Any) -> Value | None:
        if value is None or (self.kind is str and not str(value)):
            return None
        if self.kind is int and not math.isfinite(value):
            return None
        return self.kind(value)


def attribute(name: str, *inner: str) -> Read:
    """Reads an attribute of a result, or what it holds; None where there is none."""

    def read(data: xr.Dataset) -> Any:
        found: Any = data.attrs.get(name)
        for key in inner:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    return read


def at_place(name: str, place: int) -> Read:
    """Reads the value at a place of a variable over one dimension; None where there is none."""
    return lambda data: data[name].values[place] if name in data and data[name].ndim == 1 and data[name].size else None


def by_name(name: str, over: str = "layer") -> Read:
    """Reads a variable over names, such as those of layers."""
    return lambda data: dict(zip(data[over].values.astype(str).tolist(), data[name].values, strict=True)) if name in data else None


def extreme(values: Any, sign: int = 1) -> int | None:
    """The place of the largest finite value, with ``sign=-1`` of the smallest, in the flat order; None where none is finite."""
    flat = sign * np.asarray(values, np.float64).ravel()
    return int(np.argmax(np.where(np.isfinite(flat), flat, -np.inf))) if np.isfinite(flat).any() else None


def largest(values: Any, sign: int = 1) -> float | None:
    """The largest finite value, with ``sign=-1`` the smallest; None where none is finite."""
    place = extreme(values, sign)
    return None if place is None else float(np.asarray(values, np.float64).ravel()[place])


def name_at(data: xr.Dataset, over: str, place: int | None) -> str | None:
    """A label of a dimension; None without a place."""
    return None if place is None else str(data[over].values[place])


SAMPLES = Fact("samples", int, "how many samples the model was scored on", attribute("samples_scored"))
"""Of all that is scored."""

FINAL_LOSS = Fact("final_loss", float, "the loss of the last state", attribute("reference", "loss"))
"""Where the reference is the last state."""


def facts_table(facts: Sequence[Fact]) -> list[tuple[str, str, str]]:
    """A row a fact: its key, its type, its meaning."""
    return [(fact.key, fact.kind.__name__, fact.meaning) for fact in facts]
