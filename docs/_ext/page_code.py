"""The code of the pages, run as a reader would run it. The pages are built with it, and the tests run it.

What a page starts from is what the quick start leaves behind: its names, its files, its recorded run.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

START = "quickstart.md"
FOR_COMMANDS = "mine.py"
"""What the commands are given: its functions are not among the reader's names."""
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# (\w+\.py)\n")
_NEEDS = re.compile(r"# needs (\w+)\n")
"""A block that begins so runs only where that library is installed."""


SILENT = {
    "WANDB_SILENT": "true",
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


@contextmanager
def _quiet(other: bool) -> Iterator[None]:
    """Let other people's libraries warn of what is theirs, and send nothing anywhere."""
    with warnings.catch_warnings(), patch.dict(os.environ, SILENT if other else {}):
        if other:
            warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True)
class Shown:
    """What a block shows: what it printed, and the value of its last line, None where that is a statement."""

    printed: str
    value: object


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a language in a page's text."""
    return [code for found, code in _BLOCK.findall(page) if found == language]


def commands(page: str) -> list[str]:
    """The command lines in a page's shell blocks; a backslash joins a line to the next."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("thetascope ")]


class Reader:
    """Somebody who follows the quick start in a `folder`, then a page."""

    def __init__(self, folder: Path, docs: Path) -> None:
        self._folder, self._docs = folder, docs
        self._start: dict[str, Any] | None = None

    def names(self) -> dict[str, Any]:
        """A copy of what the quick start leaves behind."""
        if self._start is None:
            self._start = {"__name__": "__main__"}
            for code in blocks((self._docs / START).read_text(encoding="utf-8"), "python"):
                self.run(code, self._start, START)
        return dict(self._start)

    def run(self, code: str, names: dict[str, Any], origin: str) -> Shown:
        """Run one block. One that begins with ``# name.py`` is also written to that file; ``# needs library`` says what must be there."""
        file, needs = _FILE.match(code), _NEEDS.match(code)
        if needs and find_spec(needs[1]) is None:
            return Shown("", None)
        if file:
            (self._folder / file[1]).write_text(code, encoding="utf-8")
            names = dict(names) if file[1] == FOR_COMMANDS else names
        tree = ast.parse(code, origin)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        printed, value = StringIO(), None
        with self.within(), redirect_stdout(printed), _quiet(needs is not None):
            exec(compile(tree, origin, "exec"), names)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), origin, "eval"), names)
        return Shown(printed.getvalue(), value)

    @contextmanager
    def within(self) -> Iterator[None]:
        """In the reader's folder, whose files can be imported."""
        before, modules = Path.cwd(), set(sys.modules)
        os.chdir(self._folder)
        sys.path.insert(0, str(self._folder))
        try:
            yield
        finally:
            os.chdir(before)
            sys.path.remove(str(self._folder))
            for name in set(sys.modules) - modules:
                if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(self._folder)):
                    del sys.modules[name]  # another reader has a file of the same name
