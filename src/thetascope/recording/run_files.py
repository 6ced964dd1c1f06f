"""The format of a run directory, and reading its header and its log. No torch.

    RUN/
      run.json             format version, the model's parameter space, what was frozen
      log.jsonl            one event a line, only ever appended to
      frozen.safetensors   what `trainable_only` records once (absent otherwise)
      states/00000000.safetensors   one file a state, named by its ordinal among the records

Events are ``record`` (ordinal, step, epoch, metrics), ``state`` (ordinal, file, bytes, digest; written once the
file is in place), ``amend`` (ordinal, epoch, metrics), ``drop`` (ordinals thinned away) and ``rewind`` (a step: it and what
followed is void). The log is the truth: a file it does not name does not count, and a last line that a crash cut short is
ignored. The header has a random identity and a check; each line of the log has one that binds it to that identity and to its place.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from thetascope._version import __version__
from thetascope.errors import RecordingError
from thetascope.recording.log import Log, event_of
from thetascope.recording.schema import HEADER, checked
from thetascope.safe_paths import checked_size, open_file, read_whole

FORMAT = 1
RUN_FILE, LOG_FILE, FROZEN_FILE, STATES_FOLDER = "run.json", "log.jsonl", "frozen.safetensors", "states"


def read_header(path: Path) -> dict[str, Any]:
    """What ``run.json`` says.

    Raises:
        RecordingError: `path` is no run directory, one of a newer format, or its header is damaged.
    """
    if not path.exists():
        raise RecordingError(f'"{path}" does not exist; a run directory is made by ts.Recorder("{path}", model)')
    if not (path / RUN_FILE).is_file():
        raise RecordingError(
            f'"{path}" is not a run directory: it holds no {RUN_FILE}. Record into it with ts.Recorder, or read '
            "checkpoint files with ts.Trajectory.from_files([...])"
        )
    try:
        header: dict[str, Any] = json.loads(read_whole(path / RUN_FILE, path, LARGEST_HEADER, RecordingError).decode())
        version = header["format"]
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        raise damaged_header(path, error) from error
    if version != FORMAT:
        raise RecordingError(
            f'"{path}" has run format {version!r:.40}; this thetascope ({__version__}) reads {FORMAT}. Install the version that wrote it'
        )
    try:
        checked(header, HEADER)
    except ValueError as error:
        raise damaged_header(path, error) from error
    return header


def damaged_header(path: Path, error: Exception) -> RecordingError:
    """What is raised where ``run.json`` does not hold what it should."""
    return RecordingError(f'"{path / RUN_FILE}" is damaged ({error!r:.200}); restore it from a copy')


LARGEST_HEADER, LONGEST_LINE = 2**26, 2**24
"""So many bytes of a header, and of a line of a log, are read."""


def read_log(path: Path, identity: str | None) -> Log:
    """Replay the log of the run directory `path`, whose header says it has that `identity`.

    Raises:
        RecordingError: a line other than the last is damaged.
    """
    log = Log()
    file, place = path / LOG_FILE, 0
    if not file.exists():
        return log
    with open_file(file, path, RecordingError) as lines:
        checked_size(lines, file, RecordingError)
        for number in itertools.count(1):
            line = lines.readline(LONGEST_LINE)
            if not line.endswith(b"\n") and len(line) < LONGEST_LINE:
                return log  # what stands after the last newline was cut short by a crash
            try:
                if not line.endswith(b"\n"):
                    raise ValueError(f"it is longer than {LONGEST_LINE:,} bytes")
                log.apply(event_of(line[:-1], identity, place))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise RecordingError(f'line {number} of "{file}" is damaged ({error!r:.200}); restore it from a copy') from error
            place += len(line)
    return log
