"""Checkpoints on the command line: how they are read, and where results go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import thetascope as ts
from tests.cli.project import FILES, SPECIFIED, record_run
from thetascope.cli import main
from thetascope.testing.models import case

pytestmark = pytest.mark.usefixtures("folder")
QUICK = ["--alphas", "3", "--no-progress"]


def scored(*arguments: str) -> ts.Result:
    assert main(["interpolate", *arguments, *SPECIFIED, *QUICK]) == 0
    return ts.load_result("results/interpolate-alphas=3")


def test_steps_and_epochs_are_given() -> None:
    found = scored(*FILES, "--steps", "0", "10", "40", "--epochs", "0", "0.25", "1")
    assert found.data["step"].values.tolist() == [0, 10, 40]
    assert found.data["epoch"].values.tolist() == [0, 0.25, 1]
    assert found.data.attrs["clock"] == "step"


def test_what_is_not_known_is_not_made_up() -> None:
    found = scored(*FILES)
    assert np.isnan(found.data["step"].values).all()
    assert np.isnan(found.data["epoch"].values).all()
    assert found.data.attrs["clock"] == "state"
    assert [knot["step"] for knot in found.data.attrs["knots"]] == [None, None]


def test_results_of_checkpoints_do_not_land_beside_them(folder: Path) -> None:
    place = folder / "out"
    for step, state in zip((10, 20), case("linear").states(2), strict=True):
        (place / f"checkpoint-{step}").mkdir(parents=True)
        save_file(state, place / f"checkpoint-{step}" / "model.safetensors")
    found = scored("out")
    assert found.data["step"].values.tolist() == [10, 20]
    assert (folder / "figures" / "interpolate-alphas=3.png").exists()
    assert sorted(path.name for path in place.iterdir()) == ["checkpoint-10", "checkpoint-20"]
    assert main(["examine", "out", "interpolate", *SPECIFIED, *QUICK]) == 0
    assert (folder / "report.html").exists()
    assert sorted(path.name for path in place.iterdir()) == ["checkpoint-10", "checkpoint-20"]


def test_names_are_chosen(folder: Path) -> None:
    for i, state in enumerate(case("linear").states(2)):
        whole = {"nets": {"G": {f"inner.{n}": t for n, t in state.items()} | {"inner.ema": torch.ones(1)}, "D": {"w": torch.ones(1)}}}
        torch.save(whole, folder / f"gan{i}.th")
    scored("gan0.th", "gan1.th", "--key", "nets.G", "--prefix", "inner.", "--ignore", "ema")


def test_a_base_completes_files(folder: Path) -> None:
    first, second = case("linear").states(2)
    save_file(first, folder / "base.safetensors")
    for i, state in enumerate((first, second)):
        name = list(state)[-1]
        torch.save({name: state[name]}, folder / f"part{i}.pt")
    scored("part0.pt", "part1.pt", "--base", "base.safetensors")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--steps", "1", "2"], '--steps is for checkpoint files; "run" is a run directory, which says that itself'),
        (["run", FILES[0]], '"run" is a run directory, not a checkpoint; name it alone'),
        ([FILES[0], "run"], '"run" is a run directory, not a checkpoint; name it alone'),
        (["elsewhere"], '"elsewhere" does not exist; a run directory is made by'),
        (["empty"], '"empty" holds no checkpoint files; looked for'),
        ([*FILES, "--steps", "1"], "steps must hold one value per state: expected 3, got 1"),
        ([*FILES, "--steps", "3", "2", "1"], "steps must rise from state to state"),
    ],
)
def test_what_is_taken_for_another_is_said(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    record_run(folder / "run")
    (folder / "empty").mkdir()
    assert main(["interpolate", *arguments, *SPECIFIED, *QUICK]) in (1, 2)
    assert said in capsys.readouterr().err
