"""A run that is killed at any moment goes on where it stopped, and ends in the same bits."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path

import numpy as np
import pytest

import thetascope as ts
from thetascope.testing.killable import SLEEP, examine

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["thetascope.testing.killable", "thetascope.results.store", "zarr", "xarray"])


def stored_points(out: Path) -> int:
    try:
        counts = ts.load_result(out).status_counts()
    except ts.ThetascopeError:
        return 0  # killed before anything was laid out
    return counts["evaluated"]


def points_left(out: Path) -> int:
    """So many points the next call scores: what is not stored, where the line's ends and the recorded states are one point each."""
    try:
        data = ts.load_result(out).data
    except ts.ThetascopeError:
        return 42  # 41 of the line, whose ends are two of the three states
    left = [f"α {alpha:g}" for alpha, status in zip(data["alpha"].values, data["status"].values, strict=True) if not status]
    ends = {0: "α 0", len(data["actual_status"]) - 1: "α 1"}
    left += [ends.get(int(k), f"state {k}") for k in np.flatnonzero(data["actual_status"].values == 0)]
    return len(set(left))


GUARDS = 2
"""Passes over a few rows that show, once an objective, that states arrive."""


BARRIER = 7
"""Passes that tell the error of the barrier: over both ends and the five highest places, once, when all points are there."""


def barrier_left(out: Path) -> int:
    """So many of these the next call makes."""
    try:
        return 0 if "has_barrier" in ts.load_result(out).data.attrs else BARRIER
    except ts.ThetascopeError:
        return BARRIER


def passes(counts: Path) -> int:
    return counts.stat().st_size if counts.exists() else 0


def assert_same_bits(a: ts.Result, b: ts.Result) -> None:
    assert set(a.data.data_vars) == set(b.data.data_vars)
    for name in a.data.data_vars:
        assert a.data[name].values.tobytes() == b.data[name].values.tobytes(), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ts.Result:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    return examine(folder / "result", folder / "counts")


def run_and_kill(out: Path, counts: Path, after: int, seconds: float) -> None:
    """Kill the run some `seconds` after it has made so many passes: at any moment, however loaded the machine is."""
    process = FORKS.Process(target=examine, args=(out, counts))
    process.start()
    while passes(counts) < after and process.is_alive():
        time.sleep(0.0005)
    time.sleep(seconds)
    process.kill()
    process.join()


@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments(whole: ts.Result, tmp_path: Path, kills: int) -> None:
    random_moments = random.Random(7)
    interrupted = 0
    for kill in range(kills):
        out, counts = tmp_path / f"result{kill}", tmp_path / f"counts{kill}"
        run_and_kill(out, counts, random_moments.randint(1, 40), random_moments.uniform(0.0, 3 * SLEEP))
        before, stored, left = passes(counts), stored_points(out), points_left(out) + barrier_left(out)
        interrupted += 0 < stored < 44
        again = examine(out, counts)
        assert_same_bits(whole, again)
        # what is stored is not scored again: only the rest, and the one check (two passes where nothing was stored)
        assert passes(counts) - before == left + (1 if stored else 2 + GUARDS)
        assert not list(out.rglob("*.partial"))
        assert not list(tmp_path.glob(".*.partial"))
    assert interrupted >= kills // 4, "the moments must fall into the run for this test to mean something"


def test_a_finished_result_is_only_checked(whole: ts.Result, tmp_path: Path) -> None:
    out, counts = tmp_path / "result", tmp_path / "counts"
    examine(out, counts)
    before = passes(counts)
    assert before == 44 + GUARDS + BARRIER  # 41 points of the line, the state between its ends, 2 passes of the check
    assert_same_bits(whole, examine(out, counts))
    assert passes(counts) - before == 1


def test_killed_again_and_again(whole: ts.Result, tmp_path: Path) -> None:
    out, counts = tmp_path / "result", tmp_path / "counts"
    for _ in range(5):
        counts.unlink(missing_ok=True)
        run_and_kill(out, counts, 5, 0.0)
    result = examine(out, counts)
    assert_same_bits(whole, result)
    assert np.isfinite(result.data["loss"]).all()
