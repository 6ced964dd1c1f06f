"""The two paths against what was measured, and the detail where they meet (thesis figure 6.19)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.captions import knots_note, scored_notes
from thetascope.drawing.moments import SHORT_SHARES, clock_of, moments_of
from thetascope.drawing.scales import least_range
from thetascope.drawing.spec import INK, Form, Line, Mark, Panel, Parts, Picture, even_epochs
from thetascope.drawing.style import BLUE, ORANGE, VERMILION, quantities, spread_of, wants_log
from thetascope.experiments.shared.recorded import recorded_marks, recorded_of

if TYPE_CHECKING:
    import xarray as xr

STYLES: dict[str, dict[str, Any]] = {"linear": {"color": ORANGE, "dash": "dash"}, "quadratic": {"color": BLUE}}
"""Of each path."""
CROSSINGS = {False: ("circle", "crosses what was measured"), True: ("square", "meets it by construction")}
"""By whether it does so by construction: the marker, and what it says."""
COMMON_AXES = True
"""The curves of several objectives are drawn on the same axes."""


def picture(data: xr.Dataset, form: Form, variable: str | None = None) -> Picture:
    """All variables, or only `variable`; the loss first, but on a page, which zooms, with its detail beside it."""
    data, attrs = data.sortby("alpha"), data.attrs
    alphas, progress, gaps = data["alpha"].values, data["progress"].values, attrs["gaps"]
    steps = moments_of(data, "")
    panels = []
    for name, label in sorted(quantities(attrs, variable).items(), key=lambda named: named[0] != "loss"):
        paths, measured = {kind: data[f"{kind}_{name}"].values for kind in STYLES}, data[f"actual_{name}"].values
        recorded = recorded_of(data, name)
        marks: list[Mark] = [
            Line(x=alphas, y=path, label=f"{kind} path", **STYLES[kind], **spread_of(data, name, prefix=f"{kind}_"))
            for kind, path in paths.items()
        ]
        style: dict[str, Any] = {"color": VERMILION, "dash": "" if clock_of(attrs) == "state" else "dot", "width": 1, "marker": "diamond"}
        marks.append(
            Line(x=progress, y=measured, label="measured", **style, **(spread_of(data, name, prefix="actual_") if style["dash"] else {}))
        )
        marks += recorded_marks(progress, recorded, steps, marker="diamond", color=VERMILION)
        shared: dict[str, Any] = {
            "x_label": f"α, {SHORT_SHARES[clock_of(attrs)]} for measured",
            "y_label": label,
            "hover": "%{x:.3f}<br>%{y:.5g}",
        }
        shared |= {"y_range": None if name == "loss" else least_range(*paths.values(), measured, recorded), "over_alpha": True}
        marks += _crossings(attrs["crossings"]) if name == "loss" else []
        log = name == "loss" and wants_log(*paths.values(), measured, recorded)
        panels.append(Panel(name=name, marks=marks, y_log=log, epochs=even_epochs(progress, data["epoch"].values), **shared))
        if name == "loss" and form != "page":
            x_range, y_range = _detail(alphas, progress, paths, measured)
            panels.append(Panel(marks=marks, title="detail where they meet", x_range=x_range, **{**shared, "y_range": y_range}))
    told = ", ".join(f"{kind} {gaps[kind]:.2f}" for kind in STYLES)
    return Picture(
        title="Linear and quadratic path against what was measured",
        notes=(f"{knots_note(attrs)}; mean |log10| gap at {gaps['states']} other states: {told}", *scored_notes(attrs)),
        parts=Parts(parts=panels),
        width=4.3 * max(len(panels), 2),
        height=4.8,
    )


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
