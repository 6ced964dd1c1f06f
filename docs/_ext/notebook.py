"""The quick start as a notebook, made of its page: ``python docs/_ext/notebook.py`` writes it anew."""

from __future__ import annotations

import json
import re
from pathlib import Path

from page_code import START

DOCS = Path(__file__).parent.parent
NOTEBOOK = DOCS / "quickstart.ipynb"
_BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$\n?", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# (\w+\.py)\n")
_LINK = re.compile(r"\[([^\]]+)\]\((?!http)[^)]+\)")
_RUN_AS_SCRIPT = "train.py"


def notebook_of(page: str) -> str:
    """The page's text as a notebook: prose in between, each block a cell; a block that is a file is written, and what trains is run."""
    cells: list[tuple[str, str]] = []
    place = 0
    for found in _BLOCK.finditer(page):
        cells.append(("markdown", page[place : found.start()]))
        cells += [("code", code) for code in _code_of(found[1], found[2])]
        place = found.end()
    cells.append(("markdown", page[place:]))
    kept = [(kind, _LINK.sub(r"\1", text).strip("\n")) if kind == "markdown" else (kind, text.strip("\n")) for kind, text in cells]
    content = {
        "cells": [_cell(kind, text, number) for number, (kind, text) in enumerate(kept) if text],
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _code_of(language: str, code: str) -> list[str]:
    if language == "sh":
        return ["\n".join(f"!{line}" for line in code.splitlines())]
    file = _FILE.match(code)
    if file is None:
        return [code]
    return [f"%%writefile {file[1]}\n{code}", *([f"%run {file[1]}"] if file[1] == _RUN_AS_SCRIPT else [])]


def _cell(kind: str, text: str, number: int) -> dict[str, object]:
    cell: dict[str, object] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


if __name__ == "__main__":
    NOTEBOOK.write_text(notebook_of((DOCS / START).read_text(encoding="utf-8")), encoding="utf-8")
