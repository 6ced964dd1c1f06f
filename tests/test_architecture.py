"""The house's rules that no type checker sees: which room may know which, and what loading costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import thetascope

SOURCE = Path(thetascope.__file__).parent

# each room with the rooms that it may know; a room knows itself
GROUND = {"errors", "shown", "arrays", "safe_paths", "files", "allocator", "progress", "quantities", "uninterrupted", "_version"}
STATES = GROUND | {"state", "recording", "checkpoints", "trajectory"}
SCORES = STATES | {"geometry", "scoring"}
ALLOWED = {
    "shown": set[str](),
    "search_path": set[str](),
    "errors": {"shown"},
    "_version": set[str](),
    "arrays": set[str](),
    "safe_paths": {"errors"},
    "files": {"errors", "safe_paths"},
    "allocator": set[str](),
    "progress": {"shown"},
    "quantities": set[str](),
    "uninterrupted": set[str](),
    "specification": {"errors", "search_path"},
    "state": GROUND,
    "recording": GROUND | {"state"},
    "checkpoints": GROUND | {"state", "recording"},
    "trajectory": GROUND | {"state", "recording", "checkpoints"},
    "geometry": GROUND | {"state"},
    "scoring": GROUND | {"state", "geometry"},
    "training": GROUND | {"scoring"},
    "results": GROUND | {"exports"},  # the one line by which a Result reaches its picture
    "drawing": GROUND | {"results"},
    "experiments": SCORES | {"training", "results", "drawing", "specification"},
    "exports": GROUND | {"results", "experiments"},  # of the latter the pictures
    "report": GROUND | {"recording", "results", "drawing", "experiments"},  # of the first: the log
    "integrations": SCORES | {"training", "results", "drawing", "experiments", "exports", "report"},
    "demo": SCORES | {"training", "experiments"},
    "live": SCORES | {"experiments"},
    "templates": {"__init__", "integrations"},  # files for users, written by `thetascope init`
    "testing": SCORES | {"demo", "__init__"},
    "cli": GROUND | {"specification", "search_path", "demo", "live", "results", "experiments", "integrations", "__init__"},
    "__init__": STATES | {"scoring", "training", "experiments", "results", "report", "integrations"},
}
TORCH_FREE = {
    "results",
    "drawing",
    "exports",
    "report",
    "errors",
    "shown",
    "search_path",
    "arrays",
    "safe_paths",
    "files",
    "allocator",
    "progress",
    "quantities",
    "uninterrupted",
    "cli",
    "__init__",
    "specification",
    "_version",
}
WITHOUT_TORCH = ("__init__.py", "words.py", "picture.py")
"""Of an experiment's folder: what is said and drawn on a machine that has neither model nor data."""
AGAINST_THE_CURRENT = ("thetascope.results.result", "thetascope.exports")
"""A Result reaches its picture by one import, when it is asked for it."""


def room_of(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write absolute imports"
            names.add(node.module or "")
    return names


@cache
def top_level_imports(file: Path) -> set[str]:
    """What is loaded when the file is: neither what stands within a function nor what is for type checkers only."""
    names: set[str] = set()
    for node in parsed(file).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


FILES = sorted(SOURCE.rglob("*.py"))
MODULES = {module_of(file): file for file in FILES}


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


@cache
def edges() -> dict[str, set[str]]:
    """Which file imports which, wherever in it: at the top, within a function, for type checkers only."""
    found: dict[str, set[str]] = {}
    for module, file in MODULES.items():
        found[module] = set()
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.Import):
                found[module] |= {alias.name for alias in node.names} & MODULES.keys()
            elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
                below = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
                found[module] |= below | ({node.module} if len(below) < len(node.names) else set())
    return found


def test_no_file_is_reached_again_from_what_it_imports() -> None:
    graph = edges()
    here, there = AGAINST_THE_CURRENT
    assert there in graph[here], "the exception is not needed any more: take it out"
    left = {module: others - ({module, there} if module == here else {module}) for module, others in graph.items()}
    while ends := {module for module, others in left.items() if not others & left.keys()}:
        left = {module: others for module, others in left.items() if module not in ends}
    assert left == {}, f"files that import one another in a circle: {', '.join(left)}"


def test_a_result_reaches_its_picture_by_one_line() -> None:
    text = (SOURCE / "results" / "result.py").read_text(encoding="utf-8")
    assert text.count("import thetascope.exports") == 1


EXPERIMENTS = sorted(path.parent for path in (SOURCE / "experiments").glob("*/experiment.py"))


@pytest.mark.parametrize("folder", EXPERIMENTS, ids=lambda folder: folder.name)
def test_what_is_said_and_drawn_needs_no_torch(folder: Path) -> None:
    graph = edges()
    heavy = {module for module, file in MODULES.items() if any(name.split(".")[0] == "torch" for name in top_level_imports(file))}
    for file in [path for name in WITHOUT_TORCH for path in folder.rglob(name)]:
        reached, left = set[str](), [module_of(file)]
        while left:
            module = left.pop()
            if module not in reached:
                reached.add(module)
                left += {name for name in top_level_imports(MODULES[module]) if name in graph}
        assert not reached & heavy, f"{file} loads torch by way of {', '.join(sorted(reached & heavy))}"


@pytest.mark.parametrize("folder", EXPERIMENTS, ids=lambda folder: folder.name)
def test_experiments_know_one_another_not_at_all(folder: Path) -> None:
    for file in folder.rglob("*.py"):
        for name in imported(file):
            if name.startswith("thetascope.experiments."):
                assert name.split(".")[2] in {"framework", "shared", folder.name}, f"{file} imports {name}"


@pytest.mark.parametrize("room", ["framework", "shared"])
def test_what_experiments_share_knows_none_of_them(room: str) -> None:
    names = {folder.name for folder in EXPERIMENTS}
    for file in (SOURCE / "experiments" / room).glob("*.py"):
        for name in imported(file):
            assert not (name.startswith("thetascope.experiments.") and name.split(".")[2] in names), f"{file} imports {name}"


def test_every_room_has_its_rule() -> None:
    assert {room_of(file) for file in FILES} == set(ALLOWED)


TRACKERS = ["tensorboard", "tensorboardX", "wandb", "mlflow"]


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import thetascope", ["torch", "xarray", "plotly", "numpy", "matplotlib", "zarr", "rich"]),
        ("import thetascope.cli as c; c.main(['--help'])", ["torch", "xarray", "plotly", "numpy", "matplotlib", "zarr"]),
        ("import thetascope.results, thetascope.experiments.interpolate.model.picture", ["torch", "plotly", "sklearn"]),
        (
            "import thetascope.recording.run_files as r; from thetascope.experiments.framework.catalog import entries; entries()",
            ["torch", "plotly", "numpy"],
        ),
        ("import thetascope as ts; ts.interpolate, ts.surface", ["torch", "numpy", "xarray"]),
        ("import thetascope; thetascope.write_report", ["torch", "plotly", "matplotlib", "jinja2"]),
        (
            "import thetascope.integrations.trackers as t; t.trackers(); t.log_findings",
            [*TRACKERS, "torch", "plotly", "matplotlib", "xarray"],
        ),
        ("import thetascope.integrations.logged, thetascope.cli.trackers", [*TRACKERS, "torch", "plotly"]),
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
    experiments = [folder.name for folder in EXPERIMENTS]
    pinned = [
        "Objective",
        "ParameterSpace",
        "Recorder",
        "Result",
        "State",
        "ThetascopeError",
        "Training",
        "Trajectory",
        "__version__",
        "cluster",
        "load_result",
        "log_findings",
        "merge",
        "panels",
        "part",
        "steps",
        "write_report",
    ]
    assert sorted(thetascope.__all__) == sorted([*pinned, *experiments])
    for name in thetascope.__all__:
        assert getattr(thetascope, name) is not None
    assert set(dir(thetascope)) == set(thetascope.__all__)


def test_class_names_have_one_meaning() -> None:
    names = [node.name for file in FILES for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.ClassDef)]
    assert sorted(name for name in set(names) if names.count(name) > 1) == ["RecorderCallback"]  # that of each trainer


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match="Recorder"):
        _ = thetascope.recorder
