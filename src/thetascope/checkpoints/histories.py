"""Metrics that a training logged elsewhere, by step: Hugging Face's trainer_state.json, metrics.csv, TensorBoard's event files."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from thetascope.checkpoints.hugging_face import TRAINER_STATE, metrics_at
from thetascope.checkpoints.json_files import read_json
from thetascope.checkpoints.open_files import check_file
from thetascope.errors import CheckpointError, TrajectoryError, missing_library

Metrics = Mapping[str, float]
History = str | os.PathLike[str] | Mapping[int, Metrics] | Iterable[Mapping[str, float]]

CSV, EVENTS = "metrics.csv", "events.out.tfevents"
MOST_ROWS, LONGEST_LINE = 10_000_000, 2**20
_NOT_METRICS = ("step", "epoch", "global_step")


def read_history(history: History) -> tuple[dict[int, dict[str, float]], str]:
    """Metrics by step, and where they come from.

    Raises:
        CheckpointError: a log is missing or damaged.
        TrajectoryError: what is given holds no metrics by step.
    """
    if isinstance(history, str | os.PathLike):
        return _read(Path(history))
    found: dict[int, dict[str, float]] = {}
    rows = ({"step": step, **_mapping(own)} for step, own in history.items()) if isinstance(history, Mapping) else history
    for row in rows:
        _add(found, _mapping(row), strict=True)
    return found, "the history"


def _mapping(row: object) -> Mapping[str, Any]:
    if isinstance(row, Mapping):
        return row
    raise TrajectoryError(f"a history is a file, metrics by step, or rows that have a step. Got {type(row).__name__} instead.")


def _read(path: Path) -> tuple[dict[int, dict[str, float]], str]:
    if path.is_dir():
        names = sorted(path.iterdir())
        last = _last_checkpoint(names)
        path = next((file for file in names if file.name in (TRAINER_STATE, CSV)), last or path)
    if path.is_dir():
        if not any(file.name.startswith(EVENTS) for file in path.iterdir()):
            raise CheckpointError(f'"{path}" holds no {TRAINER_STATE}, no {CSV} and no event files of TensorBoard; name the file')
        return _events(path), f'"{path.name}"'
    check_file(path)
    if path.name.startswith(EVENTS):
        return _events(path), f'"{path.name}"'
    if path.suffix == ".csv":
        return _table(path), f'"{path.name}"'
    if path.suffix == ".json":
        return metrics_at(read_json(path)), f'"{path.name}"'
    raise CheckpointError(f'"{path}" is no log that is known; expected {TRAINER_STATE}, a .csv file with a column step, or event files')


def _last_checkpoint(entries: Iterable[Path]) -> Path | None:
    """The state of a Trainer in the last of an output's checkpoints, which knows all that was logged before."""
    states = [entry / TRAINER_STATE for entry in entries if (entry / TRAINER_STATE).is_file()]
    return max(states, key=lambda state: int(read_json(state).get("global_step") or 0), default=None)


def _table(path: Path) -> dict[int, dict[str, float]]:
    """The rows of a .csv file that has a column ``step``; cells may be empty, and a step may have several rows."""
    found: dict[int, dict[str, float]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if "step" not in (reader.fieldnames or ()):
                raise CheckpointError(f'"{path}" has no column "step"; there are: {", ".join(list(reader.fieldnames or ())[:12])}')
            for row in islice(reader, MOST_ROWS):
                _add(found, row, strict=False)
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise CheckpointError(f'"{path}" is no readable table ({error}); restore it from a copy') from error
    return found


def _events(path: Path) -> dict[int, dict[str, float]]:
    """The scalars in TensorBoard's event files."""
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise missing_library("tensorboard", error) from error
    events = EventAccumulator(str(path), size_guidance={"scalars": 0})
    events.Reload()
    found: dict[int, dict[str, float]] = {}
    for name in events.Tags()["scalars"]:
        for event in events.Scalars(name):
            _add(found, {"step": event.step, name: event.value}, strict=False)
    return found


def _add(found: dict[int, dict[str, float]], row: Mapping[str, Any], *, strict: bool) -> None:
    """Add the numbers of a row to those of its step."""
    step = _number(row.get("step", row.get("global_step")))
    if step is None or not step.is_integer():
        if strict:
            raise TrajectoryError(f"a row of a history has a whole step. Got {row.get('step')!r:.80} instead.")
        return
    numbers = {str(name): _number(value) for name, value in row.items() if name not in _NOT_METRICS}
    found.setdefault(int(step), {}).update({name: value for name, value in numbers.items() if value is not None})


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) or isinstance(value, float) else None
