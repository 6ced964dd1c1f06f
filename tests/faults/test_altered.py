"""Files that were cut short, emptied, altered, removed or exchanged: computed anew, or a clear error; never a wrong number."""

from __future__ import annotations

import json
import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr
from torch import nn

import thetascope as ts
from tests.faults.scenarios import no_wrong_number, same_bits, small_units
from tests.recording.tiny import assert_same
from tests.results.test_store import LAYOUT
from thetascope.errors import RecordingError, ResultError, ThetascopeError
from thetascope.results.store import Store
from thetascope.testing.models import case

Damage = Callable[[Path, Path], None]


def cut(file: Path, _other: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def cut_by_one(file: Path, _other: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def emptied(file: Path, _other: Path) -> None:
    file.write_bytes(b"")


def removed(file: Path, _other: Path) -> None:
    file.unlink()


def exchanged(file: Path, other: Path) -> None:
    """For the file of that name in another run or result of the same shape."""
    if other.is_file():
        file.write_bytes(other.read_bytes())


def flipped(file: Path, _other: Path) -> None:
    """One bit somewhere; where that is, is drawn from the file's name."""
    content = bytearray(file.read_bytes())
    chance = random.Random(str(file.name))
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


def one_bit_a_byte(content: bytes, name: str) -> list[int]:
    """Places of bits, one in each byte."""
    chance = random.Random(name)
    return [8 * place + chance.randrange(8) for place in range(len(content))]


DAMAGES: tuple[Damage, ...] = (cut, cut_by_one, emptied, removed, exchanged, flipped)


def damaged(whole: Path, other: Path, folder: Path, files: list[Path]) -> Iterator[tuple[Path, str]]:
    """Copies of `whole` in which one file is damaged in one way; every file, every way."""
    for file in files:
        for damage in DAMAGES:
            if not folder.exists():
                shutil.copytree(whole, folder)
            damage(folder / file, other / file)
            if not (folder / file).exists() or (folder / file).read_bytes() != (whole / file).read_bytes():
                yield folder, f"{file} {damage.__name__}"
            if folder.exists():
                shutil.copy(whole / file, folder / file)


def files_below(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


# --- results ----------------------------------------------------------------------------------------------


def line(out: Path | None, loss_scale: float = 1.0) -> ts.Result:
    """A small result; another scale is another call of the same shape."""
    linear = case("linear")
    inputs, targets = linear.data()
    objective = ts.Objective(linear.model(), (inputs * loss_scale, targets))
    with small_units():
        return ts.interpolate(objective, ts.Trajectory.from_states(linear.states(3)), alphas=5, out=out, progress=False)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, xr.Dataset]:
    """A result, another one, and what the first holds."""
    folder = tmp_path_factory.mktemp("results")
    data = line(folder / "whole").data.copy(deep=True)
    line(folder / "other", loss_scale=2.0)
    data.attrs["constants"] = [str(n) for n in data.variables if not str(n).endswith(("loss", "accuracy", "status"))]
    return folder / "whole", folder / "other", data


def check_result(folder: Path, what: str, expected: xr.Dataset, *, again: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            found = ts.load_result(folder).data
        except ThetascopeError as error:
            assert str(folder) in str(error), what
        else:
            no_wrong_number(found, expected)
            assert {**found.attrs, "constants": expected.attrs["constants"]} == expected.attrs, what
    if again:
        try:
            result = line(folder)
        except ThetascopeError as error:
            assert str(folder) in str(error), what
        else:
            same_bits(result.data, expected)
            same_bits(ts.load_result(folder).data, expected)


@pytest.mark.slow
@pytest.mark.promise("altered: results")
def test_every_file_of_a_result(results: tuple[Path, Path, xr.Dataset], tmp_path: Path, counted: Callable[[int], None]) -> None:
    whole, other, expected = results
    for number, (folder, what) in enumerate(damaged(whole, other, tmp_path / "r", files_below(whole))):
        check_result(folder, what, expected, again=number % 40 == 0)
        if number % 40 == 0:
            shutil.rmtree(folder)
        counted(1)


@pytest.mark.faults_long
@pytest.mark.promise("altered: results")
def test_every_file_of_a_result_and_going_on(
    results: tuple[Path, Path, xr.Dataset], tmp_path: Path, counted: Callable[[int], None]
) -> None:
    whole, other, expected = results
    for folder, what in damaged(whole, other, tmp_path / "r", files_below(whole)):
        check_result(folder, what, expected, again=True)
        shutil.rmtree(folder)
        counted(1)


@pytest.mark.slow
@pytest.mark.promise("altered: results")
@pytest.mark.parametrize("bits", [40, pytest.param(None, marks=pytest.mark.faults_long)])
def test_bits_of_the_headers_and_of_values(
    results: tuple[Path, Path, xr.Dataset], tmp_path: Path, bits: int | None, counted: Callable[[int], None]
) -> None:
    whole, _, expected = results
    shutil.copytree(whole, tmp_path / "r")
    for name in ("zarr.json", "loss/zarr.json", "loss/c/0", "check/c/0", "status/c/0", "alpha/c/0", "step/c/0"):
        file = tmp_path / "r" / name
        content = file.read_bytes()
        places = one_bit_a_byte(content, name) if bits is None else random.Random(name).sample(range(8 * len(content)), bits)
        for place in places:
            altered = bytearray(content)
            altered[place // 8] ^= 1 << place % 8
            file.write_bytes(altered)
            check_result(tmp_path / "r", f"{name} bit {place}", expected, again=False)
        file.write_bytes(content)
        counted(len(places))


# --- runs -------------------------------------------------------------------------------------------------


def recorded(run: Path, scale: float, *, trainable_only: bool) -> None:
    """A run of five states."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    for parameter in model[0].parameters():
        parameter.requires_grad_(not trainable_only)
        parameter.data.mul_(scale)
    with ts.Recorder(run, model, trainable_only=trainable_only) as recorder:
        for step in range(1, 5):
            with torch.no_grad():
                model.get_parameter("2.weight").mul_(1 + scale / 10)
            recorder.record(step=10 * step, epoch=step, metrics={"train_loss": scale / step})


@pytest.fixture(scope="module", params=[False, True], ids=["whole states", "frozen tensors apart"])
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, bool]:
    folder = tmp_path_factory.mktemp("runs")
    recorded(folder / "whole", 1.0, trainable_only=request.param)
    recorded(folder / "other", 2.0, trainable_only=request.param)
    return folder / "whole", folder / "other", request.param


def check_run(run: Path, whole: Path) -> None:
    """Each state that is handed out is one of the run, with its step, its epoch and its metrics."""
    expected = ts.Trajectory(whole)
    try:
        found = ts.Trajectory(run)
    except ThetascopeError as error:
        assert str(run) in str(error)
        return
    assert found.steps == (expected.steps or [])[: len(found)], "a log that was cut short knows the first states"
    for here, there in zip(found, expected, strict=False):
        assert (here.epoch, here.metrics) == (there.epoch, there.metrics)
        try:
            assert_same(here, there)
        except ThetascopeError as error:
            assert ".safetensors" in str(error)


@pytest.mark.promise("altered: runs")
def test_every_file_of_a_run(runs: tuple[Path, Path, bool], tmp_path: Path, counted: Callable[[int], None]) -> None:
    whole, other, trainable_only = runs
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    for folder, what in damaged(whole, other, tmp_path / "r", files_below(whole)):
        check_run(folder, whole)
        before = {file for file in files_below(folder) if file.suffix == ".safetensors"}
        model.load_state_dict(dict(ts.Trajectory(whole)[-1]))
        model[0].requires_grad_(not trainable_only)
        try:
            with ts.Recorder(folder, model, trainable_only=trainable_only):
                pass
        except (ThetascopeError, OSError) as error:
            assert str(folder) in str(error), what
            assert {file for file in files_below(folder) if file.suffix == ".safetensors"} == before, "what cannot be read is not removed"
        else:
            check_run(folder, whole)
        shutil.rmtree(folder)
        counted(1)


@pytest.mark.promise("altered: runs")
@pytest.mark.parametrize("bits", [120, pytest.param(None, marks=pytest.mark.faults_long)])
def test_bits_of_a_run(runs: tuple[Path, Path, bool], tmp_path: Path, bits: int | None, counted: Callable[[int], None]) -> None:
    whole, _, _ = runs
    shutil.copytree(whole, tmp_path / "r")
    for name in ("run.json", "log.jsonl", "states/00000002.safetensors"):
        file = tmp_path / "r" / name
        content = file.read_bytes()
        places = one_bit_a_byte(content, name) if bits is None else random.Random(name).sample(range(8 * len(content)), bits)
        for place in places:
            altered = bytearray(content)
            altered[place // 8] ^= 1 << place % 8
            file.write_bytes(altered)
            check_run(tmp_path / "r", whole)
        file.write_bytes(content)
        counted(len(places))


def _altered(value: Any) -> Iterator[Any]:
    """What is alike but for one value in it."""
    if isinstance(value, dict):
        for name, own in value.items():
            yield from ({**value, name: other} for other in _altered(own))
    elif isinstance(value, list):
        for place, own in enumerate(value):
            yield from ([*value[:place], other, *value[place + 1 :]] for other in _altered(own))
    elif isinstance(value, bool | int | float):
        yield not value if isinstance(value, bool) else value + 1
    elif isinstance(value, str):
        yield value[:-1] + ("0" if value.endswith("1") else "1")


@pytest.mark.promise("altered: runs")
def test_each_value_of_a_run_s_header(runs: tuple[Path, Path, bool], tmp_path: Path, counted: Callable[[int], None]) -> None:
    """Also where what it says then is what a recorder could have written."""
    shutil.copytree(runs[0], tmp_path / "r")
    header, cases = json.loads((tmp_path / "r" / "run.json").read_text()), 0
    for other in _altered(header):
        (tmp_path / "r" / "run.json").write_text(json.dumps(other))
        with pytest.raises(RecordingError):
            ts.Trajectory(tmp_path / "r")
        cases += 1
    assert cases > 10
    counted(cases)


@pytest.mark.promise("altered: results")
@pytest.mark.parametrize("version", [99, 1, 2, 3, True, None, "3"])  # one that knows no seal would let altered numbers through
def test_other_formats_are_not_read(tmp_path: Path, version: object) -> None:
    Store.create(tmp_path / "r", LAYOUT).close()
    header = json.loads((tmp_path / "r" / "zarr.json").read_text())
    header["attributes"]["thetascope_format"] = version
    (tmp_path / "r" / "zarr.json").write_text(json.dumps(header))
    with pytest.raises(ResultError, match=f"format {version}"):
        ts.load_result(tmp_path / "r")
