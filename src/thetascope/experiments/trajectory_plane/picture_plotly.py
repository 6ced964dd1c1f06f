"""The optimizer walking over the plane of its training, as an interactive figure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.drawing.fields import Field
from thetascope.drawing.fields_plotly import headed, kind_menu, plane_layout, plane_traces
from thetascope.drawing.layouts import panel_of
from thetascope.drawing.scales import written
from thetascope.drawing.style import html
from thetascope.experiments.trajectory_plane.picture_info import COLORS, PlaneInfo, Walk, numbers, reached, times_of

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

LONGEST = 150
"""So many states at most are walked through in the interactive figure."""

NARROWEST, ENTRY_PIXELS, CHARACTER_PIXELS = 320, 50, 7
"""Pixels of an entry of the legend: at least, beside its text, and of each character."""


def draw_plotly(found: PlaneInfo, variable: str | None = None) -> PlotlyFigure:
    """Contours and 3-D with the paths, a slider over the states, and buttons that let the optimizer walk."""
    from plotly.graph_objects import Figure, Frame

    field = panel_of(found.grid.fields, variable)
    ground = plane_traces(found.grid, field)
    ground[2].opacity = 0.85  # paths may lie below the surface
    paths = [_path_traces(found, i, field) for i in range(len(found.walks))]
    figure = Figure([*ground, *(trace for of_one in paths for trace in of_one), *_state_traces(found)])
    headed(figure, replace(found.grid, notes=(*found.grid.notes, found.note(field.name))))
    plane_layout(figure, found.grid, field)
    times = _moments(found)
    moving = [len(ground) + len(paths[0]) * i + j for i in range(len(paths)) for j in (1, 2, 3)]
    figure.frames = [
        Frame(name=f"{n}", traces=moving, data=[part for i in range(len(paths)) for part in _moved(found, i, field, time)])
        for n, time in enumerate(times)
    ]
    names = [trace.name or "" for trace in (*figure.data, *(part for frame in figure.frames for part in frame.data))]
    widest = max(NARROWEST, ENTRY_PIXELS + CHARACTER_PIXELS * max(map(len, names)))  # plotly measures it once and cuts what grows
    figure.update_layout(updatemenus=[kind_menu(figure, found.grid), _player()], sliders=[_slider(found, times)], height=880)
    figure.update_layout(margin={"b": 190}, legend={"y": -0.24, "entrywidth": widest})
    return figure


def _moments(found: PlaneInfo) -> list[float]:
    """When any training reaches a state, thinned out where there are many."""
    times = np.unique(np.concatenate([times_of(walk) for walk in found.walks]))
    times = times[np.diff(times, append=np.inf) > 1e-9]
    return [float(time) for time in times[np.unique(np.linspace(0, len(times) - 1, LONGEST).round().astype(int))]]


def _path_traces(found: PlaneInfo, i: int, field: Field) -> list[Any]:
    """The whole path; then what moves: the path so far, the optimizer from above and in 3-D; then the path twice in 3-D."""
    from plotly.graph_objects import Scatter, Scatter3d

    walk, color = found.walks[i], COLORS[i % len(COLORS)]
    hover = {"text": [_told(walk, k, field) for k in range(len(walk.x))], "hovertemplate": "%{text}<extra></extra>"}
    heights = [(field.scale.position(values[field.name]) + 0.01).tolist() for values in (walk.own, walk.below)]
    so_far, above, high = _moved(found, i, field, 1.0)
    dots = {"color": "white", "size": 6, "line": {"color": color, "width": 1.5}}
    so_far.update(mode="lines+markers", line={"color": color, "width": 3}, marker=dots, showlegend=False, hoverinfo="skip", meta="flat")
    shown = {"color": color, "line": {"color": "black", "width": 1.5}}
    above.update(mode="markers", marker={**shown, "size": 15}, hovertemplate="%{text}<extra></extra>", meta="flat")
    high.update(mode="markers", marker={**shown, "size": 8}, hovertemplate="%{text}<extra></extra>", visible=False, meta="3d")
    whole = Scatter(x=walk.x.tolist(), y=walk.y.tolist(), mode="lines+markers", line={"color": "white", "width": 5}, marker=dots, **hover)
    whole.update(showlegend=False, meta="flat")
    deep = []
    for name, z, dash in zip(("at the states themselves", "on the plane below them"), heights, ("solid", "dot"), strict=True):
        line, marker = {"color": color, "width": 5, "dash": dash}, {"color": color, "size": 2.5}
        style: dict[str, Any] = {"mode": "lines+markers", "name": f"{html(walk.label)}, {name}", "visible": False, "meta": "3d"}
        deep.append(Scatter3d(x=walk.x.tolist(), y=walk.y.tolist(), z=z, line=line, marker=marker, **style, **hover))
    return [whole, so_far, above, high, *deep]


def _moved(found: PlaneInfo, i: int, field: Field, time: float) -> tuple[Any, Any, Any]:
    """The three parts of a training that move, at the state last reached by then.

    None is a Scatter: plotly takes contours off the page while it moves one.
    """
    from plotly.graph_objects import Scatter3d, Scattergl

    walk = found.walks[i]
    k = reached(times_of(walk), time)
    at: dict[str, Any] = {"x": walk.x[[k]].tolist(), "y": walk.y[[k]].tolist(), "text": [_told(walk, k, field)]}
    at["name"] = html(f"{walk.label}: {walk.told(k, field.name)}")
    height = field.scale.position(walk.own[field.name][[k]])
    return (
        Scattergl(x=walk.x[: k + 1].tolist(), y=walk.y[: k + 1].tolist()),
        Scattergl(**at),
        Scatter3d(**at, z=np.where(np.isnan(height), 0.0, height).tolist()),
    )


def _told(walk: Walk, k: int, field: Field) -> str:
    """What hovering over a state tells."""
    below = f"{field.name.replace('_', ' ')} on the plane below: {written(walk.below[field.name][k])}"
    return "<br>".join(map(html, (walk.label, walk.told(k, field.name), below, f"{walk.off_plane[k]:.4g} off the plane")))


def _state_traces(found: PlaneInfo) -> list[Any]:
    """First and last states, and numbers of epochs."""
    from plotly.graph_objects import Scatter

    traces = []
    for k, symbol, name in ((0, "circle", "first state"), (-1, "star", "last state")):
        x, y = ([float(getattr(walk, axis)[k]) for walk in found.walks] for axis in ("x", "y"))
        marker = {"symbol": symbol, "size": 13, "color": "white", "line": {"color": "black", "width": 1.5}}
        traces.append(Scatter(x=x, y=y, mode="markers", marker=marker, name=name, hoverinfo="skip", meta="flat"))
    at_x, at_y, across, up, texts = zip(*numbers(found), strict=True)
    sides = [_side(*way) for way in zip(across, up, strict=True)]
    style: dict[str, Any] = {"textfont": {"color": "white", "shadow": "auto", "size": 13}, "hoverinfo": "skip", "showlegend": False}
    style |= {"mode": "markers+text", "marker": {"size": 12, "opacity": 0}, "name": "numbers", "meta": "flat"}
    return [*traces, Scatter(x=at_x, y=at_y, text=texts, textposition=sides, **style)]


def _side(across: float, up: float) -> str:
    """Where plotly writes beside a point."""
    if abs(across) > abs(up):
        return "middle right" if across > 0 else "middle left"
    return "top center" if up >= 0 else "bottom center"


def _player() -> dict[str, Any]:
    play: dict[str, Any] = {"frame": {"duration": 350, "redraw": True}, "transition": {"duration": 0}, "fromcurrent": True}
    stop: dict[str, Any] = {"frame": {"duration": 0, "redraw": False}, "transition": {"duration": 0}, "mode": "immediate"}
    args = (("▶ play", [None, play]), ("❚❚ pause", [[None], stop]))
    buttons = [{"label": label, "method": "animate", "args": given} for label, given in args]
    place = {"x": 0.0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "showactive": False}
    return {"type": "buttons", "direction": "right", "buttons": buttons, **place}


def _slider(found: PlaneInfo, times: list[float]) -> dict[str, Any]:
    """A step a state; called by its epoch where all trainings agree on that, else by the share of their steps."""
    at = {"frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}, "mode": "immediate"}
    epochs = [{float(walk.epoch[reached(times_of(walk), time)]) for walk in found.walks} for time in times]
    agree = found.by_epoch and all(len(of_all) == 1 for of_all in epochs)
    labels = [f"{min(of_all):g}" if agree else f"{100 * time:.0f} %" for of_all, time in zip(epochs, times, strict=True)]
    steps = [{"method": "animate", "label": label, "args": [[f"{n}"], at]} for n, label in enumerate(labels)]
    prefix = "epoch " if agree else "share of the training's steps: "
    return {"active": len(steps) - 1, "steps": steps, "currentvalue": {"prefix": prefix}, "pad": {"t": 50}, "y": 0.0, "x": 0.0, "len": 1.0}
