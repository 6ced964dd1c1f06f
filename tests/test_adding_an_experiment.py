"""The page on adding an experiment really adds one: its files are written into a folder, and all else follows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "adding-an-experiment.md"
SOURCE = Path(__file__).parents[1] / "src" / "thetascope"

USED = """
import json, sys
import thetascope.experiments
thetascope.experiments.__path__.append(sys.argv[1])
import torch
import thetascope as ts
from thetascope.cli import app, main
from thetascope.testing.models import case

chosen = case("linear")
model = chosen.model()
states = chosen.states(2)
model.load_state_dict(states[0])
with ts.Recorder("run", model) as recorder:
    model.load_state_dict(states[1])
    recorder.record(step=10)
objective = ts.Objective(chosen.model(), chosen.data())
trajectory = ts.Trajectory("run")
with open("spec.py", "w") as file:
    file.write(
        "import thetascope as ts\\n"
        "from thetascope.testing.models import case\\n"
        "def objective():\\n    return ts.Objective(case('linear').model(), case('linear').data())\\n"
    )
told = {}
result = ts.weight_scale(objective, trajectory, out="run", progress=False)
told["api"] = "weight_scale" in dir(ts)
told["losses"] = result.data["loss"].values.tolist()
told["factors"] = result.data["factor"].values.tolist()
told["plain"] = [
    objective.score({n: t * f for n, t in trajectory[-1].items()})["loss"] for f in told["factors"]
]
told["command"] = "weight-scale" in app
told["made"] = main(["weight-scale", "run", "--objective", "spec.py:objective", "--largest", "4", "--no-progress"])
told["planned"] = main(["weight-scale", "run", "--objective", "spec.py:objective", "--count", "5", "--dry-run"])
told["wrong"] = main(["weight-scale", "run", "--objective", "spec.py:objective", "--largest", "0.5"])
told["examined"] = main(["examine", "run", "weight_scale", "--objective", "spec.py:objective", "--no-progress"])
from pathlib import Path
told["exported"] = len(result.export("accuracy.png", variable="accuracy").read_bytes())
told["findings"], told["headline"] = result.findings, result.headline
told["results"] = sorted(path.name for path in Path("run/results").iterdir())
told["figures"] = sorted(path.name for path in Path("run/figures").iterdir())
told["report"] = Path("run/report.html").read_text(encoding="utf-8")
print("told:" + json.dumps(told))
"""


def written(folder: Path) -> Path:
    """The page's files, in `folder`."""
    for name, code in re.findall(r"^```py\n# (\S+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code, encoding="utf-8")
    return folder / "weight_scale"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a process says that has the page's experiment."""
    folder = tmp_path_factory.mktemp("added")
    written(folder)
    work = folder / "work"
    work.mkdir()
    done = subprocess.run([sys.executable, "-c", USED, str(folder)], capture_output=True, text=True, check=False, cwd=work)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("told:")[2]) | {"out": done.stdout, "err": done.stderr}


def test_it_takes_four_files(tmp_path: Path) -> None:
    assert sorted(file.name for file in written(tmp_path).iterdir()) == ["__init__.py", "experiment.py", "picture.py", "words.py"]


@pytest.mark.slow
def test_it_shows_up_in_the_api_and_scores_rightly(told: Any) -> None:
    assert told["api"]
    assert told["factors"][4] == pytest.approx(1.0)
    assert told["losses"] == pytest.approx(told["plain"], rel=1e-5)


def test_it_shows_up_as_a_command_with_the_function_s_options(told: Any) -> None:
    assert told["command"]
    assert (told["made"], told["planned"], told["examined"]) == (0, 0, 0)
    assert "5 points on" in told["out"]
    assert told["wrong"] == 1
    assert "largest must be above 1" in told["err"]


def test_it_has_findings(told: Any) -> None:
    assert told["findings"] == {
        "lowest_loss": min(told["losses"]),
        "lowest_at": told["factors"][told["losses"].index(min(told["losses"]))],
        "samples": 10,
    }
    assert told["headline"].startswith("The loss is lowest, ")


def test_one_call_lies_in_one_place(told: Any) -> None:
    assert told["results"] == ["weight_scale", "weight_scale-largest=4"]
    assert {"weight_scale.png", "weight_scale.html", "weight_scale-largest=4.png"} <= set(told["figures"])


def test_its_picture_is_drawn_by_variable(told: Any) -> None:
    assert told["exported"] > 5_000


def test_it_shows_up_in_the_report(told: Any) -> None:
    for text in (
        "Does the scale of the weights matter?",
        "All weights of the final state were multiplied by 9 factors",
        "weight-scale run",
    ):
        assert text in told["report"]
    assert 'id="a-weight_scale-largest=4"' in told["report"]
    assert 'id="p-weight_scale"' in told["report"]
    assert "cannot be shown" not in told["report"]


def test_no_file_of_the_source_names_it() -> None:
    assert not [file for file in SOURCE.rglob("*.py") if "weight_scale" in file.read_text(encoding="utf-8")]


def test_the_page_s_code_is_as_strict_as_the_rest(tmp_path: Path) -> None:
    folder = written(tmp_path)
    root = PAGE.parents[1]
    for tool in (
        ["ruff", "check", "--config", str(root / "pyproject.toml")],
        ["ruff", "format", "--check", "--config", str(root / "docs" / "ruff.toml")],
    ):
        done = subprocess.run([sys.executable, "-m", *tool, str(folder)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
