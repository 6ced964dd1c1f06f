"""A parameter atlas as an interactive figure: the image of a layer chosen from a list, impact against distance, and the patterns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thetascope.drawing.layouts import FROM_TOP, framed, room_for_notes
from thetascope.drawing.scales import Scale
from thetascope.drawing.style import Ints, html
from thetascope.experiments.parameter_atlas.images import COLOR_MAP, MARKED, aspect_of, marks_of, urgency
from thetascope.experiments.parameter_atlas.panels import LIGHT, colors_of, correlation_text, left_out, pattern_styles
from thetascope.experiments.parameter_atlas.picture_info import AtlasInfo, AtlasLayer
from thetascope.experiments.parameter_atlas.tensor_images import ImageBlock

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

MOST = 100_000
"""More parameters than this are thinned out: cells that fall together, and points of the scatter, the largest impacts kept."""
SMALLEST = 100
"""No image is thinned to fewer rows or columns."""
WORDY = 2_000
"""A matrix of more cells says its indices by its axes: a label for each cell would make the page large."""
STOPS = 64
LOWER = 0.36
"""The height of the lower panels, of the figure's."""
PANELS = 750
"""Pixels that all panels are high together."""
LINE = 170
"""Characters a line of the legend."""
LEGEND = {"orientation": "h", "x": 0.0, "traceorder": "normal"}
SHAPES = {"/": "/", ".": ".", "x": "x", "\\": "\\", "o": "."}
"""Of hatches."""


def draw_plotly(found: AtlasInfo) -> PlotlyFigure:
    """The image of each layer, chosen from a list, impact against distance, shares of the patterns; values on hovering."""
    from plotly.graph_objects import Figure

    layers = list(found.layers)
    images = [_image_traces(found, layer, shown=place == 0) for place, layer in enumerate(layers)]
    others = [*_scatter_traces(found), *_pattern_traces(found), *_color_bar(found)]
    figure = Figure([*(trace for of_layer in images for trace in of_layer), *others])
    buttons = []
    for place, layer in enumerate(layers):
        visible = [chosen == place for chosen, of_layer in enumerate(images) for _ in of_layer] + [True] * len(others)
        text = f"{html(layer.name)} ({len(layer.members):,})"
        buttons.append({"label": text, "method": "update", "args": [{"visible": visible}, _image_axes(layer)]})
    menu = {"buttons": buttons, "x": 0.0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "active": 0}
    entries = {trace.name for trace in others if trace.legend is None and trace.name}
    lines = int(sum(len(name) + 7 for name in entries) / LINE)
    top, bottom = 110 + room_for_notes(found, 140), 130 + 20 * lines
    of_layers = {**LEGEND, "y": -0.07, "yanchor": "top", "itemsizing": "constant", "title": {"text": "layers  "}}
    of_patterns = {**LEGEND, "y": 0.0, "yanchor": "bottom", "yref": "container", "title": {"text": "patterns  "}}
    layout = {"height": PANELS + top + bottom, "margin": {"t": top, "b": bottom}, "barmode": "stack", "updatemenus": [menu]}
    framed(figure, found, 140, title=FROM_TOP, **layout, legend=of_layers, legend2=of_patterns)
    _axes(figure, found, layers[0])
    return figure


def _axes(figure: PlotlyFigure, found: AtlasInfo, first: AtlasLayer) -> None:
    """Where the three panels stand, and what their axes say."""
    plain: dict[str, Any] = {"showgrid": False, "zeroline": False, "constrain": "domain"}
    start = 0.66 if found.has_patterns else 1.1
    figure.update_layout(
        xaxis={**plain, "anchor": "y", "domain": [0.0, 1.0], "constraintoward": "left"},
        yaxis={**plain, "anchor": "x", "domain": [LOWER + 0.13, 1.0], "scaleanchor": "x", "constraintoward": "top"},
        xaxis2={"anchor": "y2", "domain": [0.0, start - 0.1], "type": "log", "exponentformat": "power", "dtick": 1},
        yaxis2={"anchor": "x2", "domain": [0.0, LOWER], "type": "log", "exponentformat": "power"},
    )
    figure.update_layout(_image_axes(first))
    figure.layout.xaxis2.title.text = "distance travelled, |θ final − θ initial|"
    figure.layout.yaxis2.title.update(text=html(found.impact_label), font={"size": 13})
    said = f"Spearman's {correlation_text(found, found.everything)}{left_out(found, found.everything)}"
    if len(found.labels) > MOST:
        said += f"; {MOST:,} of {len(found.labels):,} points shown"
    headings = [(said, 0.0)]
    if found.has_patterns:
        longest = max(len(label) for trace in figure.data if trace.type == "bar" for label in trace.y)
        figure.layout.xaxis2.domain = [0.0, max(start - 0.03 - 0.0065 * longest, 0.25)]
        figure.update_layout(
            xaxis3={"anchor": "y3", "domain": [start, 1.0], "title": {"text": "% of the parameters"}, "range": [0, 100]},
            yaxis3={"anchor": "x3", "domain": [0.0, LOWER], "autorange": "reversed"},
        )
        headings.append(("patterns of the two paths, linear and quadratic", start))
    for text, x in headings:
        figure.add_annotation(
            text=html(text), x=x, y=LOWER + 0.01, xref="paper", yref="paper", xanchor="left", yanchor="bottom", showarrow=False
        )


def _image_axes(layer: AtlasLayer) -> dict[str, Any]:
    """What changes on the axes with the layer that is shown: a cell's middle lies at its index."""
    picture, (width, height) = layer.picture, layer.picture.size
    axes: dict[str, Any] = {"yaxis.scaleratio": width / height / aspect_of(layer)}
    for name, ticks, ends, indexed, what in (
        ("xaxis", picture.x_ticks, [0.0, width], picture.indexed[0], "second index"),
        ("yaxis", picture.y_ticks, [height, 0.0], picture.indexed[1], "first index"),
    ):
        axes[f"{name}.range"] = [end - 0.5 for end in ends]
        axes[f"{name}.tickvals"] = [place - 0.5 for place, _ in ticks]
        axes[f"{name}.ticktext"] = [html(text) for _, text in ticks]
        axes[f"{name}.title.text"] = what if indexed else ""
    return axes


def _image_traces(found: AtlasInfo, layer: AtlasLayer, *, shown: bool) -> list[Any]:
    """A heat map a tensor, and marks where there is no impact."""
    from plotly.graph_objects import Scatter

    share = min((MOST / len(found.labels)) ** 0.5, 1.0)
    blocks = []
    for block in layer.picture.blocks:
        rows, columns = (max(int(size * share), SMALLEST) for size in block.index.shape)
        blocks.append(block.thinned(urgency(found), rows, columns))
    traces = [_heat_map(found, block, shown=shown) for block in blocks]
    for kind, places in marks_of(found, layer.members).items():
        if kind == "impact 0":
            continue
        x, y, at = _middles(blocks, places)
        symbol = {"symbol": "x" if kind == "not finite" else "square", "color": MARKED[kind]}
        marker = {**symbol, "size": 7, "line": {"color": "black", "width": 0.5}}
        texts = [f"{html(str(found.labels[i]))}: {kind}" for i in at]
        traces.append(
            Scatter(x=x, y=y, mode="markers", marker=marker, text=texts, hovertemplate="%{text}<extra></extra>",
                    name=f"{kind}: {len(places):,}", visible=shown, cliponaxis=False)
        )  # fmt: skip
    return traces


def _middles(blocks: Sequence[ImageBlock], places: Ints) -> tuple[list[float], list[float], list[int]]:
    """Where the parameters stand that have a cell of their own or stand for one."""
    found = []
    for block in blocks:
        down, across = np.nonzero(np.isin(block.index, places))
        x, y = ((edges[:-1] + edges[1:]) / 2 - 0.5 for edges in (block.x, block.y))
        found.append((x[across], y[down], block.index[down, across]))
    x, y, at = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return x.tolist(), y.tolist(), at.tolist()


def _heat_map(found: AtlasInfo, block: ImageBlock, *, shown: bool) -> Any:
    """Colours by the logarithm of the impact, grey for 0; of a large matrix the axes say the indices."""
    from plotly.graph_objects import Heatmap

    index, blank = block.index, block.index < 0
    impact = np.where(blank, np.nan, found.impact[index]).astype(np.float32)
    patterns = [[html(text) for text in row] for row in np.where(blank, "", found.patterns[index]).tolist()]
    low_left = block.x[0] == block.y[0] == 0 and index.shape == block.shape and index.size > WORDY
    if low_left:
        where, text = {"x0": 0, "dx": 1, "y0": 0, "dy": 1}, patterns
        label = f"{html(block.tensor)}[%{{y}},%{{x}}]<br>impact %{{z:.3~g}}<br>distance %{{customdata:.3~g}}<br>%{{text}}"
    else:
        where = {"x": np.round(block.x - 0.5, 3).tolist(), "y": np.round(block.y - 0.5, 3).tolist()}
        names = np.where(blank, "", found.labels[index]).tolist()
        text = [[f"{html(a)}<br>{b}" for a, b in zip(*row, strict=True)] for row in zip(names, patterns, strict=True)]
        label = "%{text}<br>impact %{z:.3~g}<br>distance %{customdata:.3~g}"
    high = found.color_range[1] if found.color_range else 1.0
    return Heatmap(
        z=impact, **where, text=text, customdata=found.distance[index].astype(np.float32), hovertemplate=f"{label}<extra></extra>",
        colorscale=_colors(found), zmin=0.0, zmax=high, showscale=False, visible=shown, hoverongaps=False,
    )  # fmt: skip


def _colors(found: AtlasInfo) -> list[tuple[float, str]]:
    """Grey at 0, then the colour map over the logarithm of what is above."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    if found.color_range is None:
        return [(0.0, MARKED["impact 0"]), (1.0, MARKED["impact 0"])]
    low, high = found.color_range
    places = np.geomspace(low / high, 1.0, STOPS)
    places[-1] = 1.0
    colors = [to_hex(colormaps[COLOR_MAP](k / (STOPS - 1))) for k in range(STOPS)]
    least = 1e-12 * float(places[0])
    return [(0.0, MARKED["impact 0"]), (least, colors[0]), *zip(places.tolist(), colors, strict=True)]


def _color_bar(found: AtlasInfo) -> list[Any]:
    """A trace of nothing that carries the bar: that of the images would be even."""
    from plotly.graph_objects import Scatter

    if found.color_range is None:
        return []
    scale = Scale(np.geomspace(*found.color_range, 3), log=True, even=True)
    low, high = np.log10(found.color_range).tolist()
    bar = {
        "title": {"text": f"{html(found.impact_label)}; grey: 0", "side": "right"}, "len": 1 - LOWER - 0.1, "y": 1.0, "yanchor": "top",
        "tickvals": np.log10(scale.ticks).tolist(), "ticktext": scale.tick_texts,
    }  # fmt: skip
    marker = {"color": [low], "cmin": low, "cmax": high, "colorscale": COLOR_MAP.capitalize(), "showscale": True, "colorbar": bar}
    return [Scatter(x=[None], y=[None], mode="markers", marker=marker, showlegend=False, hoverinfo="skip", name="colours")]


def _scatter_traces(found: AtlasInfo) -> list[Any]:
    """Impact against distance, a trace a tensor; its points say their indices."""
    from plotly.graph_objects import Scattergl

    drawn = np.flatnonzero((found.impact > 0) & np.isfinite(found.distance) & (found.distance > 0))
    if len(drawn) > MOST:
        top = found.ranked(drawn)[: MOST // 10]
        rest = np.random.default_rng(0).choice(np.setdiff1d(drawn, top), MOST - len(top), replace=False)
        drawn = np.sort(np.concatenate([top, rest]))
    colors, traces, named = colors_of(found), [], set[str]()
    for rank, layer in sorted(enumerate(found.layers), key=lambda entry: -len(entry[1].members)):
        name = f"{found.short_names[layer.name]}: {correlation_text(found, layer.members)}"
        for tensor in layer.tensors:
            shape, start = found.tensors[tensor]
            own = drawn[(drawn >= start) & (drawn < start + int(np.prod(shape)))]
            color = colors[tensor]
            group = "other layers" if color == LIGHT else name
            size, opacity = float(np.clip(60 / max(len(own), 1) ** 0.4, 2.5, 8)), 0.35 if len(own) > 5000 else 0.75
            marker = {"color": color, "size": size, "opacity": opacity}
            traces.append(
                Scattergl(x=found.distance[own].astype(np.float32), y=found.impact[own].astype(np.float32), mode="markers", marker=marker,
                          **_indices(tensor, shape, own - start), name=html(group), legendgroup=html(group),
                          showlegend=group not in named, legendrank=len(found.layers) if color == LIGHT else rank, xaxis="x2", yaxis="y2")
            )  # fmt: skip
            named.add(group)
    return traces


def _indices(tensor: str, shape: tuple[int, ...], own: Ints) -> dict[str, Any]:
    """What hovering tells: the label made of the tensor's name and the indices, as small numbers."""
    told = "<br>impact %{y:.3~g}<br>distance %{x:.3~g}<extra></extra>"
    if not shape:
        return {"hovertemplate": f"{html(tensor)}{told}"}
    small: Any = np.uint16 if max(shape) < 2**16 else np.uint32
    indices: NDArray[Any] = np.stack(np.unravel_index(own, shape), axis=1).astype(small)
    label = ",".join(f"%{{customdata[{k}]}}" for k in range(len(shape)))
    return {"customdata": indices, "hovertemplate": f"{html(tensor)}[{label}]{told}"}


def _pattern_traces(found: AtlasInfo) -> list[Any]:
    """Stacked bars of the patterns' shares, of all parameters and of the layers with the largest impacts."""
    from plotly.graph_objects import Bar

    if not found.has_patterns:
        return []
    texts, shares = found.pattern_rows(found.prominent)
    labels, traces = list(map(html, texts)), []
    for name, style in pattern_styles(found).items():
        x = [round(100 * of_row.get(name, 0.0), 4) for of_row in shares]
        if any(x):
            fill = {"shape": SHAPES.get(style.get("hatch", " ")[0], ""), "fgcolor": "black", "size": 5}
            marker = {"color": style["facecolor"], "line": {"color": "black", "width": 0.6}, "pattern": fill}
            hover = f"%{{y}}<br>{html(name)}: %{{x:.3~g}} %<extra></extra>"
            traces.append(Bar(x=x, y=labels, orientation="h", name=html(name), marker=marker, hovertemplate=hover, legend="legend2",
                              xaxis="x3", yaxis="y3"))  # fmt: skip
    return traces
