"""The folder that the commands are typed in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.project import write_project


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three checkpoints and an objective file."""
    write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
