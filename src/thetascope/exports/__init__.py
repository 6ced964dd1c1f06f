"""Results as files of other programs: ParaView, tables, arrays, pictures, animations. One module a kind; FORMATS lists them.

Also what a Result asks for when it is shown: its pictures, its headline and its findings.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thetascope.errors import ResultError
from thetascope.experiments.framework.findings import findings_of, headline_of
from thetascope.experiments.framework.pictures import SUFFIXES, draw_matplotlib, draw_plotly, png
from thetascope.exports.paraview import image_data, poly_data
from thetascope.exports.pictures import animation, figure
from thetascope.exports.tables import arrays, table
from thetascope.files import write_atomically
from thetascope.results.labelled import labels_of
from thetascope.results.showing import showable

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["FORMATS", "draw_matplotlib", "draw_plotly", "export", "findings_of", "headline_of", "png"]

Content = Callable[..., bytes]
"""Makes a file's content from a result's data, the suffix and the variable that was chosen, a picture's also from its options."""

FORMATS: dict[str, tuple[str, Content]] = {
    ".vti": ("a grid for ParaView", image_data),
    ".vtp": ("the way of a training for ParaView", poly_data),
    ".csv": ("a table", table),
    ".npz": ("arrays for numpy", arrays),
    **{suffix: ("an interactive page" if suffix == ".html" else "a picture", figure) for suffix in SUFFIXES},
    ".gif": ("an animation", animation),
    ".mp4": ("an animation", animation),
}
"""Each suffix with what a file of it is and what makes its content."""

TAKEN = {".csv": {"verbatim"}}
"""Options of formats that are no pictures."""

OF_ONE = (".vti", ".vtp", ".gif", ".mp4")
"""Formats that hold one objective's values."""


def export(data: xr.Dataset, path: str | os.PathLike[str], variable: str | None = None, **options: Any) -> Path:
    """Write a result in the format that the suffix of `path` names, whole or not at all; a file there is replaced.

    Args:
        data: of the result; a .vti takes one over (``y``, ``x``), a .vtp one with the way of a training.
        path: ends in one of FORMATS. Its folder is made.
        variable: of the scored variables, write only this one. An animation shows the loss without.
        options: of a picture or a page; ``verbatim`` of a table.

    Returns:
        The path.

    Raises:
        ResultError: no such format or variable, the result does not fit the format, or `path` is a folder.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        there = {what: " ".join(name for name, entry in FORMATS.items() if entry[0] == what) for what, _ in FORMATS.values()}
        listed = ", ".join(f"{names} ({what})" for what, names in there.items())
        raise ResultError(f'"{path.name}" ends in no known format; there are: {listed}')
    if path.is_dir():
        raise ResultError(f'"{path}" is a folder; an export is one file: choose another name')
    labels = labels_of(data)
    if labels and suffix in OF_ONE:
        raise ResultError(
            f'a {suffix} file shows one objective, and this result is of {", ".join(labels)}: export result.one("{labels[0]}")'
        )
    make = FORMATS[suffix][1]
    refused = [] if suffix in SUFFIXES else sorted(options.keys() - TAKEN.get(suffix, set()))
    if refused:
        names = ", ".join(f"{name}=" for name in refused)
        raise ResultError(f"{names}: options of a picture ({' '.join(SUFFIXES)}); a {suffix} file takes none")
    content = make(showable(data), suffix, variable, **options)

    def write(partial: Path) -> None:
        partial.write_bytes(content)

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, write)
    return path
