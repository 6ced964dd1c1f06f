"""What may stand in a run's header and in its log: each field with what is checked of it. Nobody who reads them checks again."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], Any]
"""Gives a value as its readers take it, or raises ValueError."""

MOST_DIMENSIONS, LARGEST_COUNT = 64, 2**63
_KINDS = ("parameter", "buffer", "unknown")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def checked(said: Any, fields: Mapping[str, Check]) -> dict[str, Any]:
    """A mapping of JSON with its fields checked; what the schema does not name is left out, and None stands for what may be missing.

    Raises:
        ValueError: a field is missing, or holds something else.
    """
    if not isinstance(said, dict):
        raise ValueError(f"{_shown(said)} where a mapping stands")
    found = {}
    for name, check in fields.items():
        if name not in said and check not in _OPTIONAL:
            raise ValueError(f'no "{name}"')
        try:
            found[name] = check(said.get(name))
        except ValueError as error:
            raise ValueError(f'{error}, at "{name}"') from error
    return found


def _shown(value: Any) -> str:
    """The beginning of a value: an int may be too long to be written."""
    if isinstance(value, int) and abs(value) > LARGEST_COUNT:
        return "a huge number"
    return f"{repr(value)[:80]}" if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"


def count(value: Any) -> int:
    """A whole number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < LARGEST_COUNT:
        raise ValueError(f"{_shown(value)} where a count stands")
    return value


def step_or_none(value: Any) -> int:
    """A step; −1 is what lies before all."""
    return -1 if value == -1 and not isinstance(value, bool) else count(value)


def number(value: Any) -> float:
    """A number, also one that is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{_shown(value)} where a number stands")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{_shown(value)} where a number stands") from None


def epoch(value: Any) -> float | None:
    """A finite number, or None."""
    if value is None:
        return None
    if not math.isfinite(number(value)):
        raise ValueError(f"{_shown(value)} where an epoch stands")
    return number(value)


def text(value: Any) -> str:
    """A text that can be written: JSON's escapes can make halves of characters."""
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} where a text stands")
    value.encode()
    return value


def flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{_shown(value)} where true or false stands")
    return value


def digest(value: Any) -> str:
    """A SHA-256 in hexadecimal digits."""
    if not _DIGEST.fullmatch(text(value)):
        raise ValueError(f"{_shown(value)} where a digest stands")
    return str(value)


def items(of: Check) -> Check:
    """A list of such values."""

    def check(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValueError(f"{_shown(value)} where a list stands")
        return [of(each) for each in value]

    return check


def by_name(of: Check) -> Check:
    """A mapping of texts to such values."""

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"{_shown(value)} where a mapping stands")
        return {text(name): of(each) for name, each in value.items()}

    return check


def optional(of: Check) -> Check:
    """Such a value, or None, or nothing."""

    def check(value: Any) -> Any:
        return None if value is None else of(value)

    _OPTIONAL.append(check)
    return check


_OPTIONAL: list[Check] = []


def row(*of: Check) -> Check:
    """A list of just these values."""

    def check(value: Any) -> list[Any]:
        if not isinstance(value, list) or len(value) != len(of):
            raise ValueError(f"{_shown(value)} where {len(of)} values stand")
        return [one(each) for one, each in zip(of, value, strict=True)]

    return check


def shape(value: Any) -> list[int]:
    """Sizes of a tensor, whose values can be counted."""
    found: list[int] = items(count)(value)
    if len(found) > MOST_DIMENSIONS or math.prod(found) >= LARGEST_COUNT:
        raise ValueError("a shape of no tensor")
    return found


def kind(value: Any) -> str:
    """What a tensor is of its model."""
    if value not in _KINDS:
        raise ValueError(f"{_shown(value)} where the kind of a tensor stands")
    return str(value)


def space(value: Any) -> dict[str, Any]:
    """A model's parameter space; layers name tensors that are there."""
    found = checked(value, SPACE)
    for _, _, parameters, buffers, _ in found["layers"]:
        unknown = [name for name in (*parameters, *buffers) if name not in found["tensors"]]
        if unknown:
            raise ValueError(f"a layer of {_shown(unknown[0])}, which is no tensor")
    return found


SPACE: Mapping[str, Check] = {
    "tensors": by_name(row(shape, text, kind)),
    "ties": by_name(text),
    "layers": items(row(text, text, items(text), items(text), optional(flag))),
    "repeated": optional(items(text)),
}
HEADER: Mapping[str, Check] = {
    "format": count,
    "thetascope": optional(text),
    "space": space,
    "frozen": flag,
    "frozen_digest": optional(digest),
    "identity": optional(text),
    "check": optional(text),
}
EVENTS: Mapping[str, Mapping[str, Check]] = {
    "record": {"ordinal": count, "step": count, "epoch": epoch, "metrics": by_name(number)},
    "amend": {"ordinal": count, "epoch": epoch, "metrics": by_name(number)},
    "state": {"ordinal": count, "file": text, "bytes": count, "digest": digest},
    "drop": {"ordinals": items(count)},
    "rewind": {"step": step_or_none},
}
