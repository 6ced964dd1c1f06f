"""The plane of a training: the loss on it with the optimizer's path, and what the plane does not show (thesis figure 6.27)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.drawing.fields import Field, edges
from thetascope.drawing.legends import wrapped
from thetascope.drawing.scales import scale_of
from thetascope.drawing.spec import Bars, Edge, Form, Line, Mark, Moving, Panel, Parts, Picture, Texts, stacked
from thetascope.drawing.style import BLUE, GREY, ORANGE
from thetascope.errors import ResultError
from thetascope.experiments.shared.plane_picture import plane_panel, smooth_note
from thetascope.experiments.shared.recorded import recorded_marks
from thetascope.experiments.trajectory_plane.walks import COLORS, MARKERS, WALKS, PlaneInfo, Walk, info, numbers, reached, times_of

if TYPE_CHECKING:
    import xarray as xr

COMPONENTS = 6
"""So many are shown."""
LONGEST = 150
"""So many states at most are walked through on a page."""


KINDS = ("contour", "heatmap", "3d")


def picture(data: xr.Dataset, form: Form, kind: str | None = None, variable: str | None = None, cells: bool = False) -> Picture:
    """The plane with the path; in a figure with the explained variance, the states' own values and distances beside it.

    With a `kind` (contour, heatmap or 3d) a figure is the plane alone. On a page the optimizer walks, over contours or in 3-D. For 3d,
    axes must be three-dimensional, else flat. With `cells` those that were evaluated are dotted, where the rest is estimated.
    """
    found = info(data)
    grid, field = found.grid, found.grid.field(variable)
    if kind is not None and kind not in KINDS:
        raise ResultError(f'there is no kind "{kind}" of figure of a plane; there are: {", ".join(KINDS)}')
    shown = "contour" if kind is None or (kind == "3d" and grid.is_line) else kind
    note = found.note(field.name)
    smooth = smooth_note(grid) if shown == "3d" or form == "page" else ()
    said: dict[str, Any] = {"title": grid.title, "notes": (*grid.notes, note, *smooth)}
    if form == "page":
        panel, moving = _walked(found, field, shown, cells=cells)
        return Picture(**said, parts=Parts(parts=[panel]), width=10, height=6.2, moving=moving)
    main = plane_of(found, field, kind=shown, cells=cells)
    main = replace(main, marks=[*main.marks, *(_in_space(found, field) if shown == "3d" else [*_paths(found), *_states(found)])])
    if form == "figure" and kind is not None:
        return Picture(**said, parts=Parts(parts=[main]), width=6.4, height=5.8 if shown == "3d" else grid.height(5.0) + 1.6)
    told = [found.correlated] if found.correlated and form == "figure" else []
    said["notes"] = (*grid.notes, *told, note)
    if form == "axes":
        return Picture(**said, parts=Parts(parts=[replace(main, title=wrapped([note], 64))]), width=6.4, height=5.4)
    sides = [_shares(found), _values(found, field), _distances(found)]
    if not (grid.equal and np.ptp(grid.x) > 1.4 * np.ptp(grid.y)):
        return Picture(**said, parts=Parts(parts=[main, stacked(sides, shared=False)], sizes=(1.75, 1)), width=13, height=7.8)
    low = 10 * np.ptp(grid.y) / np.ptp(grid.x) + 0.3  # so high the plane is at equal scales, in inches
    return Picture(**said, parts=stacked([main, Parts(parts=sides)], (low, 3.0), shared=False), width=12, height=low + 4.8)


def plane_of(found: PlaneInfo, field: Field, form: Form = "figure", kind: str = "contour", *, cells: bool = False) -> Panel:
    """The field below, as wide as the paths need."""
    grid = found.grid
    ends = (edges(grid.x, grid.y), edges(grid.y, grid.x)) if grid.is_line or field.scale.flat else (grid.x, grid.y)
    x, y = (np.concatenate([at, *(getattr(walk, name) for walk in found.walks)]) for name, at in zip("xy", ends, strict=True))
    panel = plane_panel(grid, field, kind, form, cells=cells)
    # the axes are often wide and low
    return replace(panel, y_label=wrapped([grid.y_label], 32), x_range=(x.min(), x.max()), y_range=(y.min(), y.max()))


def _told(walk: Walk, k: int, field: Field) -> str:
    """What hovering over a state tells."""
    return "\n".join((walk.label, walk.told(k, field.name), walk.told_below(k, field.name), f"{walk.off_plane[k]:.4g} off the plane"))


def _paths(found: PlaneInfo) -> list[Mark]:
    """From the first states to the last, with white edges against the colours below."""
    labels = [walk.label for walk in found.walks] if len(found.walks) > 1 else ["optimizer's path" if found.dash() else "states"]
    return [
        Line(x=walk.x, y=walk.y, label=label, dash=found.dash(), width=2.0, edge="white", size=4.5, halo=True, level=5, **_style(i))
        for i, (walk, label) in enumerate(zip(found.walks, labels, strict=True))
    ]


def _in_space(found: PlaneInfo, field: Field) -> list[Mark]:
    """Of each training the path on the surface, and above or below it what its states are worth themselves."""
    marks: list[Mark] = []
    for i, walk in enumerate(found.walks):
        name, style = f"{walk.label}, " if len(found.walks) > 1 else "", {"color": _style(i)["color"], "level": 5}
        below: dict[str, Any] = {"z": "surface", "dash": found.dash(), "marker": found.marker, "width": 2.0, "halo": True, **style}
        marks.append(Line(x=walk.x, y=walk.y, label=f"{name}on the plane below the states", **below))
        own: dict[str, Any] = {
            "z": walk.own[field.name],
            "dash": found.dash("dot"),
            "width": 1.2,
            "size": 4,
            "edge": "white",
            **_style(i),
            "level": 5.5,
        }
        marks.append(Line(x=walk.x, y=walk.y, label=f"{name}at the states themselves", **own))
    return [*marks, *_ends(found, "surface")]


def _style(i: int) -> dict[str, Any]:
    """Of a training."""
    return {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)]}


def _states(found: PlaneInfo) -> list[Mark]:
    """First and last states, and numbers of epochs, or steps."""
    at_x, at_y, across, up, texts = zip(*numbers(found), strict=True)
    ways = list(zip(across, up, strict=True))
    return [*_ends(found), Texts(x=at_x, y=at_y, texts=texts, ways=ways, label=found.called)]


def _ends(found: PlaneInfo, z: str | None = None) -> list[Mark]:
    """First and last states."""
    marks: list[Mark] = []
    for k, marker, label, size in ((0, "circle", "first state", 9), (-1, "star", "last state", 14)):
        x, y = ([float(getattr(walk, axis)[k]) for walk in found.walks] for axis in ("x", "y"))
        marks.append(Line(x=x, y=y, z=z, dash="", marker=marker, size=size, face="white", edge="black", label=label, hover="", level=7))
    return marks


def _shares(found: PlaneInfo) -> Panel:
    """What the components explain, beside random walks: a walk alone explains much."""
    styles: dict[str, Any] = {
        WALKS["random_walk_ratio"]: {"color": "white", "edge": GREY, "hatch": "////"},
        WALKS["correlated_walk_ratio"]: {"color": ORANGE, "edge": GREY, "hatch": "...."},
        WALKS["equal_walk_ratio"]: {"color": "#D0D0D0", "edge": GREY},
    }
    count = min(COMPONENTS, *(len(shares) for shares in found.shares.values()))
    width = 0.8 / len(found.shares)
    marks = []
    for i, (label, shares) in enumerate(found.shares.items()):
        places = np.arange(1, count + 1) + (i - (len(found.shares) - 1) / 2) * width
        said = f"the {label}" if i == 0 else wrapped([label], 34)
        marks.append(Bars(at=places, lengths=shares[:count], width=width, label=said, **styles.get(label, {"color": BLUE})))
    ticks = (list(range(1, count + 1)), [str(k) for k in range(1, count + 1)])
    return Panel(marks=marks, x_label="principal component", y_label="% of the variance", x_ticks=ticks, grid=True, legend=True)


def _values(found: PlaneInfo, field: Field) -> Panel:
    """At the states themselves, and on the plane below them."""
    marks: list[Mark] = []
    for i, walk in enumerate(found.walks):
        at, style = found.clock(walk), {**_style(i), "size": 3.5, "listed": i == 0, "dash": found.dash()}
        own, below = (np.where(np.isfinite(values), values, np.nan) for values in (walk.own[field.name], walk.below[field.name]))
        marks.append(Line(x=at, y=own, label="at the states themselves", **style))
        marks.append(Line(x=at, y=below, label="on the plane below them", **{**style, "marker": "x-thin", "dash": found.dash("dash")}))
        marks.append(Edge(at=at[walk.not_finite & np.isnan(own)], marker="x-thin"))
        told = [f"{walk.label}, {walk.when(k)}" for k in range(len(walk.x))]
        marks += recorded_marks(at, walk.recorded.get(field.name, np.empty(0)), told, **{**style, "size": 6.5, "dash": ""})
    every = np.concatenate([of[field.name] for walk in found.walks for of in (walk.own, walk.below, walk.recorded) if field.name in of])
    return _over_time(found, marks, field.label, y_log=field.name == "loss" and scale_of(every).log)


def _distances(found: PlaneInfo) -> Panel:
    marks = [Line(x=found.clock(walk), y=walk.off_plane, size=3.5, dash=found.dash(), **_style(i)) for i, walk in enumerate(found.walks)]
    top = 1.05 * max(float(walk.off_plane.max()) for walk in found.walks) or 1.0
    return _over_time(found, marks, "distance off the plane", y_range=(0.0, top))


def _over_time(found: PlaneInfo, marks: Sequence[Mark], y_label: str, **axes: Any) -> Panel:
    return Panel(marks=marks, x_label=found.clock_label, x_whole=found.called != "step", y_label=y_label, grid=True, legend=True, **axes)


def _walked(found: PlaneInfo, field: Field, kind: str, *, cells: bool) -> tuple[Panel, Moving]:
    """The plane of a page, and what moves on it: of each training the path so far, and the optimizer from above and in 3-D."""
    main = plane_of(found, field, "page", kind, cells=cells)
    marks, places = list(main.marks), list[int]()
    for i, walk in enumerate(found.walks):
        told, style = [_told(walk, k, field) for k in range(len(walk.x))], _style(i)
        white: dict[str, Any] = {"marker": "circle", "size": 4, "face": "white", "edge": style["color"]}
        marks.append(Line(x=walk.x, y=walk.y, color="white", dash=found.dash(), width=3.7, told=told, hover="", **white))
        places += range(len(marks), len(marks) + 3)
        marks += _moved(found, i, field, 1.0)
        own, label = walk.own[field.name], f"{walk.label}, at the states themselves"
        deep: dict[str, Any] = {"x": walk.x, "y": walk.y, "color": style["color"], "hover": "", "dash": found.dash()}
        marks.append(Line(**deep, z="surface", marker=found.marker, width=4.5, label=f"{walk.label}, on the plane below the states"))
        marks.append(
            Line(**{**deep, "dash": found.dash("dot")}, z=own, width=1.5, label=label, marker="circle", size=5, edge="white", told=told)
        )
    times = np.unique(np.concatenate([times_of(walk) for walk in found.walks]))
    times = times[np.diff(times, append=np.inf) > 1e-9]
    times = times[np.unique(np.linspace(0, len(times) - 1, LONGEST).round().astype(int))]
    epochs = [{float(walk.epoch[reached(times_of(walk), time)]) for walk in found.walks} for time in times]
    agree = found.by_epoch and all(len(of_all) == 1 for of_all in epochs)
    labels = [f"{min(of_all):g}" if agree else f"{100 * time:.0f} %" for of_all, time in zip(epochs, times, strict=True)]
    if found.called == "state" and len(found.walks) == 1:
        labels = [str(reached(times_of(found.walks[0]), time)) for time in times]
    frames = [[mark for i in range(len(found.walks)) for mark in _moved(found, i, field, time)] for time in times]
    share = "state " if len(found.walks) == 1 else "share of the states: "
    prefix = "epoch " if agree else share if found.called == "state" else "share of the training's steps: "
    moving = Moving(places=places, frames=list(zip(labels, frames, strict=True)), prefix=prefix)
    return replace(main, marks=[*marks, *_states(found)]), moving


def _moved(found: PlaneInfo, i: int, field: Field, time: float) -> list[Line]:
    """The three parts of a training that move, at the state last reached by then."""
    walk, color = found.walks[i], _style(i)["color"]
    k = reached(times_of(walk), time)
    head: dict[str, Any] = {"dash": "", "marker": "circle", "size": 10, "face": color, "edge": "black", "told": [_told(walk, k, field)]}
    head |= {"x": walk.x[[k]], "y": walk.y[[k]], "label": f"{walk.label}: {walk.told(k, field.name)}", "hover": "", "color": color}
    white: dict[str, Any] = {"marker": "circle", "size": 4, "face": "white", "edge": color}
    so_far = Line(x=walk.x[: k + 1], y=walk.y[: k + 1], color=color, dash=found.dash(), width=2.2, hover="", **white)
    return [so_far, Line(**head), Line(**head, z=walk.own[field.name][[k]])]
