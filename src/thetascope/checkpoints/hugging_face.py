"""Folders that Hugging Face's libraries write: one checkpoint, with its weights whole or in shards, and what its Trainer knew."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thetascope.checkpoints.distributed import DISTRIBUTED
from thetascope.checkpoints.json_files import read_json
from thetascope.checkpoints.opened import Format, How, Moment, Opened, check_inside
from thetascope.checkpoints.pickled import PICKLED
from thetascope.checkpoints.safetensors_alone import SAFETENSORS
from thetascope.checkpoints.shards import SHARDS

WEIGHTS: Mapping[str, Format] = {
    "model.safetensors": SAFETENSORS,
    "model.safetensors.index.json": SHARDS,
    "pytorch_model.bin": PICKLED,
    "pytorch_model.bin.index.json": SHARDS,
    "pytorch_model_fsdp_0": DISTRIBUTED,
}
"""Where the weights lie; the first of these that is there."""
TRAINER_STATE = "trainer_state.json"
_TIMES = ("step", "epoch", "total_flos")


def weights_in(folder: Path) -> Path | None:
    """The weights of a folder that holds one checkpoint."""
    return next((folder / name for name, kind in WEIGHTS.items() if kind.recognises(folder / name) and (folder / name).exists()), None)


def trainer_state(folder: Path) -> tuple[Moment, dict[str, float]]:
    """When a checkpoint was, and what was logged at its step, as the Trainer's state says that lies beside it."""
    path = folder / TRAINER_STATE
    if not path.is_file():
        return Moment(), {}
    check_inside(folder, path)
    told = read_json(path)
    step, epoch = told.get("global_step"), told.get("epoch")
    whole = step if isinstance(step, int) and _is_number(step) else None
    moment = Moment(whole, float(epoch) if isinstance(epoch, int | float) and _is_number(epoch) else None)
    return moment, metrics_at(told).get(moment.step or 0, {})


def metrics_at(told: Mapping[str, Any]) -> dict[int, dict[str, float]]:
    """What a Trainer's state says was logged, by step."""
    found: dict[int, dict[str, float]] = {}
    history = told.get("log_history")
    for entry in history if isinstance(history, list) else ():
        step = entry.get("step") if isinstance(entry, dict) else None
        if _is_number(step) and isinstance(step, int):
            numbers = {str(name): float(value) for name, value in entry.items() if name not in _TIMES and _is_number(value)}
            found.setdefault(step, {}).update(numbers)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**62 and math.isfinite(value)


def _opened(folder: Path, how: How) -> Opened:
    weights = weights_in(folder)
    assert weights is not None
    check_inside(folder, weights)
    found = WEIGHTS[weights.name].open(weights, how)
    moment, metrics = trainer_state(folder)
    return Opened(folder, found.source, found.kind, found.files, moment, metrics)


HUGGING_FACE = Format("a checkpoint folder of Hugging Face", lambda path: path.is_dir() and weights_in(path) is not None, _opened)
