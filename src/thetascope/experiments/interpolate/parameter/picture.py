"""Single parameters on their paths, as changes from the final state: those of a layer in one picture (thesis figures 6.6, 6.8), or one
closely, loss left and accuracy right (6.7, 6.9, 6.15 to 6.18)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.drawing.captions import knots_note, scored_notes
from thetascope.drawing.legends import clipped
from thetascope.drawing.scales import least_range, text_of
from thetascope.drawing.spec import Form, Line, Mark, Panel, Parts, Picture, ends_of, style_of, unbounded
from thetascope.drawing.style import GREY, one_of, quantities, spread_of, title_of
from thetascope.errors import ResultError
from thetascope.experiments.shared.recorded import final_value

if TYPE_CHECKING:
    import xarray as xr

NAMED: dict[Form, int] = {"figure": 5, "axes": 5, "page": 12}
"""So many parameters of a panel are named, those whose curves vary most; the rest are thin and grey."""
LONGEST = 22
"""Characters of a name in a small panel, which says the layer above."""
FAINT: dict[str, Any] = {"color": GREY, "width": 0.7, "opacity": 0.6, "level": 1}


def picture(data: xr.Dataset, form: Form, variable: str | None = None, layer: str | None = None, parameter: str | None = None) -> Picture:
    """One `variable` (default: the loss), a panel a layer, or one `layer`; on a page all variables, each with all layers.

    One `parameter` is drawn closely, with all variables side by side where none is named.
    """
    data = data.sortby("alpha")
    owners = data["layer"].values.astype(str)
    if layer is not None and layer not in owners:
        raise ResultError(f'no parameters of the layer "{layer}" in this result; there are: {", ".join(dict.fromkeys(owners.tolist()))}')
    close = parameter is not None
    shown = quantities(data.attrs, variable if form == "page" or close else variable or "loss")
    finals = {name: final_value(data, name, name) for name in shown}
    of_final = ", ".join(f"{name.replace('_', ' ')} {text_of(final)}" for name, final in finals.items() if final)
    notes = [f"the rest stays final; {knots_note(data.attrs)}", *scored_notes(data.attrs, "buffers of the last state")]
    notes += [f"changes from the final state's {of_final}"] if of_final else []
    notes += [
        f"bands: {label}" for label in dict.fromkeys(spread_of(data, name, 0, paired=True).get("spread_label") for name in shown) if label
    ]
    if parameter is not None:
        data = one_of(data, "parameter", parameter)
        title, width = f"{parameter}, distance {float(data['distance'][0]):.3g}", 4.2
    else:
        data, owners = (data, owners) if layer is None else (data.isel(parameter=owners == layer), owners[owners == layer])
        title, width = title_of(data.attrs), 3.9
        notes.append("in brackets: the distance that a parameter travelled; grey: those whose curves vary less")
    groups = dict.fromkeys(owners.tolist()) if form == "figure" and not close else [""]
    panels = [
        _panel(data.isel(parameter=owners == owner) if owner else data, name, label, finals[name], form, owner)
        for name, label in shown.items()
        for owner in groups
    ]
    columns = min(len(panels), 3)
    height = 3.8 if close else 4.8 if form == "page" else 1.2 + 2.9 * -(-len(panels) // columns)
    parts = Parts(parts=panels, columns=columns)
    return Picture(title=title, notes=tuple(notes), parts=parts, width=max(5.4 if close else 6.4, width * columns), height=height)


def _panel(data: xr.Dataset, variable: str, label: str, final: float, form: Form, layer: str) -> Panel:
    """All parameters of the data as changes from the `final` value."""
    alphas, values, count = data["alpha"].values, data[variable].values, data.sizes["parameter"]
    reach = [np.ptp(curve[np.isfinite(curve)]) if np.isfinite(curve).any() else np.inf for curve in values]
    named, marks = np.sort(np.argsort(reach)[::-1][: NAMED[form]]).tolist(), list[Mark]()
    for i, (name, distance) in enumerate(zip(data["parameter"].values.astype(str).tolist(), data["distance"].values, strict=True)):
        said: dict[str, Any] = {"about": f"{name}, distance {distance:.3g}", "layer": str(data["layer"].values[i]), "data": values[i]}
        style = FAINT if i not in named else {**style_of(named.index(i)), **spread_of(data, variable, i, paired=True), "spread_label": ""}
        short = f"{clipped(name.removeprefix(f'{layer}.'), LONGEST) if layer else name} ({distance:.3g})"
        marks.append(Line(x=alphas, y=values[i] - final, label=short if i in named else "", **said, **style))
    marks += [unbounded(alphas, curve) for curve in values]
    return Panel(
        marks=[*marks, *ends_of(alphas)],
        name=variable,
        title=f"{layer}: {count} parameter{'s' if count != 1 else ''}" if layer else "",
        x_label=f"α of {'the parameter' if layer or len(data['parameter']) > 1 else data['parameter'].values[0]}",
        y_label=f"change of {label}" if final else label,
        y_range=None if variable == "loss" else least_range(values - final),
        hover="α = %{x:.3f}<br>%{y:.4g} (%{customdata:.7g})",
        over_alpha=True,
        small=bool(layer),
        legend=bool(layer),
    )
