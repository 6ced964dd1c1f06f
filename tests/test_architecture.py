"""The house's rules that no type checker sees: which room may know which, and what loading costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import thetascope

SOURCE = Path(thetascope.__file__).parent

# each room with the rooms that it may know; a room knows itself
ALLOWED = {
    "errors": set[str](),
    "_version": set[str](),
    "files": set[str](),
    "progress": set[str](),
    "state": {"errors"},
    "recording": {"errors", "_version", "files", "state"},
    "trajectory": {"errors", "state", "recording"},
    "geometry": {"errors", "state"},
    "evaluation": {"errors", "state", "recording", "geometry"},
    "results": {"errors", "files", "figures", "exports"},  # the last two only when Result.plot, .figure and .export are called
    "experiments": {"errors", "_version", "files", "progress", "state", "trajectory", "geometry", "evaluation", "results", "figures"},
    "figures": {"errors", "files", "results"},
    "exports": {"errors", "files", "results", "figures"},
    "report": {"errors", "_version", "files", "recording", "results", "experiments", "figures"},  # of the first two: log, catalog
    "demo": {"errors", "progress", "recording", "trajectory", "evaluation", "experiments"},
    "specification": {"errors"},
    "templates": {"__init__"},  # files for users, written by `thetascope init`
    "testing": {"errors", "state", "recording", "trajectory", "geometry", "evaluation", "demo", "__init__"},
    "cli": {"errors", "_version", "progress", "specification", "demo", "experiments", "figures", "__init__"},
    "__init__": {"errors", "_version", "state", "recording", "trajectory", "evaluation", "experiments", "results", "report"},
}
TORCH_FREE = {"results", "figures", "exports", "report", "errors", "files", "progress", "cli", "__init__", "specification", "_version"}


def room_of(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write absolute imports"
            names.add(node.module or "")
    return names


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_rooms_know_only_the_rooms_before_them(file: Path) -> None:
    room = room_of(file)
    for name in imported(file):
        if name == "thetascope":
            assert "__init__" in ALLOWED[room], f"{file} imports the whole package"
        elif name.startswith("thetascope."):
            other = name.split(".")[1]
            assert other == room or other in ALLOWED[room], f"{room} may not know {other} ({file})"
        elif name.split(".")[0] == "torch":
            assert room not in TORCH_FREE, f"{room} must do without torch ({file})"


def test_every_room_has_its_rule() -> None:
    assert {room_of(file) for file in FILES} == set(ALLOWED)


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import thetascope", ["torch", "xarray", "plotly", "numpy", "matplotlib", "zarr", "rich"]),
        ("import thetascope.cli as c; c.main(['--help'])", ["torch", "xarray", "plotly", "numpy", "matplotlib", "zarr"]),
        ("import thetascope.results, thetascope.figures.path", ["torch", "plotly", "sklearn"]),
        ("import thetascope.recording.run_files, thetascope.experiments.catalog", ["torch", "plotly", "sklearn"]),
        ("import thetascope; thetascope.write_report", ["torch", "plotly", "matplotlib", "jinja2"]),
    ],
)
def test_loads_nothing_heavy(statement: str, absent: list[str]) -> None:
    code = f"import sys; {statement}; print([m for m in {absent!r} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_import_changes_no_global_state() -> None:
    code = (
        "import logging, warnings, random\n"
        "before = (list(logging.root.handlers), list(warnings.filters), random.getstate())\n"
        "import thetascope; from thetascope import Objective, Recorder, interpolate, load_result\n"
        "assert before[0] == logging.root.handlers and before[2] == random.getstate()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_are_pinned() -> None:
    assert sorted(thetascope.__all__) == [
        "Objective",
        "ParameterSpace",
        "Recorder",
        "Result",
        "State",
        "ThetascopeError",
        "Training",
        "Trajectory",
        "__version__",
        "compare_paths",
        "interpolate",
        "layer_roles",
        "load_result",
        "parameter_atlas",
        "study_epochs",
        "study_test_size",
        "study_train_size",
        "surface",
        "trajectory_plane",
        "write_report",
    ]
    for name in thetascope.__all__:
        assert getattr(thetascope, name) is not None
    assert set(dir(thetascope)) == set(thetascope.__all__)


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match="Recorder"):
        _ = thetascope.recorder
