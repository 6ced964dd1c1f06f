"""What is known of a run without its model: its layers, and what was recorded when."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from thetascope.errors import RecordingError
from thetascope.files import is_locked
from thetascope.recording.log import Record, identity_of
from thetascope.recording.run_files import RUN_FILE, damaged_header, read_header, read_log

CHECKPOINTS = "CHECKPOINTS"
"""Stands for the files of the states where there is no recording."""


@dataclass(frozen=True)
class LayerRow:
    """A row of the model's table."""

    name: str
    type: str
    shapes: str
    parameters: int


@dataclass(frozen=True)
class Run:
    """A run directory, or a folder that holds only results.

    `problem` says what could not be read of it, `in_progress` whether a Recorder is at work in it.
    """

    path: Path
    layers: tuple[LayerRow, ...] = ()
    parameter_count: int = 0
    buffer_count: int = 0
    ties: tuple[tuple[str, str], ...] = ()
    records: tuple[Record, ...] = ()
    frozen: bool = False
    version: str = ""
    problem: str = ""
    in_progress: bool = False

    @property
    def is_recorded(self) -> bool:
        """Whether there is a recording that could be read."""
        return bool(self.version)

    @property
    def name(self) -> str:
        """What commands call it."""
        return shlex.quote(str(self.path)) if self.is_recorded else CHECKPOINTS

    @property
    def stored(self) -> list[Record]:
        """The records whose states are kept."""
        return [record for record in self.records if record.file is not None]

    @property
    def bytes(self) -> int:
        """Of the kept states' files."""
        return sum(record.bytes for record in self.stored)


def read_run(path: Path) -> Run:
    """Read what a run directory says of itself.

    Raises:
        RecordingError: there is no such folder.
    """
    if not path.is_dir():
        raise RecordingError(f'"{path}" is no folder; expected a run directory, or the folder whose results/ are to be reported')
    if not (path / RUN_FILE).exists():
        told = f"This folder holds no recording ({RUN_FILE}); the report shows only results. In commands {CHECKPOINTS} stands for the "
        return Run(path, problem=f"{told}files of the training's states.")
    try:
        header = read_header(path)
        layers, count, buffers = _model(header)
        records = tuple(read_log(path, _identity(path, header)).records.values())
    except RecordingError as error:
        return Run(path, problem=f"The recording cannot be read: {error}.")
    ties = tuple(sorted(header["space"].get("ties", {}).items()))
    return Run(
        path, layers, count, buffers, ties, records, bool(header.get("frozen")), str(header.get("thetascope")), in_progress=is_locked(path)
    )


def _identity(path: Path, header: Mapping[str, Any]) -> str | None:
    """What the lines of the log are bound to."""
    try:
        return identity_of(header)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged_header(path, error) from error


def _model(header: Mapping[str, Any]) -> tuple[tuple[LayerRow, ...], int, int]:
    """The layers, the number of parameters and of buffers' values."""
    tensors = header["space"]["tensors"]
    layers = tuple(
        LayerRow(
            name,
            kind,
            ", ".join(" × ".join(map(str, tensors[tensor][0])) or "1" for tensor in parameters),
            sum(prod(tensors[tensor][0]) for tensor in parameters),
        )
        for name, kind, parameters, *_ in header["space"]["layers"]
    )
    sizes = {wanted: sum(prod(shape) for shape, _, kind in tensors.values() if kind == wanted) for wanted in ("parameter", "buffer")}
    return layers, sizes["parameter"], sizes["buffer"]
