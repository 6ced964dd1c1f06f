"""A quantity over a plane by plotly: contours, a heat map and a surface in 3-D, switched by buttons."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.fields import Field, GridInfo, edges, lonely
from thetascope.drawing.relief import FLOOR, HAIR, PAGE_FINE, PALE, best_view, relief_of
from thetascope.drawing.scales import Scale, color_scale, text_of
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
NEAR = 0.04
"""Of a bar of colours: numbers nearer to one that says more are left out."""
KINDS = {"contour": "contours", "flat": "heat map", "3d": "3-D"}
"""What buttons call what traces have as their `meta`."""
KIND, SHOWN = "kind of picture", "what is shown"
"""What groups of buttons are called."""


def field_traces(mark: FieldMark, panel: Panel) -> list[Any]:
    """Heat map, contours, and cells without a value; and those of `_space`. What is flat and what in 3-D their `meta` says."""
    from plotly.graph_objects import Contour, Heatmap, Scatter

    found, field = mark.grid, mark.field
    heights = field.scale.position(field.shown)
    shared: dict[str, Any] = {"x": found.x.tolist(), "y": found.y.tolist(), "z": heights.tolist(), "text": _told(field)}
    scales = _scales(field)
    scales["bar"]["showscale"] &= mark.bar is not False
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
    y, x = np.nonzero(field.evaluated if field.evaluated is not None and mark.cells else np.zeros(field.values.shape, bool))
    dots: dict[str, Any] = {
        "mode": "markers",
        "marker": {"color": "black", "size": 2.5, "line": {"color": "white", "width": 0.5}},
        "hoverinfo": "skip",
        "name": "evaluated cell",
    }
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


def _brief(text: str) -> str:
    """For axes in 3-D, which show entities as they stand, and read tags and templates; flat kinds and the colours' bar say the rest."""
    return re.split(r" \(|, ", text)[0].replace("<", "‹").replace(">", "›").replace("%{", "% {")


def plane_layout(figure: Figure, panel: Panel, n: str = "") -> None:
    """Axes of the plane and of the space above it, in the same place, whose heights are written as values."""
    found, field = _shown(panel).grid, _shown(panel).field
    for name in "xy":
        figure.layout[f"{name}axis{n}"].update(range=_range(panel, name, edge=False), constrain="domain")
    if found.equal:
        figure.layout[f"yaxis{n}"].update(scaleanchor=f"x{n}")
    titles = {"x": found.x_label, "y": found.y_label, "z": field.name.replace("_", " ")}  # the flat kinds and the bar say them whole
    axes = {f"{name}axis": {**BARE, "title": {"text": _brief(label)}} for name, label in titles.items()}
    axes["zaxis"] |= _scales(field)["ticks"]
    sides, center = (relief := relief_of(found, field)).sides, {"x": 0, "y": 0, "z": -0.18}
    camera = {"eye": _position(_shown(panel).view or best_view(relief), 0, 0, FAR * (sides[0] + sides[1])), "center": center}
    box = {"aspectmode": "manual", "aspectratio": dict(zip("xyz", sides, strict=True))}
    place = {name: figure.layout[f"{name}axis{n}"].domain for name in "xy"}
    figure.update_layout({f"scene{n}": {**axes, **box, "camera": camera, "domain": place}})


def _range(panel: Panel, name: str, *, edge: bool) -> list[float]:
    """From end to end of the cells or of their middles, or as far as the panel goes."""
    at, other = (getattr(_shown(panel).grid, axis) for axis in (name, "y" if name == "x" else "x"))
    ends = [*(edges(at, other) if edge else at)[[0, -1]].tolist(), *(getattr(panel, f"{name}_range") or ())]
    return [min(ends), max(ends)]


def _shown(panel: Panel) -> FieldMark:
    assert panel.plane is not None
    return panel.plane


def _scales(field: Field) -> dict[str, Any]:
    """The colours of a field, their bar, and heights, all written as values."""
    scale, name = field.scale, f"{field.label}{field.scale.remark}"
    ticks = bar_ticks(scale, *map(bool, field.beyond))
    bar = {"colorbar": {"title": {"text": html(name), "side": "right"}, **ticks}, "showscale": bool(len(scale.levels))}
    return {"colors": color_scale(field.color_map), "bar": bar, "ticks": ticks}


def bar_ticks(scale: Scale, below: bool, above: bool) -> dict[str, Any]:
    """Where values are written beside colours; at an end beyond which more lie, it says so."""
    ticks = dict(zip(scale.position(scale.ticks).tolist(), scale.tick_texts, strict=True))
    for place, sign, is_beyond in ((0, "≤", below), (1, "≥", above)):
        if is_beyond:
            kept = {at: text for at, text in ticks.items() if abs(at - place) > NEAR}
            ticks = kept | {float(place): f"{sign} {text_of(float(scale.levels[-place]))}"}
    return {"tickvals": list(ticks), "ticktext": list(ticks.values())}


def kind_menu(figure: Figure, panels: Mapping[str, Panel]) -> dict[str, Any]:
    """Buttons that show the figure's traces of one kind, its own to begin with; a trace is of the kind in its `meta`, or flat."""
    mark, present, buttons = _shown(next(iter(panels.values()))), [trace.meta for trace in figure.data], list[dict[str, Any]]()
    for kind, name in KINDS.items():
        flat = kind != "3d"
        visible = [meta == kind or (flat and meta == "flat") for meta in present]
        axes: dict[str, Any] = {f"{name}axis{n}.visible": flat for n in panels for name in "xy"}
        axes |= {f"{name}axis{n}.range": _range(panel, name, edge=kind == "flat") for n, panel in panels.items() for name in "xy"}
        buttons.append({"label": name, "method": "update", "args": [{"visible": visible}, axes]})
    active = list(KINDS).index("flat" if mark.kind == "heatmap" else mark.kind)
    seen, axes = buttons[active]["args"]
    for trace, is_shown in zip(figure.data, seen["visible"], strict=True):
        trace.visible = is_shown
    figure.update_layout(axes)
    return {**BUTTONS, "name": KIND, "type": "buttons", "active": active, "buttons": buttons, "x": 1.0, "xanchor": "right"}


def switched(panels: Mapping[str, Panel], families: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Buttons that put the values of other quantities into the same traces, of all panels at once, where there are others."""
    panel, buttons = next(iter(panels.values())), []
    every = {n: [own, *(other for _, other in own.others)] for n, own in panels.items()}
    for place, (name, made) in enumerate(zip([panel.name, *(name for name, _ in panel.others)], families, strict=True)):
        traces = [trace.to_plotly_json() for trace in made]
        new = {key: [trace.get(key) for trace in traces] for key in _SWITCHED if any(key in trace for trace in traces)}
        axes = dict[str, Any]()
        for n, views in every.items():
            heights = {**_scales(_shown(views[place]).field)["ticks"], "title.text": html(name)}
            axes |= {f"scene{n}.zaxis.{key}": value for key, value in heights.items()}
        buttons.append({"label": html(name), "method": "update", "args": [new, axes]})
    return [{**BUTTONS, "name": SHOWN, "type": "buttons", "buttons": buttons, "x": 0.0, "xanchor": "left"}] if panel.others else []
