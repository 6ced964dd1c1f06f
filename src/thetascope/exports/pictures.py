"""Results as pictures, pages and animations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from thetascope.exports.selection import check_scored
from thetascope.results.result import Result


def figure(result: Result, suffix: str, variable: str | None) -> bytes:
    """The whole figure, or one variable's; .html is a page."""
    from thetascope.figures import save_figure

    if variable is None:
        return _drawn(suffix, lambda path: save_figure(result, path))
    check_scored(result, variable)
    return _drawn(suffix, lambda path: save_figure(result, path, variable=variable))


def animation(result: Result, suffix: str, variable: str | None) -> bytes:
    """The optimizer walking over its plane; without a variable, over the loss."""
    from thetascope.figures.animation import save_animation

    return _drawn(suffix, lambda path: save_animation(result, path, variable=variable or "loss"))


def _drawn(suffix: str, draw: Callable[[Path], object]) -> bytes:
    """What `draw` writes: into a folder of its own, because figures choose their format by the suffix of a path."""
    with TemporaryDirectory(prefix="thetascope-") as folder:
        path = Path(folder) / f"figure{suffix}"
        draw(path)
        return path.read_bytes()
