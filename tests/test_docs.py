"""The README, the docs and the docstrings are true: their code and their commands run, their links and pictures are there.

A public name or a command without an example that runs here fails.
"""

from __future__ import annotations

import doctest
import inspect
import re
import shlex
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import thetascope as ts
from thetascope.cli import app, main
from thetascope.experiments.framework.call_options import key_of
from thetascope.experiments.framework.catalog import entries, experiments
from thetascope.testing.models import case

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(p for p in DOCS.rglob("*.md") if p.relative_to(DOCS).parts[0][0] != "_")]

sys.path.insert(0, str(DOCS / "_ext"))
page_code: Any = import_module("page_code")  # the pages are built with it too
experiment_lists: Any = import_module("experiment_lists")

WITH_CODE = [p for p in PAGES if p.is_relative_to(DOCS) and p.name != page_code.START and page_code.blocks(p.read_text("utf-8"), "python")]
WITH_COMMANDS = [p for p in PAGES if p.is_relative_to(DOCS) and page_code.commands(p.read_text("utf-8"))]
PUBLIC = [name for name in ts.__all__ if name != "__version__"]
RUN_ELSEWHERE = {"demo": "tests/demo/test_demo.py"}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Somebody who has followed the quick start."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = page_code.Reader(tmp_path_factory.mktemp("reader"), DOCS)
    found.names()
    torch.set_num_threads(threads)
    return found


def relative(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_the_quick_start_runs_and_learns(reader: Any) -> None:
    names = reader.names()
    with reader.within():
        assert names["objective"].score(names["trajectory"][-1])["accuracy"] > 0.85
        assert ts.load_result("runs/digits/results/interpolate").data.attrs["samples_scored"] == 397
        assert "def objective" in Path("mine.py").read_text(encoding="utf-8")
    assert isinstance(names["objective"], ts.Objective)  # what mine.py defines is for the commands


@pytest.mark.parametrize("page", WITH_CODE, ids=relative)
def test_the_code_of_each_page_runs(page: Path, reader: Any) -> None:
    names = reader.names()
    for code in page_code.blocks(page.read_text(encoding="utf-8"), "python"):
        reader.run(code, names, relative(page))


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=relative)
def test_the_commands_of_each_page_run(page: Path, reader: Any, capsys: pytest.CaptureFixture[str]) -> None:
    text = page.read_text(encoding="utf-8")
    for code in page_code.blocks(text, "python"):
        if code.startswith("# again.py"):
            reader.run(code, reader.names(), relative(page))
    with reader.within():
        for line in page_code.commands(text):
            command = shlex.split(line)[1:]
            main([*command, "--help"])
            quiet = ["--no-progress"] if "--no-progress" in capsys.readouterr().out else []
            assert main([*command, *quiet]) == 0, capsys.readouterr().err


def test_the_readme_s_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = page_code.blocks((ROOT / "README.md").read_text(encoding="utf-8"), "python")
    assert len(blocks) == 2
    model = case("linear").model()
    test_inputs, test_targets = case("linear").data()

    def train_one_epoch(model: nn.Module) -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.9)

    names = {"model": model, "epochs": 4, "train_one_epoch": train_one_epoch, "test_inputs": test_inputs, "test_targets": test_targets}
    for block in blocks:
        exec(block, names)
    assert Path("line.png").read_bytes().startswith(b"\x89PNG")


# --- docstrings -------------------------------------------------------------------------------------------


def examples(name: str) -> Iterator[doctest.DocTest]:
    """Of a public name and its members."""
    public = getattr(ts, name)
    yield from (found for found in doctest.DocTestFinder().find(public, name) if found.examples)


def runs(test: doctest.DocTest, names: dict[str, Any]) -> None:
    test.globs = names
    report: list[str] = []
    failed = doctest.DocTestRunner(verbose=False).run(test, out=report.append, clear_globs=False).failed
    assert not failed, "".join(report)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_examples_of_docstrings_run(name: str, reader: Any) -> None:
    names = reader.names()
    with reader.within():
        if name.startswith("study_"):
            runs(next(examples("Training")), names)
        for test in examples(name):
            runs(test, names)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_docstring_with_an_example(name: str) -> None:
    public = getattr(ts, name)
    assert len(inspect.getdoc(public) or "") > 40
    own = doctest.DocTestParser().get_examples(public.__doc__ or "")
    assert own, f"ts.{name} has no example in its docstring: add one under Example:, with the names that docs/quickstart.md makes"
    members = [part for part in vars(public) if not part.startswith("_")] if inspect.isclass(public) else []
    methods = [part for part in members if callable(getattr(public, part)) or isinstance(vars(public)[part], property)]
    assert [part for part in methods if not inspect.getdoc(getattr(public, part))] == []


# --- completeness -----------------------------------------------------------------------------------------


def test_every_public_name_is_in_the_reference_and_used_in_a_page() -> None:
    reference = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    reference = reference.replace("```{experiments} functions\n```", experiment_lists.functions(DOCS))
    listed = set(re.findall(r"^\.\. auto\w+:: thetascope\.(\w+)$", reference, re.MULTILINE)) - {"errors"}
    assert listed == set(PUBLIC)
    code = "".join("".join(page_code.blocks(page.read_text(encoding="utf-8"), "python")) for page in PAGES)
    assert [name for name in PUBLIC if not re.search(rf"\bts\.{name}\b", code) and name != "Result"] == []


def rows(page: str) -> list[str]:
    """Of all tables in a page's text."""
    return re.findall(r"^\|.*\|$", page, re.MULTILINE)


@pytest.mark.parametrize("name", experiments())
def test_every_experiment_is_in_the_tables_the_gallery_and_a_guide(name: str) -> None:
    title, target = experiment_lists.guide_to(name, DOCS)
    assert title
    assert (DOCS / "guides" / target.partition("#")[0]).is_file()
    readme, results = (rows((ROOT / page).read_text(encoding="utf-8")) for page in ("README.md", "docs/results.md"))
    assert any(re.search(rf"`ts\.{name}[`(]", row) for row in readme), "say in README.md what it can tell"
    assert any(f"`{name}`" in row.split("|")[1] for row in results), "say in docs/results.md which variables it has"
    gallery = "".join(page_code.blocks((DOCS / "gallery.md").read_text(encoding="utf-8"), "python"))
    assert f"ts.{name}(" in gallery, "show its picture in docs/gallery.md"


def test_every_level_is_in_the_readme_and_in_the_table_of_results() -> None:
    readme, results = ((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/results.md"))
    for call in entries().values():
        name, level = call.experiment.name, call.all_options.get("level")
        assert level is None or f"| `{name}`, {level} |" in results
        assert "level" not in call.changed or f'`ts.{name}(level="{level}")` | `{call.experiment.command} --level {level}`' in readme


def test_the_lists_of_experiments_are_in_the_pages() -> None:
    for page, name in (
        ("reference/api.md", "functions"),
        ("guides/index.md", "guides"),
        ("reference/commands.md", "commands"),
        ("results.md", "findings"),
    ):
        assert f"```{{experiments}} {name}\n```" in (DOCS / page).read_text(encoding="utf-8")
        made = getattr(experiment_lists, name)(DOCS)
        assert all(each in made for each in (entries() if name == "commands" else experiments()))


def test_the_keys_in_the_docs_are_those_of_the_calls() -> None:
    written = rows((DOCS / "results.md").read_text(encoding="utf-8"))
    calls = [re.match(r"\| `ts\.(\w+)\(objective, trajectory(.*)\)` \| `(.*)` \|", row) for row in written]
    told = [call.groups() for call in calls if call]
    assert len(told) > 3
    for name, options, key in told:
        function = experiments()[name].function
        assert key_of(function, eval(f"bind(None, None{options}).arguments", {"bind": inspect.signature(function).bind})) == key


def test_every_command_has_an_example_that_runs() -> None:
    there = {name for name in app if not name.startswith("-")}
    run = {shlex.split(line)[1] for page in WITH_COMMANDS for line in page_code.commands(page.read_text(encoding="utf-8"))}
    assert there - run == set(RUN_ELSEWHERE), "add an example to docs/reference/commands.md"
    for command, file in RUN_ELSEWHERE.items():
        assert f'["{command}"' in (ROOT / file).read_text(encoding="utf-8")


def test_every_page_is_in_a_table_of_contents() -> None:
    contents = {DOCS / "index.md", DOCS / "conf.py"}
    for page in PAGES:
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            contents |= {(page.parent / f"{entry}.md") for entry in tree.split() if not entry.startswith(":")}
    assert {page for page in PAGES if page.is_relative_to(DOCS)} <= contents


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_rooms_in_the_docs_are_those_there_are() -> None:
    named = set(re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"), re.MULTILINE))
    rooms = {room for cell in named for room in re.findall(r"\w+", cell)}
    there = {path.stem for path in (ROOT / "src" / "thetascope").iterdir() if path.name[0] not in "_p" or path.stem == "progress"}
    assert rooms == there
