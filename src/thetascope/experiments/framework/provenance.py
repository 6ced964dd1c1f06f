"""Where a stored result comes from, and whether a call is the one that it was made by."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from thetascope._version import __version__
from thetascope.scoring.arithmetic import arithmetic_of
from thetascope.scoring.objective import Objective


def basic_attrs(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """What every result says of where it comes from, but for its states; also one for which nothing was scored."""
    return {
        "fingerprint": dict(fingerprint),
        "versions": {
            "thetascope": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "platform": platform.platform(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "threads": torch.get_num_threads(),
    }


def provenance_attrs(objective: Objective, fingerprint: Mapping[str, Any], engine: Mapping[str, Any], samples: int) -> dict[str, Any]:
    """What a result of something scored says of where it comes from, but for its states."""
    return {
        **basic_attrs(fingerprint),
        "specification": objective.specification,
        "device": str(objective.device),
        "arithmetic": arithmetic_of(objective.device),
        "batch_size": objective.batches.batch_size,
        "samples_scored": samples,
        "sampling": None if objective.chosen is None else objective.chosen.to_json(),
        "data_resident": objective.batches.resident,
        "engine": dict(engine),
        "buffers": objective.buffers,
        "floating_buffers": sum(objective.model.space.tensors[name].floating for name in objective.model.space.buffers),
        "calibration_is_own_data": objective.calibrates and objective.calibration_is_own,
        "calibration": _calibration(objective) if objective.calibrates else None,
        "statistics_left": list(objective.statistics.left),
    }


def _calibration(objective: Objective) -> dict[str, Any]:
    """What running statistics were estimated from."""
    batches, found = objective.calibration, objective.statistics
    survey = batches.survey
    return {"rows": survey.rows, "batches": survey.count, "batch": batches.batch_size, "layers": len(found.norms) + len(found.layers)}
