"""The directive ``experiments``, which lists them as their declarations say: ``functions``, ``guides``, ``commands`` or ``findings``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import experiment_lists
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

LISTS = {
    "functions": experiment_lists.functions,
    "guides": experiment_lists.guides,
    "commands": experiment_lists.commands,
    "findings": experiment_lists.findings,
}


def _named(argument: str) -> str:
    if argument not in LISTS:
        raise ValueError(f"the lists are: {', '.join(LISTS)}")
    return argument


class Experiments(SphinxDirective):
    """One of the lists, in a Markdown page."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """Parse the list as if it stood in the page."""
        made = LISTS[_named(self.arguments[0])](Path(self.env.srcdir))
        found = nodes.Element()
        self.state.nested_parse(StringList(made.splitlines(), self.env.docname), self.content_offset, found)
        return list(found.children)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("experiments", Experiments)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
