"""Every single parameter of a model: how much its path changes the loss, where it stands in the network, how far it travelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from thetascope.drawing.spec import Form, Panel, Parts, Picture, stacked
from thetascope.errors import ResultError
from thetascope.experiments.parameter_atlas.images import ROW, aspect_of, image_panel, images
from thetascope.experiments.parameter_atlas.panels import curves_panel, known_of, patterns_panel, ranking_panel, scatter_panel, top_panel
from thetascope.experiments.parameter_atlas.picture_info import AtlasInfo, AtlasLayer, info

if TYPE_CHECKING:
    import xarray as xr

KINDS = ("images", "scatter", "ranking", "top", "patterns")
WIDTH = 11.0
"""Inches, of a whole figure."""
NARROW = 1.8
"""Width by height of an image that has its curves beside it."""
READING = (
    "each cell is a parameter; rows: first index (outputs), columns: second index (inputs), kernels as tiles, biases beside their rows"
)


def picture(
    data: xr.Dataset, form: Form, kind: str | None = None, layer: str | None = None, parameter: str | None = None, top: int = 10
) -> Picture:
    """All panels; or one, alone or on axes: of that `kind`, else the image of the `layer`, else the scatter.

    Of one `layer`, or tensor, the image is shown large beside the curves of its `top` parameters; of one `parameter` its curve. A page
    shows the image of one layer at a time.
    """
    found = info(data)
    if kind is not None and kind not in KINDS:
        raise ResultError(f'there is no kind "{kind}" of atlas figure; there are: {", ".join(KINDS)}')
    if top < 1:
        raise ResultError(f"top must be at least 1; got {top}")
    layers = found.layers if layer is None else (found.named(layer),)
    if parameter is not None:
        i = found.place(parameter)
        return _alone(found, replace(curves_panel(found, [i]), title=known_of(found, i)), 12)
    if kind is None and form == "axes":
        kind = "scatter" if layer is None else "images"
    if kind is not None and (kind != "images" or len(layers) == 1 or form == "axes"):
        rows = {"top": min(top, len(found.labels)), "patterns": len(layers) + 5}.get(kind, 12)
        return _alone(found, _panel(found, layers, kind, form, top), rows)
    if kind == "images" and form == "figure":
        parts, height = images(found, found.prominent, WIDTH)
        return _picture(found, parts, height + 1.5, _selection(found))
    if form == "page" and layer is None:
        return _page(found, whole=kind is None)
    return _whole(found, top) if layer is None else _one_layer(found, layers[0], top, form)


def _picture(found: AtlasInfo, parts: Parts, height: float, *more: str, width: float = WIDTH) -> Picture:
    notes = (*found.notes, *filter(None, more))
    return Picture(title=found.title, notes=notes, parts=parts, width=width, height=height + 0.2 * len(notes))


def _alone(found: AtlasInfo, panel: Panel, rows: int) -> Picture:
    return _picture(found, Parts(parts=[panel]), 1.9 + 0.27 * rows, width=7.2)


def _panel(found: AtlasInfo, layers: Sequence[AtlasLayer], kind: str, form: Form, top: int) -> Panel:
    """One panel of that kind."""
    if kind == "images":
        if len(layers) != 1:
            raise ResultError(f'name the layer of the image: layer="…"; there are: {", ".join(layer.name for layer in layers)}')
        return image_panel(found, layers[0], form, layers, (6.0, 3.5))
    if kind == "top":
        return top_panel(found, layers, top)
    if kind == "patterns":
        return patterns_panel(found, layers)
    return scatter_panel(found, layers, form) if kind == "scatter" else ranking_panel(found, layers)


def _page(found: AtlasInfo, *, whole: bool) -> Picture:
    """The image of one layer, chosen from a list; below it the scatter and the patterns."""
    panels = [image_panel(found, layer, "page", [layer], (1.0, 1.0)) for layer in found.layers]
    shown = replace(panels[0], others=[(panel.name, panel) for panel in panels[1:]])
    if not whole:
        return _picture(found, Parts(parts=[shown]), 5.0)
    below = [scatter_panel(found, found.layers, "page"), *([patterns_panel(found, found.prominent)] if found.has_patterns else [])]
    return _picture(found, stacked([shown, Parts(parts=below, sizes=(1.4, 1)[: len(below)])], (4.2, 3.2), shared=False), 8.4)


def _whole(found: AtlasInfo, top: int) -> Picture:
    """The images on top; then scatter and ranking; then the largest impacts and the patterns."""
    layers = found.prominent
    rows = max(min(top, len(found.labels)), len(layers) + 4 if found.has_patterns else 0)
    pictures, height = images(found, layers, WIDTH)
    middle = Parts(parts=[scatter_panel(found, found.layers, "figure"), ranking_panel(found, found.layers, named=False)])
    lowest = Parts(parts=[top_panel(found, found.layers, top), *([patterns_panel(found, layers)] if found.has_patterns else [])])
    heights = (height + 0.4, 4.0, 1.1 + 0.24 * rows)
    return _picture(found, stacked([pictures, middle, lowest], heights, shared=False), sum(heights) + 1.0, READING, _selection(found))


def _one_layer(found: AtlasInfo, layer: AtlasLayer, top: int, form: Form) -> Picture:
    """The image of a layer, and the curves of its parameters with the largest impacts: below, or beside a narrow image."""
    curves, ratio = curves_panel(found, found.ranked(layer.members)[:top].tolist()), aspect_of(layer)
    if form == "page":
        return _picture(found, stacked([image_panel(found, layer, form, [layer], (1.0, 1.0)), curves], shared=False), 9.0)
    if ratio > NARROW:
        parts, height = images(found, [layer], WIDTH, ROW)
        return _picture(found, stacked([parts, curves], (height, 4.0), shared=False), height + 5.2)
    parts, _ = images(found, [layer], ratio * 3.7 + 2.0, 3.4)
    return _picture(found, Parts(parts=[parts, curves], sizes=(ratio * 3.7 + 2.0, WIDTH - ratio * 3.7 - 2.0)), 6.0)


def _selection(found: AtlasInfo) -> str:
    """What must be said where not all layers are shown."""
    shown, count = len(found.prominent), len(found.layers)
    return "" if shown == count else f"images and patterns show {shown} of {count} layers, those with the largest impacts"
