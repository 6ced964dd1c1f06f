"""Loss surfaces as an interactive figure: contours, heat map and 3-D of each variable, values on hovering."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.fields import Field, GridInfo, edges, height_at, lonely, open_corner
from thetascope.drawing.layouts import FROM_TOP, framed, panels_of, room_for_notes
from thetascope.drawing.style import BLUE, GREY, VERMILION, html

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

MARKS = (("not finite", "x", VERMILION), ("not scored", "square", GREY))
"""Of cells without a finite value."""
_HOVER = "x = %{x:.4g}, y = %{y:.4g}<br>%{text}<extra></extra>"
_BUTTONS = {"type": "buttons", "direction": "right", "y": 1.02, "yanchor": "bottom"}
_SWITCHED = ("x", "y", "z", "text", "name", "showlegend", "showscale", "marker", "colorscale", "colorbar")


def draw_plotly(found: GridInfo, variable: str | None = None) -> PlotlyFigure:
    """One figure, switched between contours, heat map and 3-D, and between variables unless one is named; values on hovering."""
    from plotly.graph_objects import Figure

    found = replace(found, fields=panels_of(found.fields, variable))
    families = {field.name: _line_traces(found, field) if found.is_line else plane_traces(found, field) for field in found.fields}
    figure = Figure(next(iter(families.values())))
    menus = [_variable_menu(found, families)] if len(families) > 1 else []
    headed(figure, found)
    if found.is_line:
        field = found.fields[0]
        figure.update_xaxes(title_text=html(found.x_label if len(found.y) == 1 else found.y_label))
        figure.update_yaxes(title_text=html(field.label), type="log" if field.log else "linear")
    else:
        plane_layout(figure, found, found.fields[0])
        menus.append(kind_menu(figure, found))
    figure.update_layout(updatemenus=menus)
    return figure


def _plain(text: str) -> str:
    """For axes in 3-D, which show entities as they stand, and read tags and templates."""
    return text.replace("<", "‹").replace(">", "›").replace("%{", "% {")


def plane_traces(found: GridInfo, field: Field) -> list[Any]:
    """Heat map, contours, surface, and marks in the plane and in 3-D; which of them are flat their `meta` says."""
    from plotly.graph_objects import Contour, Heatmap, Scatter, Scatter3d, Surface

    heights = field.scale.position(field.shown)
    shared: dict[str, Any] = {"x": found.x.tolist(), "y": found.y.tolist(), "z": heights.tolist(), "text": _told(field)}
    scales = _scales(field)
    shared |= {"colorscale": scales["colors"], "hovertemplate": _HOVER}
    size = 1 / max(len(field.scale.levels) - 1, 1)
    lines = {"contours": {"start": 0, "end": 1, "size": size}, "line": {"width": 0.5, "color": "rgba(255,255,255,0.6)"}}
    traces = [
        Heatmap(**shared, **scales["bar"], zmin=0, zmax=1, meta="flat"),  # below contours: up to the edge of each cell without a value
        Contour(**shared, **lines, zmin=0, zmax=1, showscale=False, connectgaps=False, meta="contour"),
        Surface(**shared, **scales["bar"], cmin=0, cmax=1, visible=False, meta="3d"),
    ]
    for kind, symbol, color in MARKS:
        flat, deep = _cell_marks(found, field, kind), {"symbol": "diamond" if symbol == "x" else symbol, "color": color, "size": 3}
        traces.append(Scatter(**flat, marker={"symbol": symbol, "color": color, "size": 7}, cliponaxis=False, meta="flat"))
        traces.append(Scatter3d(**flat, z=[0.0] * len(flat["x"]), marker=deep, visible=False, meta="3d"))
    y, x = np.nonzero(field.evaluated if field.evaluated is not None else np.zeros(field.values.shape, bool))
    dots: dict[str, Any] = {"mode": "markers", "marker": {"color": "black", "size": 2.5}, "hoverinfo": "skip", "name": "evaluated cell"}
    traces.append(Scatter(x=found.x[x].tolist(), y=found.y[y].tolist(), **dots, showlegend=bool(len(x)), meta="flat"))
    y, x = np.nonzero(lonely(heights))
    alone: dict[str, Any] = {"x": found.x[x].tolist(), "y": found.y[y].tolist(), "z": heights[y, x].tolist(), "hovertemplate": _HOVER}
    alone["text"] = [shared["text"][j][i] for j, i in zip(y, x, strict=True)]
    marker = {"size": 3, "color": alone["z"], "colorscale": scales["colors"], "cmin": 0, "cmax": 1}
    traces.append(Scatter3d(**alone, mode="markers", marker=marker, showlegend=False, visible=False, meta="3d"))
    return [*traces, *_mark_traces(found, heights)]


def _cell_marks(found: GridInfo, field: Field, kind: str) -> dict[str, Any]:
    """Points for the cells of that kind."""
    cells = field.marked.get(kind, np.zeros(field.values.shape, bool))
    y, x = np.nonzero(cells)
    return {
        "x": found.x[x].tolist(), "y": found.y[y].tolist(), "mode": "markers", "hovertemplate": _HOVER,
        "name": field.count_text(kind) if len(x) else kind, "showlegend": bool(len(x)),
        "text": [f"{kind}: {value}" if kind == "not finite" else kind for value in field.values[cells].tolist()],
    }  # fmt: skip


def _mark_traces(found: GridInfo, heights: Floats) -> list[Any]:
    from plotly.graph_objects import Scatter, Scatter3d

    x, y, labels = ([mark[i] for mark in found.marks] for i in range(3))
    shared: dict[str, Any] = {"x": x, "y": y, "text": [html(str(label)) for label in labels], "showlegend": False, "name": "stored states"}
    shared |= {"textposition": "top center", "hovertemplate": "%{text}<br>x = %{x:.4g}, y = %{y:.4g}<extra></extra>"}
    white = {"color": "white", "line": {"color": "black", "width": 1.5}}
    star, font = {**white, "symbol": "star", "size": 14}, {"color": "white", "shadow": "auto"}
    z = [height_at(found, heights, *mark[:2]) + 0.02 for mark in found.marks]  # not sunk into the surface
    return [
        Scatter(**shared, mode="markers+text", textfont=font, marker=star, cliponaxis=False, meta="flat"),
        Scatter3d(**shared, mode="markers", z=z, marker={**white, "size": 6}, visible=False, meta="3d"),
    ]


def _told(field: Field) -> list[list[str]]:
    """What hovering over a cell tells."""
    estimated = np.zeros(field.values.shape, bool) if field.evaluated is None else ~field.evaluated
    name = html(field.name.replace("_", " "))
    rows = zip(field.values.tolist(), estimated.tolist(), strict=True)
    return [[f"{name} {value:.5g}{' (estimated)' if guess else ''}" for value, guess in zip(*row, strict=True)] for row in rows]


def headed(figure: PlotlyFigure, found: GridInfo) -> None:
    """Title, notes, and room for the buttons below them."""
    legend = {"orientation": "h", "yanchor": "top", "y": -0.1, "x": 0}
    framed(figure, found, title=FROM_TOP, height=760, margin={"t": 100 + room_for_notes(found)}, legend=legend)


def plane_layout(figure: PlotlyFigure, found: GridInfo, field: Field) -> None:
    """Axes of the plane and of the space above it, whose heights are written as values."""
    for name, label, at in (("xaxis", found.x_label, found.x), ("yaxis", found.y_label, found.y)):
        figure.layout[name].update(title={"text": html(label)}, range=sorted(at[[0, -1]].tolist()), constrain="domain")
    if found.equal:
        figure.update_yaxes(scaleanchor="x")
    axes: dict[str, Any] = {"xaxis": {"title": {"text": _plain(found.x_label)}}, "yaxis": {"title": {"text": _plain(found.y_label)}}}
    across, up = open_corner(field.scale.position(field.shown))
    camera, ratio = {"eye": {"x": 1.3 * across, "y": 1.6 * up, "z": 0.9}}, {"x": 1, "y": 1, "z": 0.7}
    figure.update_layout(scene={**axes, "camera": camera, "aspectmode": "manual", "aspectratio": ratio, "zaxis": _scales(field)["heights"]})


def _scales(field: Field) -> dict[str, Any]:
    """The colours of a field, their bar, and heights, all written as values."""
    scale, name = field.scale, f"{field.label}{field.scale.remark}"
    ticks = {"tickvals": scale.position(scale.ticks).tolist(), "ticktext": scale.tick_texts}
    bar = {"colorbar": {"title": {"text": html(name), "side": "right"}, **ticks}, "showscale": bool(len(scale.levels))}
    return {"colors": field.color_map.capitalize(), "bar": bar, "heights": {"title": {"text": _plain(name)}, **ticks}}


def kind_menu(figure: PlotlyFigure, found: GridInfo) -> dict[str, Any]:
    """Buttons that show the figure's traces of one kind; a trace is of the kind in its `meta`, or flat."""
    kinds = {"contour": "contours", "flat": "heat map", "3d": "3-D"}
    present = [trace.meta for trace in figure.data]
    buttons = []
    for kind in (kind for kind in kinds if kind in present):
        flat = kind != "3d"
        visible = [meta == kind or (flat and meta == "flat") for meta in present]
        across, down = (edges(found.x, found.y), edges(found.y, found.x)) if kind == "flat" else (found.x, found.y)
        axes: dict[str, Any] = {"xaxis.visible": flat, "yaxis.visible": flat}
        axes |= {"xaxis.range": sorted(across[[0, -1]].tolist()), "yaxis.range": sorted(down[[0, -1]].tolist())}
        buttons.append({"label": kinds[kind], "method": "update", "args": [{"visible": visible}, axes]})
    return {**_BUTTONS, "buttons": buttons, "x": 1.0, "xanchor": "right"}


def _variable_menu(found: GridInfo, families: dict[str, list[Any]]) -> dict[str, Any]:
    """Buttons that put another variable's values into the same traces."""
    buttons = []
    for field in found.fields:
        traces = [trace.to_plotly_json() for trace in families[field.name]]
        new = {key: [trace.get(key) for trace in traces] for key in _SWITCHED if any(key in trace for trace in traces)}
        if found.is_line:
            axes: dict[str, Any] = {"yaxis.title.text": html(field.label), "yaxis.type": "log" if field.log else "linear"}
        else:
            axes = {"scene.zaxis": _scales(field)["heights"]}
        buttons.append({"label": html(field.name.replace("_", " ")), "method": "update", "args": [new, axes]})
    return {**_BUTTONS, "buttons": buttons, "x": 0.0, "xanchor": "left"}


def _line_traces(found: GridInfo, field: Field) -> list[Any]:
    from plotly.graph_objects import Scatter

    at = found.x if len(found.y) == 1 else found.y
    values = field.shown.ravel()
    low = np.nanmin(values) if np.isfinite(values).any() else 1.0
    shared: dict[str, Any] = {"hovertemplate": "%{x:.4g}<br>%{text}<extra></extra>"}
    told = [text for row in _told(field) for text in row]
    line: dict[str, Any] = {"mode": "lines+markers", "name": "value", "line": {"color": BLUE}, "showlegend": False}
    traces = [Scatter(x=at.tolist(), y=values.tolist(), text=told, **line, **shared)]
    for kind, symbol, color in MARKS:
        marks = _cell_marks(found, field, kind)
        marks |= {"x": marks["x"] if len(found.y) == 1 else marks["y"], "y": [low] * len(marks["x"]), **shared}
        traces.append(Scatter(**marks, marker={"symbol": symbol, "color": color, "size": 8}))
    return traces
