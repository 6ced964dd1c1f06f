"""Pictures by plotly: interactive pages, with values on hovering."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.drawing.legends import wrapped
from thetascope.drawing.plotly_planes import BUTTONS, SHOWN, bar_ticks, field_traces, kind_menu, plane_layout, switched
from thetascope.drawing.relief import PAGE_FINE, lifted
from thetascope.drawing.scales import color_scale, colors_of, log_ticks, text_of
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
    Ticks,
)  # fmt: skip
from thetascope.drawing.style import GREY, SHADES, VERMILION, html
from thetascope.drawing.thinning import thinned

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PIXELS = 96
"""An inch."""
WIDTH = 130
"""Characters a line of the notes."""
CHARACTERS = 13
"""Of the notes, an inch of a page whose width is given."""
BESIDE, BELOW, BELOW_SHARED, TITLE = 0.07, 84, 22, 26
"""Between panels: of the width, and pixels, also where they share their axis, and for a title."""
FEW = 8
"""A legend of more entries stands beside the panels."""
MANY = 500
"""More points than this are drawn by WebGL."""
SMALL, FURNITURE, FURNITURE_BELOW, LISTED, LINE = 200, 240, 128, 21, 32
"""On a narrow page: the least height of a panel, what of a picture's is none of the panels', what stands below all of them, an entry of the
legend, and characters of a line."""
SLIDER = 130
"""Pixels of a slider below a page."""
LONG_TITLE = 40
"""Characters of an upright axis's title; a longer one takes two lines."""
SHORT = 300
"""So many points at most has a line in each frame of what moves."""
SIZE = 1.5
"""Pixels of a marker for each point of its size."""
ABOVE = 0.009
"""So much is a marker lifted in 3-D for each point of its size: the surface would hide its lower half."""
BEHIND = 2000
"""The place of bands in a legend: behind the curves that they are around."""
HATCHES = {"/": "/", ".": ".", "x": "x", "\\": "\\", "o": "."}
STOPS = 64
COLORS_OF = "colours"
"""The name of a trace that carries a bar of colours."""
ENTRY, NARROWEST, CHARACTER = 50, 320, 7
"""Pixels of an entry of a legend that changes: beside its text, at least, and of each character."""


@dataclass(eq=False)
class DrawnPanels:
    """The panels of a picture with their axes and legend, in no theme; and apart, what a page puts around them.

    Attributes:
        figure: without title, notes, margins and controls.
        webgl: whether many flat points are drawn by WebGL.
        menus: plotly's buttons, each group called by its `name`.
        room: pixels that a legend needs below the panels.
        inks: of each trace on the page's own ground the paths of colours, and what each is in light and in dark.
        cursors: of each panel over α its axes, its name, and the traces that are read off along it.
        narrow: what a narrow page changes in the layout, by paths.
    """

    figure: Figure
    webgl: bool
    menus: list[dict[str, Any]] = field(default_factory=list)
    room: int = 0
    inks: list[tuple[int, str, str, str]] = field(default_factory=list)
    cursors: list[dict[str, Any]] = field(default_factory=list)
    narrow: dict[str, Any] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)


def page_of(picture: Picture) -> Figure:
    """A page of its own: with title, notes, buttons and a slider, on light ground."""
    width = min(WIDTH, int(CHARACTERS * picture.width)) if picture.sized else WIDTH
    drawn, (title, notes) = drawn_of(picture), [wrapped(texts, width).splitlines() for texts in ([picture.title], picture.notes)]
    text = "<br>".join([*map(html, title), *(f"<sub>{html(note)}</sub>" for note in notes)])
    slider, player = _controls(picture.moving) if picture.moving else ([], [])
    top, room = 38 + 24 * len(title) + 18 * len(notes) + 44 * bool(drawn.menus or player), drawn.room + SLIDER * bool(slider)
    figure = drawn.figure.update_layout(
        title={"text": text, "yref": "container", "y": 1.0, "yanchor": "top", "pad": {"t": 16}}, template="plotly_white",
        height=drawn.figure.layout.height + top + max(room - 70, 0), margin={"t": top, "b": room or None},
        updatemenus=[*drawn.menus, *player], sliders=slider,
    )  # fmt: skip
    if picture.sized:
        _fit(figure, picture)
    return figure


def drawn_of(picture: Picture, *, webgl: bool = True) -> DrawnPanels:
    """The panels alone, as high as the picture says."""
    from plotly.graph_objects import Figure

    figure = Figure().update_layout(template=None, barmode="overlay", height=round(PIXELS * picture.height))
    drawn, views = DrawnPanels(figure, webgl), list[Any]()
    panels = list(_placed(picture.parts, (0.0, 1.0), (0.0, 1.0), PIXELS * picture.height))
    planes, starts = dict[str, Panel](), list[int]()
    for number, (panel, across, down) in enumerate(panels, 1):
        n = "" if number == 1 else str(number)
        figure.update_layout({f"xaxis{n}": {"anchor": f"y{n}", "domain": across}, f"yaxis{n}": {"anchor": f"x{n}", "domain": down}})
        figure.update_layout(axes_of(panel, n))
        if panel.title:
            place: dict[str, Any] = {"x": sum(across) / 2, "xanchor": "center", "y": down[1], "yanchor": "bottom"}
            place |= {"showarrow": False, "xref": "paper", "yref": "paper"}
            figure.add_annotation(text=html(panel.title), name=html(panel.name) or None, **place)
        begin = len(figure.data)
        starts = _draw(drawn, panel, n, picture.moving.places if picture.moving else ())
        if panel.plane:
            plane_layout(figure, panel, n)
            planes[n] = panel
        elif panel.others:
            views.append(_others(drawn, panel, n, starts[0]))
        for bar in (trace.marker.colorbar for trace in figure.data[begin:] if trace.name == COLORS_OF):
            bar.update(y=down[1], len=min(bar.len, down[1] - down[0]))
    if planes:
        drawn.menus += [*switched(planes, _quantities(planes, webgl)), kind_menu(figure, planes)]
    if picture.moving is not None:
        _walk(figure, picture.moving, starts, panels[0][0])
    drawn.menus += [_views(figure, *of_one) for of_one in views]
    _share(figure, picture.parts, len(panels))
    _legend(drawn, moves=picture.moving is not None)
    drawn.narrow = _narrow(figure, picture, panels)
    return drawn


def _fit(figure: Figure, picture: Picture) -> None:
    """A page of the size that was asked for: titles of axes on lines of their own, the legend below all."""
    wide, names = round(PIXELS * picture.width), [thing.name for thing in (*figure.data, *figure.layout.shapes) if thing.showlegend]
    for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
        size = wide if axis.plotly_name.startswith("x") else PIXELS * picture.height / 2
        share = axis.domain[1] - axis.domain[0] if axis.domain and axis.plotly_name.startswith("x") else 1.0
        if axis.title.text:
            lines = wrapped(axis.title.text.split("<br>"), max(int(size * share / CHARACTER), 12)).splitlines()
            axis.title.text = "<br>".join(lines)
    rows = -(-sum(CHARACTER * len(name) + ENTRY for name in names) // wide)
    below = {"orientation": "h", "x": 0, "y": 0.0, "yref": "container", "yanchor": "bottom"} if names else {}
    room = {"b": 60 + 26 * rows + (130 if picture.moving else 0), "l": 70, "r": 20}
    figure.update_layout(width=wide, height=round(PIXELS * picture.height), legend=below, margin=room)


def _placed(part: Panel | Parts, across: Any, down: Any, height: float) -> Iterator[tuple[Panel, Any, Any]]:
    """Each panel with its place along both axes, of a page so many pixels high."""
    if isinstance(part, Panel):
        if part.marks:
            yield part, *(np.round(ends, 5).tolist() for ends in (across, down))
        return
    if part.columns:
        yield from _placed(part.rows, across, down, height)
        return
    sizes = np.asarray(part.sizes or [1.0] * len(part.parts), np.float64)
    before = [panel for inner in part.parts[:-1] for panel in (inner.panels if isinstance(inner, Parts) else (inner,))]
    room = BELOW if any(panel.x_label for panel in before) and not part.shared else BELOW_SHARED
    room += TITLE * any(panel.title for panel in part.panels)
    beside = BESIDE * (1.5 if any(panel.small for panel in part.panels) else 0.5 if part.shared else 1)  # small numbers are long
    between = room / height if part.down else beside
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
        label = label.replace(", ", ",\n", 1) if axis == "y" and len(label) > LONG_TITLE else label
        axes |= {f"{key}.title.text": _escaped(label), f"{key}.type": "log" if log else "-"}
        axes[f"{key}.exponentformat"] = "e" if log or panel.small else "B"
        if log and ticks is None:  # plotly would write the digit alone
            ticks = _log_ticks(panel, axis, limits)
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


def _log_ticks(panel: Panel, axis: str, limits: tuple[float, float] | None) -> Ticks | None:
    """Round numbers along a logarithmic axis, some beyond its values."""
    found = [np.ravel(getattr(mark, axis)) for mark in panel.marks if isinstance(mark, Line)]
    found += [np.ravel(np.add(mark.base, mark.lengths)) for mark in panel.marks if isinstance(mark, Bars) and mark.across == (axis == "x")]
    values = np.concatenate([*found, *([limits] if limits else []), np.empty(0)]).astype(np.float64)
    values = values[np.isfinite(values) & (values > 0)]
    ticks = log_ticks(float(values.min()), float(values.max())) if len(values) else np.empty(0)
    return (ticks.tolist(), [text_of(tick) for tick in ticks.tolist()]) if len(ticks) else None


def _share(figure: Figure, part: Parts, count: int) -> None:
    """One axis along which panels lie; what it says stands once."""
    for number in range(1, count + 1) if part.shared and count > 1 else ():
        key, is_shown = ("xaxis", number == count) if part.down else ("yaxis", number == 1)
        axis = figure.layout[f"{key}{'' if number == 1 else number}"]
        axis.update(matches=key[0] if number > 1 else None, showticklabels=is_shown)
        axis.title.text = axis.title.text if is_shown else ""


def _draw(drawn: DrawnPanels, panel: Panel, n: str, moving: Sequence[int] = ()) -> list[int]:
    """All marks of a panel; returns where the traces of each begin."""
    figure, starts, curves = drawn.figure, list[int](), list[int]()
    for place, mark in enumerate(panel.marks):
        starts.append(len(figure.data))
        if isinstance(mark, Rule):
            _rule(figure, mark, n, drawn.told)
            continue
        seen = thinned(lifted(mark, panel, PAGE_FINE), panel) if isinstance(mark, Line) else mark
        curves += [len(figure.data)] if isinstance(mark, Line) and mark.dash else []
        for part in (seen, *(seen.bands(panel.y_log) if isinstance(seen, Line) else ())):
            made = _MADE[type(part)](part, panel)
            for one in made[:1] if isinstance(part, Area) and html(part.label) in drawn.told else made:
                trace = _dressed(_plainer(one, drawn.webgl, moves=place in moving), part, panel, n, drawn.told)
                drawn.inks += [] if panel.plane else [(len(figure.data), *ink) for ink in _inks(trace, part)]
                figure.add_trace(trace)
    if panel.over_alpha and curves:
        drawn.cursors.append({"axes": [f"x{n}", f"y{n}"], "name": _escaped(panel.y_label or panel.title), "curves": curves})
    return starts


def _plainer(trace: Any, webgl: bool, *, moves: bool) -> Any:
    """By WebGL what moves, because plotly takes contours off the page while it moves one; by plain means where there is no `webgl`."""
    from plotly.graph_objects import Scatter, Scattergl

    kind = Scattergl if webgl and moves and trace.type == "scatter" else Scatter if not webgl and trace.type == "scattergl" else None
    return trace if kind is None else kind(**{key: value for key, value in trace.to_plotly_json().items() if key != "type"})


def _inks(trace: Any, mark: Mark) -> Iterator[tuple[str, str, str]]:
    """The colours that a ground of another kind changes, by their paths; those of edges that lie on a face of their own stay."""
    on_ground = ["line.color"] if not isinstance(mark, Boxes) else []
    on_ground += ["marker.line.color"] if not isinstance(mark, Line) or mark.face in ("", "none") else []
    for path in ("marker.color", *on_ground):
        if path in trace and isinstance(trace[path], str) and trace[path] in SHADES:
            yield path, *SHADES[trace[path]]


def _quantities(planes: Mapping[str, Panel], webgl: bool) -> list[Sequence[Any]]:
    """The traces of all planes, of each quantity that they may show; on no page."""
    from plotly.graph_objects import Figure

    found = list[Sequence[Any]]()
    for views in zip(*([panel, *(other for _, other in panel.others)] for panel in planes.values()), strict=True):
        drawn = DrawnPanels(Figure(), webgl)
        for n, view in zip(planes, views, strict=True):
            _draw(drawn, view, n)
        found.append(tuple(drawn.figure.data))
    return found


def _dressed(trace: Any, mark: Mark, panel: Panel, n: str, told: set[str]) -> Any:
    """What all traces have: axes, hovering, the place in the legend, and the layer that they are of."""
    deep = trace.type in ("scatter3d", "surface")
    trace.update({"scene": f"scene{n}"} if deep else {"xaxis": f"x{n}", "yaxis": f"y{n}"})
    if isinstance(mark, FieldMark):
        if trace.showlegend and trace.name:
            trace.update(showlegend=trace.name not in told, legendgroup=trace.name)
            told.add(trace.name)
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
    return trace.update(meta="3d" if deep else "flat", visible=not deep) if panel.plane else trace


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
        z = np.asarray(mark.z) + (0.0 if mark.dash else ABOVE * mark.size)
        return [Scatter3d(**{**style, "z": _plain(z), "marker": {**dots, "size": 0.5 * mark.size, "symbol": "circle"}})]
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
    return [area, Scatter(x=[None], y=[None], mode="markers", marker=key, hoverinfo="skip", legendrank=BEHIND)]


def _plain(values: Any) -> Any:
    """Large numbers of points stay packed."""
    return values if len(values) > MANY else np.asarray(values).tolist()


def _edge(mark: Edge, panel: Panel) -> list[Any]:
    """At the highest value: a page's axes go as far as its values."""
    from plotly.graph_objects import Scatter

    lines = [np.ravel(line.y if mark.upright else line.x) for line in panel.marks if isinstance(line, Line)]
    bars = [np.ravel(np.add(other.base, other.lengths)) for other in panel.marks if isinstance(other, Bars)]
    every = np.concatenate([*lines, *bars, np.empty(0)]).astype(np.float64)
    limits, end = panel.y_range if mark.upright else panel.x_range, min if mark.first else max
    most = end(every[np.isfinite(every)], default=1.0)
    far = [most if limits is None else float(np.clip(most, min(limits), max(limits)))] * len(mark.at)
    at = {"x": _plain(mark.at), "y": far} if mark.upright else {"x": far, "y": _plain(mark.at)}
    marker = {"symbol": mark.marker.removesuffix("-thin"), "color": mark.color, "size": 2 + mark.size}
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
    if mark.scale is None:
        return {"zmin": 0.0, "zmax": 1.0, "colorscale": [(0.0, zero), (1.0, zero)]}
    colors = colors_of(mark.color_map, STOPS)
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
    bar = {"title": {"text": html(mark.label), "side": "right"}, **bar_ticks(mark.scale, below=False, above=mark.above)}
    bar |= {"len": 0.5, "y": 1.0, "yanchor": "top", "thickness": 16}
    marker = {"color": [0.0], "cmin": 0.0, "cmax": 1.0, "colorscale": color_scale(mark.color_map), "showscale": True, "colorbar": bar}
    return [Scatter(x=[None], y=[None], mode="markers", marker=marker, showlegend=False, hoverinfo="skip", name=COLORS_OF)]


_MADE: dict[type[Mark], Callable[[Any, Panel], list[Any]]] = {
    Line: _line, Area: _area, Edge: _edge, Bars: _bars, Boxes: _boxes, Texts: _texts, Image: _image, ColorBar: _color_bar,
    FieldMark: field_traces,
}  # fmt: skip


def _others(drawn: DrawnPanels, panel: Panel, n: str, first: int) -> tuple[Panel, str, list[int]]:
    """What may stand in a panel's place, not shown yet; and where the traces of each begin, and end."""
    figure, ends = drawn.figure, [first, len(drawn.figure.data)]
    for _, other in panel.others:
        _draw(drawn, other, n)
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
    return {**BUTTONS, "name": SHOWN, "type": kind, "buttons": buttons, "x": 0.0, "xanchor": "left", "active": 0}


def _legend(drawn: DrawnPanels, *, moves: bool) -> None:
    """Above the panels, or below where titles or buttons stand there; beside them where it is long."""
    figure = drawn.figure
    names = [thing.name for thing in (*figure.data, *figure.layout.shapes) if thing.showlegend]
    legend: dict[str, Any] = {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0}
    wide = sum(len(name) + 8 for name in names)
    if drawn.menus or moves or figure.layout.annotations or WIDTH < wide < 2 * WIDTH:
        legend |= {"y": 0.0, "yref": "container"}
        drawn.room = 70 + 20 * (1 + wide // WIDTH)
    elif len(names) > FEW:
        return
    figure.update_layout(legend=legend)


def _narrow(figure: Figure, picture: Picture, panels: Sequence[tuple[Panel, Any, Any]]) -> dict[str, Any]:
    """Panels of a row or a grid below one another, titles in lines, the legend below them, a surface from farther away."""
    things = [thing for thing in (*figure.data, *figure.layout.shapes) if thing.showlegend is not False and thing.name]
    names = {thing.legendgroup or thing.name for thing in things}
    entries, height = len(names) if len(names) <= FEW else 0, figure.layout.height
    changed: dict[str, Any] = {"showlegend": bool(entries), "height": height + LISTED * entries}
    legend = {"x": 0, "xref": "container", "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom", "orientation": "h"}
    changed["legend"] = {**legend, "font": {"size": 11}}
    for number, (panel, _, _) in enumerate(panels, 1):
        n = "" if number == 1 else str(number)
        if panel.plane:
            changed[f"scene{n}.camera.eye"] = {axis: 1.2 * figure.layout[f"scene{n}"].camera.eye[axis] for axis in "xyz"}
            changed[f"scene{n}.zaxis.title.text"] = ""  # the bar says what heights are
        if figure.layout[f"xaxis{n}"].title.text and max(map(len, panel.x_label.split("\n"))) > LINE:
            changed[f"xaxis{n}.title.text"] = _escaped("\n".join(wrapped([line], LINE) for line in panel.x_label.split("\n")))
        if len(panel.y_label) > LONG_TITLE:
            changed[f"yaxis{n}.title.text"] = _escaped(panel.y_label.split(" (")[0])
    is_row = len({across[0] for _, across, _ in panels}) == len(panels)
    if len(panels) == 1 or not (picture.grid or is_row):
        return changed
    each, titles = SMALL if picture.grid else max(SMALL, height - FURNITURE), []
    whole = len(panels) * (each + BELOW) - BELOW
    for number, (panel, _, _) in enumerate(panels, 1):
        n, top = "" if number == 1 else str(number), round(1 - (number - 1) * (each + BELOW) / whole, 5)
        domains = {"x": [0, 1], "y": [round(max(top - each / whole, 0), 5), top]}
        changed |= {f"{axis}axis{n}.domain": domain for axis, domain in domains.items()}
        changed |= {f"scene{n}.domain": domains} if panel.plane else {}
        changed |= {f"yaxis{n}.showticklabels": True} if picture.parts.shared else {}
        if panel.title:
            text = wrapped([f"{panel.name}: {panel.title}" if picture.grid and panel.name else panel.title], LINE)
            place = {"x": 1, "xref": "paper", "xanchor": "right", "y": top, "yref": "paper", "yanchor": "bottom"}
            titles.append({"text": _escaped(text), "showarrow": False, "align": "right", "name": panel.name or None, **place})
    return changed | {"annotations": titles, "height": whole + FURNITURE_BELOW + LISTED * entries}


def _walk(figure: Figure, moving: Moving, starts: Sequence[int], panel: Panel) -> None:
    """Frames, and a legend with room for all that they are called."""
    from plotly.graph_objects import Frame

    traces = [starts[place] for place in moving.places]
    drawn = [figure.data[trace] for trace in traces]
    figure.frames = [
        Frame(name=f"{number}", traces=traces, data=[_moved(trace, line) for trace, line in zip(drawn, some, strict=True)])
        for number, some in enumerate(
            [thinned(lifted(line, panel, PAGE_FINE), panel, SHORT) for line in lines] for _, lines in moving.frames
        )
    ]
    names = [trace.name or "" for trace in (*figure.data, *(part for frame in figure.frames for part in frame.data))]
    widest = max(NARROWEST, ENTRY + CHARACTER * max(map(len, names)))  # plotly measures it once and cuts what grows
    figure.update_layout(legend={"entrywidth": widest})


def _controls(moving: Moving) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A slider over the frames, and buttons that let them pass."""
    still: dict[str, Any] = {"transition": {"duration": 0}}
    play = {**still, "frame": {"duration": 350, "redraw": True}, "fromcurrent": True}
    stop = {**still, "frame": {"duration": 0, "redraw": False}, "mode": "immediate"}
    given = (("▶ play", [None, play]), ("❚❚ pause", [[None], stop]))
    buttons = [{"label": label, "method": "animate", "args": args} for label, args in given]
    at = {**still, "frame": {"duration": 0, "redraw": True}, "mode": "immediate"}
    steps = [{"method": "animate", "label": label, "args": [[f"{n}"], at]} for n, (label, _) in enumerate(moving.frames)]
    slider = {"active": len(steps) - 1, "steps": steps, "currentvalue": {"prefix": moving.prefix}, "pad": {"t": 50}, "y": 0.0}
    return [slider], [{**BUTTONS, "type": "buttons", "buttons": buttons, "x": 0.0, "xanchor": "left", "showactive": False}]


def _moved(trace: Any, line: Line) -> Any:
    """What a moving trace becomes in one frame."""
    part = {"x": np.asarray(line.x).tolist(), "y": np.asarray(line.y).tolist()}
    part |= {"z": np.asarray(line.z).tolist()} if line.z is not None else {}
    part |= {"text": _escaped(line.told), "name": html(line.label)} if len(line.told) else {}
    return type(trace)(**part)
