"""Panels that surfaces and the plane of a training share: a quantity over a plane, or along its only row or column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.fields import Field, GridInfo
from thetascope.drawing.relief import pieces_of
from thetascope.drawing.scales import least_range
from thetascope.drawing.spec import Edge, FieldMark, Form, Line, Mark, Panel, Rule
from thetascope.drawing.style import BLUE, GREY, VERMILION

MARKERS = ("star", "circle", "square", "triangle-up", "diamond", "triangle-down")


def plane_panel(found: GridInfo, field: Field, kind: str, form: Form, *, cells: bool = False) -> Panel:
    """The quantity over the plane, with the stored states that lie in it; a page has it flat and in 3-D."""
    marks: list[Mark] = [FieldMark(grid=found, field=field, kind=kind, cells=cells)]
    marks += [] if kind == "3d" else stored_states(found)
    marks += stored_states(found, "surface") if kind == "3d" or form == "page" else []
    return Panel(name=field.name.replace("_", " "), marks=marks, x_label=found.x_label, y_label=found.y_label, crowded=True)


def smooth_note(found: GridInfo) -> tuple[str, ...]:
    """What a picture in 3-D must say: what is drawn between the cells."""
    ny, nx = len(found.y), len(found.x)
    return (f"in 3-D drawn smooth between {nx} × {ny} cells",) if not found.is_line and max(pieces_of((ny, nx))) > 1 else ()


def stored_states(found: GridInfo, z: str | None = None) -> list[Mark]:
    """The stored states that lie in the plane, each with its own sign, many with one; in 3-D on the surface."""
    few = len(found.marks) <= len(MARKERS)
    groups = [[mark] for mark in found.marks] if few else [list(found.marks)]
    marks: list[Mark] = []
    for place, group in enumerate(groups):
        x, y, labels = (list(column) for column in zip(*group, strict=True))
        style: dict[str, Any] = {"marker": MARKERS[place if few else 1], "size": 12 if few and place == 0 else 7}
        style |= {"label": labels[0] if few else f"{len(labels)} stored states", "told": labels, "hover": "x = %{x:.4g}, y = %{y:.4g}"}
        marks.append(Line(x=x, y=y, z=z, dash="", face="white", edge="black", level=6, **style))
    return marks


def line_panel(found: GridInfo, field: Field) -> Panel:
    """The only row or column."""
    across = len(found.y) == 1
    at, label = (found.x, found.x_label) if across else (found.y, found.y_label)
    marks = curve(found, field, (0, slice(None)) if across else (slice(None), 0), at)
    marks += [Rule(at=x if across else y, label=mark, width=1.0) for x, y, mark in found.marks]
    return curve_panel(field, marks, label)


def curve_panel(field: Field, marks: Sequence[Mark], x_label: str) -> Panel:
    """Axes for curves of the quantity, as uneven as its scale."""
    scale = field.scale
    uneven = scale if not field.log and not scale.even and not scale.flat else None
    return Panel(
        name=field.name.replace("_", " "),
        marks=marks,
        x_label=x_label,
        y_label=field.label if field.log else f"{field.label}{scale.remark}",
        y_range=None if field.name == "loss" else least_range(field.shown),
        y_log=field.log,
        scale=uneven,
        y_ticks=(scale.ticks.tolist(), scale.tick_texts) if uneven else None,
        grid=True,
    )


def curve(found: GridInfo, field: Field, where: Any, at: Floats, color: str = BLUE, **style: Any) -> list[Mark]:
    """Part of the grid as a curve with gaps, dots at what was evaluated, and twice the standard error where it is known."""
    dots = np.ones(len(at), bool) if field.evaluated is None else field.evaluated[where]
    spread = 2 * found.standard_error[where] if found.standard_error is not None and field.name == "loss" else None
    told = [f"{value:.5g}{'' if known else ' (estimated)'}" for value, known in zip(field.values[where], dots, strict=True)]
    style |= {"marker": "circle", "size": 3, "marked": np.flatnonzero(dots).tolist(), "spread": spread, "told": told}
    marks: list[Mark] = [Line(x=at, y=field.shown[where], color=color, hover="%{x:.4g}", **style)]
    for kind, marker, bad in (("not finite", "x-thin", VERMILION), ("not scored", "line-ns", GREY)):
        if kind in field.marked:
            marks.append(Edge(at=at[field.marked[kind][where]], label=field.count_text(kind), marker=marker, color=bad))
    return marks
