"""What the status of a point means, and how many points have each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

MISSING, EVALUATED, NOT_FINITE, ESTIMATED = 0, 1, 2, 3
STATUS_NAMES = {MISSING: "missing", EVALUATED: "evaluated", NOT_FINITE: "not finite", ESTIMATED: "estimated"}


def status_counts(data: xr.Dataset) -> dict[str, int]:
    """How many points are evaluated, not finite, missing and estimated, over all status variables."""
    values = [data[name].values.ravel() for name in data.data_vars if str(name).endswith("status")]
    flat = np.concatenate(values) if values else np.empty(0, np.int8)
    return {label: int((flat == code).sum()) for code, label in STATUS_NAMES.items()}


def named(prefix: str, name: str) -> str:
    """What a variable of a block is called: ``actual_loss``; ``loss_recorded`` where the block's mark begins with an underscore."""
    return name + prefix if prefix.startswith("_") else prefix + name
