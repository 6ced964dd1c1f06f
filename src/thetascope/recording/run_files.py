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

import json
from pathlib import Path
from typing import Any

from thetascope._version import __version__
from thetascope.errors import RecordingError
from thetascope.recording.log import Log, event_of

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
        header: dict[str, Any] = json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
        version = header["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise damaged_header(path, error) from error
    if version != FORMAT:
        raise RecordingError(
            f'"{path}" has run format {version}; this thetascope ({__version__}) reads {FORMAT}. Install the version that wrote it'
        )
    return header


def damaged_header(path: Path, error: Exception) -> RecordingError:
    """What is raised where ``run.json`` does not hold what it should."""
    return RecordingError(f'"{path / RUN_FILE}" is damaged ({error!r}); restore it from a copy')


def read_log(path: Path, identity: str | None) -> Log:
    """Replay the log of the run directory `path`, whose header says it has that `identity`.

    Raises:
        RecordingError: a line other than the last is damaged.
    """
    log = Log()
    file = path / LOG_FILE
    if not file.exists():
        return log
    lines = file.read_bytes().split(b"\n")  # what stands after the last newline was cut short by a crash
    place = 0
    for number, line in enumerate(lines[:-1], 1):
        try:
            log.apply(event_of(line, identity, place))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RecordingError(f'line {number} of "{file}" is damaged ({error!r}); restore it from a copy') from error
        place += len(line) + 1
    return log
