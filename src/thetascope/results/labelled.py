"""Results of several objectives, called by labels such as "train" and "test": one dimension more, and attributes by label.

What is scored has a first dimension ``data``; of the attributes, those that differ from label to label are mappings of labels to
values, and ``by_data`` names them. `only` takes one label's part: it is what a call with that objective alone would have given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thetascope.errors import ResultError
from thetascope.results.filled import Filled, values_at
from thetascope.results.status import named

if TYPE_CHECKING:
    import xarray as xr

DATA = "data"
"""The dimension along which the objectives lie."""

BY_DATA = "by_data"
"""The attribute that names those that are mappings of labels to values."""

ALWAYS = ("fingerprint",)
"""By label also where all are the same."""


def labels_of(data: xr.Dataset) -> list[str]:
    """The labels of the objectives; none where there is one objective alone."""
    return labels_in(data.attrs)


def labels_in(attrs: Mapping[Any, Any]) -> list[str]:
    """The same, from a result's attributes."""
    return list(map(str, attrs["fingerprint"])) if BY_DATA in attrs else []


def only(data: xr.Dataset, label: str) -> xr.Dataset:
    """One label's part, as a call with that objective alone would have given it.

    Raises:
        ResultError: there is no such label, or the result is of one objective alone.
    """
    there = labels_of(data)
    if not there:
        raise ResultError(f'this result is of one objective, so there is no "{label}" to choose; leave data= out')
    if label not in there:
        raise ResultError(f'there is no data "{label}"; there are: {", ".join(there)}')
    chosen = data.isel({DATA: data[DATA].values.astype(str).tolist().index(label)}, drop=True)
    chosen.attrs = attrs_of(data.attrs, label)
    return chosen


def attrs_of(attrs: Mapping[Any, Any], label: str) -> dict[Any, Any]:
    """The attributes of one label."""
    by_data = attrs.get(BY_DATA, ())
    found = {name: value[label] if name in by_data else value for name, value in attrs.items() if name not in by_data or label in value}
    found.pop(BY_DATA, None)
    return found


def samples_scored(attrs: Mapping[Any, Any]) -> str:
    """On how many samples a result was scored, in words; nothing where it does not say."""
    scored, labels = attrs.get("samples_scored"), labels_in(attrs)
    if isinstance(scored, Mapping):
        return " and ".join(f"{scored[label]:,} {label} samples" for label in labels if label in scored)
    if not isinstance(scored, int):
        return ""
    return f"{scored:,} samples" if not labels else f"{scored:,} samples each of {' and '.join(labels)}"


def joined_attrs(parts: Mapping[str, Mapping[Any, Any]]) -> dict[Any, Any]:
    """The attributes of all labels: what is the same for all stands once, the rest as a mapping of labels to values."""
    found: dict[Any, Any] = {}
    by_data = []
    for name in dict.fromkeys(name for part in parts.values() for name in part):
        values = {label: part[name] for label, part in parts.items() if name in part}
        if len(values) == len(parts) and len(set(map(_plain, values.values()))) == 1 and name not in ALWAYS:
            found[name] = next(iter(values.values()))
        else:
            found[name] = values
            by_data.append(name)
    return found | {BY_DATA: by_data}


def with_attrs(attrs: Mapping[Any, Any], label: str, new: Mapping[Any, Any]) -> dict[Any, Any]:
    """The attributes of all labels, with further ones of one label."""
    parts = {each: attrs_of(attrs, each) for each in labels_in(attrs)}
    return joined_attrs(parts | {label: {**parts[label], **new}})


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=lambda each: np.asarray(each).tolist())


class Part:
    """What a store holds of one label, filled like a store of its own."""

    def __init__(self, store: Filled, label: str) -> None:
        self._store, self._label = store, label
        self._place = store.data[DATA].values.astype(str).tolist().index(label)

    @property
    def data(self) -> xr.Dataset:
        """As a call with that objective alone would have it."""
        return only(self._store.data, self._label)

    def _span(self, prefix: str) -> slice:
        """Where its points lie among all, flat."""
        size = int(self._store.data[named(prefix, "status")][0].size)
        return slice(self._place * size, (self._place + 1) * size)

    def done(self, prefix: str) -> NDArray[np.bool_]:
        """Which points are stored, flat."""
        return self._store.done(prefix)[self._span(prefix)]

    def evaluated(self, prefix: str) -> NDArray[np.bool_]:
        """Which points were scored, flat."""
        return self._store.evaluated(prefix)[self._span(prefix)]

    def unit(self, prefix: str) -> int:
        """How many points are stored at once."""
        return self._store.unit(prefix)

    def values(self, prefix: str, index: int) -> dict[str, float]:
        """One stored point's values."""
        return self._store.values(prefix, self._span(prefix).start + index)

    def write(self, prefix: str, start: int, values: Mapping[str, Sequence[float]]) -> None:
        """Store one unit from flat index `start` on."""
        self._store.write(prefix, self._span(prefix).start + start, values)

    def write_cells(self, prefix: str, cells: Sequence[int], values: Mapping[str, Sequence[float]]) -> None:
        """Store points that lie anywhere."""
        start = self._span(prefix).start
        self._store.write_cells(prefix, [start + cell for cell in cells], values)

    def estimate(self, prefix: str, values: Mapping[str, ArrayLike], attrs: Mapping[str, Any]) -> None:
        """Fill what is not scored with estimates over the whole dimensions."""
        free = np.flatnonzero(~self.done(prefix))
        self.add({}, attrs)
        self.write_estimates(prefix, free, values_at(values, free))

    def write_estimates(self, prefix: str, cells: NDArray[np.int64], values: Mapping[str, NDArray[Any]]) -> None:
        """Store estimates of these points."""
        self._store.write_estimates(prefix, cells + self._span(prefix).start, values)

    def add(self, variables: Mapping[str, tuple[tuple[str, ...], ArrayLike]], attrs: Mapping[str, Any]) -> None:
        """Add attributes of this label; what is derived of all labels goes to the store as a whole."""
        if variables:
            raise ResultError(f"{', '.join(variables)} must be added for all labels at once")
        if attrs:
            self._store.add({}, with_attrs(self._store.data.attrs, self._label, attrs))
