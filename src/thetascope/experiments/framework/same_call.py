"""Whether a call is the one that a stored result was made by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thetascope.errors import ResultError

if TYPE_CHECKING:
    from thetascope.state import State

FOLLOWS = {"states", "settings", "grid", "averages"}
"""Entries of a fingerprint that follow from the states and the call's options."""


def check_same_call(path: Path, stored: Mapping[str, Any], now: Mapping[str, Any], engines: tuple[str, str] = ("", "")) -> None:
    """Whether what lies at `path` was made by this call: its fingerprint, and the engine before and now, where one scores.

    Raises:
        ResultError: it was not; every difference is named.
    """
    every = _differences({**stored, "engine": engines[0]}, {**now, "engine": engines[1]})
    different = [f"{name} was {_short(a)}, now {_short(b)}" for name, a, b in every]
    if different:
        told = [one for one in different if "grid." not in one.partition(" ")[0]]  # a digest says little, and follows from the settings
        raise ResultError(
            f'"{path}" holds the result of another call: {"; ".join(told or different)}. Choose another place for this one (out=, --out), '
            "or remove that result (--fresh does)"
        )


def grown_since(
    stored: Mapping[Any, Any], now: Mapping[str, Any], key: str, options: Mapping[str, Any], states: Iterable[State]
) -> int | None:
    """The last step of a training that has gone on since this very call was stored; None where something else is another.

    Args:
        stored: the stored result's attributes.
        now: the call's fingerprint.
        key: of the call.
        options: of the call, as they are stored.
        states: of the call.
    """
    if stored.get("key") != key or stored.get("options") != options:
        return None
    if any(FOLLOWS.isdisjoint(name.split(".")) for name, _, _ in _differences(stored["fingerprint"], now)):
        return None
    # directions are states too, of no step
    before = {state["digest"]: state["step"] for state in stored.get("states") or [] if state.get("step") is not None}
    after = {state.digest(): state.step for state in states if state.step is not None}
    if not before or not after or (len(before) > 1 and before.keys().isdisjoint(after)):
        return None
    last = max(after.values())
    return int(last) if last > max(before.values()) else None


def _differences(stored: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every entry that differs: its dotted name, and both values."""
    for key in dict.fromkeys([*stored, *now]):
        a, b = stored.get(key), now.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from _differences(a, b, f"{path}{key}.")
        elif a != b:
            yield f"{path}{key}", a, b


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
