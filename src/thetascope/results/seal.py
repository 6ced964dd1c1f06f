"""What a stored result carries so that nobody reads a wrong number from it: a check a point, digests of all else.

A checksum of a chunk (zarr's CRC32C) does not see that the whole chunk is another result's. So each stored result has an
identity of its own, and everything in it is bound to that: a point's check mixes the identity, the place, the status and the
values; the other variables and the attributes have digests under it. This guards against accidents, not against forgers.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from thetascope.results.status import named

SEAL = "thetascope_seal"
"""The attribute that holds it."""

CHECK = "check"
"""The variable of checks, after a block's prefix."""

_STEP = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Seal:
    """A stored result's identity, and the digests of what no point's check covers."""

    identity: str = field(default_factory=lambda: uuid.uuid4().hex)
    variables: Mapping[str, str] = field(default_factory=dict)
    derived: Mapping[str, str] = field(default_factory=dict)
    scored: Mapping[str, Sequence[str]] = field(default_factory=dict)
    attrs: str = ""

    def over(self, data: xr.Dataset) -> Seal:
        """The seal of `data` as it is laid out or saved whole."""
        scored = {prefix: scored_names(data, prefix) for prefix in prefixes(data)}
        return replace(self, variables=self._digests(data, uncovered(data)), derived={}, scored=scored, attrs=digest_of_attrs(data.attrs))

    def adding(self, data: xr.Dataset, derived: Iterable[str]) -> Seal:
        """The seal of `data` after the variables `derived`, or attributes, were added."""
        return replace(self, derived={**self.derived, **self._digests(data, derived)}, attrs=digest_of_attrs(data.attrs))

    def broken(self, data: xr.Dataset) -> tuple[list[str], list[str]]:
        """What is not as it was sealed: of the layout, attributes included; and of what is derived."""
        found = ["its attributes"] if digest_of_attrs(data.attrs) != self.attrs else []
        for prefix, names in self.scored.items():
            found += [
                name for name in (*names, named(prefix, "status"), named(prefix, CHECK)) if not _over(data, name, named(prefix, "status"))
            ]
        for name, digest in self.variables.items():
            if name not in data.variables or self._digest(data, name) != digest:
                found.append(name)
        derived = [n for n, digest in self.derived.items() if n not in data.variables or self._digest(data, n) != digest]
        return found, derived

    def point_checks(
        self, prefix: str, cells: NDArray[np.int64], columns: Iterable[NDArray[np.float64]], status: NDArray[np.int8]
    ) -> NDArray[np.uint64]:
        """The checks ``[n]`` of a block's points at the flat indices `cells`; 0 where the status says missing."""
        mixed = _mixed(cells.astype(np.uint64) * np.uint64(_STEP) + np.uint64(_seed(self.identity, prefix)))
        for values in columns:
            mixed = _mixed(mixed ^ np.ascontiguousarray(values, np.float64).view(np.uint64))
        mixed = _mixed(mixed ^ status.astype(np.uint64)) | np.uint64(1)
        return np.where(status == 0, np.uint64(0), mixed)

    def all_checks(self, data: xr.Dataset, prefix: str) -> NDArray[np.uint64]:
        """The checks of a whole block, in the shape of its status."""
        status = data[named(prefix, "status")].values
        columns = [data[name].values.ravel() for name in scored_names(data, prefix)]
        return self.point_checks(prefix, np.arange(status.size), columns, status.ravel()).reshape(status.shape)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def _digests(self, data: xr.Dataset, names: Iterable[str]) -> dict[str, str]:
        return {name: self._digest(data, name) for name in names}

    def _digest(self, data: xr.Dataset, name: str) -> str:
        variable = data.variables[name]
        values = variable.values
        content = json.dumps(values.tolist()).encode() if values.dtype.kind in "OUST" else np.ascontiguousarray(values).tobytes()
        kind = "text" if values.dtype.kind in "OUST" else values.dtype.str
        head = json.dumps([self.identity, name, list(map(str, variable.dims)), list(values.shape), kind, _plain(variable.attrs)])
        return hashlib.sha256(head.encode() + b"\0" + content).hexdigest()[:32]


def _over(data: xr.Dataset, name: str, status: str) -> bool:
    """Whether a variable is there, over the dimensions of the status."""
    return name in data and status in data and (data[name].dims, data[name].shape) == (data[status].dims, data[status].shape)


def prefixes(data: xr.Dataset) -> list[str]:
    """The prefixes of the blocks that are there."""
    return [prefix for prefix in data.attrs.get("units", {}) if named(prefix, "status") in data]


def scored_names(data: xr.Dataset, prefix: str) -> list[str]:
    """A block's variables but for its status."""
    return [named(prefix, name) for name in data.attrs.get("scored", ()) if named(prefix, name) in data]


def uncovered(data: xr.Dataset) -> list[str]:
    """The variables and coordinates that no point's check covers."""
    covered = {name for prefix in prefixes(data) for name in (named(prefix, "status"), named(prefix, CHECK), *scored_names(data, prefix))}
    return [str(name) for name in data.variables if name not in covered]


def digest_of_attrs(attrs: Mapping[str, Any]) -> str:
    """Of all attributes but the seal itself, as they come back from JSON."""
    content = json.dumps({name: value for name, value in _plain(attrs).items() if name != SEAL}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _plain(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back: lists for tuples and arrays, texts for keys; not finite numbers as zarr writes them."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(attrs), default=lambda value: np.asarray(value).tolist()))
    return plain


def _seed(identity: str, prefix: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{identity}\0{prefix}".encode(), digest_size=8).digest())


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each number spread over all 64 bits (the finaliser of splitmix64, Steele, Lea and Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
