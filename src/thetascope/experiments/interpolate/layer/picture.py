"""One layer at a time on its path: all layers in one picture (thesis figure 6.5), or one alone (6.10 to 6.14)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thetascope.drawing.captions import knots_note, scored_notes
from thetascope.drawing.fields import edges
from thetascope.drawing.scales import least_range
from thetascope.drawing.spec import Form, Line, Mark, Panel, Parts, Picture, ends_of, style_of, unbounded
from thetascope.drawing.style import one_of, quantities, spread_of, title_of
from thetascope.experiments.shared.layer_rows import rows_panel, rows_picture

if TYPE_CHECKING:
    import xarray as xr

CURVES = 12
"""So many layers at most are drawn as curves, in colours and dashes that tell them apart; more as the rows of an image."""
X_LABEL = "α of the layer (0: its first values, 1: its last)"
TOLD = "in brackets: the distance that a layer travelled"


def picture(data: xr.Dataset, form: Form, variable: str | None = None, layer: str | None = None) -> Picture:
    """All layers, or only `layer`: all variables side by side, or only `variable`; many layers as an image."""
    data = data.sortby("alpha") if layer is None else one_of(data.sortby("alpha"), "layer", layer)
    many, shown = data.sizes["layer"] > CURVES, quantities(data.attrs, variable)
    title = title_of(data.attrs) + (f": {layer}" if layer is not None else "")
    notes = (f"the rest stays final; {knots_note(data.attrs)}", *scored_notes(data.attrs))
    if many:
        return rows_picture([_rows(data, name, label) for name, label in shown.items()], form, title, notes, 4.4)
    panels = [_curves(data, name, label, TOLD if form == "axes" else "") for name, label in shown.items()]
    return Picture(title=title, notes=(*notes, TOLD), parts=Parts(parts=panels), width=5.2 * len(panels), height=4.8)


def _curves(data: xr.Dataset, name: str, label: str, title: str) -> Panel:
    """A curve a layer."""
    alphas, values, marks = data["alpha"].values, data[name].values, list[Mark]()
    for i, (layer, distance) in enumerate(zip(data["layer"].values.astype(str).tolist(), data["distance"].values, strict=True)):
        said = {"label": f"{layer} ({distance:.3g})", "about": layer, "layer": layer}
        marks.append(Line(x=alphas, y=values[i], **said, **style_of(i), **spread_of(data, name, i, paired=True)))
    marks += [*(unbounded(alphas, curve) for curve in values), *ends_of(alphas)]
    y_range = None if name == "loss" else least_range(values)
    hover = "α = %{x:.3f}<br>%{y:.5g}"
    return Panel(name=name, marks=marks, title=title, x_label=X_LABEL, y_label=label, y_range=y_range, hover=hover, over_alpha=True)


def _rows(data: xr.Dataset, name: str, label: str) -> Panel:
    """A row a layer."""
    alphas, layers = data["alpha"].values, data["layer"].values.astype(str)
    told = [[f"{layer}, distance {distance:.3g}"] * len(alphas) for layer, distance in zip(layers, data["distance"].values, strict=True)]
    x, hover = edges(alphas, alphas), "α = %{x:.3f}<br>%{z:.5g}"
    axes: dict[str, Any] = {"x_label": X_LABEL, "x_range": (float(x[0]), float(x[-1]))}
    return rows_panel(data, data[name].values, data["status"].values, x, label, name=name, hover=hover, told=told, **axes)
