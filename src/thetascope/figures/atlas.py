"""Every single parameter of a model: how much its path changes the loss, where it stands in the network, how far it travelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from thetascope.errors import ResultError
from thetascope.figures.atlas_images import MARKED, aspect_of, color_bar, draw_images, draw_picture, images_height, marks_of, prominent
from thetascope.figures.atlas_info import AtlasInfo, Layer, info
from thetascope.figures.atlas_panels import draw_curves, draw_parameter, draw_patterns, draw_ranking, draw_scatter, draw_top, members_of
from thetascope.figures.atlas_plotly import draw_plotly
from thetascope.figures.legends import legend_below, legend_on, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.patches import Patch

__all__ = ["draw_matplotlib", "draw_plotly", "info"]

KINDS = ("images", "scatter", "ranking", "top", "patterns")
WIDTH, ROOM = 11.0, 9.7
"""Inches: of the whole figure, and of the images beside their colour bar."""
NARROW = 1.8
"""Width by height of an image that has its curves beside it."""
READING = (
    "each cell is a parameter; rows: first index (outputs), columns: second index (inputs), kernels as tiles, biases beside their rows"
)


def draw_matplotlib(
    found: AtlasInfo,
    ax: Axes | None = None,
    kind: str | None = None,
    layer: str | None = None,
    parameter: str | None = None,
    top: int = 10,
) -> Axes | Figure:
    """Draw a whole figure; or one `kind` of panel (images, scatter, ranking, top, patterns), alone or on `ax`.

    Args:
        found: what is shown.
        ax: where to draw one panel: `kind`, else the image of the `layer`, else the scatter.
        kind: the only panel.
        layer: show only this layer, or tensor: its image large, and the curves of its top parameters.
        parameter: show only this one's curve.
        top: so many parameters are named or have their curves drawn.

    Raises:
        ResultError: no such kind, layer or parameter, or the result has nothing for that kind.
    """
    if kind is not None and kind not in KINDS:
        raise ResultError(f'there is no kind "{kind}" of atlas figure; there are: {", ".join(KINDS)}')
    if top < 1:
        raise ResultError(f"top must be at least 1; got {top}")
    layers = found.layers if layer is None else (found.named(layer),)
    place = None if parameter is None else found.place(parameter)
    if ax is not None:
        _draw_panel(ax, found, layers, kind or ("images" if layer is not None else "scatter"), place, top)
        return ax
    if place is not None:
        return _alone(found, layers, "curve", place, top)
    if kind is not None and (kind != "images" or len(layers) == 1):
        return _alone(found, layers, kind, place, top)
    if kind == "images":
        return _images(found)
    return _whole(found, top) if layer is None else _one_layer(found, layers[0], top)


def _draw_panel(ax: Axes, found: AtlasInfo, layers: Sequence[Layer], kind: str, place: int | None, top: int) -> None:
    """One panel with its legend."""
    if place is not None:
        draw_parameter(ax, found, place)
    elif kind == "images":
        if len(layers) != 1:
            raise ResultError(f'name the layer of the image: layer="…"; there are: {", ".join(layer.name for layer in layers)}')
        draw_picture(ax, found, layers[0], named_axes=True)
        color_bar(ax.inset_axes((1.03, 0.0, 0.03, 1.0)), found)
        _legend_under(ax, _mark_patches(found, layers))
    elif kind == "top":
        draw_top(ax, found, layers, top)
    else:
        {"scatter": draw_scatter, "ranking": draw_ranking, "patterns": draw_patterns}[kind](ax, found, layers)
        said = ax.get_title(loc="left")
        ax.set_title("", loc="left")
        legend_on(ax, note=said)


def _alone(found: AtlasInfo, layers: Sequence[Layer], kind: str, place: int | None, top: int) -> Figure:
    """A figure of one panel."""
    from thetascope.figures.picture import Picture

    rows = {"top": min(top, len(found.labels)), "patterns": len(layers) + 5}.get(kind, 12)
    figure = Picture(figsize=(7.2, 1.9 + 0.27 * rows + 0.2 * len(found.notes)), layout="constrained")
    _draw_panel(figure.subplots(), found, layers, kind, place, top)
    _heading(figure, found, 108, size="small")
    return figure


def _images(found: AtlasInfo) -> Figure:
    from thetascope.figures.picture import Picture

    layers = prominent(found)
    figure = Picture(figsize=(WIDTH, images_height(found, layers, ROOM) + 1.5), layout="constrained")
    draw_images(figure, found, layers, ROOM)
    _mark_legend(figure, found, layers)
    _heading(figure, found, 130, _selection(found, layers))
    return figure


def _whole(found: AtlasInfo, top: int) -> Figure:
    """The images on top; then scatter and ranking; then the largest impacts and the patterns."""
    from thetascope.figures.picture import Picture

    layers = prominent(found)
    rows = max(min(top, len(found.labels)), len(layers) + 4 if found.has_patterns else 0)
    heights = (images_height(found, layers, ROOM) + 0.75, 4.0 + 0.25 * (len(found.layers) > 5), 1.1 + 0.24 * rows)
    figure = Picture(figsize=(WIDTH, sum(heights) + 0.5 + 0.2 * len(found.notes)), layout="constrained")
    parts: Any = figure.subfigures(3, 1, height_ratios=heights)
    draw_images(parts[0], found, layers, ROOM)
    parts[0].suptitle(READING, fontsize="small")
    _mark_legend(parts[0], found, layers)
    scatter, ranking = parts[1].subplots(1, 2)
    draw_scatter(scatter, found, found.layers)
    draw_ranking(ranking, found, found.layers, named=False)
    legend_below(parts[1], [scatter, ranking], most=len(found.layers) + 1)
    panels = parts[2].subplots(1, 1 + found.has_patterns, squeeze=False)[0]
    draw_top(panels[0], found, found.layers, top)
    if found.has_patterns:
        draw_patterns(panels[1], found, layers)
        _legend_under(panels[1])
    _heading(figure, found, 130, _selection(found, layers))
    return figure


def _one_layer(found: AtlasInfo, layer: Layer, top: int) -> Figure:
    """The image of a layer, and the curves of its parameters with the largest impacts: below, or beside a narrow image."""
    from thetascope.figures.picture import Picture

    chosen, ratio = found.ranked(layer.members)[:top].tolist(), aspect_of(layer)
    wide = ratio > NARROW
    room, height = (ROOM, images_height(found, [layer], ROOM) + 0.6) if wide else (ratio * 3.7 + 0.6, 5.0)
    figure = Picture(figsize=(WIDTH, height + (4.6 if wide else 0.9)), layout="constrained")
    sides: dict[str, Any] = {"height_ratios": (height, 4.0)} if wide else {"width_ratios": (room + 1.1, WIDTH - room - 1.1)}
    parts: Any = figure.subfigures(*((2, 1) if wide else (1, 2)), **sides)
    draw_images(parts[0], found, [layer], room, height=None if wide else 3.4, named_axes=True)
    _mark_legend(parts[0], found, [layer])
    curves = parts[1].subplots()
    draw_curves(curves, found, chosen)
    curves.set_title(
        "no parameter has an impact" if not chosen else "the parameters with the largest impacts", fontsize="small", loc="left"
    )
    if chosen:
        legend_below(parts[1], [curves], beside=wide)
    _heading(figure, found, 130)
    return figure


def _heading(figure: Figure, found: AtlasInfo, width: int, *more: str, size: str = "medium") -> None:
    notes = wrapped([*found.notes, *(note for note in more if note)], width)
    figure.suptitle(f"{wrapped([found.title], width)}\n{notes}", fontsize=size, parse_math=False)


def _selection(found: AtlasInfo, layers: Sequence[Layer]) -> str:
    """What must be said where not all layers are shown."""
    count = len(found.layers)
    return "" if len(layers) == count else f"images and patterns show {len(layers)} of {count} layers, those with the largest impacts"


def _mark_patches(found: AtlasInfo, layers: Sequence[Layer]) -> list[Patch]:
    from matplotlib.patches import Patch

    marks = marks_of(found, members_of(layers))
    return [Patch(facecolor=MARKED[kind], edgecolor="black", linewidth=0.4, label=f"{kind}: {len(of):,}") for kind, of in marks.items()]


def _mark_legend(figure: Figure | SubFigure, found: AtlasInfo, layers: Sequence[Layer]) -> None:
    """How parameters without an impact above 0 are marked in the images."""
    patches = _mark_patches(found, layers)
    if patches:
        figure.legend(handles=patches, loc="outside lower center", ncols=3, fontsize="small", frameon=False)


def _legend_under(ax: Axes, handles: list[Any] | None = None) -> None:
    """Below the axes' label, where it covers nothing."""
    entries = ax.get_legend_handles_labels()[0] if handles is None else handles
    if entries:
        below = -0.48 * ax.figure.dpi / ax.get_window_extent().height
        legend = ax.legend(handles=entries, loc="upper right", bbox_to_anchor=(1, below), ncols=3, fontsize="x-small", frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)
