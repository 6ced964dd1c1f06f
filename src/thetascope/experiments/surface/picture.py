"""Loss surfaces over a plane of parameters: contours, heat map, in 3-D, and cuts through the center (thesis figure 6.26)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from thetascope.drawing.fields import Field, GridInfo, grid_info
from thetascope.drawing.spec import Form, Panel, Parts, Picture
from thetascope.drawing.style import ORANGE
from thetascope.errors import ResultError
from thetascope.experiments.shared.plane_picture import curve, curve_panel, line_panel, plane_panel, smooth_note

if TYPE_CHECKING:
    import xarray as xr

KINDS = ("contour", "heatmap", "3d", "cuts")


def picture(data: xr.Dataset, form: Form, kind: str | None = None, variable: str | None = None, cells: bool = False) -> Picture:
    """All kinds; or one `kind` (contour, heatmap, 3d or cuts) of one `variable`. A page switches between kinds, and between variables.

    A surface of one row or column is a line. For 3d, axes must be three-dimensional, else flat. With `cells` those that were evaluated are
    dotted, where the rest is estimated.
    """
    found = grid_info(data)
    if kind is not None and kind not in KINDS:
        raise ResultError(f'there is no kind "{kind}" of surface figure; there are: {", ".join(KINDS)}')
    field, every = found.field(variable), kind is None and variable is None
    panel_of = partial(plane_panel, found, form=form, cells=cells)
    shown = list(found.fields) if variable is None else [field]
    size = (6.4, found.height(5.0) + 1.4 if kind != "3d" else 5.6)
    if found.is_line:
        panels = [line_panel(found, of_one) for of_one in (shown if every or form == "page" else [field])]
        parts, size = Parts(parts=panels), (5.2 * len(panels), 4.8)
        if form == "page":
            parts, size = Parts(parts=[_switching(panels)]), (6.4, 6.0)
    elif kind == "cuts":
        parts, size = Parts(parts=[_cuts(found, field)]), (6.4, 5.4)
    elif form == "page":
        parts, size = (
            Parts(parts=[_switching([panel_of(of_one, kind or "contour") for of_one in shown])]),
            (10, 6.2),
        )
    elif every and form == "figure":
        other = next((of_one for of_one in found.fields if of_one.name != "loss"), field)
        panels = [panel_of(of_one, of) for of, of_one in (("contour", field), ("3d", field), ("heatmap", other))]
        parts, size = Parts(parts=[*panels, _cuts(found, field)], columns=2), (11, 9.4)
    else:
        parts = Parts(parts=[panel_of(field, kind or "contour")])
    opens = "3d" if kind is None else ""
    smooth = smooth_note(found) if kind == "3d" or (form == "page" and kind != "cuts") or (every and form == "figure") else ()
    notes = (*found.notes, *smooth)
    return Picture(title=found.title, notes=notes, parts=parts, width=size[0], height=size[1], opens=opens)


def _switching(panels: list[Panel]) -> Panel:
    """The first; a page shows the others in its place."""
    return replace(panels[0], others=[(panel.name, panel) for panel in panels[1:]])


def _cuts(found: GridInfo, field: Field) -> Panel:
    """The row and the column nearest to the center, each named by where it lies."""
    row, column = np.abs(found.y).argmin(), np.abs(found.x).argmin()
    marks = curve(found, field, (row, slice(None)), found.x, label=f"along x, at y = {found.y[row]:.3g}")
    along_y = f"along y, at x = {found.x[column]:.3g}"
    marks += curve(found, field, (slice(None), column), found.y, color=ORANGE, dash="dash", label=along_y)
    return curve_panel(field, marks, f"x: {found.x_label}\ny: {found.y_label}")
