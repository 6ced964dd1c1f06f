"""Single parameters on their paths: those of a layer in one picture, the more opaque the farther one travelled (thesis
figures 6.6, 6.8), or one closely, loss left and accuracy right (6.7, 6.9, 6.15 to 6.18)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.captions import knots_note, scored_notes
from thetascope.drawing.spec import Form, Line, Mark, Panel, Parts, Picture, ends_of, unbounded
from thetascope.drawing.style import BLUE, VERMILION, one_of, quantities, title_of
from thetascope.errors import ResultError

if TYPE_CHECKING:
    import xarray as xr

FAINTEST = 0.25


def picture(data: xr.Dataset, form: Form, variable: str | None = None, layer: str | None = None, parameter: str | None = None) -> Picture:
    """One `variable` (default: the loss), a panel a layer, or one `layer`; on a page all variables, each with all layers.

    One `parameter` is drawn closely, with all variables side by side where none is named.
    """
    data, farthest = data.sortby("alpha"), float(data["distance"].max())
    owners = data["layer"].values.astype(str)
    said = (f"the rest stays final; {knots_note(data.attrs)}", *scored_notes(data.attrs, "buffers of the last state"))
    if layer is not None and layer not in owners:
        raise ResultError(f'no parameters of the layer "{layer}" in this result; there are: {", ".join(dict.fromkeys(owners.tolist()))}')
    if parameter is not None:
        one = one_of(data, "parameter", parameter)
        panels = [_panel(one, name, label, None) for name, label in quantities(data.attrs, variable).items()]
        title = f"{parameter}, distance {float(one['distance'][0]):.3g}"
        return Picture(title=title, notes=said, parts=Parts(parts=panels), width=max(4.2 * len(panels), 5.4), height=3.8)
    data, owners = (data, owners) if layer is None else (data.isel(parameter=owners == layer), owners[owners == layer])
    shown = quantities(data.attrs, variable if form == "page" else variable or "loss")
    if form == "figure":
        ((name, label),) = shown.items()
        panels = [_panel(data.isel(parameter=owners == owner), name, label, farthest, owner) for owner in dict.fromkeys(owners.tolist())]
    else:
        panels = [_panel(data, name, label, farthest) for name, label in shown.items()]
    columns = min(len(panels), 3)
    height = 4.8 if form == "page" else 1.2 + 2.9 * -(-len(panels) // columns)
    notes = (*said, f"the more opaque, the farther travelled (at most {farthest:.3g})")
    return Picture(
        title=title_of(data.attrs), notes=notes, parts=Parts(parts=panels, columns=columns), width=max(6.4, 3.9 * columns), height=height
    )


def _panel(data: xr.Dataset, variable: str, label: str, farthest: float | None, layer: str = "") -> Panel:
    """All parameters of the data; one alone where none is the `farthest`."""
    alphas, marks = data["alpha"].values, list[Mark]()
    for i in np.argsort(data["distance"].values):
        name, curve, distance = str(data["parameter"].values[i]), data[variable].values[i], float(data["distance"][i])
        if farthest is not None:
            style: dict[str, Any] = {"opacity": FAINTEST + (1 - FAINTEST) * (distance / farthest if farthest > 0 else 0.0), "width": 1.2}
        else:
            style = {"color": BLUE if variable == "loss" else VERMILION, "marker": "circle", "size": 2}
        about = f"{name}, distance {distance:.3g}"
        marks.append(Line(x=alphas, y=curve, label=name, about=about, layer=str(data["layer"].values[i]), listed=False, **style))
    marks += [unbounded(alphas, curve) for curve in data[variable].values]
    count = data.sizes["parameter"]
    return Panel(
        marks=[*marks, *ends_of(alphas)],
        name=variable,
        title=f"{layer}: {count} parameter{'s' if count != 1 else ''}" if layer else "",
        x_label=f"α of {'the parameter' if farthest is not None else data['parameter'].values[0]}",
        y_label=label,
        y_range=_around(data[variable].values),
        hover="α = %{x:.3f}<br>%{y:.6g}",
        over_alpha=True,
    )


def _around(values: Floats) -> tuple[float, float] | None:
    """A range around values that are all equal: an axis would go from 0 to twice as much, beyond an accuracy of 1."""
    finite = values[np.isfinite(values)]
    if not finite.size or np.ptp(finite) > 0:
        return None
    room = 0.01 * abs(float(finite[0])) or 0.01
    return float(finite[0]) - room, float(finite[0]) + room
