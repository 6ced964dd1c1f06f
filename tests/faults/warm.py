"""Loaded once by what children are forked from: whatever the first examination of a process takes longer for is done then."""

from __future__ import annotations

import tempfile
from pathlib import Path

import thetascope as ts
from tests.faults.examined import examined, record

with tempfile.TemporaryDirectory() as _home:
    record(Path(_home) / "run")
    examined(Path(_home) / "run")
    ts.write_report(Path(_home) / "run")
