"""What is interrupted: each scenario does some work in a folder, can do it again, and knows what must hold in between and after."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import thetascope as ts
from tests.faults.steps import tree
from tests.recording.tiny import assert_same, fill, filled, values
from thetascope.experiments.framework.pictures import save_figure
from thetascope.recording.run_directory import RunDirectory
from thetascope.results.status import MISSING
from thetascope.results.stored import FORMAT
from thetascope.testing import killable
from thetascope.testing.models import case

ALPHAS, UNIT = 6, 2


@contextmanager
def small_units() -> Iterator[None]:
    """Two points a unit, and no waiting, so that the steps are the same each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("thetascope.experiments.framework.points.unit_size", lambda *_, **__: UNIT)
        patch.setattr(killable, "SLEEP", 0.0)
        yield


def same_bits(found: xr.Dataset, expected: xr.Dataset) -> None:
    """Every variable and coordinate, bit for bit."""
    assert set(found.variables) == set(expected.variables)
    for name in expected.variables:
        here, there = found[name].values, expected[name].values
        assert here.dtype == there.dtype, name
        assert here.tobytes() == there.tobytes() if here.dtype.kind not in "OT" else here.tolist() == there.tolist(), name


def no_wrong_number(found: xr.Dataset, expected: xr.Dataset) -> None:
    """Each point is as it should be or missing, all else as it should be."""
    for name, variable in expected.variables.items():
        if name not in found:
            assert str(name) not in expected.attrs["constants"], name
            continue
        prefix = next((p for p in expected.attrs["units"] if str(name).removeprefix(p) in (*expected.attrs["scored"], "status")), None)
        if prefix is None:
            assert np.array_equal(found[name].values, variable.values, equal_nan=variable.dtype.kind == "f"), name
            continue
        there = found[f"{prefix}status"].values != MISSING
        assert found[name].values[there].tobytes() == variable.values[there].tobytes(), name
        if not str(name).endswith("status"):
            assert np.isnan(found[name].values[~there]).all(), name


class Examining:
    """An experiment that is stored unit by unit."""

    name = "store"

    def prepare(self, folder: Path) -> None:
        (folder / "out").mkdir()

    def act(self, folder: Path) -> ts.Result:
        with small_units():
            return killable.examine(folder / "out" / "line", folder / "passes", ALPHAS)

    def passes(self, folder: Path) -> int:
        return (folder / "passes").stat().st_size if (folder / "passes").exists() else 0

    def expected(self, folder: Path) -> tuple[xr.Dataset, set[str], int]:
        """The result of an uninterrupted run, its files, its passes over the data."""
        folder.mkdir()
        self.prepare(folder)
        data = self.act(folder).data.copy(deep=True)
        data.attrs["constants"] = [str(n) for n in data.variables if not str(n).endswith(("loss", "accuracy", "status"))]
        return data, tree(folder / "out"), self.passes(folder)

    def check_interrupted(self, folder: Path, expected: tuple[xr.Dataset, set[str], int]) -> None:
        if (folder / "out" / "line").exists():
            no_wrong_number(ts.load_result(folder / "out" / "line").data, expected[0])

    def check_finished(self, folder: Path, expected: tuple[xr.Dataset, set[str], int]) -> None:
        before, again = self.passes(folder), self.act(folder)
        data, files, whole = expected
        same_bits(again.data, data)
        same_bits(ts.load_result(folder / "out" / "line").data, data)
        assert tree(folder / "out") == files
        # again: at most the unit in flight, seven passes of the guards, two that show whether scoring is deterministic and one of the state
        # that points are compared with; and of the barrier's error the five rivals and the first state, whose losses were not kept
        most = whole + UNIT + 10 + 6
        assert self.passes(folder) <= most, f"{before} passes before, {self.passes(folder)} in all, {whole} uninterrupted"


class Saving:
    """A result that is replaced by another."""

    name = "save"

    def prepare(self, folder: Path) -> None:
        (folder / "out").mkdir()
        _made(1.0).save(folder / "out" / "line")

    def act(self, folder: Path) -> None:
        _made(2.0).save(folder / "out" / "line")

    def expected(self, folder: Path) -> set[str]:
        folder.mkdir()
        self.prepare(folder)
        self.act(folder)
        return tree(folder / "out")

    def check_interrupted(self, folder: Path, expected: set[str]) -> None:
        found = ts.load_result(folder / "out" / "line").data
        same_bits(found, _made(float(found["loss"][0])).data)
        assert tree(folder / "out") == expected, "reading tidies up"

    def check_finished(self, folder: Path, expected: set[str]) -> None:
        self.act(folder)
        same_bits(ts.load_result(folder / "out" / "line").data, _made(2.0).data)
        assert tree(folder / "out") == expected


class Drawing:
    """A picture, a page and a table that are replaced."""

    name = "figures and exports"
    ENDS = {"line.png": b"IEND\xaeB`\x82", "line.html": b"</html>", "line.csv": b"\n"}  # noqa: RUF012

    def prepare(self, folder: Path) -> None:
        (folder / "out").mkdir()
        for name in self.ENDS:
            (folder / "out" / name).write_bytes(b"old")

    def act(self, folder: Path) -> None:
        linear = case("linear")
        objective = ts.Objective(linear.model(), linear.data())
        result = ts.interpolate(objective, ts.Trajectory.from_states(linear.states(3)), alphas=4, progress=False)
        save_figure(result.data, folder / "out" / "line.png")
        save_figure(result.data, folder / "out" / "line.html")
        result.export(folder / "out" / "line.csv")

    def expected(self, folder: Path) -> None:
        return None

    def check_interrupted(self, folder: Path, expected: None) -> None:
        for name, end in self.ENDS.items():
            content = (folder / "out" / name).read_bytes()
            assert content == b"old" or (len(content) > 50 and content.endswith(end)), name

    def check_finished(self, folder: Path, expected: None) -> None:
        self.act(folder)
        self.check_interrupted(folder, None)
        assert tree(folder / "out") == set(self.ENDS)


class Recording:
    """A training that is recorded: with thinning, going back, and metrics for the initial state."""

    name = "recorder"

    def prepare(self, folder: Path) -> None:
        (folder / "out").mkdir()

    def act(self, folder: Path) -> None:
        model = filled(0)
        with warnings.catch_warnings(), ts.Recorder(folder / "out" / "run", model, max_states=4) as recorder:
            warnings.simplefilter("ignore", UserWarning)
            if RunDirectory.open(recorder.path).read_log().last_step == 0:
                recorder.record(step=0, metrics={"value": 0})
            for step in (1, 2, 3, 2, 3, 4, 5):
                fill(model, step)
                recorder.record(step=step, metrics={"value": step})

    def expected(self, folder: Path) -> set[str]:
        folder.mkdir()
        self.prepare(folder)
        self.act(folder)
        return {name for name in tree(folder / "out") if not name.endswith(".safetensors")}

    def check_interrupted(self, folder: Path, expected: set[str]) -> None:
        run = folder / "out" / "run"
        if not (run / "log.jsonl").exists() or not RunDirectory.open(run).read_log().stored:
            return  # killed before the initial state was there
        trajectory = ts.Trajectory(run)
        for state in trajectory:
            assert_same(state, values(filled(state.metrics.get("value", 0))))
        assert (trajectory.steps or [])[0] == 0, "the initial state stays"

    def check_finished(self, folder: Path, expected: set[str]) -> None:
        self.act(folder)
        self.check_interrupted(folder, expected)
        run = folder / "out" / "run"
        assert (ts.Trajectory(run).steps or [])[-1] == 5
        found = tree(folder / "out")
        assert {name for name in found if not name.endswith(".safetensors")} == expected
        named = {f"run/states/{record.file}" for record in RunDirectory.open(run).read_log().stored}
        assert {name for name in found if name.endswith(".safetensors")} == named


def _made(value: float) -> ts.Result:
    """A finished line, as if it had been scored."""
    alphas = np.linspace(0, 1, 4)
    variables = {"loss": ("alpha", np.full(4, value)), "status": ("alpha", np.ones(4, np.int8))}
    attrs = {
        "experiment": "interpolate", "level": "model", "title": "made", "kind": "linear", "thetascope_format": FORMAT,
        "units": {"": 2}, "scored": ["loss"], "loss_name": "cross_entropy", "knots": [0, 1],
    }  # fmt: skip
    return ts.Result(xr.Dataset(variables, coords={"alpha": alphas}, attrs=attrs))


SCENARIOS = {scenario.name: scenario for scenario in (Examining(), Saving(), Drawing(), Recording())}


def run_until(name: str, folder: Path, at: int) -> int:
    """In a child: act, and die at step number `at`; 0 acts to the end. The number of steps."""
    from tests.faults.steps import MAKING, REMOVING, die, watched

    torch.set_num_threads(1)
    with watched(folder / "out", MAKING | REMOVING, at, die) as watch:
        SCENARIOS[name].act(folder)
        return watch.taken
