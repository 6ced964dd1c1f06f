"""Results as pictures, pages and animations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from thetascope.experiments.framework import pictures
from thetascope.exports.selection import check_scored

if TYPE_CHECKING:
    import xarray as xr


def figure(data: xr.Dataset, suffix: str, variable: str | None, **options: Any) -> bytes:
    """The whole figure, or one variable's; .html is a page."""
    if variable is not None:
        check_scored(data, variable)
        options["variable"] = variable
    return _drawn(suffix, lambda path: pictures.save_figure(data, path, **options))


def animation(data: xr.Dataset, suffix: str, variable: str | None) -> bytes:
    """What its experiment moves, such as the optimizer walking over its plane; without a variable, over the loss."""
    module = pictures.animation_module(data)
    return _drawn(suffix, lambda path: module.save_animation(data, path, variable=variable or "loss"))


def _drawn(suffix: str, draw: Callable[[Path], object]) -> bytes:
    """What `draw` writes: into a folder of its own, because figures choose their format by the suffix of a path."""
    with TemporaryDirectory(prefix="thetascope-") as folder:
        path = Path(folder) / f"figure{suffix}"
        draw(path)
        return path.read_bytes()
