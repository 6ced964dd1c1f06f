"""JSON that lies beside weights: read only where it is small, and checked to be a mapping."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from thetascope.checkpoints.open_files import check_file
from thetascope.errors import CheckpointError

LARGEST = 2**26
"""So many bytes of JSON are read."""


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file.

    Raises:
        CheckpointError: there is none, or the file is too large to be what it is called.
    """
    size = check_file(path).st_size
    if size > LARGEST:
        raise CheckpointError(f'"{path}" is {size:,} bytes long; at most {LARGEST:,} are read of such a file')
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise CheckpointError(f'"{path}" is damaged ({str(error)[:120]}); restore it from a copy') from error
    if not isinstance(found, dict):
        raise CheckpointError(f'"{path}" holds a {type(found).__name__} where a mapping was expected; restore it from a copy')
    return found
