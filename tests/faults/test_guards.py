"""Each test of the suite is seen to fail: the test that is about a guard is run in a process that does without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import thetascope
from tests.faults.guards import GUARDS, WITHOUT

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.faults_long
@pytest.mark.promise("guards")
@pytest.mark.parametrize("name", GUARDS)
def test_without_it_a_test_fails(name: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not faults_long"]
    command.append(f"tests/faults/{GUARDS[name].test}")
    environment = {**os.environ, WITHOUT: name}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1, f"the test passes without {name}:\n{done.stdout[-3000:]}"


def stored_until(place: Path, at: int) -> None:
    """Write one unit, and stop at its n-th file."""
    from tests.faults.steps import MAKING, no_space, watched
    from tests.results.test_store import LAYOUT
    from thetascope.results.store import Store

    store = Store.create(place, LAYOUT)
    try:
        with watched(place, MAKING, at, no_space):
            store.write("", 5, {"loss": [1.5, 2.5], "accuracy": [0.0, 1.0]})
    except OSError:
        pass
    finally:
        store.close()


@pytest.mark.promise("full disk")
def test_status_last(tmp_path: Path) -> None:
    """Wherever the writing of a unit stops, each point is there with all its values or missing, and nothing is damaged."""
    for at in range(1, 10):
        stored_until(tmp_path / str(at), at)
        data = thetascope.load_result(tmp_path / str(at)).data
        there = data["status"].values != 0
        assert (data["loss"].values[there] > 1).all()


@pytest.mark.promise("killed: results")
def test_swept(tmp_path: Path) -> None:
    from tests.results.test_store import LAYOUT
    from thetascope.results.store import Store

    Store.create(tmp_path / "r", LAYOUT).close()
    leftover = tmp_path / "r" / "loss" / "c" / "0" / f"0.{'a' * 32}.partial"
    leftover.write_bytes(b"half")
    Store.open(tmp_path / "r").close()
    assert not leftover.exists()
