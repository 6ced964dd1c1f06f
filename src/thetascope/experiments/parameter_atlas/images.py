"""Layers as images of their parameters' impact, packed into rows, with one scale of colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.legends import clipped
from thetascope.drawing.style import VERMILION, Ints
from thetascope.experiments.parameter_atlas.picture_info import AtlasInfo, AtlasLayer, members_of
from thetascope.experiments.parameter_atlas.tensor_images import ImageBlock

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.patches import Patch

COLOR_MAP = "viridis"
MARKED = {"impact 0": "#BDBDBD", "not scored": "#F7DDE9", "not finite": VERMILION}
"""Colours of parameters without an impact above 0."""
DOTS = 140
"""An inch: cells smaller than that are drawn together, the largest impact kept."""
NARROWEST, WIDEST = 0.36, 6.0
"""Width by height of a picture: beyond, cells are stretched."""
ROW, LOW_ROW, BESIDE, FEW = 1.9, 1.3, 0.5, 6
"""Inches: how high a row of pictures should be, also where there are more than a few, and what a picture's labels take."""
TITLE, CHARACTER = 36, 0.073
"""Characters of a title that get their room, and inches that one takes."""


def marks_of(found: AtlasInfo, members: Ints) -> dict[str, Ints]:
    """The members without an impact above 0, by what is said of them."""
    kinds = {"impact 0": found.impact == 0, "not scored": found.missing, "not finite": found.not_finite}
    chosen = {kind: members[which[members]] for kind, which in kinds.items()}
    return {kind: places for kind, places in chosen.items() if len(places)}


def mark_patches(found: AtlasInfo, layers: Sequence[AtlasLayer]) -> list[Patch]:
    """How a legend shows them."""
    from matplotlib.patches import Patch

    marks = marks_of(found, members_of(layers))
    return [Patch(facecolor=MARKED[kind], edgecolor="black", linewidth=0.4, label=f"{kind}: {len(of):,}") for kind, of in marks.items()]


def urgency(found: AtlasInfo) -> Floats:
    """What is kept of parameters drawn in one cell: what is not finite, then the largest impact."""
    return np.where(found.not_finite, np.inf, np.where(found.missing, -1.0, found.impact))


def draw_picture(
    ax: Axes, found: AtlasInfo, layer: AtlasLayer, *, inches: tuple[float, float] | None = None, named_axes: bool = False, length: int = 60
) -> None:
    """One layer: its weights with rows downwards, biases beside them; cells true to scale unless it is very long.

    Cells too small for `inches`, its width and height, are drawn together; `length` is of the title, in characters.
    """
    from matplotlib.colors import ListedColormap

    norm, code = _norm(found), np.zeros(len(found.labels))
    for number, (_, places) in enumerate(marks_of(found, layer.members).items(), 1):
        code[places] = number
    marks = ListedColormap([MARKED[kind] for kind in marks_of(found, layer.members)] or ["white"])
    together = (1, 1)
    for block in layer.picture.blocks:
        rows, columns = _cells_that_fit(ax, layer, block, inches)
        shown = block.thinned(urgency(found), rows, columns)
        together = max(together, tuple(-(-whole // part) for whole, part in zip(block.index.shape, shown.index.shape, strict=True)))
        blank = shown.index < 0
        style: dict[str, Any] = {"rasterized": True, "linewidth": 0, "edgecolors": "none"}
        impact = np.ma.masked_where(blank | (code[shown.index] > 0), found.impact[shown.index])
        ax.pcolormesh(shown.x, shown.y, impact, norm=norm, cmap=COLOR_MAP, **style)
        if code[shown.index[~blank]].any():
            marked = np.ma.masked_where(blank | (code[shown.index] == 0), code[shown.index])
            ax.pcolormesh(shown.x, shown.y, marked, cmap=marks, vmin=0.5, vmax=marks.N + 0.5, **style)
    _frame(ax, layer, named_axes, "" if together == (1, 1) else f"a cell: the largest of {together[0]} × {together[1]}")
    ax.set_title(clipped(found.sized(layer), length), fontsize="small", loc="left", parse_math=False)


def _cells_that_fit(ax: Axes, layer: AtlasLayer, block: ImageBlock, inches: tuple[float, float] | None) -> tuple[int, int]:
    """Rows and columns of a block that are no finer than the dots of a printed picture."""
    extent, dpi = ax.get_window_extent(), ax.figure.dpi
    wide, high = inches or (extent.width / dpi, extent.height / dpi)
    (width, height), ratio = layer.picture.size, aspect_of(layer)
    wide, high = min(wide, high * ratio), min(high, wide / ratio)
    rows, columns = DOTS * high * (block.y[-1] - block.y[0]) / height, DOTS * wide * (block.x[-1] - block.x[0]) / width
    return max(int(rows), 1), max(int(columns), 1)


def _frame(ax: Axes, layer: AtlasLayer, named_axes: bool, remark: str) -> None:
    picture = layer.picture
    width, height = picture.size
    ax.set(xlim=(0, width), ylim=(height, 0))
    ax.set_aspect(width / height / aspect_of(layer), anchor="NW")
    for at, ticks in (("x", picture.x_ticks), ("y", picture.y_ticks)):
        getattr(ax, f"set_{at}ticks")([place for place, _ in ticks], [text for _, text in ticks], fontsize="x-small", parse_math=False)
    if len([text for _, text in picture.x_ticks if not text[0].isdigit()]) > 1:  # names are longer than their strips are wide
        ax.tick_params(axis="x", rotation=90)
    ax.tick_params(length=2, pad=2)
    ax.spines[:].set_visible(False)
    across, down = (named_axes and is_index for is_index in picture.indexed)
    ax.set_xlabel("\n".join(["second index"] * across + [remark] * bool(remark)), fontsize="small" if across else "x-small")
    ax.set_ylabel("first index" if down else "", fontsize="small")


def _norm(found: AtlasInfo) -> LogNorm:
    from matplotlib.colors import LogNorm

    return LogNorm(*(found.color_range or (0.1, 1.0)))


def color_bar(ax: Axes, found: AtlasInfo) -> None:
    """On axes of its own; it says so where no impact is above 0."""
    from matplotlib.cm import ScalarMappable

    if found.color_range is None:
        ax.set_axis_off()
        ax.text(0, 0.5, "no impact above 0", rotation=90, va="center", fontsize="small")
        return
    below = bool((found.impact[found.impact > 0] < found.color_range[0]).any())
    bar = ax.figure.colorbar(ScalarMappable(_norm(found), COLOR_MAP), cax=ax, extend="min" if below else "neither")
    bar.ax.tick_params(labelsize="x-small")
    bar.set_label(found.impact_label, fontsize="small", parse_math=False)


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


def images_height(found: AtlasInfo, layers: Sequence[AtlasLayer], width: float) -> float:
    """Inches that `draw_images` takes."""
    return sum(row.height + 0.55 for row in packed(found, layers, width))


def draw_images(
    figure: Figure | SubFigure,
    found: AtlasInfo,
    layers: Sequence[AtlasLayer],
    width: float,
    *,
    height: float | None = None,
    named_axes: bool = False,
) -> None:
    """Pictures of the layers in rows of about that height, so many inches wide, with one colour bar and what marks say."""
    rows = packed(found, layers, width, height)
    used = max(sum(row.widths) for row in rows)
    spare = max(figure.bbox.width / figure.figure.dpi - used - 1.2, 0.01)
    outer = figure.add_gridspec(1, 3, width_ratios=(used, 0.16, spare))
    grid: Any = outer[0].subgridspec(len(rows), 1, height_ratios=[row.height for row in rows])
    for part, row in zip(grid, rows, strict=True):
        rest = used - sum(row.widths)
        columns: Any = part.subgridspec(1, len(row.layers) + (rest > 0.2), width_ratios=[*row.widths, *([rest] if rest > 0.2 else [])])
        for layer, column, wide in zip(row.layers, columns, row.widths, strict=False):
            inches, length = (wide - BESIDE, row.height), int(wide / CHARACTER)
            draw_picture(figure.add_subplot(column), found, layer, inches=inches, named_axes=named_axes, length=length)
    color_bar(figure.add_subplot(outer[1]), found)
    patches = mark_patches(found, layers)
    if patches:
        figure.legend(handles=patches, loc="outside lower center", ncols=3, fontsize="small", frameon=False)
