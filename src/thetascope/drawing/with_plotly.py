"""Pictures by plotly: interactive pages, with values on hovering."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.drawing.legends import wrapped
from thetascope.drawing.plotly_planes import BUTTONS, field_traces, kind_menu, plane_layout, switched
from thetascope.drawing.spec import (
    THIN,
    Area,
    Bars,
    Boxes,
    ColorBar,
    Edge,
    FieldMark,
    Image,
    Line,
    Mark,
    Moving,
    Panel,
    Parts,
    Picture,
    Rule,
    Texts,
)  # fmt: skip
from thetascope.drawing.style import GREY, VERMILION, html
from thetascope.drawing.thinning import thinned

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PIXELS = 96
"""An inch."""
WIDTH = 130
"""Characters a line of the notes."""
BESIDE, BELOW, BELOW_SHARED, TITLE = 0.07, 84, 22, 26
"""Between panels: of the width, and pixels, also where they share their axis, and for a title."""
FEW = 8
"""A legend of more entries stands beside the panels."""
MANY = 500
"""More points than this are drawn by WebGL."""
SHORT = 300
"""So many points at most has a line in each frame of what moves."""
SIZE = 1.5
"""Pixels of a marker for each point of its size."""
HATCHES = {"/": "/", ".": ".", "x": "x", "\\": "\\", "o": "."}
STOPS = 64
ENTRY, NARROWEST, CHARACTER = 50, 320, 7
"""Pixels of an entry of a legend that changes: beside its text, at least, and of each character."""


def page_of(picture: Picture) -> Figure:
    """The whole picture."""
    from plotly.graph_objects import Figure

    figure, notes = Figure(), wrapped(picture.notes, WIDTH).splitlines()
    panels = list(_placed(picture.parts, (0.0, 1.0), (0.0, 1.0), PIXELS * picture.height))
    has_menus = any(panel.others or _is_plane(panel) for panel, _, _ in panels)
    text, top = "<br>".join([html(picture.title), *(f"<sub>{html(note)}</sub>" for note in notes)]), 62 + 18 * len(notes) + 44 * has_menus
    figure.update_layout(
        title={"text": text, "yref": "container", "y": 1.0, "yanchor": "top", "pad": {"t": 16}}, template="plotly_white", barmode="overlay",
        height=round(PIXELS * picture.height) + top, margin={"t": top},
    )  # fmt: skip
    moving, menus, views, told = picture.moving.places if picture.moving else (), list[Any](), list[Any](), set[str]()
    for number, (panel, across, down) in enumerate(panels, 1):
        n = "" if number == 1 else str(number)
        figure.update_layout({f"xaxis{n}": {"anchor": f"y{n}", "domain": across}, f"yaxis{n}": {"anchor": f"x{n}", "domain": down}})
        figure.update_layout(axes_of(panel, n))
        if panel.title:
            place: dict[str, Any] = {"x": sum(across) / 2, "xanchor": "center", "y": down[1], "yanchor": "bottom"}
            figure.add_annotation(text=html(panel.title), showarrow=False, name=panel.name or None, xref="paper", yref="paper", **place)
        starts = _draw(figure, panel, n, told, moving)
        if _is_plane(panel):
            plane_layout(figure, panel)
            every = [panel, *(other for _, other in panel.others)]
            menus += [*switched(panel, [_apart(view, n) for view in every]), kind_menu(figure, panel)]
        elif panel.others:
            views.append(_others(figure, panel, n, told, starts[0]))
        if picture.moving is not None:
            menus.append(_walk(figure, picture.moving, starts, panel))
    figure.update_layout(updatemenus=[*menus, *(_views(figure, *of_one) for of_one in views)])
    _share(figure, picture.parts, len(panels))
    _legend(figure, picture)
    figure.update_layout(meta={"panels": "grid"} if picture.grid else None)
    return figure


def _placed(part: Panel | Parts, across: Any, down: Any, height: float) -> Iterator[tuple[Panel, Any, Any]]:
    """Each panel with its place along both axes, of a page so many pixels high."""
    if isinstance(part, Panel):
        if part.marks:
            yield part, list(across), list(down)
        return
    if part.columns:
        yield from _placed(part.rows, across, down, height)
        return
    sizes = np.asarray(part.sizes or [1.0] * len(part.parts), np.float64)
    before = [panel for inner in part.parts[:-1] for panel in (inner.panels if isinstance(inner, Parts) else (inner,))]
    room = BELOW if any(panel.x_label for panel in before) and not part.shared else BELOW_SHARED
    room += TITLE * any(panel.title for panel in part.panels)
    between = room / height if part.down else BESIDE / (2 if part.shared else 1)
    (low, high), rest = (down if part.down else across), 1 - between * (len(sizes) - 1)
    ends = np.cumsum(sizes / sizes.sum()) * rest + between * np.arange(len(sizes))
    starts = ends - sizes / sizes.sum() * rest
    for inner, start, end in zip(part.parts, starts.tolist(), ends.tolist(), strict=True):
        size = high - low
        if part.down:
            yield from _placed(inner, across, (high - end * size, high - start * size), height)
        else:
            yield from _placed(inner, (low + start * size, low + end * size), down, height)


def axes_of(panel: Panel, n: str = "") -> dict[str, Any]:
    """What the axes say, as flat keys of the layout."""
    axes: dict[str, Any] = {}
    for axis in "xy":
        ticks, limits, label, log = (getattr(panel, f"{axis}_{what}") for what in ("ticks", "range", "label", "log"))
        key = f"{axis}axis{n}"
        axes |= {f"{key}.title.text": _escaped(label), f"{key}.type": "log" if log else "-"}
        axes[f"{key}.exponentformat"] = "e" if log or panel.small else "B"
        if ticks is not None and panel.scale is None:
            axes |= {f"{key}.tickvals": list(ticks[0]), f"{key}.ticktext": _escaped(ticks[1])}
            axes[f"{key}.automargin"] = True
        if limits is not None:
            axes[f"{key}.range"] = [float(np.log10(end)) for end in limits] if log else list(limits)
    if panel.small:
        axes |= {f"{axis}axis{n}.nticks": 4 for axis in "xy"}
    if panel.aspect is not None:
        axes |= {f"yaxis{n}.scaleanchor": f"x{n}", f"yaxis{n}.scaleratio": panel.aspect, f"xaxis{n}.constrain": "domain"}
        axes |= {f"yaxis{n}.constrain": "domain", f"yaxis{n}.constraintoward": "top", f"xaxis{n}.constraintoward": "left"}
    if any(isinstance(mark, Image) for mark in panel.marks):
        axes |= {f"{axis}axis{n}.{what}": False for axis in "xy" for what in ("showgrid", "zeroline")}
    return axes


def _share(figure: Figure, part: Parts, count: int) -> None:
    """One axis along which panels lie; what it says stands once."""
    for number in range(1, count + 1) if part.shared and count > 1 else ():
        key, is_shown = ("xaxis", number == count) if part.down else ("yaxis", number == 1)
        axis = figure.layout[f"{key}{'' if number == 1 else number}"]
        axis.update(matches=key[0] if number > 1 else None, showticklabels=is_shown)
        axis.title.text = axis.title.text if is_shown else ""


def _draw(figure: Figure, panel: Panel, n: str, told: set[str], moving: Sequence[int]) -> list[int]:
    """All marks of a panel; returns where the traces of each begin."""
    starts = []
    for place, mark in enumerate(panel.marks):
        starts.append(len(figure.data))
        if isinstance(mark, Rule):
            _rule(figure, mark, n, told)
        else:
            seen = thinned(mark, panel) if isinstance(mark, Line) else mark
            for part in (seen, *(seen.bands(panel.y_log) if isinstance(seen, Line) else ())):
                made = _MADE[type(part)](part, panel)
                made = made[:1] if isinstance(part, Area) and html(part.label) in told else made
                figure.add_traces([_dressed(trace, part, panel, n, told, moves=place in moving) for trace in made])
    return starts


def _apart(panel: Panel, n: str) -> Sequence[Any]:
    """The traces of a panel, on no page."""
    from plotly.graph_objects import Figure

    _draw(figure := Figure(), panel, n, set(), ())
    return tuple(figure.data)


def _dressed(trace: Any, mark: Mark, panel: Panel, n: str, told: set[str], *, moves: bool) -> Any:
    """What all traces have: axes, hovering, the place in the legend, and the layer that they are of."""
    from plotly.graph_objects import Scattergl

    if moves and trace.type == "scatter":  # plotly takes contours off the page while it moves one
        trace = Scattergl(**{key: value for key, value in trace.to_plotly_json().items() if key != "type"})
    deep = trace.type in ("scatter3d", "surface")
    if not deep:
        trace.update(xaxis=f"x{n}", yaxis=f"y{n}")
    if isinstance(mark, FieldMark):
        return trace
    values, data = panel.hover if mark.hover is None else mark.hover, mark.data
    if isinstance(mark, Line) and mark.spread is not None and data is None and values:
        values, data = f"{values} ± %{{customdata:.2g}}", _plain(mark.spread)
    lines = ["%{text}"] * ("%{text}" not in values) if len(mark.told) else [html(mark.about)] if mark.about else []
    if trace.hoverinfo is None:
        shown = "<br>".join([*lines, *([values] if values else [])])
        trace.update({"hovertemplate": f"{shown}<extra></extra>"} if shown else {"hoverinfo": "skip"})
    if len(mark.told) and trace.text is None:
        trace.update(text=_escaped(mark.told))
    if data is not None and trace.customdata is None and trace.hoverinfo is None:
        trace.update(customdata=data)
    if trace.name is None:
        name = html(mark.label)
        known = f"{name} in 3-D" if deep else name
        trace.update(name=name, legendgroup=name or None, showlegend=bool(name) and known not in told)
        told.add(known)
    if mark.layer or mark.layers:
        trace.update(meta={"layer": mark.layer} if mark.layer else {"layers": list(mark.layers)})
    return trace.update(meta="3d" if deep else "flat", visible=not deep) if _is_plane(panel) else trace


def _escaped(texts: Any) -> Any:
    return [_escaped(text) for text in texts] if not isinstance(texts, str) else html(texts).replace("\n", "<br>")


def _line(mark: Line, panel: Panel) -> list[Any]:
    from plotly.graph_objects import Scatter, Scatter3d, Scattergl

    kinds = ["lines"] * bool(mark.dash) + ["markers"] * bool(mark.marker)
    hollow = "-open" if mark.face == "none" or mark.marker in THIN else ""
    dots: dict[str, Any] = {"symbol": (mark.marker or "circle") + hollow, "size": mark.size * (1.0 if mark.marker == "star" else SIZE)}
    dots["color"] = mark.color if hollow else mark.face or mark.color
    if mark.face or mark.edge or hollow:
        dots["line"] = {"color": mark.edge or mark.color, "width": 1.5 if mark.edge == "black" else 1}
    style: dict[str, Any] = {"x": _plain(mark.x), "y": _plain(mark.y), "mode": "+".join(kinds), "marker": dots, "opacity": mark.opacity}
    if mark.dash:
        style["line"] = {"color": mark.color, "dash": mark.dash, "width": 1.35 * mark.width}
    if mark.z is not None:
        return [Scatter3d(**{**style, "z": _plain(mark.z), "marker": {**dots, "size": 0.65 * mark.size, "symbol": "circle"}})]
    return [(Scattergl if len(mark.x) > MANY and not mark.dash else Scatter)(**style)]


def _area(mark: Area, panel: Panel) -> list[Any]:
    """What is filled, and the entry of the legend of an area that is hidden with another mark."""
    from plotly.graph_objects import Scatter

    style: dict[str, Any] = {"fill": "toself", "fillcolor": mark.color, "opacity": mark.opacity, "hoverinfo": "skip"}
    style |= {"mode": "lines", "line": {"color": mark.edge, "width": 1}} if mark.edge else {"mode": "none"}
    area = Scatter(x=_plain(mark.x), y=_plain(mark.y), **style)
    if not mark.group:
        return [area]
    key = {"symbol": "square", "size": 12, "color": GREY, "opacity": 2 * mark.opacity}
    area.update(name=html(mark.label), legendgroup=html(mark.group), showlegend=False)
    return [area, Scatter(x=[None], y=[None], mode="markers", marker=key, hoverinfo="skip")]


def _plain(values: Any) -> Any:
    """Large numbers of points stay packed."""
    return values if len(values) > MANY else np.asarray(values).tolist()


def _edge(mark: Edge, panel: Panel) -> list[Any]:
    """At the highest value: a page's axes go as far as its values."""
    from plotly.graph_objects import Scatter

    lines = [np.ravel(line.y if mark.upright else line.x) for line in panel.marks if isinstance(line, Line)]
    bars = [np.ravel(np.add(other.base, other.lengths)) for other in panel.marks if isinstance(other, Bars)]
    every = np.concatenate([*lines, *bars, np.empty(0)]).astype(np.float64)
    far = np.full(len(mark.at), max(every[np.isfinite(every)], default=1.0)).tolist()
    at = {"x": _plain(mark.at), "y": far} if mark.upright else {"x": far, "y": _plain(mark.at)}
    marker = {"symbol": mark.marker.removesuffix("-thin"), "color": mark.color, "size": 9}
    return [Scatter(**at, mode="markers", marker=marker, cliponaxis=False)] if len(mark.at) else []


def _bars(mark: Bars, panel: Panel) -> list[Any]:
    from plotly.graph_objects import Bar

    lengths = np.asarray(mark.lengths, np.float64)
    base = np.where(np.isfinite(lengths), mark.base, np.nan)
    fill = {"pattern": {"shape": HATCHES[mark.hatch[0]], "fgcolor": "#333333", "size": 5}} if mark.hatch else {}
    marker = {"color": list(mark.colors) or mark.color, **fill, **({"line": {"color": "#333333", "width": 0.8}} if mark.edge else {})}
    at, long, way = ("y", "x", "h") if mark.across else ("x", "y", "v")
    style: dict[str, Any] = {at: _plain(mark.at), long: lengths, "base": base, "width": mark.width, "orientation": way, "marker": marker}
    if len(mark.told):
        style |= {"text": _escaped(mark.told), "textposition": "none"}
    elif len(mark.texts):
        texts = [text.replace("\n", "<br>") for text in mark.texts]
        style |= {"text": texts, "textposition": "inside" if mark.inside else "auto", "textangle": 0, "constraintext": "none"}
    bars = Bar(**style, customdata=base + lengths if mark.data is None else mark.data)
    return [bars.update(meta={"x_of_layers": mark.shares}) if mark.shares else bars]


def _rule(figure: Figure, mark: Rule, n: str, told: set[str]) -> None:
    along, across = ("x", "y") if mark.upright else ("y", "x")
    to, name = mark.at if mark.to is None else mark.to, html(mark.label)
    shape: dict[str, Any] = {f"{along}0": mark.at, f"{along}1": to, f"{across}0": 0, f"{across}1": 1, f"{along}ref": f"{along}{n}"}
    shape |= {f"{across}ref": f"{across}{n} domain", "layer": "above"}
    if mark.to is None:
        figure.add_shape(type="line", line={"color": mark.color, "width": 1.25 * mark.width, "dash": mark.dash}, **shape)
    else:
        figure.add_shape(type="rect", fillcolor=mark.color, opacity=0.2, line={"width": 0}, **shape)
    if name:
        figure.layout.shapes[-1].update(name=name, legendgroup=name, showlegend=name not in told)
        told.add(name)


def _boxes(mark: Boxes, panel: Panel) -> list[Any]:
    from plotly.graph_objects import Box

    style: dict[str, Any] = {"marker": {"size": 3, "color": mark.color}, "line": {"width": 1, "color": mark.color}, "fillcolor": mark.face}
    return [Box(x=np.repeat(mark.at, mark.values.shape[1]).tolist(), y=mark.values.ravel().tolist(), **style)]


def _texts(mark: Texts, panel: Panel) -> list[Any]:
    """In white with a shadow, on the side where each one's way leads."""
    from plotly.graph_objects import Scatter

    sides = [
        ("middle right" if across > 0 else "middle left") if abs(across) > abs(up) else "top center" if up >= 0 else "bottom center"
        for across, up in mark.ways
    ]
    style: dict[str, Any] = {"textfont": {"color": "white", "shadow": "auto", "size": 13}, "marker": {"size": 12, "opacity": 0}}
    style |= {"textposition": sides, "mode": "markers+text", "hoverinfo": "skip", "showlegend": False, "name": "numbers"}
    return [Scatter(x=mark.x, y=mark.y, text=_escaped(mark.texts), **style)]


def _image(mark: Image, panel: Panel) -> list[Any]:
    """A heat map of what has a value, and marks where there is none."""
    from plotly.graph_objects import Heatmap, Scatter

    zero = next((color for _, color, cells, _ in mark.marked if np.isfinite(mark.values[cells]).any()), "white")
    style = {**_colors(mark, zero), "showscale": False, "hoverongaps": False, "showlegend": False, "name": ""}
    values = np.asarray(mark.values, np.float32) if not mark.layers else mark.values.tolist()  # packed, or rows that a page takes apart
    traces = [Heatmap(z=values, **_cells(mark), **style)]
    for label, color, cells, texts in mark.marked:
        down, across = np.nonzero(cells & ~np.isfinite(mark.values))
        if len(down):
            x, y = ((edges[:-1] + edges[1:]) / 2 for edges in (mark.x, mark.y))
            symbol = {"symbol": "x" if color == VERMILION else "square", "color": color}
            marker = {**symbol, "size": 7, "line": {"color": "black", "width": 0.5}}
            at = {"x": x[across].tolist(), "y": y[down].tolist(), "text": _escaped(texts), "hovertemplate": "%{text}<extra></extra>"}
            traces.append(Scatter(**at, mode="markers", marker=marker, name=html(label), cliponaxis=False, hoverinfo="text"))
    return traces


def _cells(mark: Image) -> dict[str, Any]:
    """Even cells by the middle of the first and their width, others by their edges."""
    found: dict[str, Any] = {}
    for axis, edges in (("x", mark.x), ("y", mark.y)):
        widths = np.diff(edges)
        is_even = np.allclose(widths, widths[0])
        found |= {f"{axis}0": float(edges[:2].mean()), f"d{axis}": float(widths[0])} if is_even else {axis: np.round(edges, 3).tolist()}
    return found


def _colors(mark: Image, zero: str) -> dict[str, Any]:
    """The colour map over the values, as its scale spreads them; on a logarithmic one 0 has a colour of its own."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    if mark.scale is None:
        return {"zmin": 0.0, "zmax": 1.0, "colorscale": [(0.0, zero), (1.0, zero)]}
    colors = [to_hex(colormaps[mark.color_map](k / (STOPS - 1))) for k in range(STOPS)]
    if mark.scale.flat:
        level = mark.scale.levels.tolist()[0]
        return {"zmin": level - 1, "zmax": level + 1, "colorscale": list(zip((0.0, 1.0), colors[STOPS // 2 :][:1] * 2, strict=True))}
    values = mark.scale.value(np.linspace(0.0, 1.0, STOPS))
    low, high = 0.0 if mark.scale.log else float(values[0]), float(mark.scale.levels[-1])
    places = np.append((values[:-1] - low) / (high - low), 1.0)
    below = [(0.0, zero), (1e-12 * float(places[0]), colors[0])] if mark.scale.log else []
    return {"zmin": low, "zmax": high, "colorscale": [*below, *zip(places.tolist(), colors, strict=True)]}


def _color_bar(mark: ColorBar, panel: Panel) -> list[Any]:
    """A trace of nothing that carries the bar: that of the images would be even."""
    from plotly.graph_objects import Scatter

    if mark.scale is None:
        return []
    ticks = {"tickvals": mark.scale.position(mark.scale.ticks).tolist(), "ticktext": mark.scale.tick_texts}
    bar = {"title": {"text": html(mark.label), "side": "right"}, **ticks, "len": 0.5, "y": 1.0, "yanchor": "top", "thickness": 16}
    marker = {"color": [0.0], "cmin": 0.0, "cmax": 1.0, "colorscale": mark.color_map.capitalize(), "showscale": True, "colorbar": bar}
    return [Scatter(x=[None], y=[None], mode="markers", marker=marker, showlegend=False, hoverinfo="skip", name="colours")]


_MADE: dict[type[Mark], Callable[[Any, Panel], list[Any]]] = {
    Line: _line, Area: _area, Edge: _edge, Bars: _bars, Boxes: _boxes, Texts: _texts, Image: _image, ColorBar: _color_bar,
    FieldMark: field_traces,
}  # fmt: skip


def _others(figure: Figure, panel: Panel, n: str, told: set[str], first: int) -> tuple[Panel, str, list[int]]:
    """What may stand in a panel's place, not shown yet; and where the traces of each begin, and end."""
    ends = [first, len(figure.data)]
    for _, other in panel.others:
        _draw(figure, other, n, told, ())
        ends.append(len(figure.data))
    for place, trace in enumerate(figure.data[first:], first):
        trace.visible = place < ends[1]
    return panel, n, ends


def _views(figure: Figure, panel: Panel, n: str, ends: list[int]) -> dict[str, Any]:
    """Buttons that show the panel, or one of the others in its place."""
    buttons = []
    for place, (name, view) in enumerate([(panel.name, panel), *panel.others]):
        visible = [not ends[0] <= i < ends[-1] or ends[place] <= i < ends[place + 1] for i in range(len(figure.data))]
        buttons.append({"label": html(name), "method": "update", "args": [{"visible": visible}, axes_of(view, n)]})
    kind = "buttons" if len(buttons) < FEW else "dropdown"
    return {**BUTTONS, "type": kind, "buttons": buttons, "x": 0.0, "xanchor": "left", "active": 0}


def _legend(figure: Figure, picture: Picture) -> None:
    """Above the panels, or below where titles or buttons stand there; beside them where it is long."""
    names = [thing.name for thing in (*figure.data, *figure.layout.shapes) if thing.showlegend]
    legend: dict[str, Any] = {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0}
    wide = sum(len(name) + 8 for name in names)
    if figure.layout.updatemenus or figure.layout.annotations or WIDTH < wide < 2 * WIDTH:
        legend |= {"y": 0.0, "yref": "container"}
        room = (200 if picture.moving else 70) + 20 * (1 + wide // WIDTH)
        figure.update_layout(margin={"b": room}, height=figure.layout.height + room - 70)
    elif len(names) > FEW:
        return
    figure.update_layout(legend=legend)


def _walk(figure: Figure, moving: Moving, starts: Sequence[int], panel: Panel) -> dict[str, Any]:
    """Frames and a slider over them; returns the buttons that let them pass."""
    from plotly.graph_objects import Frame

    traces = [starts[place] for place in moving.places]
    drawn = [figure.data[trace] for trace in traces]
    figure.frames = [
        Frame(name=f"{number}", traces=traces, data=[_moved(trace, line) for trace, line in zip(drawn, some, strict=True)])
        for number, some in enumerate([thinned(line, panel, SHORT) for line in lines] for _, lines in moving.frames)
    ]
    names = [trace.name or "" for trace in (*figure.data, *(part for frame in figure.frames for part in frame.data))]
    still: dict[str, Any] = {"transition": {"duration": 0}}
    play = {**still, "frame": {"duration": 350, "redraw": True}, "fromcurrent": True}
    stop = {**still, "frame": {"duration": 0, "redraw": False}, "mode": "immediate"}
    given = (("▶ play", [None, play]), ("❚❚ pause", [[None], stop]))
    buttons = [{"label": label, "method": "animate", "args": args} for label, args in given]
    at = {**still, "frame": {"duration": 0, "redraw": True}, "mode": "immediate"}
    steps = [{"method": "animate", "label": label, "args": [[f"{n}"], at]} for n, (label, _) in enumerate(moving.frames)]
    slider = {"active": len(steps) - 1, "steps": steps, "currentvalue": {"prefix": moving.prefix}, "pad": {"t": 50}, "y": 0.0}
    widest = max(NARROWEST, ENTRY + CHARACTER * max(map(len, names)))  # plotly measures it once and cuts what grows
    figure.update_layout(sliders=[slider], legend={"entrywidth": widest})
    return {**BUTTONS, "type": "buttons", "buttons": buttons, "x": 0.0, "xanchor": "left", "showactive": False}


def _moved(trace: Any, line: Line) -> Any:
    """What a moving trace becomes in one frame."""
    part = {"x": np.asarray(line.x).tolist(), "y": np.asarray(line.y).tolist()}
    part |= {"z": np.asarray(line.z).tolist()} if line.z is not None else {}
    part |= {"text": _escaped(line.told), "name": html(line.label)} if len(line.told) else {}
    return type(trace)(**part)


def _is_plane(panel: Panel) -> bool:
    return any(isinstance(mark, FieldMark) for mark in panel.marks)
