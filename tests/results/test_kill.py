"""A run that is killed at any moment goes on where it stopped, and ends in the same bits."""

from __future__ import annotations

import random
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

import thetascope as ts
from tests.processes import SECONDS, Child, preload
from thetascope.experiments.shared.barriers import barrier_of
from thetascope.testing.killable import SLEEP, examine

preload("thetascope.testing.killable", "thetascope.results.store", "zarr", "xarray")


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


GUARDS = 7
"""Passes over a few rows that show, once an objective, that states arrive and values are those of samples."""


def barrier_left(out: Path, whole: ts.Result) -> int:
    """So many passes the next call makes for the error of the barrier, over the five highest places and the first state: of what was stored
    before, the losses of samples are not kept."""
    try:
        data = ts.load_result(out).data
    except ts.ThetascopeError:
        return 0
    if "has_barrier" in data.attrs:
        return 0
    ends = whole.data["actual_loss"].values[[0, -1]].tolist()
    found = barrier_of(whole.data["alpha"].values, whole.data["loss"].values, *ends)
    stored, first = data["status"].values > 0, data["actual_status"].values[0] > 0
    return int(stored[list(found.rivals)].sum()) + bool(stored[0] and first)


def passes(counts: Path) -> int:
    return counts.stat().st_size if counts.exists() else 0


def assert_same_bits(a: ts.Result, b: ts.Result) -> None:
    assert set(a.data.data_vars) == set(b.data.data_vars)
    for name in a.data.data_vars:
        assert a.data[name].values.tobytes() == b.data[name].values.tobytes(), name


def examine_unheard(_: Connection, out: Path, counts: Path) -> None:
    examine(out, counts)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ts.Result:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    return examine(folder / "result", folder / "counts")


def run_and_kill(out: Path, counts: Path, after: int, seconds: float) -> None:
    """Kill the run some `seconds` after it has made so many passes: at any moment, however loaded the machine is."""
    child, until = Child(examine_unheard, out, counts), time.monotonic() + SECONDS
    while passes(counts) < after and child.works:
        assert time.monotonic() < until, "it hangs"
        time.sleep(0.0005)
    time.sleep(seconds)
    child.kill()


@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments(whole: ts.Result, tmp_path: Path, kills: int) -> None:
    random_moments = random.Random(7)
    interrupted = 0
    for kill in range(kills):
        out, counts = tmp_path / f"result{kill}", tmp_path / f"counts{kill}"
        run_and_kill(out, counts, random_moments.randint(1, 40), random_moments.uniform(0.0, 3 * SLEEP))
        before, stored, left = passes(counts), stored_points(out), points_left(out) + barrier_left(out, whole)
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
    assert before == 44 + GUARDS  # 41 points of the line, the state between its ends, 2 passes of the check
    assert_same_bits(whole, examine(out, counts))
    assert passes(counts) - before == 1


@pytest.mark.slow
def test_killed_again_and_again(whole: ts.Result, tmp_path: Path) -> None:
    out, counts = tmp_path / "result", tmp_path / "counts"
    for _ in range(5):
        counts.unlink(missing_ok=True)
        run_and_kill(out, counts, 5, 0.0)
    result = examine(out, counts)
    assert_same_bits(whole, result)
    assert np.isfinite(result.data["loss"]).all()
