"""The benchmark of a GPU runs as a whole without one, on a tiny scale."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "gpu.py"


@pytest.mark.slow
def test_every_part_runs_on_the_cpu() -> None:
    command = [sys.executable, str(BENCHMARK), "--device", "cpu", "--small"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["contract"]["passed"]
    assert found["bits"]["the same"]
    assert found["resnet"]["whole model"] > 0
    assert found["gpt2"]["layers"] > 0
    assert found["points"]["surface, cells a second"] > 0
