"""Every single parameter of a model: how much its path changes the loss, where it stands in the network, how far it travelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from thetascope.drawing.layouts import new_figure, titled
from thetascope.drawing.legends import as_text, legend_below, legend_on
from thetascope.errors import ResultError
from thetascope.experiments.parameter_atlas.images import aspect_of, color_bar, draw_images, draw_picture, images_height, mark_patches
from thetascope.experiments.parameter_atlas.panels import draw_curves, draw_parameter, draw_patterns, draw_ranking, draw_scatter, draw_top
from thetascope.experiments.parameter_atlas.picture_info import AtlasInfo, AtlasLayer, info
from thetascope.experiments.parameter_atlas.picture_plotly import draw_plotly

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    found: AtlasInfo, ax: Axes | None = None, kind: str | None = None, layer: str | None = None, parameter: str | None = None, top: int = 10
) -> Axes | Figure:
    """Draw a whole figure; or one panel, alone or on `ax`: of that `kind`, else the image of the `layer`, else the scatter.

    Of one `layer`, or tensor, the image is shown large beside the curves of its `top` parameters; of one `parameter` its curve.
    """
    if kind is not None and kind not in KINDS:
        raise ResultError(f'there is no kind "{kind}" of atlas figure; there are: {", ".join(KINDS)}')
    if top < 1:
        raise ResultError(f"top must be at least 1; got {top}")
    layers = found.layers if layer is None else (found.named(layer),)
    place = None if parameter is None else found.place(parameter)
    if ax is not None:
        _panel_on(ax, found, layers, kind or ("images" if layer is not None else "scatter"), place, top)
        return ax
    if place is not None:
        return _alone(found, layers, "curve", place, top)
    if kind is not None and (kind != "images" or len(layers) == 1):
        return _alone(found, layers, kind, place, top)
    if kind == "images":
        return _images(found)
    return _whole(found, top) if layer is None else _one_layer(found, layers[0], top)


def _panel_on(ax: Axes, found: AtlasInfo, layers: Sequence[AtlasLayer], kind: str, place: int | None, top: int) -> None:
    """One panel with its legend."""
    if place is not None:
        draw_parameter(ax, found, place)
    elif kind == "images":
        if len(layers) != 1:
            raise ResultError(f'name the layer of the image: layer="…"; there are: {", ".join(layer.name for layer in layers)}')
        draw_picture(ax, found, layers[0], named_axes=True)
        color_bar(ax.inset_axes((1.03, 0.0, 0.03, 1.0)), found)
        _legend_under(ax, mark_patches(found, layers))
    elif kind == "top":
        draw_top(ax, found, layers, top)
    else:
        {"scatter": draw_scatter, "ranking": draw_ranking, "patterns": draw_patterns}[kind](ax, found, layers)
        said = ax.get_title(loc="left")
        ax.set_title("", loc="left")
        legend_on(ax, note=said)


def _alone(found: AtlasInfo, layers: Sequence[AtlasLayer], kind: str, place: int | None, top: int) -> Figure:
    """A figure of one panel."""
    rows = {"top": min(top, len(found.labels)), "patterns": len(layers) + 5}.get(kind, 12)
    figure = new_figure(7.2, 1.9 + 0.27 * rows + 0.2 * len(found.notes))
    _panel_on(figure.subplots(), found, layers, kind, place, top)
    titled(figure, found, 108, size="small")
    return figure


def _images(found: AtlasInfo) -> Figure:
    layers = found.prominent
    figure = new_figure(WIDTH, images_height(found, layers, ROOM) + 1.5)
    draw_images(figure, found, layers, ROOM)
    titled(figure, found, 130, _selection(found, layers))
    return figure


def _whole(found: AtlasInfo, top: int) -> Figure:
    """The images on top; then scatter and ranking; then the largest impacts and the patterns."""
    layers = found.prominent
    rows = max(min(top, len(found.labels)), len(layers) + 4 if found.has_patterns else 0)
    heights = (images_height(found, layers, ROOM) + 0.75, 4.0 + 0.25 * (len(found.layers) > 5), 1.1 + 0.24 * rows)
    figure = new_figure(WIDTH, sum(heights) + 0.5 + 0.2 * len(found.notes))
    parts: Any = figure.subfigures(3, 1, height_ratios=heights)
    draw_images(parts[0], found, layers, ROOM)
    parts[0].suptitle(READING, fontsize="small")
    scatter, ranking = parts[1].subplots(1, 2)
    draw_scatter(scatter, found, found.layers)
    draw_ranking(ranking, found, found.layers, named=False)
    legend_below(parts[1], [scatter, ranking], most=len(found.layers) + 1)
    panels = parts[2].subplots(1, 1 + found.has_patterns, squeeze=False)[0]
    draw_top(panels[0], found, found.layers, top)
    if found.has_patterns:
        draw_patterns(panels[1], found, layers)
        _legend_under(panels[1])
    titled(figure, found, 130, _selection(found, layers))
    return figure


def _one_layer(found: AtlasInfo, layer: AtlasLayer, top: int) -> Figure:
    """The image of a layer, and the curves of its parameters with the largest impacts: below, or beside a narrow image."""
    chosen, ratio = found.ranked(layer.members)[:top].tolist(), aspect_of(layer)
    wide = ratio > NARROW
    room, height = (ROOM, images_height(found, [layer], ROOM) + 0.6) if wide else (ratio * 3.7 + 0.6, 5.0)
    figure = new_figure(WIDTH, height + (4.6 if wide else 0.9))
    sides: dict[str, Any] = {"height_ratios": (height, 4.0)} if wide else {"width_ratios": (room + 1.1, WIDTH - room - 1.1)}
    parts: Any = figure.subfigures(*((2, 1) if wide else (1, 2)), **sides)
    draw_images(parts[0], found, [layer], room, height=None if wide else 3.4, named_axes=True)
    curves = parts[1].subplots()
    draw_curves(curves, found, chosen)
    said = "the parameters with the largest impacts" if chosen else "no parameter has an impact"
    curves.set_title(said, fontsize="small", loc="left")
    if chosen:
        legend_below(parts[1], [curves], beside=wide)
    titled(figure, found, 130)
    return figure


def _selection(found: AtlasInfo, layers: Sequence[AtlasLayer]) -> str:
    """What must be said where not all layers are shown."""
    count = len(found.layers)
    return "" if len(layers) == count else f"images and patterns show {len(layers)} of {count} layers, those with the largest impacts"


def _legend_under(ax: Axes, handles: list[Any] | None = None) -> None:
    """Below the axes' label, where it covers nothing."""
    entries = ax.get_legend_handles_labels()[0] if handles is None else handles
    if entries:
        below = -0.48 * ax.figure.dpi / ax.get_window_extent().height
        as_text(ax.legend(handles=entries, loc="upper right", bbox_to_anchor=(1, below), ncols=3, fontsize="x-small", frameon=False))
