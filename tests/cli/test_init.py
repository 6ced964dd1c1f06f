from __future__ import annotations

import runpy
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import get_args

import pytest

import thetascope as ts
from thetascope.cli import main
from thetascope.cli.starting import Kind
from thetascope.specification import provided

FILLED_IN = """

def model():
    return nn.Linear(3, 1)

def held_out_data():
    return torch.randn(20, 3), torch.randn(20, 1)

LOSS, METRICS = "mse", ()
"""
"""What a user writes in the three places; what is said last holds."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder as init writes it, and the working folder."""
    monkeypatch.chdir(tmp_path)
    assert main(["init", "mine"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[:2] == [str(Path("mine/objective.py")), str(Path("mine/thetascope.toml"))]
    assert "cd mine" in said
    monkeypatch.chdir("mine")
    return tmp_path / "mine"


def test_what_it_writes_runs_as_it_stands(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path("objective.py", run_name="__main__")
    trajectory = ts.Trajectory("runs/first")
    assert len(trajectory) == 21
    assert trajectory[-1].metrics["validation_accuracy"] > 0.9  # the example is one that can be learned
    capsys.readouterr()
    assert main(["examine", "runs/first", "--dry-run", "interpolate", "layer_roles"]) == 0
    assert not Path("runs/first/results").exists()
    assert "62 points" in capsys.readouterr().out
    assert main(["examine", "runs/first", "interpolate", "layer_roles", "--alphas", "5", "--draws", "1"]) == 0
    keys = ("interpolate-alphas=5", "layer_roles-draws=1")
    assert {path.name for path in Path("runs/first/figures").iterdir()} == {
        f"{key}{suffix}" for key in keys for suffix in (".png", ".html")
    }
    assert isinstance(provided("objective.py:training", ts.Training, "--training"), ts.Training)


def test_the_three_places_are_marked_and_are_all_that_must_be_filled_in(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = Path("objective.py").read_text(encoding="utf-8")
    marked = [line for line in text.splitlines() if line.startswith(("# 1.", "# 2.", "# 3."))]
    assert [line[2] for line in marked] == ["1", "2", "3"]
    Path("own.py").write_text(text + FILLED_IN, encoding="utf-8")
    found = provided("own.py:objective", ts.Objective, "--objective")
    assert set(found.score(found.model.model.state_dict())) == {"loss", "samples"}


def test_nothing_is_replaced(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("objective.py").write_text("mine")
    Path("thetascope.toml").unlink()
    assert main(["init"]) == 2
    assert "objective.py exist" in capsys.readouterr().err
    assert Path("objective.py").read_text() == "mine"
    assert not Path("thetascope.toml").exists()  # nothing half


def test_a_file_is_no_folder(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "objective.py"]) == 2
    assert '"objective.py" is a file; name a folder' in capsys.readouterr().err


def test_the_options_in_its_comments_are_options(project: Path) -> None:
    path = Path("thetascope.toml")
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line.removeprefix("# ") if "=" in line else line for line in lines), encoding="utf-8")
    subprocess.run([sys.executable, "objective.py"], check=True, capture_output=True)
    assert main(["examine", "runs/first", "interpolate", "--dry-run"]) == 0
    assert main(["surface", "runs/first", "--dry-run"]) == 0


def test_it_is_part_of_the_package() -> None:
    assert {*(f"{kind}.py" for kind in get_args(Kind)), "thetascope.toml"} <= {
        entry.name for entry in files("thetascope.templates").iterdir()
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "epochs", "gain"), [("lightning", 20, 0.5), ("transformers", 10, 1.0)])
def test_the_template_of_a_trainer_runs_as_it_stands(
    kind: str, epochs: int, gain: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(kind)
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--for", kind]) == 0
    assert "pip install" not in capsys.readouterr().out
    runpy.run_path("objective.py", run_name="__main__")
    trajectory = ts.Trajectory("runs/first")
    assert trajectory.epochs == list(range(epochs + 1))
    scored = provided("objective.py:objective", ts.Objective, "--objective")
    first, last = scored.score(trajectory[0]), scored.score(trajectory[-1])
    assert first["loss"] - last["loss"] > gain
    assert last["accuracy"] > first["accuracy"] + 0.2
    assert main(["interpolate", "runs/first", "--alphas", "3", "--no-progress"]) == 0


@pytest.mark.parametrize("kind", get_args(Kind))
def test_each_template_marks_its_three_places(kind: str) -> None:
    text = files("thetascope.templates").joinpath(f"{kind}.py").read_text("utf-8")
    assert [line[2] for line in text.splitlines() if line.startswith("# ") and line[3:4] == "."] == ["1", "2", "3"]
    assert "runs/first" in text


def test_what_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert main(["init", "--for", "transformers"]) == 0
    assert 'pip install "thetascope[transformers]"  # which is not installed' in capsys.readouterr().out
