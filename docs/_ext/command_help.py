"""The help of all commands as a page part, ``_made/commands.md``, which the reference includes."""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

from thetascope.cli import app as commands

HEADING = "### thetascope "


def _write(app: Sphinx) -> None:
    text = commands.generate_docs(output_format="markdown", heading_level=2, usage_name="thetascope")
    made = Path(app.srcdir) / "_made"
    made.mkdir(exist_ok=True)
    (made / "commands.md").write_text(text[text.index(HEADING) :], encoding="utf-8")  # without the list of contents, which pages have


def setup(app: Sphinx) -> ExtensionMetadata:
    """Write it before the pages are read."""
    app.connect("builder-inited", _write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
