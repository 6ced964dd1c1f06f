"""Single safetensors files."""

from __future__ import annotations

from pathlib import Path

from thetascope.checkpoints.open_files import check_file
from thetascope.checkpoints.opened import Format, How, Opened, check_whole, quantised_problem
from thetascope.errors import CheckpointError
from thetascope.recording.safetensors_files import SafetensorsSource

SUFFIX = ".safetensors"


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
