from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import pytest
from rich.console import Console

from thetascope.cli import app, main
from thetascope.experiments.framework.catalog import experiments

COMMANDS = [name for name in app if not name.startswith("-")]
SCORING = [*(experiment.command for experiment in experiments().values()), "examine"]


def help_of(*tokens: str, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    app.meta.help_print(tokens, console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def examples_in(text: str) -> list[list[str]]:
    """The command lines of a help's examples, as a shell would read them."""
    lines = text.split("Examples:")[1].replace("\\\n", "").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.strip()]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_examples_that_it_takes(command: str) -> None:
    found = examples_in(help_of(command))
    assert 1 <= len(found) <= 3
    for tokens in found:
        assert tokens[0] == command
        _, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)  # raises where an option does not exist
        assert bound.arguments or tokens == [command]


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_the_terminal(command: str, width: int) -> None:
    text = help_of(*([command] if command else []), width=width)
    assert max(map(len, text.splitlines())) <= width


def test_alone_it_tells_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    steps = [said.index(step) for step in ("1. Record", "2. Examine", "3. Look")]
    assert steps == sorted(steps)
    assert main(["--help"]) == 0
    assert said == capsys.readouterr().out
    for line in re.findall(r"thetascope \w[^;(]*--\S+(?: \S+)*", said.split("Commands")[0]):
        app.parse_args(shlex.split(line.strip())[1:], exit_on_error=False, print_error=False)


def test_the_exit_codes_are_told() -> None:
    said = " ".join(help_of().split())
    told = said.split("Exit codes: ")[1]
    assert [told.index(f"{code} ") for code in (0, 1, 2, 130)] == sorted(told.index(f"{code} ") for code in (0, 1, 2, 130))


@pytest.mark.parametrize("command", SCORING)
def test_every_scoring_command_has_a_dry_run(command: str) -> None:
    assert "--dry-run" in help_of(command)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_stands_in_the_readme(command: str) -> None:
    readme = Path(__file__).parents[2] / "README.md"
    assert re.search(rf"`{command}[` ]|thetascope {command}\b", readme.read_text(encoding="utf-8"))


def test_completion_is_there_for_every_command_and_option() -> None:
    script = app.generate_completion(shell="bash")
    assert "--install-completion" in script
    for name in COMMANDS:
        assert name in script
    assert {"--objective", "--dry-run", "--tolerance"} <= set(re.findall(r"--[a-z-]+", script))
