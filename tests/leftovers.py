"""What processes leave half-made when they are killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest import mock

from thetascope.files import made_beside


def dead_process() -> int:
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def private_name(process: int, head: str = "a.bin") -> str:
    """What the private folder is called in which a process of this machine makes a file."""
    with mock.patch("os.getpid", return_value=process), mock.patch("thetascope.files._removed"), made_beside(Path.cwd() / head) as folder:
        folder.rmdir()
    return folder.name


def leave(path: Path) -> Path:
    """Leave a private folder beside `path`, as a killed process does."""
    folder = path.parent / private_name(dead_process(), path.name)
    folder.mkdir()
    (folder / path.name).write_bytes(b"half")
    return folder
