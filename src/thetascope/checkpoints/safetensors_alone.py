"""Single safetensors files."""

from __future__ import annotations

import re
from pathlib import Path

from thetascope.checkpoints.open_files import check_file
from thetascope.checkpoints.opened import Format, How, Opened, quantised_problem
from thetascope.errors import CheckpointError
from thetascope.recording.safetensors_files import SafetensorsSource

SUFFIX = ".safetensors"
_SHARD = re.compile(r"(.*)-\d{5}-of-(\d{5})(\.\w+)$")


def check_whole(path: Path) -> None:
    """Whether a file is no shard of a state that lies in several.

    Raises:
        CheckpointError: it is one.
    """
    found = _SHARD.match(path.name)
    if found and int(found[2]) > 1:
        index = f"{found[1]}{found[3]}.index.json"
        raise CheckpointError(
            f'"{path}" is one of {int(found[2])} parts of one state. Pass their index, "{path.with_name(index)}", or their folder'
        )


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: with the length of a header that fits into it, and a header in JSON."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8


def _opened(path: Path, _: How) -> Opened:
    check_whole(path)
    check_file(path)
    source = SafetensorsSource(path)
    problem = quantised_problem(source.specs)  # a damaged header shows now too, not in the middle of an examination
    if problem:
        raise CheckpointError(f'"{path}" {problem}')
    return Opened(path, source, "safetensors")


SAFETENSORS = Format("a safetensors file", lambda path: path.suffix == SUFFIX or is_safetensors(path), _opened)
