"""The two paths against what was measured, and the detail where they meet (thesis figure 6.19)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.captions import knots_note, scored_notes
from thetascope.drawing.moments import SHORT_SHARES, clock_of, moments_of
from thetascope.drawing.scales import least_range
from thetascope.drawing.spec import INK, Form, Line, Mark, Panel, Parts, Picture, even_epochs
from thetascope.drawing.style import BLUE, ORANGE, VERMILION, check_holds, quantities, spread_of, wants_log
from thetascope.experiments.shared.recorded import recorded_marks, recorded_of

if TYPE_CHECKING:
    import xarray as xr

STYLES: dict[str, dict[str, Any]] = {"linear": {"color": ORANGE, "dash": "dash"}, "quadratic": {"color": BLUE}}
"""Of each path."""
PLACES = {"linear": "share", "quadratic": "nearest"}
"""What says where on each path a recorded state is."""
PLACED = {"linear": "diamond", "quadratic": "square"}
"""The marker of a state beside each path."""
CROSSINGS = {False: ("circle", "crosses what was measured"), True: ("square", "meets it by construction")}
"""By whether it does so by construction: the marker, and what it says."""
COMMON_AXES = True
"""The curves of several objectives are drawn on the same axes."""


def picture(data: xr.Dataset, form: Form, variable: str | None = None) -> Picture:
    """All variables, or only `variable`, with the states by place; the loss first, and beside it by clock with the crossings.

    A figure has a detail of the crossings too; a page zooms.
    """
    data, attrs = data.sortby("alpha"), data.attrs
    check_holds(data, PLACES.values(), "two paths and the states beside them")
    steps = moments_of(data, "")
    panels = []
    for name, label in sorted(quantities(attrs, variable).items(), key=lambda named: named[0] != "loss"):
        panels.append(_by_place(data, name, label, steps))
        if name == "loss":
            panels += _by_clock(data, name, label, steps, form)
    wide = len(panels) > 3
    return Picture(
        title="Linear and quadratic path against what was measured",
        notes=(knots_note(attrs), *_gaps_notes(attrs), *scored_notes(attrs)),
        parts=Parts(parts=panels, columns=2 if wide else 0),
        width=9.6 if wide else 4.6 * max(len(panels), 2),
        height=4.8 if not wide else 1.4 + 3.7 * -(-len(panels) // 2),
    )


def _gaps_notes(attrs: Any) -> list[str]:
    """By which factors the paths miss what was measured."""
    gaps, told = attrs["gaps"], []
    for how, ending in (("by place", "_by_place"), ("by clock", "")):
        values = [gaps[f"{kind}{ending}"] for kind in STYLES]
        if np.isfinite(values).all():
            told.append(f"{how} " + ", ".join(f"{kind} {10**value:.3g}" for kind, value in zip(STYLES, values, strict=True)))
    return [f"mean factor between path and {gaps['states']} other states: {'; '.join(told)}"] if told else []


def _paths(data: xr.Dataset, name: str) -> list[Mark]:
    alphas = data["alpha"].values
    return [
        Line(x=alphas, y=data[f"{kind}_{name}"].values, label=f"{kind} path", **style, **spread_of(data, name, prefix=f"{kind}_"))
        for kind, style in STYLES.items()
    ]


def _axes(data: xr.Dataset, name: str) -> dict[str, Any]:
    """What the panels of a variable share."""
    values = [*(data[f"{kind}_{name}"].values for kind in STYLES), data[f"actual_{name}"].values, recorded_of(data, name)]
    log = name == "loss" and wants_log(*values)
    y_range = None if name == "loss" else least_range(*values)
    return {"y_log": log, "y_range": y_range, "hover": "%{x:.3f}<br>%{y:.5g}", "over_alpha": True}


def _by_place(data: xr.Dataset, name: str, label: str, steps: list[str]) -> Panel:
    """Each state beside both paths, where it is nearest to them."""
    measured, marks = data[f"actual_{name}"].values, _paths(data, name)
    for kind, place in PLACES.items():
        told = [f"{step}, nearest to the {kind} path" for step in steps]
        style: dict[str, Any] = {"dash": "", "marker": PLACED[kind], "size": 5, "color": STYLES[kind]["color"], "edge": "black"}
        x = data[place].values
        marks.append(Line(x=x, y=measured, label=f"measured, beside the {kind} path", told=told, level=3, **style))
    if name != "loss":  # which has a panel by clock, where they stand
        marks += recorded_marks(data["share"].values, recorded_of(data, name), steps, marker="diamond", color=ORANGE)
    return Panel(
        name=name, title="by place" if name == "loss" else "", marks=marks, x_label="α (of states: the nearest place on each path)",
        y_label=label, **_axes(data, name),
    )  # fmt: skip


def _by_clock(data: xr.Dataset, name: str, label: str, steps: list[str], form: Form) -> list[Panel]:
    """The states over their share of the steps, with what crosses what; and the detail of it."""
    progress, measured = data["progress"].values, data[f"actual_{name}"].values
    clock = clock_of(data.attrs)
    style: dict[str, Any] = {"color": VERMILION, "dash": "" if clock == "state" else "dot", "width": 1, "marker": "diamond", "told": steps}
    style |= {} if clock == "state" else spread_of(data, name, prefix="actual_")
    marks = [
        *_paths(data, name),
        Line(x=progress, y=measured, label="measured, by clock", **style),
    ]
    marks += recorded_marks(progress, recorded_of(data, name), steps, marker="diamond", color=VERMILION)
    marks += _crossings(data.attrs["crossings"])
    shared: dict[str, Any] = {**_axes(data, name), "x_label": f"α, {SHORT_SHARES[clock]} for measured", "y_label": label}
    epochs = even_epochs(progress, data["epoch"].values)
    panels = [Panel(name=f"{name} by clock", title="by clock", marks=marks, epochs=epochs, **shared)]
    if form != "page":
        paths = {kind: data[f"{kind}_{name}"].values for kind in STYLES}
        x_range, y_range = _detail(data["alpha"].values, progress, paths, measured)
        detail = {**shared, "y_log": False, "y_range": y_range}
        panels.append(Panel(marks=marks, title="by clock: detail where they meet", x_range=x_range, **detail))
    return panels


def _crossings(found: Any) -> list[Mark]:
    """Where the paths meet what was measured."""
    marks: list[Mark] = []
    for by_construction, (marker, label) in CROSSINGS.items():
        at = [(kind, c["alpha"], c["loss"]) for kind, of_one in found.items() for c in of_one if c["by_construction"] is by_construction]
        if at:
            kinds, x, y = zip(*at, strict=True)
            told = [f"{kind} path {label} at α = {alpha:.3f}" for kind, alpha in zip(kinds, x, strict=True)]
            style: dict[str, Any] = {"dash": "", "marker": marker, "size": 9, "face": "none", "color": INK}
            marks.append(Line(x=x, y=y, label=label, told=told, hover="", **style))
    return marks


def _detail(alphas: Floats, progress: Floats, paths: dict[str, Floats], loss: Floats) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the paths meet the measured curve: the second part of α, from the lowest loss to four times the measured ones."""
    left = 0.35
    measured = loss[(progress >= left) & np.isfinite(loss)]
    late = [path[alphas >= left] for path in paths.values()]
    shown = np.concatenate([measured, *(path[np.isfinite(path)] for path in late)])
    if not len(measured):
        return (left, 1.0), (float(shown.min(initial=0.0)), float(shown.max(initial=1.0)))
    low, top = float(shown.min()), float(measured.max())
    return (left, 1.02), (low - 0.1 * abs(low), top + 3 * max(top - low, 0.1 * abs(top)))
