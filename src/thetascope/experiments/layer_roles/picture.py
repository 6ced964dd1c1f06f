"""Critical and ambient layers: what re-initialising and re-randomising each of them costs; as ranked bars, many as rows of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.drawing.spec import INK, Bars, Edge, Form, Line, Mark, Panel, Parts, Picture
from thetascope.drawing.style import BLUE, GREY, VERMILION, Ints, quantities
from thetascope.experiments.layer_roles.ranking import RolesRow, gain_of, labels_of, notes_of, ranked
from thetascope.experiments.shared.layer_rows import rows_panel, rows_picture
from thetascope.experiments.shared.recorded import RECORDED, recorded_of
from thetascope.results.status import MISSING

if TYPE_CHECKING:
    import xarray as xr

TITLE = "Critical and ambient layers"
BARS = 24
"""So many layers at most have bars."""
BAR = 0.36
"""A bar's height, of a row's."""
LIGHT_ORANGE = "#F5CC7F"
FIRST, GAP, ROLE = 1.6, 0.3, -0.5
"""Of an image: how wide the first values stand, how far from the draws, each of them 1 wide, and where the roles stand."""
ROLES: dict[str, dict[str, Any]] = {
    "critical": {"marker": "circle", "color": INK, "size": 4},
    "undecided": {"marker": "x-thin", "color": INK, "size": 4},
    "ambient": {"marker": "circle", "color": GREY, "face": "none", "size": 2.5},
}
"""Told apart without colours."""
MANY_GAINS = 8.0
"""A logarithmic axis where the worst loss is so many times the training's gain above the final one."""


def picture(data: xr.Dataset, form: Form = "figure", variable: str | None = None) -> Picture:
    """All variables beside one another, or only `variable`; it grows with the layers, and more than `BARS` of them become an image."""
    order, rows = ranked(data)
    if len(rows) > BARS:
        in_order = [rows[place] for place in np.argsort(order)]
        panels = [_rows(data, name, label, in_order) for name, label in quantities(data.attrs, variable).items()]
        return rows_picture(panels, form, TITLE, notes_of(data.attrs), 2.3 + 0.28 * data.sizes["draw"])
    names = labels_of(rows)
    panels = [_panel(data, name, label, order, rows) for name, label in quantities(data.attrs, variable).items()]
    notes = notes_of(data.attrs)
    width = 0.4 + 0.075 * max(16, *map(len, names)) + 3.1 * len(panels)
    height = 2.3 + 0.42 * len(rows) + 0.2 * len(notes)
    return Picture(title=TITLE, notes=notes, parts=Parts(parts=panels, shared=True), width=width, height=height)


def _panel(data: xr.Dataset, variable: str, label: str, order: Ints, rows: list[RolesRow]) -> Panel:
    """Bars from the final state's value on: their length is what the change of the layer costs. Values that are not finite are marked."""
    reinit, every = data[f"reinit_{variable}"].values[order], data[f"rerandom_{variable}"].values[order]
    scored = {kind: data[f"{kind}_status"].values[order] != MISSING for kind in ("reinit", "rerandom")}
    bad, bad_draws = ~np.isfinite(reinit) & scored["reinit"], (~np.isfinite(every) & scored["rerandom"]).sum(axis=1)
    initial, final, threshold = _ends(data, variable)
    gain, base, count = gain_of(data.attrs, variable), final if np.isfinite(final) else 0.0, every.shape[1]
    known = np.concatenate([reinit, every.ravel(), [initial, final]])
    finite, place, ends = known[np.isfinite(known)], np.arange(len(rows), dtype=np.float64), [-0.6, len(rows) - 0.4]
    mean = np.array([draws.mean() if np.isfinite(draws).all() else np.nan for draws in every])
    told = [f"{row.name}\n{row.verdict}\ndistance {row.distance:.4g}\ndrawn from: {row.drawn_from}" for row in rows]
    names, anew = [row.name for row in rows], f"mean of {count} draws" if count > 1 else "one draw"
    bar: dict[str, Any] = {"width": BAR, "across": True, "base": base, "edge": INK, "told": told, "layers": names}
    marks: list[Mark] = [
        _bars(place - BAR / 2, reinit, "re-initialised: its first values", color=BLUE, **bar),
        _bars(place + BAR / 2, mean, f"re-randomised: {anew}", color=LIGHT_ORANGE, hatch="////", **bar),
    ]
    if count > 1:
        drawn, at = np.where(np.isfinite(every), every, np.nan), np.repeat(place + BAR / 2, count)
        span: dict[str, Any] = {"color": INK, "width": 1.0, "hover": "", "level": 3}
        marks += [
            Line(x=[np.nanmin(drawn[i]), np.nanmax(drawn[i])], y=[place[i] + BAR / 2] * 2, layer=names[i], **span)
            for i in np.flatnonzero(np.isfinite(drawn).any(axis=1))
        ]
        each = [f"{name}\ndraw {d}: {drawn[i, d]:.5g}" for i, name in enumerate(names) for d in range(count)]
        dot: dict[str, Any] = {"dash": "", "marker": "circle", "size": 3.2, "face": "white", "edge": "#333333", "level": 4}
        owners = [name for name in names for _ in range(count)]
        marks.append(Line(x=drawn.ravel(), y=at, label="each draw, lowest to highest", told=each, hover="", layers=owners, **dot))
    recorded = dict(zip(data["end"].values.astype(str), recorded_of(data, variable), strict=False))
    as_recorded = {end: f" ({RECORDED}: {value:.3g})" for end, value in recorded.items()}
    lines: list[tuple[str, float | None, dict[str, Any]]] = [
        ("final state, where the bars start", final, {"color": INK, "width": 1.2}),
        ("initial state", initial, {"color": INK, "width": 1.2, "dash": "dash"}),
        (f"threshold: {100 * data.attrs['threshold']:g} % of the gain", threshold, {"color": VERMILION, "dash": "dashdot"}),
    ]
    marks += [
        Line(
            x=[at] * 2,
            y=ends,
            label=name,
            about=f"{name}{as_recorded.get(name.split()[0], '')}",
            hover="%{x:.5g}",
            **style,
        )
        for name, at, style in lines
        if at is not None
    ]
    edges, said = np.flatnonzero(bad), np.flatnonzero(bad_draws)
    texts = [f"{names[i]}\nre-initialised: not finite" for i in edges]
    texts += [f"{names[i]}\nre-randomised: {bad_draws[i]} of {count} draws not finite" for i in said]
    beside = [*[""] * len(edges), *(f"{bad_draws[i]} of {count}" for i in said)]
    label_ = "not finite (with how many of the draws)"
    at = np.concatenate([edges - BAR / 2, said + BAR / 2])
    marks.append(Edge(at=at, upright=False, marker="x", label=label_, told=texts, hover="", texts=beside))
    above = threshold is not None and finite.size and finite.min() > 0
    is_far = bool(above and variable == "loss" and finite.max() - final > MANY_GAINS * gain)
    return Panel(
        name=variable,
        marks=marks,
        x_label=f"{label}\n{_ends_told(data, variable)}",
        x_log=is_far,
        y_range=(len(rows) - 0.4, -0.6),
        y_ticks=(place.tolist(), [f"{name}\n{row.verdict}" for name, row in zip(labels_of(rows), rows, strict=True)]),
        grid=True,
        crowded=True,
    )


def _ends(data: xr.Dataset, variable: str) -> tuple[float, float, float | None]:
    """The initial value, the final one, and that beyond which a layer is critical, where the training gained something."""
    initial, final = (float(data[f"end_{variable}"].sel(end=end)) for end in ("initial", "final"))
    gain, way = gain_of(data.attrs, variable), 1.0 if variable == "loss" else -1.0
    return initial, final, final + way * data.attrs["threshold"] * gain if gain > 0 else None


def _ends_told(data: xr.Dataset, variable: str) -> str:
    """The same in words."""
    initial, final, threshold = _ends(data, variable)
    told = [f"final {final:.3g}", f"initial {initial:.3g}", *([f"threshold {threshold:.3g}"] if threshold is not None else [])]
    recorded = dict(zip(data["end"].values.astype(str), recorded_of(data, variable), strict=False))
    below = f"\n{RECORDED}: final {recorded['final']:.3g}, initial {recorded['initial']:.3g}" if recorded else ""
    return f"{', '.join(told)}{below}"


def _rows(data: xr.Dataset, variable: str, label: str, rows: Sequence[RolesRow]) -> Panel:
    """A row a layer: its role as a mark, the value with its first values, and that of each draw."""
    parts = [(data[f"{kind}_{variable}"].values, data[f"{kind}_status"].values) for kind in ("reinit", "rerandom")]
    values, status = (
        np.column_stack([first, np.full(len(rows), gap), every]) for first, every, gap in zip(*parts, (np.nan, -1), strict=True)
    )
    count, places = parts[1][0].shape[1], np.arange(len(rows)) + 0.5
    x = np.concatenate([[0.0, FIRST], FIRST + GAP + np.arange(count + 1)])
    what = ["re-initialised", "", *(f"draw {number} of {count}" for number in range(count))]
    told = [[f"{row.name}\n{row.verdict}\n{said}" for said in what] for row in rows]
    marks = []
    for role, style in ROLES.items():
        own = [place for place, row in enumerate(rows) if row.role == role]
        texts = [f"{rows[place].name}\n{rows[place].verdict}" for place in own]
        said: dict[str, Any] = {"label": f"{role}: {len(own)} of {len(rows)} layers", "told": texts, "hover": "", "dash": "", "level": 5}
        said |= {"layers": [rows[place].name for place in own], **style}
        marks += [Line(x=[ROLE] * len(own), y=places[own].tolist(), **said)] if own else []
    ticks = ([FIRST / 2, FIRST + GAP + count / 2], ["first\nvalues", f"{count} draw{'s' * (count != 1)}"])
    axes: dict[str, Any] = {"x_ticks": ticks, "x_range": (2 * ROLE, float(x[-1])), "x_label": _ends_told(data, variable)}
    return rows_panel(data, values, status, x, label, name=variable, hover="%{z:.5g}", told=told, marks=marks, **axes)


def _bars(place: Any, values: Any, label: str, **style: Any) -> Bars:
    """An edge shows a bar without length too."""
    shown = np.where(np.isfinite(values), values, np.nan) - style["base"]
    return Bars(at=place, lengths=shown, label=label, data=values, hover=f"{label.partition(':')[0]}: %{{customdata:.5g}}", **style)
