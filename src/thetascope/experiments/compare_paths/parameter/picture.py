"""The patterns of single parameters (thesis figures 6.20 to 6.25): each one found, with examples and its share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.drawing.captions import scored_notes
from thetascope.drawing.legends import clipped
from thetascope.drawing.spec import Bars, Form, Line, Panel, Parts, Picture, Rule
from thetascope.drawing.style import GREY, known_variable, quantities
from thetascope.errors import ResultError
from thetascope.experiments.compare_paths.model.picture import STYLES
from thetascope.experiments.shared.pattern_words import interval_of

if TYPE_CHECKING:
    import xarray as xr

EXAMPLES = 3
"""How many examples of each pattern are shown: those whose loss varies most."""
LONGEST = 28
"""Characters of an example's name."""


def picture(data: xr.Dataset, form: Form, variable: str | None = None, parameter: str | None = None) -> Picture:
    """The two curves of one `variable` (default: the loss): a row of examples for each pattern found, on a page beside bars of their
    shares; or those of one `parameter`. Examples show the change from the final state, which is small beside the value itself."""
    data, labels = data.sortby("alpha"), quantities(data.attrs)
    variable, names = known_variable(variable or "loss", labels), data["parameter"].values.astype(str).tolist()
    there = data[f"linear_{variable}"].values[:, data["alpha"].values == 1.0].ravel()
    final = float(next(iter(there[np.isfinite(there)]), 0.0))
    changed = f"change of {labels[variable]} from the final state's {final:.4g}" if final else labels[variable]
    title, alphas = "Patterns of the linear and the quadratic path of single parameters", data["alpha"].values
    notes: tuple[str, ...] = (
        changed,
        f"{len(names):,} parameters, α from {alphas.min():g} to {alphas.max():g}, {data.attrs['samples_scored']:,} samples; "
        "dotted: first and last state",
        *scored_notes(data.attrs, "buffers of the last state"),
    )
    if parameter is not None or form == "axes":
        if parameter not in names:
            raise ResultError(f'name one parameter of this result: parameter="…". There are: {", ".join(names[:20])}')
        i = names.index(parameter)
        known = f"{parameter}: {data['pattern'].values[i]}, midpoint {float(data['midpoint'][i]):.3g}"
        one = _panel(data, i, variable, 0.0, title=known, x_label="α of the parameter", y_label=labels[variable])
        return Picture(title=title, notes=notes[1:], parts=Parts(parts=[one]), width=5.4, height=4.2)
    shares = {name: share for name, share in data.attrs["pattern_shares"].items() if share > 0}
    if data.attrs.get("pattern_shares_interval"):
        notes = (*notes, "in brackets: 95 % intervals of the shares, by a bootstrap over the parameters")
    range_of, patterns = np.ptp(data["linear_loss"].values, axis=1), data["pattern"].values.astype(str)
    examples = {name: sorted(np.flatnonzero(patterns == name).tolist(), key=lambda i: -range_of[i])[:EXAMPLES] for name in shares}
    columns, panels = max(map(len, examples.values())), list[Panel]()
    for name, chosen in examples.items():
        for i in chosen:
            said: dict[str, Any] = {"name": name, "title": clipped(names[i], LONGEST), "small": True}
            is_first, is_last = i == chosen[0], name == list(examples)[-1]
            said |= {
                "y_label": f"{name}\n{shares[name]:.1%}{interval_of(data.attrs, name)}" if is_first and form == "figure" else "",
                "x_label": "α of the parameter" if is_last else "",
            }
            panels.append(_panel(data, i, variable, final, **said))
        panels += [Panel(marks=())] * (columns - len(chosen))
    parts = Parts(parts=panels, columns=columns)
    if form == "page":
        parts = Parts(parts=[_shares(data, shares), parts], sizes=(0.18, 0.82))
    height = 1.4 + 1.75 * len(examples)
    return Picture(title=title, notes=notes, parts=parts, width=max(6.4, 2.8 * columns), height=height, grid=True)


def _panel(data: xr.Dataset, i: int, variable: str, final: float, **said: Any) -> Panel:
    """The two curves of a parameter as changes from the final state."""
    marks, name = [], str(data["parameter"].values[i])
    for kind, style in STYLES.items():
        values = data[f"{kind}_{variable}"].values[i]
        marks.append(Line(x=data["alpha"].values, y=values - final, label=f"{kind} path", about=name, data=values, **style))
    hover = "α %{x:.3f}: %{y:.4g} (%{customdata:.7g})"
    return Panel(marks=[*marks, Rule(at=0.0), Rule(at=1.0)], hover=hover, **said)


def _shares(data: xr.Dataset, shares: dict[str, float]) -> Panel:
    """The shares of the patterns as bars, which know those of each layer."""
    patterns, owners = data["pattern"].values.astype(str), data["layer"].values.astype(str)
    of_layers = {str(owner): [float((patterns[owners == owner] == name).mean()) for name in shares] for owner in np.unique(owners)}
    style: dict[str, Any] = {"width": 0.5, "across": True, "color": GREY, "hover": "%{y}: %{x:.1%}", "shares": of_layers}
    bars = Bars(at=list(shares), lengths=list(shares.values()), texts=[f"{share:.1%}" for share in shares.values()], **style)
    said = [f"{name}\n{share:.1%}{interval_of(data.attrs, name)}" for name, share in shares.items()]
    ticks = range(len(shares)), said
    return Panel(marks=[bars], x_label="share", y_range=(len(shares) - 0.5, -0.5), y_ticks=ticks, small=True)
