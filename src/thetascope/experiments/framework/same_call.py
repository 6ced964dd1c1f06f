"""Whether a call is the one that a stored result was made by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thetascope.errors import ResultError


def check_same_call(path: Path, stored: Mapping[str, Any], now: Mapping[str, Any], engines: tuple[str, str] = ("", "")) -> None:
    """Whether what lies at `path` was made by this call: its fingerprint, and the engine before and now, where one scores.

    Raises:
        ResultError: it was not; every difference is named.
    """
    different = _differences(stored, now) + _differences({"engine": engines[0]}, {"engine": engines[1]})
    if different:
        told = [one for one in different if "grid." not in one.partition(" ")[0]]  # a digest says little, and follows from the settings
        raise ResultError(
            f'"{path}" holds the result of another call: {"; ".join(told or different)}. Choose another place for this one (out=, --out), '
            "or remove that result"
        )


def _differences(stored: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> list[str]:
    """Every entry that differs, by its dotted name."""
    found = []
    for key in dict.fromkeys([*stored, *now]):
        a, b = stored.get(key), now.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += _differences(a, b, f"{path}{key}.")
        elif a != b:
            found.append(f"{path}{key} was {_short(a)}, now {_short(b)}")
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
