"""Reading a run directory, and appending to its log; `run_files` describes the format."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from thetascope._version import __version__
from thetascope.errors import CheckpointError, RecordingError, StateError, TrajectoryError
from thetascope.files import sweep_in, write_json
from thetascope.recording.log import Log, Record, check_of, file_name, identity_of, line_of, ordinals_of
from thetascope.recording.run_files import (
    FORMAT,
    FROZEN_FILE,
    LOG_FILE,
    LONGEST_LINE,
    RUN_FILE,
    STATES_FOLDER,
    damaged_header,
    read_header,
    read_log,
)
from thetascope.recording.safetensors_files import SafetensorsSource
from thetascope.safe_paths import open_file, open_to_append
from thetascope.state import ParameterSpace, State, TensorSpec, digest_of_source


class RunDirectory:
    """Reading a run directory, and appending to its log."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.space = ParameterSpace.from_json(header["space"])
        self.frozen: bool = header["frozen"]
        self.frozen_digest: str | None = header.get("frozen_digest")
        self._identity = identity_of(header)
        self._appending = threading.Lock()

    @classmethod
    def create(cls, path: Path, space: ParameterSpace, *, frozen: bool, frozen_digest: str | None = None) -> RunDirectory:
        """Lay out a new run directory at `path`."""
        (path / STATES_FOLDER).mkdir(parents=True, exist_ok=True)
        header = {"format": FORMAT, "thetascope": __version__, "space": space.to_json(), "frozen": frozen}
        header |= {"frozen_digest": frozen_digest, "identity": uuid.uuid4().hex}
        header["check"] = check_of(header)
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
        return read_log(self.path, self._identity)

    def append(self, event: Mapping[str, Any], *, durable: bool) -> None:
        """Add one event, whole or not at all; `durable` waits until it has reached the disk."""
        with self._appending, open_to_append(self.path / LOG_FILE, RecordingError) as log:
            end, written = log.tell(), 0
            line = line_of(event, self._identity, end)
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
            with open_file(file, self.path, RecordingError) as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(0, size - LONGEST_LINE))
                end = log.read()
            cut = len(end) - (end.rfind(b"\n") + 1)
            if 0 < cut < LONGEST_LINE:
                os.truncate(file, size - cut)

    def sweep(self, log: Log) -> None:
        """Remove what a killed recorder left: half-written files, and those of states that are void or were never named.

        Raises:
            RecordingError: more states lie there without a name in the log than one recorder can leave: the log was cut short.
        """
        states = self.path / STATES_FOLDER
        files = [file.name for file in states.iterdir()]
        for folder in (self.path, states):
            sweep_in(folder)
        named = {record.ordinal for record in log.stored}
        unnamed = {ordinal: name for ordinal, name in ordinals_of(files).items() if ordinal not in named}
        lost = sorted(unnamed.keys() - log.void)
        if len(lost) > 1:  # one may have been in flight
            raise RecordingError(
                f'"{states}" holds {len(lost)} states that "{LOG_FILE}" does not name, such as {unnamed[lost[0]]}: the log was cut short. '
                "Restore it from a copy; to go on without these states, move them elsewhere"
            )
        for name in unnamed.values():
            (states / name).unlink()

    def state_path(self, ordinal: int) -> Path:
        """Where the state of a record lies."""
        return self.path / STATES_FOLDER / file_name(ordinal)

    def states(self) -> list[State]:
        """All stored states in order, read when asked for."""
        states = [self.state(record) for record in self.read_log().stored]
        for last in states[-1:]:
            last.ends_run = True
        return states

    @cached_property
    def _once(self) -> _Frozen | None:
        """What was written once for all states."""
        return _Frozen(self.path, self.frozen_digest) if self.frozen else None

    def state(self, record: Record) -> State:
        """The state of a record that has one, read when asked for."""
        frozen = self._once
        file = self.path / STATES_FOLDER / str(record.file)
        source = SafetensorsSource(file, expected_bytes=record.bytes, home=self.path)
        label = f'step {record.step} ("{file.name}")'

        def dropped() -> TrajectoryError | None:
            return self._dropped(record, label)

        return State(
            _Recorded(source, frozen, self.space, dropped),
            label=label,
            step=record.step,
            epoch=record.epoch,
            metrics=record.metrics,
            run=self.path,
            expected_digest=None if frozen else record.digest,
            verify=self._verification(source, record.digest, label, dropped) if frozen else None,
            dropped=dropped,
        )

    def _dropped(self, record: Record, label: str) -> TrajectoryError | None:
        """What is to be said of a state that the log does not hold any more: it went on since it was read."""
        try:
            now = self.read_log().records.get(record.ordinal)
        except RecordingError:
            return None
        if now is not None and (now.file, now.digest) == (record.file, record.digest):
            return None
        return TrajectoryError(
            f'"{self.path}" is being recorded into, and {label} was dropped or recorded anew since it was opened: open it again, '
            f'ts.Trajectory("{self.path}")'
        )

    def _verification(
        self, own: SafetensorsSource, digest: str | None, label: str, dropped: Callable[[], TrajectoryError | None]
    ) -> Callable[[], None]:
        """For a state in two files, which has no digest of its own: whether its own file holds what was written."""

        def verify() -> None:
            with told(dropped):
                found = None if digest is None else digest_of_source(own)
            if found != digest:
                raise dropped() or StateError(_altered(label, own))

        return verify


def _altered(label: str, source: SafetensorsSource) -> str:
    return f'{label} does not hold what was recorded: "{source.path.name}" was altered; restore it'


@contextmanager
def told(dropped: Callable[[], TrajectoryError | None]) -> Iterator[None]:
    """A file that cannot be read is one that was dropped, where the log says so."""
    try:
        yield
    except CheckpointError as error:
        raise dropped() or error from error


class _Frozen:
    """What was written once for all states of a run; checked before any of it is handed out for the first time."""

    def __init__(self, run: Path, digest: str | None) -> None:
        self._source, self._digest, self._verified = SafetensorsSource(run / FROZEN_FILE, home=run), digest, False

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        return self._source.specs

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        return self._checked().read(names)

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        return self._checked().piece(name, start, stop)

    def _checked(self) -> SafetensorsSource:
        if not self._verified:
            if self._digest is not None and digest_of_source(self._source) != self._digest:
                raise StateError(_altered("the run", self._source))
            self._verified = True
        return self._source


class _Recorded:
    """A recorded state's tensors: its own file first, what was frozen for the rest."""

    def __init__(
        self, own: SafetensorsSource, frozen: _Frozen | None, space: ParameterSpace, dropped: Callable[[], TrajectoryError | None]
    ) -> None:
        self._own, self._frozen, self._space, self._dropped = own, frozen, space, dropped

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        return self._space.tensors

    def _home(self, name: str) -> SafetensorsSource | _Frozen:
        return self._own if self._frozen is None or name in self._own.specs else self._frozen

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        with told(self._dropped):
            own = [name for name in names if self._home(name) is self._own]
            rest = [name for name in names if self._home(name) is not self._own]
            found = self._own.read(own)
            return found | self._frozen.read(rest) if self._frozen and rest else found

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        with told(self._dropped):
            return self._home(name).piece(name, start, stop)

    def origin(self, name: str) -> Hashable:
        """As `origin_of`: what was written once is one for all states."""
        with told(self._dropped):
            return id(self._home(name)), name
