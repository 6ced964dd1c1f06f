"""What is said of the shares of patterns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from thetascope.experiments.framework.facts import Fact, attribute

if TYPE_CHECKING:
    import xarray as xr


def interval_of(attrs: Mapping[Any, Any], name: str) -> str:
    """The 95 % interval of a pattern's share in per cent, in brackets; nothing where it is not known."""
    known = attrs.get("pattern_shares_interval", {}).get(name)
    return "" if known is None else f" ({100 * known[0]:.3g} to {100 * known[1]:.3g} %)"


def _most_frequent(data: xr.Dataset) -> str | None:
    shares = data.attrs.get("pattern_shares") or {}
    return max(shares, key=lambda name: shares[name], default=None)


PATTERN_FACTS = (
    Fact("most_frequent_pattern", str, "the pattern that most parameters' two paths make", _most_frequent),
    Fact("pattern_share/<pattern>", float, "the share of the parameters whose paths make the pattern, 0 to 1", attribute("pattern_shares")),
)
"""Of all that puts pairs of paths under patterns."""
