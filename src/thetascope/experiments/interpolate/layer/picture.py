"""One layer at a time on its path: all layers in one picture (thesis figure 6.5), or one alone (6.10 to 6.14)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.drawing.captions import knots_note, scored_notes
from thetascope.drawing.spec import Form, Line, Mark, Panel, Parts, Picture, ends_of, style_of, unbounded
from thetascope.drawing.style import GREY, one_of, quantities, title_of

if TYPE_CHECKING:
    import xarray as xr

NAMED = 12
"""So many layers are named in a figure's legend, those whose curves vary most; more are drawn thin and grey."""
FAINT: dict[str, Any] = {"color": GREY, "width": 0.6, "listed": False, "level": 1}
X_LABEL = "α of the layer (0: its first values, 1: its last)"
BAND = "± 2 standard errors, paired with the final state"
TOLD = "in brackets: the distance that a layer travelled"


def picture(data: xr.Dataset, form: Form, variable: str | None = None, layer: str | None = None) -> Picture:
    """All layers, or only `layer`: all variables side by side, or only `variable`."""
    data = data.sortby("alpha") if layer is None else one_of(data.sortby("alpha"), "layer", layer)
    names, alphas, shown = data["layer"].values.astype(str).tolist(), data["alpha"].values, quantities(data.attrs, variable)
    called = [f"{name} ({distance:.3g})" for name, distance in zip(names, data["distance"].values, strict=True)]
    finite = [curve[np.isfinite(curve)] for curve in data[next(iter(shown))].values]
    named = np.sort(np.argsort([np.ptp(curve) if len(curve) else np.inf for curve in finite])[::-1][:NAMED]).tolist()
    styles = [style_of(named.index(i)) if i in named else FAINT for i in range(len(names))]
    title = TOLD if form == "axes" else ""
    panels = []
    for name, label in shown.items():
        curves, errors = data[name].values, data.get("excess_se" if name == "loss" else f"{name}_excess_se")
        bands = [
            {} if errors is None or i not in named else {"spread": 2 * errors.values[i], "spread_label": BAND} for i in range(len(names))
        ]
        marks: list[Mark] = [
            Line(x=alphas, y=curve, label=called[i], about=names[i], layer=names[i], **styles[i], **bands[i])
            for i, curve in enumerate(curves)
        ]
        marks += [*(unbounded(alphas, curves[i]) for i in named), *ends_of(alphas)]
        said: dict[str, Any] = {"name": name, "title": title, "x_label": X_LABEL, "y_label": label, "hover": "α = %{x:.3f}<br>%{y:.5g}"}
        panels.append(Panel(marks=marks, over_alpha=True, **said))
    notes, called_ = (
        (f"the rest stays final; {knots_note(data.attrs)}", *scored_notes(data.attrs), TOLD),
        f": {layer}" if layer is not None else "",
    )
    return Picture(title=title_of(data.attrs) + called_, notes=notes, parts=Parts(parts=panels), width=5.2 * len(panels), height=4.8)
