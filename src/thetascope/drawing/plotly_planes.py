"""A quantity over a plane by plotly: contours, a heat map and a surface in 3-D, switched by buttons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.fields import Field, GridInfo, edges, lonely
from thetascope.drawing.relief import FLOOR, HAIR, PAGE_FINE, PALE, best_view, relief_of
from thetascope.drawing.spec import FieldMark, Panel
from thetascope.drawing.style import GREY, VERMILION, html

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MARKS = (("not finite", "x", VERMILION), ("not scored", "square", GREY))
"""Of cells without a finite value."""
_HOVER = "x = %{x:.4g}, y = %{y:.4g}<br>%{text}<extra></extra>"
LIGHT = {"ambient": 0.6, "diffuse": 0.6, "specular": 0.08, "roughness": 0.6, "fresnel": 0.05}
BARE: dict[str, Any] = {"showgrid": False, "zeroline": False, "showbackground": False, "showspikes": False, "tickangle": 0, "nticks": 6}
"""Axes without panes and grids."""
FAR = 0.93
"""From which a surface is seen, in half the length around its box."""
BUTTONS = {"direction": "right", "y": 1.02, "yanchor": "bottom"}
_SWITCHED = ("x", "y", "z", "text", "customdata", "hovertemplate", "line", "name", "showlegend", "showscale", "marker", "colorscale",
             "colorbar")  # fmt: skip
KINDS = {"contour": "contours", "flat": "heat map", "3d": "3-D"}
"""What buttons call what traces have as their `meta`."""


def field_traces(mark: FieldMark, panel: Panel) -> list[Any]:
    """Heat map, contours, and cells without a value; and those of `_space`. What is flat and what in 3-D their `meta` says."""
    from plotly.graph_objects import Contour, Heatmap, Scatter

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
    ]
    for kind, symbol, color in MARKS:
        flat = _cell_marks(found, field, kind)
        traces.append(Scatter(**flat, marker={"symbol": symbol, "color": color, "size": 7}, cliponaxis=False, meta="flat"))
    y, x = np.nonzero(field.evaluated if field.evaluated is not None else np.zeros(field.values.shape, bool))
    dots: dict[str, Any] = {"mode": "markers", "marker": {"color": "black", "size": 2.5}, "hoverinfo": "skip", "name": "evaluated cell"}
    traces.append(Scatter(x=found.x[x].tolist(), y=found.y[y].tolist(), **dots, showlegend=bool(len(x)), meta="flat"))
    return [*traces, *(trace.update(visible=False, meta="3d") for trace in _space(mark, scales))]


def _space(mark: FieldMark, scales: dict[str, Any]) -> list[Any]:
    """A lit surface above its contours, what is cut off, cells that no surface shows, and on the floor those without a value."""
    from plotly.graph_objects import Scatter3d, Surface

    found, field = mark.grid, mark.field
    relief, name = relief_of(found, field, PAGE_FINE), html(field.name.replace("_", " "))
    colors: dict[str, Any] = {"colorscale": scales["colors"], "cmin": 0, "cmax": 1}
    told = f"{name} {'≈ ' if max(relief.pieces) > 1 else ''}%{{customdata:.4g}}"
    at: dict[str, Any] = {"x": relief.x.tolist(), "y": relief.y.tolist(), "hovertemplate": _HOVER.replace("%{text}", told)}
    at |= {"z": _short(relief.heights), "customdata": _short(relief.values)}
    light = {"lighting": LIGHT, "lightposition": _position(mark.view or best_view(relief), 25, -60, 1e5)}
    traces = [Surface(**at, **colors, **scales["bar"], **light)]
    pale = {**at, "z": _short(np.where(relief.cut, relief.heights + HAIR / 2, np.nan)), "opacity": 1 - PALE, "showscale": False}
    pale |= {"colorscale": [[0, "white"], [1, "white"]], "customdata": None, "hovertemplate": None, "hoverinfo": "skip"}
    traces.append(Surface(**(pale if relief.label else {}), name=html(relief.label), showlegend=bool(relief.label)))
    lines = [np.column_stack([line, np.full(len(line), level)]) for level, line in relief.contours]
    path = np.concatenate([part for line in lines for part in (line, np.full((1, 3), np.nan))] or [np.empty((0, 3))])
    floor = {"x": _short(path[:, 0]), "y": _short(path[:, 1]), "z": [FLOOR] * len(path), "mode": "lines", "hoverinfo": "skip"}
    line = {**colors, "color": _short(np.nan_to_num(path[:, 2])), "width": 2}
    traces.append(Scatter3d(**floor, line=line, showlegend=False))
    for kind, symbol, color in MARKS:
        cells, deep = _cell_marks(found, field, kind), {"symbol": "diamond" if symbol == "x" else symbol, "color": color, "size": 3}
        traces.append(Scatter3d(**cells, z=[FLOOR] * len(cells["x"]), marker=deep))
    heights = field.scale.position(field.shown)
    y, x = np.nonzero(lonely(heights))
    texts, z = _told(field), np.clip(heights[y, x], 0, 1).tolist()
    alone = {"text": [texts[j][i] for j, i in zip(y, x, strict=True)], "hovertemplate": _HOVER, "marker": {**colors, "size": 3, "color": z}}
    traces.append(Scatter3d(x=found.x[x].tolist(), y=found.y[y].tolist(), z=z, **alone, mode="markers", showlegend=False))
    return traces


def _short(values: Floats) -> Any:
    """Numbers of four digits: what is drawn needs no more, and a page is large with more."""
    return np.array([f"{value:.4g}" for value in values.ravel()], np.float64).reshape(values.shape).tolist()


def _position(view: tuple[float, float], tilt: float, turn: float, far: float) -> dict[str, float]:
    """A place so far away, turned from where the surface is seen."""
    up, about = np.radians(np.add(view, (tilt, turn)))
    return {"x": far * float(np.cos(up) * np.cos(about)), "y": far * float(np.cos(up) * np.sin(about)), "z": far * float(np.sin(up))}


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
    titles = {"x": found.x_label, "y": found.y_label, "z": field.name.replace("_", " ")}  # the flat kinds and the bar say them whole
    axes = {f"{name}axis": {**BARE, "title": {"text": _plain(label).split(" (")[0].split(", ")[0]}} for name, label in titles.items()}
    axes["zaxis"] |= _scales(field)["ticks"]
    sides, center = (relief := relief_of(found, field)).sides, {"x": 0, "y": 0, "z": -0.18}
    camera = {"eye": _position(_shown(panel).view or best_view(relief), 0, 0, FAR * (sides[0] + sides[1])), "center": center}
    box = {"aspectmode": "manual", "aspectratio": dict(zip("xyz", sides, strict=True))}
    figure.update_layout(scene={**axes, **box, "camera": camera})


def _shown(panel: Panel) -> FieldMark:
    return next(mark for mark in panel.marks if isinstance(mark, FieldMark))


def _scales(field: Field) -> dict[str, Any]:
    """The colours of a field, their bar, and heights, all written as values."""
    scale, name = field.scale, f"{field.label}{field.scale.remark}"
    ticks = {"tickvals": scale.position(scale.ticks).tolist(), "ticktext": scale.tick_texts}
    bar = {"colorbar": {"title": {"text": html(name), "side": "right"}, **ticks}, "showscale": bool(len(scale.levels))}
    return {"colors": field.color_map.capitalize(), "bar": bar, "ticks": ticks}


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
        heights = {**_scales(_shown(shown).field)["ticks"], "title.text": html(name)}
        axes = {f"scene.zaxis.{key}": value for key, value in heights.items()}
        buttons.append({"label": html(name), "method": "update", "args": [new, axes]})
    return [{**BUTTONS, "type": "buttons", "buttons": buttons, "x": 0.0, "xanchor": "left"}] if panel.others else []
