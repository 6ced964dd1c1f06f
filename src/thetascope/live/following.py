"""Following a recording: what was added to its log since it was last asked, whatever becomes of the process that writes it."""

from __future__ import annotations

from pathlib import Path

from thetascope.errors import RecordingError
from thetascope.files import is_locked
from thetascope.recording.log import Log, Record, event_of, identity_of
from thetascope.recording.run_files import LOG_FILE, LONGEST_LINE, RUN_FILE, damaged_header, read_header
from thetascope.safe_paths import open_file


class Following:
    """The log of a run, read on from where it was left.

    Attributes:
        path: of the run directory.
        header: what ``run.json`` says.
        log: what was read so far.
        problem: why nothing behind that could be read; empty where it could.

    Raises:
        RecordingError: `path` is no run directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start()

    def _start(self) -> None:
        self.header = read_header(self.path)
        try:
            self._identity = identity_of(self.header)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged_header(self.path, error) from error
        self.log, self.problem, self._place = Log(), "", 0

    @property
    def records(self) -> list[Record]:
        """All records in order."""
        return list(self.log.records.values())

    @property
    def is_recording(self) -> bool:
        """Whether a Recorder is at work in the run directory."""
        return is_locked(self.path)

    def read_on(self) -> bool:
        """Take in what was added. Returns whether that was anything.

        A run that was laid out anew is read from its beginning. What is damaged, or missing for the moment, is a `problem`, and asked for
        again the next time.
        """
        try:
            if self._is_another():
                self._start()
            return self._read_lines()
        except (RecordingError, OSError, ValueError) as error:
            return self._told(f"the recording cannot be read on: {error}")

    def _is_another(self) -> bool:
        """Whether the run directory holds another run than before: each has an identity of its own."""
        return self._has_changed() and identity_of(read_header(self.path)) != self._identity

    def _has_changed(self) -> bool:
        """Whether the header was written since it was read; it is never written again but for another run."""
        said = (self.path / RUN_FILE).stat()
        now, before = (said.st_ino, said.st_mtime_ns), vars(self).get("_written")
        self._written = now
        return before is not None and now != before

    def _read_lines(self) -> bool:
        file, before = self.path / LOG_FILE, self._place
        if not file.exists():
            return False
        with open_file(file, self.path, RecordingError) as lines:
            if lines.seek(0, 2) < self._place:
                raise RecordingError(f'"{file}" is shorter than it was')
            lines.seek(self._place)
            while (line := lines.readline(LONGEST_LINE)).endswith(b"\n"):
                try:
                    self.log.apply(event_of(line[:-1], self._identity, self._place))
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                    return self._told(f'a line of "{file}" is damaged ({error!r:.100}); what follows is not shown') or self._place > before
                self._place += len(line)
        self.problem = ""
        return self._place > before

    def _told(self, problem: str) -> bool:
        changed, self.problem = problem != self.problem, problem
        return changed
