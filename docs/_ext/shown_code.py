"""Runs the code blocks of the pages while they are built, and puts what they show below them."""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from docutils import nodes
from matplotlib.figure import Figure
from page_code import START, Reader, Shown
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.typing import ExtensionMetadata

import thetascope as ts

MADE = "_made"
"""The folder of the pictures within the pages' source; git ignores it."""

_log = logging.getLogger(__name__)
_folders: list[TemporaryDirectory[str]] = []
_readers: dict[Path, Reader] = {}


def _reader(docs: Path) -> Reader:
    """Somebody in an empty folder."""
    _folders.append(TemporaryDirectory(prefix="thetascope-docs-"))
    return Reader(Path(_folders[-1].name), docs)


class ShowCode(SphinxTransform):
    """Below each block of Python: what it prints, and what its last line is, as a notebook shows it."""

    default_priority = 200

    def apply(self, **_: Any) -> None:
        """Run this page's blocks in order."""
        docs, page = Path(self.env.srcdir), f"{self.env.docname}.md"
        ours = [b for b in self.document.findall(nodes.literal_block) if b.get("language") == "python"]
        if not ours or not (docs / page).is_file():
            return
        if page == START:
            reader, names = _reader(docs), {"__name__": "__main__"}
        else:
            reader = _readers[docs] = _readers.get(docs) or _reader(docs)
            names = reader.names()
        for number, block in enumerate(ours, 1):
            _log.info("running block %d of %s", number, page)
            with redirect_stderr(StringIO()):  # what is said about progress
                shown = reader.run(block.astext() + "\n", names, page)
            block.parent[block.parent.index(block) + 1 : block.parent.index(block) + 1] = self._nodes(shown, number)

    def _nodes(self, shown: Shown, number: int) -> list[nodes.Node]:
        found: list[nodes.Node] = []
        if shown.printed:
            found.append(_output(shown.printed))
        if isinstance(shown.value, Figure):
            found.append(self._picture(shown.value, number))
        elif isinstance(shown.value, ts.Result):
            found.append(nodes.raw("", f'<div class="shown result">{shown.value._repr_html_()}</div>', format="html"))
        elif shown.value is not None:
            found.append(_output(repr(shown.value)))
        return found

    def _picture(self, figure: Figure, number: int) -> nodes.Node:
        file = f"{MADE}/{self.env.docname.replace('/', '-')}-{number}.png"
        (Path(self.env.srcdir) / MADE).mkdir(exist_ok=True)
        figure.savefig(Path(self.env.srcdir) / file, dpi=140, facecolor="auto")
        # with a width of its own, the picture becomes a link to itself in full size
        title = next((text.get_text() for text in figure.texts), "a figure").replace("\n", " ")
        return nodes.image("", uri=f"/{file}", alt=title, classes=["shown"], width=f"{100 * figure.get_figwidth():.0f}px")


def _output(text: str) -> nodes.Node:
    return nodes.literal_block(text.rstrip(), text.rstrip(), language="text", classes=["shown"])


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the transform; pages are read one after the other, for they share what the quick start made."""
    app.add_transform(ShowCode)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
