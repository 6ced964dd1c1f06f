"""The format of a run directory.

    RUN/
      run.json             format version, the model's parameter space, what was frozen
      log.jsonl            one event a line, only ever appended to
      frozen.safetensors   what `trainable_only` records once (absent otherwise)
      states/00000000.safetensors   one file a state, named by its ordinal among the records

Events are ``record`` (ordinal, step, epoch, metrics), ``state`` (ordinal, file, bytes, digest; written once the
file is in place), ``drop`` (ordinals thinned away) and ``rewind`` (a step: it and what followed is void). The
log is the truth: a file it does not name does not count, and a last line that a crash cut short is ignored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from thetascope._version import __version__
from thetascope.errors import RecordingError
from thetascope.files import write_json
from thetascope.recording.safetensors_files import SafetensorsSource
from thetascope.state import ParameterSpace, State, TensorSpec

FORMAT = 1
RUN_FILE, LOG_FILE, FROZEN_FILE, STATES_FOLDER = "run.json", "log.jsonl", "frozen.safetensors", "states"


@dataclass(slots=True)
class Record:
    """One call of `record`: its metrics, and its state's file where that was written and is still kept."""

    ordinal: int
    step: int
    epoch: float | None
    metrics: dict[str, float]
    file: str | None = None
    bytes: int = 0
    digest: str | None = None


@dataclass
class Log:
    """What the events add up to: the records in order, void ones left out."""

    records: dict[int, Record] = field(default_factory=dict)
    next_ordinal: int = 0

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take one event into account."""
        match event["event"]:
            case "record":
                ordinal = event["ordinal"]
                self.records[ordinal] = Record(ordinal, event["step"], event["epoch"], dict(event["metrics"]))
                self.next_ordinal = ordinal + 1
            case "state" if event["ordinal"] in self.records:
                record = self.records[event["ordinal"]]
                record.file, record.bytes, record.digest = event["file"], event["bytes"], event["digest"]
            case "drop":
                for ordinal in event["ordinals"]:
                    self.records[ordinal].file = None
            case "rewind":
                kept = {o: r for o, r in self.records.items() if r.step < event["step"]}
                self.records = kept
                self.next_ordinal = max(kept, default=-1) + 1

    @property
    def last_step(self) -> int:
        """The newest record's step; -1 where there is none."""
        return max((record.step for record in self.records.values()), default=-1)

    @property
    def stored(self) -> list[Record]:
        """The records whose state lies on disk, in order."""
        return [record for record in self.records.values() if record.file is not None]


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
        if not path.exists():
            raise RecordingError(f'"{path}" does not exist; a run directory is made by ts.Recorder("{path}", model)')
        if not (path / RUN_FILE).is_file():
            raise RecordingError(
                f'"{path}" is not a run directory: it holds no {RUN_FILE}. Record into it with ts.Recorder, or read '
                "checkpoint files with ts.Trajectory.from_files([...])"
            )
        try:
            header = json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
            version = header["format"]
            if version != FORMAT:
                raise RecordingError(
                    f'"{path}" has run format {version}; this thetascope ({__version__}) reads {FORMAT}. Install the version that wrote it'
                )
            return cls(path, header)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordingError(f'"{path / RUN_FILE}" is damaged ({error!r}); restore it from a copy') from error

    def read_log(self) -> Log:
        """Replay the log.

        Raises:
            RecordingError: a line other than the last is damaged.
        """
        log = Log()
        file = self.path / LOG_FILE
        if not file.exists():
            return log
        lines = file.read_bytes().split(b"\n")  # what stands after the last newline was cut short by a crash
        for number, line in enumerate(lines[:-1], 1):
            try:
                log.apply(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise RecordingError(f'line {number} of "{file}" is damaged ({error!r}); restore it from a copy') from error
        return log

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
