"""`examine` and `write_report`, killed at random moments and before random steps on files, and called again."""

from __future__ import annotations

import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import thetascope as ts
from tests.faults.examined import act, examined, record
from tests.faults.scenarios import same_bits
from tests.faults.steps import tree
from tests.processes import Child, preload

preload("tests.faults.warm")
MARK = re.compile(rb"thetascope-[0-9a-f]{32}.{4}", re.DOTALL)
"""What a picture says that it is of, with the checksum behind it: when a result was made is a part of that."""
MADE = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d UTC")


def killed(action: str, folder: Path, at: int = 0, seconds: float | None = None) -> tuple[int, float] | None:
    """Let a child act in `folder`; it is killed before step `at`, or after so many seconds; how many steps and seconds its end took."""
    child = Child(act, action, folder, at)
    try:
        assert child.hear() == "begins"
        if seconds is not None:
            time.sleep(seconds)
            child.kill()
        taken, lasted = child.hear()
        return int(taken), float(lasted)
    except EOFError:
        return None
    finally:
        child.end()


@dataclass(frozen=True)
class Whole:
    """A run, and what an undisturbed call made of it."""

    recorded: Path
    folder: Path
    results: dict[str, xr.Dataset]
    points: int
    passes: int
    again: int
    """Passes of the same call made again, when all is finished."""


def passes(folder: Path) -> int:
    file = folder.parent / "passes"
    return file.stat().st_size if file.exists() else 0


def results_in(folder: Path) -> dict[str, xr.Dataset]:
    if not (folder / "results").is_dir():
        return {}
    return {place.name: ts.load_result(place).data for place in sorted((folder / "results").glob("[!.]*"))}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    home = tmp_path_factory.mktemp("whole")
    record(home / "recorded")
    folder = home / "a" / "run"
    shutil.copytree(home / "recorded", folder)
    examined(folder)
    first = passes(folder)
    examined(folder)
    results = results_in(folder)
    points = sum(data[f"{prefix}status"].size for data in results.values() for prefix in data.attrs["units"])
    yield Whole(home / "recorded", folder, results, points, first, passes(folder) - first)
    shutil.rmtree(home)


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: MARK.sub(b"", path.read_bytes()) for path in sorted((folder / "figures").glob("[!.]*.png"))}


def points_stored(folder: Path, whole: Whole) -> dict[str, set[int]]:
    """Which points are stored, by the names of results and statuses; all that is stored is right."""
    stored: dict[str, set[int]] = {}
    for name, data in results_in(folder).items():
        for prefix in data.attrs["units"]:
            status = data[f"{prefix}status"]
            stored[f"{name}/{prefix}"] = set(np.flatnonzero(status.values).tolist())
            for scored in data.attrs["scored"]:
                found = data.get(f"{prefix}{scored}")
                if found is not None and found.dims == status.dims:
                    expected, there = whole.results[name][f"{prefix}{scored}"].values, status.values != 0
                    assert found.values[there].tobytes() == expected[there].tobytes(), f"{name}: {prefix}{scored}"
    return stored


def check_again(folder: Path, whole: Whole, stored: int) -> None:
    """The call made again ends as the undisturbed one did, and what was stored is not scored again."""
    before = passes(folder)
    examined(folder)
    again = results_in(folder)
    assert again.keys() == whole.results.keys()
    for name, data in again.items():
        same_bits(data, whole.results[name])
    assert tree(folder) == tree(whole.folder)
    assert pictures(folder) == pictures(whole.folder)
    assert all(path.read_bytes().endswith(b"</html>") for path in (folder / "figures").glob("*.html"))
    # of the losses of samples, which are not kept, those of the barrier's five rivals and first state are made again
    assert passes(folder) - before <= whole.passes - stored + whole.again + 6, f"{stored} points were stored"


KILLS = 3
"""So many times at most one run is killed, before it is examined to its end."""


@pytest.mark.slow
@pytest.mark.promise("killed: examine")
@pytest.mark.parametrize("count", [4, pytest.param(200, marks=pytest.mark.faults_long)])
def test_examine(whole: Whole, tmp_path: Path, count: int, counted: Callable[[int], None]) -> None:
    draw, kills, runs, partly = random.Random(3), 0, 0, 0
    shutil.copytree(whole.recorded, tmp_path / "timed" / "run")
    told = killed("examine", tmp_path / "timed" / "run")
    assert told is not None
    steps, seconds = told
    while kills < count:
        folder, stored = tmp_path / str(runs) / "run", dict[str, set[int]]()
        shutil.copytree(whole.recorded, folder)
        for _ in range(min(KILLS, count - kills)):
            at_step = draw.random() < 0.5
            done = killed("examine", folder, draw.randint(1, steps) if at_step else 0, None if at_step else draw.uniform(0, seconds))
            now = points_stored(folder, whole)
            assert all(now[name] >= points for name, points in stored.items()), "a finished unit was lost"
            stored, kills = now, kills + (done is None)
            partly += 0 < sum(map(len, now.values())) < whole.points
            if done is not None:
                break
        check_again(folder, whole, sum(map(len, stored.values())))
        shutil.rmtree(folder.parent)
        runs += 1
        assert runs < 2 * count, "the moments must fall into the calls for this test to mean something"
    assert partly >= count // 5
    counted(kills)


@pytest.mark.promise("killed: report")
@pytest.mark.parametrize("count", [4, pytest.param(200, marks=pytest.mark.faults_long)])
def test_write_report(whole: Whole, tmp_path: Path, count: int, counted: Callable[[int], None]) -> None:
    draw, kills, folder = random.Random(4), 0, tmp_path / "run"
    shutil.copytree(whole.folder, folder)
    new = MADE.sub(b"", ts.write_report(folder).read_bytes())
    report, files = folder / "report.html", tree(folder)
    told = killed("report", folder)
    assert told is not None
    steps, seconds = told
    old = b"<html>an older report</html>"
    for number in range(2 * count):
        report.write_bytes(old)
        if number % 2:
            kills += killed("report", folder, at=1 + number // 2 % steps) is None
        else:
            kills += killed("report", folder, seconds=draw.uniform(0, 1.2 * seconds)) is None
        found = report.read_bytes()
        assert found == old or MADE.sub(b"", found) == new
        if count < 10 or number % 5 == 0 or tree(folder) != files:
            assert MADE.sub(b"", ts.write_report(folder).read_bytes()) == new
        assert tree(folder) == files
        if kills == count:
            break
    assert kills == count
    counted(kills)
