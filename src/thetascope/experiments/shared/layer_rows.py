"""Many layers as the rows of an image, in the network's order, called by their blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.legends import told_apart
from thetascope.drawing.scales import Scale, color_map_of, even_scale, is_share
from thetascope.drawing.spec import ColorBar, Form, Image, Mark, Panel, Parts, Picture, Rule, Ticks
from thetascope.drawing.style import GREY, VERMILION, Bools, Ints
from thetascope.results.status import MISSING

if TYPE_CHECKING:
    import xarray as xr

NAMES = 32
"""So many rows, or blocks, are called by their names."""
LINE = 0.12
"""Inches: names closer than this run into each other."""
LONGEST = 24
"""Characters of a name."""
ROWS_NOTE = "rows: layers in the network's order, called by their blocks"


def row_names(names: Sequence[str], blocks: Sequence[str]) -> tuple[Ticks, list[int]]:
    """What stands beside the rows, and after how many of them a block ends.

    Every layer has its name where they are few; else every block, or what blocks lie in where there are too many. Names that would run into
    others are left out, the last one never.
    """
    labels = [block or name for name, block in zip(names, blocks, strict=True)]
    runs = _runs(labels)
    ends = [stop for _, _, stop in runs[:-1]] if len(runs) < len(names) else []
    if len(names) <= NAMES:
        runs = [(name, place, place + 1) for place, name in enumerate(names)]
    while len(runs) > NAMES and any("." in label for label in labels):
        labels = [label.rpartition(".")[0] or label for label in labels]
        runs = _runs(labels)
        ends = [stop for _, _, stop in runs[:-1]]
    places, apart = [(start + stop) / 2 for _, start, stop in runs], LINE * len(names) / inches(len(names), len(runs))
    shown = [0] * (len(runs) > 1)
    for place in range(1, len(runs) - 1):
        if places[place] - places[shown[-1]] >= apart <= places[-1] - places[place]:
            shown.append(place)
    shown.append(len(runs) - 1)
    texts = told_apart([runs[place][0] for place in shown], LONGEST)
    return ([places[place] for place in shown], texts), ends


def inches(rows: int, names: int) -> float:
    """How high so many rows are drawn, with so many names beside them."""
    return max(2.4, 0.18 * min(names, NAMES), min(0.035 * rows, 9.0))


def _runs(labels: Sequence[str]) -> list[tuple[str, int, int]]:
    """Labels that follow one another, each with its first row and the one after its last."""
    runs, at = [], 0
    for label, group in groupby(labels):
        start, at = at, at + len(list(group))
        runs.append((label, start, at))
    return runs


def rows_panel(
    data: xr.Dataset, values: Floats, status: Ints, x: Floats, label: str, *, name: str, hover: str, told: Any,
    marks: Sequence[Mark] = (), scale: Scale | None = None, color_map: str = "", **axes: Any,
) -> Panel:  # fmt: skip
    """Values ``[layer, n]`` as an image with a row a layer, between the edges `x`, with its bar of colours; other marks lie on it.

    Cells whose status is not given (nan) are blank; those that were not scored, or have no finite value, are marked. A `scale` and a
    `color_map` may be others than the variable has by itself.
    """
    names = data["layer"].values.astype(str).tolist()
    ticks, ends = row_names(names, data["block"].values.astype(str).tolist() if "block" in data.coords else [""] * len(names))
    scale, color_map = scale or even_scale(values, bounded=is_share(name, values)), color_map or color_map_of(name)
    image = Image(
        x=x, y=np.arange(len(names) + 1, dtype=np.float64), values=values, scale=scale if len(scale.levels) else None,
        color_map=color_map, marked=_marked(values, status, told), layers=names, told=told, hover=hover,
    )  # fmt: skip
    bar = ColorBar(scale=image.scale, color_map=color_map, label=f"{label}{scale.remark}")
    borders = [Rule(at=float(end), upright=False, color="white", dash="solid", width=0.6, level=3) for end in ends]
    y_range = (float(len(names)), 0.0)
    return Panel(name=name.replace("_", " "), marks=[image, bar, *borders, *marks], y_range=y_range, y_ticks=ticks, crowded=True, **axes)


def _marked(values: Floats, status: Ints, told: Any) -> list[tuple[str, str, Bools, list[str]]]:
    """Cells without a finite value."""
    found = []
    kinds = (("not finite", VERMILION, (status > MISSING) & ~np.isfinite(values)), ("not scored", GREY, status == MISSING))
    for kind, color, cells in kinds:
        if cells.any():
            texts = [f"{told[row][column]}\n{kind}" for row, column in zip(*np.nonzero(cells), strict=True)]
            found.append((f"{kind}: {cells.sum():,}", color, cells, texts))
    return found


def rows_picture(panels: Sequence[Panel], form: Form, title: str, notes: tuple[str, ...], across: float) -> Picture:
    """The images of several variables, each so many inches wide, beside one another; a page switches between them."""
    (image,) = (mark for mark in panels[0].marks if isinstance(mark, Image))
    texts, rows = panels[0].y_ticks[1] if panels[0].y_ticks else (), len(image.values)
    notes = (*notes, ROWS_NOTE)
    if form == "page":
        one = Parts(parts=[replace(panels[0], others=[(panel.name, panel) for panel in panels[1:]])])
        return Picture(title=title, notes=notes, parts=one, width=9, height=max(4.5, 0.09 * rows))
    width = 0.5 + 0.075 * max(map(len, texts), default=0) + across * len(panels)
    height = 1.6 + 0.2 * len(notes) + inches(rows, len(texts))
    return Picture(title=title, notes=notes, parts=Parts(parts=panels, shared=True), width=width, height=height)
