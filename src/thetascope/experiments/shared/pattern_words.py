"""What is said of the shares of patterns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def interval_of(attrs: Mapping[Any, Any], name: str) -> str:
    """The 95 % interval of a pattern's share in per cent, in brackets; nothing where it is not known."""
    known = attrs.get("pattern_shares_interval", {}).get(name)
    return "" if known is None else f" ({100 * known[0]:.3g} to {100 * known[1]:.3g} %)"
