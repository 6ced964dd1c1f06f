"""Numbers and lists in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thetascope.drawing.moments import moment_of
from thetascope.drawing.scales import written


def number(value: Any) -> str:
    """With four digits that count; whole numbers whole, with commas."""
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    return written(float(value)).replace("-", "−")


def percent(share: float) -> str:
    """A share in per cent; small ones with a digit more."""
    return f"{100 * share:.1f} %".replace("-", "−") if abs(share) < 0.1 else f"{100 * share:.0f} %".replace("-", "−")


def listed(parts: Sequence[str], most: int = 8) -> str:
    """`a, b and c`, or the first few and how many more."""
    shown = list(parts[:most])
    if len(parts) > most:
        return f"{', '.join(shown)} and {len(parts) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


PAIRED, UNKNOWN = "± 2 standard errors, paired", "without a known error"


def give_or_take(value: Any, error: Any) -> str:
    """A number with twice its standard error, where that is known."""
    return f"{number(value)} ± {2 * float(error):.2g}" if np.isfinite(error) else number(value)


def what_errors(errors: Any) -> str:
    """What stands behind numbers that `give_or_take` made, in brackets."""
    return PAIRED if np.isfinite(errors).any() else UNKNOWN


def sentence(note: str) -> str:
    """A note with a capital letter and a full stop."""
    return f"{note[:1].upper()}{note[1:]}."


def plural(count: int, thing: str) -> str:
    """`1 state`, `17 states`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def step_of(place: Any) -> str:
    """A recorded state, by its step and its epoch, as far as they are known."""
    return moment_of(place)


def size_of(count: int) -> str:
    """Bytes, in MB or kB."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"
