"""Killed at each step: nothing that was finished is lost, the same call ends in the same bits, nothing is left lying about."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import thetascope as ts
from tests.faults.scenarios import SCENARIOS, run_until
from tests.leftovers import leave
from tests.processes import Child, preload

preload("tests.faults.scenarios", "thetascope.testing.killable", "thetascope.recording.recorder", "zarr", "xarray", "plotly.graph_objects")

PROMISE = {
    "store": "killed: results",
    "save": "killed: replacing",
    "figures and exports": "killed: figures",
    "recorder": "killed: recording",
}
SHORT = {"store": 8, "save": 8, "figures and exports": 2, "recorder": 10}


def _told(said: Any, name: str, folder: Path, at: int) -> None:
    said.send(run_until(name, folder, at))


def interrupted(name: str, folder: Path, at: int) -> int | None:
    """Let a child act in `folder` and die at step `at`; the number of steps where it came to its end."""
    child = Child(_told, name, folder, at)
    try:
        return int(child.hear())
    except EOFError:
        return None
    finally:
        child.end()


def kill_at_each_step(name: str, tmp_path: Path, chosen: Callable[[int], range]) -> int:
    """Kill at the chosen ones of all steps; how many kills there were."""
    scenario: Any = SCENARIOS[name]
    expected = scenario.expected(tmp_path / "expected")
    (tmp_path / "whole").mkdir()
    scenario.prepare(tmp_path / "whole")
    steps = interrupted(name, tmp_path / "whole", 0)
    assert steps is not None
    assert steps > 5
    kills = 0
    for at in chosen(steps):
        folder = tmp_path / str(at)
        folder.mkdir()
        scenario.prepare(folder)
        kills += interrupted(name, folder, at) is None
        scenario.check_interrupted(folder, expected)
        scenario.check_finished(folder, expected)
    return kills


@pytest.mark.promise("killed: replacing")
@pytest.mark.parametrize("machine", ["this", "another start of it"])
def test_a_result_that_was_being_replaced_comes_back(tmp_path: Path, machine: str) -> None:
    """Its process died between the two renames; also where the whole machine did."""
    result: Any = SCENARIOS["save"]
    result.prepare(tmp_path)
    path = tmp_path / "out" / "line"
    whole = ts.load_result(path).data
    left = leave(path)
    path.rename(left / "replaced")
    if machine != "this":
        left = left.rename(re.sub(r"-[0-9a-f]{16}-", f"-{'0' * 16}-", str(left)))
    assert ts.load_result(path).data.identical(whole)
    assert left.exists() == (machine != "this"), "what another start of the machine left may be another machine's"


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.promise(PROMISE[name])) for name in SCENARIOS])
def test_killed_at_some_steps(name: str, tmp_path: Path, counted: Callable[[int], None]) -> None:
    kills = kill_at_each_step(name, tmp_path, lambda steps: range(1, steps + 1, max(1, steps // SHORT[name])))
    assert kills >= SHORT[name] - 1
    counted(kills)


@pytest.mark.faults_long
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.promise(PROMISE[name])) for name in SCENARIOS])
def test_killed_at_every_step(name: str, tmp_path: Path, counted: Callable[[int], None]) -> None:
    counted(kill_at_each_step(name, tmp_path, lambda steps: range(1, steps + 1)))
