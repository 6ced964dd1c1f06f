"""Reading a run directory, and appending to its log; `run_files` describes the format."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from thetascope._version import __version__
from thetascope.files import write_json
from thetascope.recording.log import Log, Record
from thetascope.recording.run_files import (
    FORMAT,
    FROZEN_FILE,
    LOG_FILE,
    RUN_FILE,
    STATES_FOLDER,
    damaged_header,
    read_header,
    read_log,
)
from thetascope.recording.safetensors_files import SafetensorsSource
from thetascope.state import ParameterSpace, State, TensorSpec


class RunDirectory:
    """Reading a run directory, and appending to its log."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.space = ParameterSpace.from_json(header["space"])
        self.frozen: bool = header["frozen"]

    @classmethod
    def create(cls, path: Path, space: ParameterSpace, *, frozen: bool) -> RunDirectory:
        """Lay out a new run directory at `path`."""
        (path / STATES_FOLDER).mkdir(parents=True, exist_ok=True)
        header = {"format": FORMAT, "thetascope": __version__, "space": space.to_json(), "frozen": frozen}
        write_json(path / RUN_FILE, header)
        return cls(path, header)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Open what is there.

        Raises:
            RecordingError: it is no run directory, one of a newer format, or its header is damaged.
        """
        header = read_header(path)
        try:
            return cls(path, header)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged_header(path, error) from error

    def read_log(self) -> Log:
        """Replay the log.

        Raises:
            RecordingError: a line other than the last is damaged.
        """
        return read_log(self.path)

    def append(self, event: Mapping[str, Any], *, durable: bool) -> None:
        """Add one event, whole or not at all; `durable` waits until it has reached the disk."""
        line = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        with (self.path / LOG_FILE).open("ab", buffering=0) as log:
            end, written = log.tell(), 0
            try:
                while written < len(line):
                    written += log.write(line[written:])
            except OSError:
                log.truncate(end)  # a full disk took half a line; the next event may not stand behind it
                raise
            if durable:
                os.fsync(log.fileno())

    def mend_log(self) -> None:
        """Cut off a last line that a crash left incomplete, so that the next event starts on a line of its own."""
        file = self.path / LOG_FILE
        if file.exists():
            content = file.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                os.truncate(file, whole)

    def state_path(self, ordinal: int) -> Path:
        """Where the state of a record lies."""
        return self.path / STATES_FOLDER / f"{ordinal:08d}.safetensors"

    def states(self) -> list[State]:
        """All stored states in order, read when asked for."""
        return [self._state(record) for record in self.read_log().stored]

    def _state(self, record: Record) -> State:
        file = self.path / STATES_FOLDER / str(record.file)
        source = SafetensorsSource(file, expected_bytes=record.bytes)
        frozen = SafetensorsSource(self.path / FROZEN_FILE) if self.frozen else None
        return State(
            _Recorded(source, frozen, self.space),
            label=f'step {record.step} ("{file.name}")',
            step=record.step,
            epoch=record.epoch,
            metrics=record.metrics,
            expected_digest=None if self.frozen else record.digest,
        )


class _Recorded:
    """A recorded state's tensors: its own file first, what was frozen for the rest."""

    def __init__(self, own: SafetensorsSource, frozen: SafetensorsSource | None, space: ParameterSpace) -> None:
        self._own, self._frozen, self._space = own, frozen, space

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        return self._space.tensors

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        own = [name for name in names if self._frozen is None or name in self._own.specs]
        found = self._own.read(own)
        rest = [name for name in names if name not in found]
        return found | self._frozen.read(rest) if self._frozen and rest else found

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        is_own = self._frozen is None or name in self._own.specs
        return (self._own if is_own or self._frozen is None else self._frozen).piece(name, start, stop)
