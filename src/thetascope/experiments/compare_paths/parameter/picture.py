"""The patterns of single parameters (thesis figures 6.20 to 6.25): each one found, with examples and its share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.captions import scored_notes
from thetascope.drawing.legends import clipped
from thetascope.drawing.scales import least_range
from thetascope.drawing.spec import INK, Bars, Form, Line, Mark, Panel, Parts, Picture, Rule, stacked
from thetascope.drawing.style import GREY, known_variable, quantities, spread_of
from thetascope.errors import ResultError
from thetascope.experiments.compare_paths.model.picture import STYLES
from thetascope.experiments.shared.pattern_words import interval_of
from thetascope.experiments.shared.recorded import final_value

if TYPE_CHECKING:
    import xarray as xr

EXAMPLES = 3
"""How many examples of each pattern are shown: those whose loss varies most."""
LONGEST = 28
UNRESOLVED, WITHIN = "unresolved", ": within\nrounding or error"
NO_PATTERN = (UNRESOLVED, "not finite")
"""Shares without a form that could be told."""
"""Characters of an example's name."""


def picture(data: xr.Dataset, form: Form, variable: str | None = None, parameter: str | None = None) -> Picture:
    """The two curves of one `variable` (default: the loss): a row of examples for each pattern found, on a page beside bars of their
    shares; or those of one `parameter`. Examples show the change from the final state, which is small beside the value itself."""
    data, labels = data.sortby("alpha"), quantities(data.attrs)
    variable, names = known_variable(variable or "loss", labels), data["parameter"].values.astype(str).tolist()
    final = final_value(data, variable, f"linear_{variable}")
    changed = f"change of {labels[variable]} from the final state's {final:.4g}" if final else labels[variable]
    title, alphas = "Patterns of the linear and the quadratic path of single parameters", data["alpha"].values
    notes: tuple[str, ...] = (
        changed,
        f"{len(names):,} parameters, α from {alphas.min():g} to {alphas.max():g}, {data.attrs['samples_scored']:,} samples; "
        "dotted: first and last state; bands may go beyond the panels",
        *scored_notes(data.attrs, "buffers of the last state"),
    )
    if parameter is not None or form == "axes":
        if parameter not in names:
            raise ResultError(f'name one parameter of this result: parameter="…". There are: {", ".join(names[:20])}')
        i = names.index(parameter)
        known = f"{parameter}: {data['pattern'].values[i]}, midpoint {float(data['midpoint'][i]):.3g}"
        y_label = f"change of {labels[variable]}" if final else labels[variable]
        one = _panel(data, i, variable, final, title=known, x_label="α of the parameter", y_label=y_label)
        return Picture(title=title, notes=notes, parts=Parts(parts=[one]), width=5.4, height=4.2)
    shares = {name: share for name, share in data.attrs["pattern_shares"].items() if share > 0}
    if data.attrs.get("pattern_shares_interval"):
        notes = (*notes, "in brackets: 95 % intervals of the shares, by a bootstrap over the parameters")
    range_of, patterns = np.ptp(data["linear_loss"].values, axis=1), data["pattern"].values.astype(str)
    examples = {name: sorted(np.flatnonzero(patterns == name).tolist(), key=lambda i: -range_of[i])[:EXAMPLES] for name in shares}
    columns, rows = max(map(len, examples.values())), list[Parts]()
    for name, chosen in examples.items():
        panels = []
        for i in chosen:
            said: dict[str, Any] = {"name": name, "title": clipped(names[i], LONGEST), "small": True}
            is_first, is_last = i == chosen[0], name == list(examples)[-1]
            share = f"{name}{WITHIN if name == UNRESOLVED else ''}\n{shares[name]:.1%}{interval_of(data.attrs, name)}"
            said |= {"y_label": share if is_first and form == "figure" else "", "x_label": "α of the parameter" if is_last else ""}
            panels.append(_panel(data, i, variable, final, **said))
        rows.append(Parts(parts=panels))
    parts = stacked(rows, shared=False)
    if form == "page":
        parts = Parts(parts=[_shares(data, shares), parts], sizes=(0.18, 0.82))
    height = 1.4 + 1.75 * len(examples)
    return Picture(title=title, notes=notes, parts=parts, width=max(6.4, 2.8 * columns), height=height, grid=True)


def _panel(data: xr.Dataset, i: int, variable: str, final: float, **said: Any) -> Panel:
    """The two curves of a parameter as changes from the final state."""
    marks, name = list[Mark](), str(data["parameter"].values[i])
    for kind, style in STYLES.items():
        values = data[f"{kind}_{variable}"].values[i]
        band = spread_of(data, variable, i, prefix=f"{kind}_", paired=True)
        marks.append(Line(x=data["alpha"].values, y=values - final, label=f"{kind} path", about=name, data=values, **style, **band))
    hover, curves = "α %{x:.3f}: %{y:.4g} (%{customdata:.7g})", np.stack([data[f"{kind}_{variable}"].values[i] for kind in STYLES]) - final
    return Panel(marks=[*marks, Rule(at=0.0), Rule(at=1.0)], hover=hover, y_range=_range(curves, variable), **said)


def _range(curves: Floats, variable: str) -> tuple[float, float] | None:
    """So wide that the form of the curves is seen; bands may go beyond."""
    known = curves[np.isfinite(curves)]
    if variable != "loss" and (least := least_range(known)):
        return least
    return (known.min() - 0.5 * np.ptp(known), known.max() + 0.5 * np.ptp(known)) if len(known) and np.ptp(known) > 0 else None


def _shares(data: xr.Dataset, shares: dict[str, float]) -> Panel:
    """The shares of the patterns as bars, which know those of each layer; of what is no pattern they are hollow."""
    patterns, owners = data["pattern"].values.astype(str), data["layer"].values.astype(str)
    of_layers = {str(owner): [float((patterns[owners == owner] == name).mean()) for name in shares] for owner in np.unique(owners)}
    style: dict[str, Any] = {"width": 0.5, "across": True, "edge": INK, "hover": "%{y}: %{x:.1%}", "shares": of_layers}
    style["colors"] = ["#FFFFFF" if name in NO_PATTERN else GREY for name in shares]
    bars = Bars(at=list(shares), lengths=list(shares.values()), texts=[f"{share:.1%}" for share in shares.values()], **style)
    said = [f"{name}\n{share:.1%}{interval_of(data.attrs, name)}" for name, share in shares.items()]
    ticks = range(len(shares)), said
    return Panel(marks=[bars], x_label="share", y_range=(len(shares) - 0.5, -0.5), y_ticks=ticks, small=True)
