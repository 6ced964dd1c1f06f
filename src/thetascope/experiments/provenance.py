"""Where a stored result comes from, and whether a call is the one that it was made by."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thetascope._version import __version__
from thetascope.errors import ResultError
from thetascope.evaluation.objective import Objective


def provenance_attrs(objective: Objective, fingerprint: Mapping[str, Any], engine: Mapping[str, Any], samples: int) -> dict[str, Any]:
    """What every result says of where it comes from, but for its states."""
    return {
        "fingerprint": dict(fingerprint),
        "specification": objective.specification,
        "versions": {
            "thetascope": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "platform": platform.platform(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": str(objective.device),
        "threads": torch.get_num_threads(),
        "batch_size": objective.batches.batch_size,
        "samples_scored": samples,
        "data_resident": objective.batches.resident,
        "engine": dict(engine),
        "buffers": objective.buffers,
        "floating_buffers": sum(objective.model.space.tensors[name].floating for name in objective.model.space.buffers),
        "calibration_is_own_data": objective.calibrates and objective.calibration_is_own,
    }


def check_same_call(path: Path, stored: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Whether what lies at `path` was made by this call.

    Raises:
        ResultError: it was not; every difference is named.
    """
    different = _differences(stored, now)
    if different:
        told = [one for one in different if not one.startswith("grid.")]  # a digest says little, and follows from the settings
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
