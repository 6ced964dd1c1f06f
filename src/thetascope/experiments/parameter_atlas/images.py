"""Layers as images of their parameters' impact, packed into rows, with one scale of colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.legends import clipped
from thetascope.drawing.spec import ColorBar, Form, Image, Mark, Panel, Parts, stacked
from thetascope.drawing.style import VERMILION, Ints, html
from thetascope.experiments.parameter_atlas.picture_info import AtlasInfo, AtlasLayer, members_of
from thetascope.experiments.parameter_atlas.tensor_images import ImageBlock

MARKED = {"impact 0": "#BDBDBD", "not scored": "#F7DDE9", "not finite": VERMILION}
"""Colours of parameters without an impact above 0."""
DOTS = 140
"""An inch: cells smaller than that are drawn together, the largest impact kept."""
MOST = 100_000
"""Of a page: more parameters than this are thinned out, cells that fall together as well as points of the scatter."""
SMALLEST = 100
"""No image of a page is thinned to fewer rows or columns."""
WORDY = 2_000
"""A matrix of more cells says its indices by its axes: a label for each cell would make the page large."""
NARROWEST, WIDEST = 0.36, 6.0
"""Width by height of a picture: beyond, cells are stretched."""
ROW, LOW_ROW, BESIDE, FEW = 1.9, 1.3, 0.5, 6
"""Inches: how high a row of pictures should be, also where there are more than a few, and what a picture's labels take."""
TITLE, CHARACTER = 36, 0.073
"""Characters of a title that get their room, and inches that one takes."""
BAR = 0.6
"""Inches that the bar of the colours takes."""


def marks_of(found: AtlasInfo, members: Ints) -> dict[str, Ints]:
    """The members without an impact above 0, by what is said of them."""
    kinds = {"impact 0": found.impact == 0, "not scored": found.missing, "not finite": found.not_finite}
    chosen = {kind: members[which[members]] for kind, which in kinds.items()}
    return {kind: places for kind, places in chosen.items() if len(places)}


def urgency(found: AtlasInfo) -> Floats:
    """What is kept of parameters drawn in one cell: what is not finite, then the largest impact."""
    return np.where(found.not_finite, np.inf, np.where(found.missing, -1.0, found.impact))


def image_panel(
    found: AtlasInfo, layer: AtlasLayer, form: Form, among: Sequence[AtlasLayer], inches: tuple[float, float], *, bar: bool = True
) -> Panel:
    """One layer: its weights with rows downwards, biases beside them; cells true to scale unless it is very long.

    Cells too small for `inches`, its width and height, are drawn together; marks are counted `among` these layers.
    """
    counts = {kind: f"{kind}: {len(places):,}" for kind, places in marks_of(found, members_of(among)).items()}
    marks, together = list[Mark](), (1, 1)
    shift = 0.5 if form == "page" else 0.0  # there a cell's middle lies at its index
    for block in layer.picture.blocks:
        shown = block.thinned(urgency(found), *_cells_that_fit(found, layer, block, None if form == "page" else inches))
        together = max(together, tuple(-(-whole // part) for whole, part in zip(block.index.shape, shown.index.shape, strict=True)))
        blank, x, y = shown.index < 0, shown.x - shift, shown.y - shift
        marked = []
        for kind, places in marks_of(found, layer.members).items():
            cells = np.isin(shown.index, places)
            texts = [f"{found.labels[i]}: {kind}" for i in shown.index[cells]] if form == "page" and kind != "impact 0" else []
            marked.append((counts[kind], MARKED[kind], cells, texts))
        values = np.where(blank, np.nan, found.impact[shown.index])
        told = _hover(found, shown) if form == "page" else {}
        marks.append(Image(x=x, y=y, values=values, scale=found.colors, marked=marked, **told))
    remark = "" if together == (1, 1) or form == "page" else f"a cell: the largest of {together[0]} × {together[1]}"
    picture, (width, height) = layer.picture, layer.picture.size
    across, down = (len(among) == 1 and is_index for is_index in picture.indexed)
    x_ticks, y_ticks = ([(at - shift, text) for at, text in ticks] for ticks in (picture.x_ticks, picture.y_ticks))
    return Panel(
        name=f"{layer.name} ({len(layer.members):,})",
        marks=[*marks, *([color_bar(found)] if bar else [])],
        title="" if form == "page" else clipped(found.sized(layer), max(int(inches[0] / CHARACTER), 12)),
        x_label="\n".join(["second index"] * across + [remark] * bool(remark)),
        y_label="first index" if down else "",
        x_range=(-shift, width - shift),
        y_range=(height - shift, -shift),
        x_ticks=([at for at, _ in x_ticks], [text for _, text in x_ticks]),
        y_ticks=([at for at, _ in y_ticks], [text for _, text in y_ticks]),
        aspect=width / height / aspect_of(layer),
        crowded=True,
    )


def _cells_that_fit(found: AtlasInfo, layer: AtlasLayer, block: ImageBlock, inches: tuple[float, float] | None) -> tuple[int, int]:
    """Rows and columns of a block that are no finer than the dots of a printed picture, or not too many for a page."""
    if inches is None:
        share = min((MOST / len(found.labels)) ** 0.5, 1.0)
        rows, columns = (max(int(size * share), SMALLEST) for size in block.index.shape)
        return rows, columns
    (width, height), ratio = layer.picture.size, aspect_of(layer)
    wide, high = min(inches[0], inches[1] * ratio), min(inches[1], inches[0] / ratio)
    share_down, share_across = (block.y[-1] - block.y[0]) / height, (block.x[-1] - block.x[0]) / width
    return max(int(DOTS * high * share_down), 1), max(int(DOTS * wide * share_across), 1)


def _hover(found: AtlasInfo, block: ImageBlock) -> dict[str, Any]:
    """What hovering tells of each cell; of a large matrix the axes say the indices."""
    index, blank = block.index, block.index < 0
    patterns, data = np.where(blank, "", found.patterns[index]), found.distance[index].astype(np.float32)
    values = "impact %{z:.3~g}<br>distance %{customdata:.3~g}"
    if block.x[0] == block.y[0] == 0 and index.shape == block.shape and index.size > WORDY:
        hover = f"{html(block.tensor)}[%{{y}},%{{x}}]<br>{values}<br>%{{text}}"
        return {"data": data, "told": patterns.tolist(), "hover": hover}
    names = np.where(blank, "", found.labels[index])
    told = [["\n".join(texts) for texts in zip(*row, strict=True)] for row in zip(names.tolist(), patterns.tolist(), strict=True)]
    return {"data": data, "told": told, "hover": values}


def color_bar(found: AtlasInfo) -> ColorBar:
    """What the colours mean."""
    below = found.colors is not None and bool((found.impact[found.impact > 0] < found.colors.levels[0]).any())
    return ColorBar(scale=found.colors, label=found.impact_label, below=below)


def aspect_of(layer: AtlasLayer) -> float:
    """Width by height of a layer's picture as drawn."""
    width, height = layer.picture.size
    return float(np.clip(width / height, NARROWEST, WIDEST))


@dataclass(frozen=True)
class ImageRow:
    """Pictures side by side: their layers, the inches of their common height, and of each one's width with its labels."""

    layers: tuple[AtlasLayer, ...]
    height: float
    widths: tuple[float, ...]


def packed(found: AtlasInfo, layers: Sequence[AtlasLayer], width: float, sought: float | None = None) -> list[ImageRow]:
    """Rows of about equal height that fill the `width` in inches, each picture wide enough for its title, or most of it.

    The rows are cut where the heights stray least from the one `sought` in all (Knuth and Plass 1981, for lines of text).
    """
    sought = sought or (ROW if len(layers) <= FEW else LOW_ROW)
    best: list[tuple[float, list[ImageRow]]] = [(0.0, [])]
    for end in range(1, len(layers) + 1):
        choices = []
        for start in range(end):
            height, row = _row(found, layers[start:end], width, 1.3 * sought)
            choices.append((best[start][0] + float(np.log(height / sought)) ** 2, [*best[start][1], row]))
        best.append(min(choices, key=lambda choice: choice[0]))
    return best[-1][1]


def _row(found: AtlasInfo, layers: Sequence[AtlasLayer], width: float, highest: float) -> tuple[float, ImageRow]:
    """The row, and the height that would fill the width, also above the highest."""
    ratios = np.array([aspect_of(layer) for layer in layers])
    titles = np.array([min(len(found.sized(layer)), TITLE) * CHARACTER for layer in layers])
    heights = np.linspace(0.2, 8.0, 400)
    whole = np.maximum(np.outer(heights, ratios), titles).sum(axis=1) + BESIDE * len(layers)
    filling = float(heights[max(int(np.searchsorted(whole, width)) - 1, 0)])
    height = min(filling, highest)
    return filling, ImageRow(tuple(layers), height, tuple((np.maximum(ratios * height, titles) + BESIDE).tolist()))


def images(found: AtlasInfo, layers: Sequence[AtlasLayer], width: float, sought: float | None = None) -> tuple[Parts, float]:
    """Pictures of the layers in rows of about that height, so many inches wide with their bar of colours; and how high all are."""
    rows = packed(found, layers, width - BAR - 0.7, sought)
    used = max(sum(row.widths) for row in rows)
    parts = []
    for row in rows:
        panels: list[Panel] = [
            image_panel(found, layer, "figure", layers, (wide - BESIDE, row.height), bar=False)
            for layer, wide in zip(row.layers, row.widths, strict=True)
        ]
        rest = used - sum(row.widths)
        empty = rest > 0.2
        parts.append(Parts(parts=[*panels, *[Panel(marks=())] * empty], sizes=(*row.widths, *[rest] * empty)))
    bar, heights = Panel(marks=[color_bar(found)]), [row.height for row in rows]
    spare = max(width - used - BAR, 0.01)
    whole = Parts(parts=[stacked(parts, heights, shared=False), bar, Panel(marks=())], sizes=(used, 0.16, spare))
    return whole, sum(heights) + 0.55 * len(rows)
