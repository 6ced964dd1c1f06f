"""The experiments as the pages list them, made of their declarations. The pages are built with it, and the tests read it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from thetascope.experiments.framework.catalog import entries, experiments
from thetascope.experiments.framework.declaration import Call
from thetascope.experiments.framework.facts import facts_table
from thetascope.experiments.framework.words import Words


def functions(docs: Path) -> str:
    """The reference of each."""
    return "\n".join(
        [
            "```{eval-rst}",
            *(f".. autofunction:: thetascope.{name}" for name in experiments()),
            "```",
        ]
    )


def guides(docs: Path) -> str:
    """What each answers, the guide to it and its function; for a page beside the guides."""
    asked: dict[str, list[str]] = {name: [] for name in experiments()}
    for call in entries().values():
        asked[call.experiment.name].append(call.words.question)
    found = {name: guide_to(name, docs) for name in asked}
    rows = [(" ".join(asked[name]), f"[{title}]({target})", f"`ts.{name}`") for name, (title, target) in found.items()]
    return _table(("what is asked", "guide", "function"), rows)


def commands(docs: Path) -> str:
    """What `examine` runs: each call's name, its question, and the command that makes the same call."""
    rows = []
    for name, call in entries().items():
        experiment = call.experiment
        same: Call = experiment.of(**{**experiment.examine_with, **call.options})
        rows.append((f"`{name}`", call.words.question, f"`{same.command_line('RUN')}`"))
    return _table(("experiment", "question", "the same by its own command"), rows)


def findings(docs: Path) -> str:
    """The keys of what each experiment finds, by level; calls that find the same stand once."""
    asked: dict[str, Words] = {}
    for call in entries().values():
        level = call.all_options.get("level")
        asked.setdefault(f"`{call.experiment.name}`{f', {level}' if level else ''}", call.words)
    rows = []
    for name, words in asked.items():
        for place, (key, kind, meaning) in enumerate(facts_table(words.findings)):
            rows.append((name if not place else "", f"`{key}`", kind, meaning))
    return _table(("experiment", "key", "type", "what it is"), rows)


def guide_to(name: str, docs: Path) -> tuple[str, str]:
    """The title and the address, beside the guides, of the part of a guide whose heading ends with the function's name.

    Raises:
        LookupError: there is none.
    """
    for page in sorted((docs / "guides").glob("*.md")):
        heading = re.search(rf"^(#+) ((.*): `ts\.{name}`)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        if heading:
            anchor = re.sub(r"[^\w\- ]", "", heading[2].lower()).replace(" ", "-")
            return heading[3], page.name + (f"#{anchor}" if len(heading[1]) > 1 else "")
    raise LookupError(f"no guide in docs/guides has a heading that ends with `ts.{name}`")


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (columns, *rows)]
    return "\n".join([lines[0], "|" + "---|" * lines[0].count(" | ") + "---|", *lines[1:]])
