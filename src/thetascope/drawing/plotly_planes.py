"""A quantity over a plane by plotly: contours, a heat map and a surface in 3-D, switched by buttons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.drawing.fields import Field, GridInfo, edges, lonely, open_corner
from thetascope.drawing.spec import FieldMark, Panel
from thetascope.drawing.style import GREY, VERMILION, html

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MARKS = (("not finite", "x", VERMILION), ("not scored", "square", GREY))
"""Of cells without a finite value."""
_HOVER = "x = %{x:.4g}, y = %{y:.4g}<br>%{text}<extra></extra>"
BUTTONS = {"direction": "right", "y": 1.02, "yanchor": "bottom"}
_SWITCHED = ("x", "y", "z", "text", "name", "showlegend", "showscale", "marker", "colorscale", "colorbar")
KINDS = {"contour": "contours", "flat": "heat map", "3d": "3-D"}
"""What buttons call what traces have as their `meta`."""


def field_traces(mark: FieldMark, panel: Panel) -> list[Any]:
    """Heat map, contours, surface, and cells without a value in the plane and in 3-D; which of them are flat their `meta` says."""
    from plotly.graph_objects import Contour, Heatmap, Scatter, Scatter3d, Surface

    found, field = mark.grid, mark.field
    heights = field.scale.position(field.shown)
    shared: dict[str, Any] = {"x": found.x.tolist(), "y": found.y.tolist(), "z": heights.tolist(), "text": _told(field)}
    scales = _scales(field)
    shared |= {"colorscale": scales["colors"], "hovertemplate": _HOVER}
    size = 1 / max(len(field.scale.levels) - 1, 1)
    lines = {"contours": {"start": 0, "end": 1, "size": size}, "line": {"width": 0.5, "color": "rgba(255,255,255,0.6)"}}
    traces = [
        Heatmap(**shared, **scales["bar"], zmin=0, zmax=1, meta="flat"),  # below contours: up to the edge of each cell without a value
        Contour(**shared, **lines, zmin=0, zmax=1, showscale=False, connectgaps=False, meta="contour"),
        Surface(**shared, **scales["bar"], cmin=0, cmax=1, visible=False, meta="3d", opacity=mark.opacity),
    ]
    for kind, symbol, color in MARKS:
        flat, deep = _cell_marks(found, field, kind), {"symbol": "diamond" if symbol == "x" else symbol, "color": color, "size": 3}
        traces.append(Scatter(**flat, marker={"symbol": symbol, "color": color, "size": 7}, cliponaxis=False, meta="flat"))
        traces.append(Scatter3d(**flat, z=[0.0] * len(flat["x"]), marker=deep, visible=False, meta="3d"))
    y, x = np.nonzero(field.evaluated if field.evaluated is not None and mark.cells else np.zeros(field.values.shape, bool))
    dots: dict[str, Any] = {"mode": "markers", "marker": {"color": "black", "size": 2.5}, "hoverinfo": "skip", "name": "evaluated cell"}
    traces.append(Scatter(x=found.x[x].tolist(), y=found.y[y].tolist(), **dots, showlegend=bool(len(x)), meta="flat"))
    y, x = np.nonzero(lonely(heights))
    alone: dict[str, Any] = {"x": found.x[x].tolist(), "y": found.y[y].tolist(), "z": heights[y, x].tolist(), "hovertemplate": _HOVER}
    alone["text"] = [shared["text"][j][i] for j, i in zip(y, x, strict=True)]
    marker = {"size": 3, "color": alone["z"], "colorscale": scales["colors"], "cmin": 0, "cmax": 1}
    traces.append(Scatter3d(**alone, mode="markers", marker=marker, showlegend=False, visible=False, meta="3d"))
    return traces


def _cell_marks(found: GridInfo, field: Field, kind: str) -> dict[str, Any]:
    """Points for the cells of that kind."""
    cells = field.marked.get(kind, np.zeros(field.values.shape, bool))
    y, x = np.nonzero(cells)
    return {
        "x": found.x[x].tolist(), "y": found.y[y].tolist(), "mode": "markers", "hovertemplate": _HOVER,
        "name": field.count_text(kind) if len(x) else kind, "showlegend": bool(len(x)),
        "text": [f"{kind}: {value}" if kind == "not finite" else kind for value in field.values[cells].tolist()],
    }  # fmt: skip


def _told(field: Field) -> list[list[str]]:
    """What hovering over a cell tells."""
    estimated = np.zeros(field.values.shape, bool) if field.evaluated is None else ~field.evaluated
    name = html(field.name.replace("_", " "))
    rows = zip(field.values.tolist(), estimated.tolist(), strict=True)
    return [[f"{name} {value:.5g}{' (estimated)' if guess else ''}" for value, guess in zip(*row, strict=True)] for row in rows]


def _plain(text: str) -> str:
    """For axes in 3-D, which show entities as they stand, and read tags and templates."""
    return text.replace("<", "‹").replace(">", "›").replace("%{", "% {")


def plane_layout(figure: Figure, panel: Panel) -> None:
    """Axes of the plane and of the space above it, whose heights are written as values."""
    found, field = _shown(panel).grid, _shown(panel).field
    for name, at in (("xaxis", found.x), ("yaxis", found.y)):
        figure.layout[name].update(range=sorted(at[[0, -1]].tolist()), constrain="domain")
    if found.equal:
        figure.update_yaxes(scaleanchor="x")
    axes = {f"{name}axis": {"title": {"text": _plain(getattr(found, f"{name}_label"))}} for name in "xy"}
    across, up = open_corner(field.scale.position(field.shown))
    camera, ratio = {"eye": {"x": 1.3 * across, "y": 1.6 * up, "z": 0.9}}, {"x": 1, "y": 1, "z": 0.7}
    figure.update_layout(scene={**axes, "camera": camera, "aspectmode": "manual", "aspectratio": ratio, "zaxis": _scales(field)["heights"]})


def _shown(panel: Panel) -> FieldMark:
    return next(mark for mark in panel.marks if isinstance(mark, FieldMark))


def _scales(field: Field) -> dict[str, Any]:
    """The colours of a field, their bar, and heights, all written as values."""
    scale, name = field.scale, f"{field.label}{field.scale.remark}"
    ticks = {"tickvals": scale.position(scale.ticks).tolist(), "ticktext": scale.tick_texts}
    bar = {"colorbar": {"title": {"text": html(name), "side": "right"}, **ticks}, "showscale": bool(len(scale.levels))}
    return {"colors": field.color_map.capitalize(), "bar": bar, "heights": {"title": {"text": _plain(name)}, **ticks}}


def kind_menu(figure: Figure, panel: Panel) -> dict[str, Any]:
    """Buttons that show the figure's traces of one kind, its own to begin with; a trace is of the kind in its `meta`, or flat."""
    mark, present, buttons = _shown(panel), [trace.meta for trace in figure.data], list[dict[str, Any]]()
    for kind, name in KINDS.items():
        flat = kind != "3d"
        visible = [meta == kind or (flat and meta == "flat") for meta in present]
        at = mark.grid.x, mark.grid.y
        across, down = (edges(*at), edges(*reversed(at))) if kind == "flat" else at
        axes: dict[str, Any] = {"xaxis.visible": flat, "yaxis.visible": flat}
        axes |= {"xaxis.range": sorted(across[[0, -1]].tolist()), "yaxis.range": sorted(down[[0, -1]].tolist())}
        buttons.append({"label": name, "method": "update", "args": [{"visible": visible}, axes]})
    active = list(KINDS).index("flat" if mark.kind == "heatmap" else mark.kind)
    seen, axes = buttons[active]["args"]
    for trace, is_shown in zip(figure.data, seen["visible"], strict=True):
        trace.visible = is_shown
    figure.update_layout(axes)
    return {**BUTTONS, "type": "buttons", "active": active, "buttons": buttons, "x": 1.0, "xanchor": "right"}


def switched(panel: Panel, families: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Buttons that put the values of other quantities into the same traces, where there are others."""
    buttons = []
    for (name, shown), made in zip([(panel.name, panel), *panel.others], families, strict=True):
        traces = [trace.to_plotly_json() for trace in made]
        new = {key: [trace.get(key) for trace in traces] for key in _SWITCHED if any(key in trace for trace in traces)}
        axes = {"scene.zaxis": _scales(_shown(shown).field)["heights"]}
        buttons.append({"label": html(name), "method": "update", "args": [new, axes]})
    return [{**BUTTONS, "type": "buttons", "buttons": buttons, "x": 0.0, "xanchor": "left"}] if panel.others else []
