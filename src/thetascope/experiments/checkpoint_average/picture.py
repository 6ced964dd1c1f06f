"""Averages of checkpoints: windows among the states over the training, and how each average differs from the last state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.drawing.captions import scored_notes
from thetascope.drawing.moments import called_by, moments_of
from thetascope.drawing.scales import around
from thetascope.drawing.spec import INK, Edge, Form, Line, Mark, Panel, Parts, Picture, Rule
from thetascope.drawing.style import BLUE, GREY, VERMILION, check_holds, quantities, wants_log
from thetascope.experiments.shared.recorded import recorded_marks, recorded_of

if TYPE_CHECKING:
    import xarray as xr

TITLE = "Averages of checkpoints"
STYLES: dict[str, dict[str, Any]] = {
    "last": {"marker": "circle", "color": INK},
    "best": {"marker": "diamond", "color": VERMILION},
    "window": {"marker": "square", "color": BLUE},
    "decay": {"marker": "triangle-up", "color": BLUE},
    "soup": {"marker": "star", "color": BLUE, "size": 7},
}
"""Of each kind."""
CALLED = {
    "last": "the last state", "best": "the best single state", "window": "average of the last states", "decay": "exponential average",
    "soup": "greedy soup",
}  # fmt: skip


def picture(data: xr.Dataset, form: Form, variable: str | None = None) -> Picture:
    """All variables, or only `variable`: of each the states with the windows over them, and the differences from the last state."""
    check_holds(data, ["size"], "averages of checkpoints")
    shown = quantities(data.attrs, variable)
    differences = [_differences(data, name, label) for name, label in shown.items()]
    name, label = next(iter(shown.items()))
    panels = [_states(data, name, label), *differences] if form != "axes" else differences
    rows = len(_rows(data))
    notes = (*_notes(data), *scored_notes(data.attrs))
    return Picture(
        title=TITLE, notes=notes, parts=Parts(parts=panels), width=4.6 + 3.9 * len(differences), height=2.6 + max(0.3 * rows, 2.2)
    )


def _rows(data: xr.Dataset) -> list[int]:
    """The averages that have a row: "chosen" is one of the others."""
    return [place for place, kind in enumerate(data["kind"].values.astype(str)) if kind != "chosen"]


def _notes(data: xr.Dataset) -> list[str]:
    attrs = data.attrs
    if attrs["held_out"] is None:
        return [f"chosen and told on the same {attrs['samples_scored']:,} samples, which flatters what is chosen"]
    return [f"chosen on {attrs['samples_choosing']:,} samples, told on {attrs['samples_scored']:,} others"]


def _states(data: xr.Dataset, name: str, label: str) -> Panel:
    """The states over the training, and each window from its first state to its last, at its value."""
    time, numbers = called_by(data)
    x = np.asarray(numbers, np.float64)
    values, recorded = np.asarray(data[f"actual_{name}"].values, np.float64), recorded_of(data, name)
    moments, dash = moments_of(data, ""), "" if time == "state" else "solid"  # states of no known order are joined by nothing
    style: dict[str, Any] = {
        "color": GREY,
        "marker": "circle",
        "size": 3.5,
        "width": 1.2,
        "dash": dash,
        "told": moments,
        "hover": "%{y:.5g}",
    }
    marks: list[Mark] = [Line(x=x, y=values, label="recorded states", **style)]
    marks += recorded_marks(x, recorded, moments, color=GREY)
    weights, kinds = data["weight"].values, data["kind"].values.astype(str)
    for place in np.flatnonzero(kinds == "window"):
        at = x[weights[place] > 0]
        told = f"{CALLED['window']}: {int(data['size'].values[place])}"
        level = [float(data[name].values[place])] * 2
        marks.append(Line(x=[at[0], at[-1]], y=level, color=BLUE, width=1.8, label=CALLED["window"], about=told, hover="%{y:.5g}"))
    chosen = float(data[name].values[kinds.tolist().index("chosen")])
    marks.append(Rule(at=chosen, upright=False, dash="dash", color=BLUE, label=f"chosen: {data.attrs['chosen']}"))
    # from the first state that is in a window on, or the best: earlier ones are far above
    since = int(min(np.flatnonzero(weights[np.isin(kinds, ["window", "best", "last"])].any(axis=0))[0], len(x) - 2)) if len(x) > 1 else 0
    shown = np.concatenate([values[since:], data[name].values[kinds == "window"], [chosen]])
    shown, room = shown[np.isfinite(shown)], 0.03 * (x[-1] - x[since] or 1.0)
    log = name == "loss" and wants_log(shown)
    axes: dict[str, Any] = {"x_range": (float(x[since] - room), float(x[-1] + room))}
    axes |= {"y_range": around(shown, log=log)} if len(shown) else {}
    return Panel(name=name, marks=marks, x_label=time, y_label=label, y_log=log, title="over the training", **axes)


def _differences(data: xr.Dataset, name: str, label: str) -> Panel:
    """A row an average: its difference from the last state with two paired standard errors; hollow, that on the choosing part."""
    rows, kinds, names = _rows(data), data["kind"].values.astype(str), data["average"].values.astype(str)
    values, choices = (np.asarray(data[f"{prefix}{name}"].values, np.float64) for prefix in ("", "choice_"))
    last = kinds.tolist().index("last")
    error = f"{'' if name == 'loss' else f'{name}_'}excess_se"
    errors = np.asarray(data[error].values, np.float64) if error in data else np.full(len(values), np.nan)
    marks: list[Mark] = [Rule(at=0.0, dash="solid", color=INK, width=1.0)]
    for row, place in enumerate(rows):
        difference, about = float(values[place] - values[last]), f"{names[place]}, {int(data['size'].values[place])} states"
        style = STYLES[kinds[place]]
        if not np.isfinite(difference):
            marks.append(Edge(at=[row], upright=False, told=[about]))
            continue
        if np.isfinite(errors[place]) and errors[place] > 0:
            ends = [difference - 2 * errors[place], difference + 2 * errors[place]]
            marks.append(Line(x=ends, y=[row, row], color=style["color"], width=1.6, label="± 2 standard errors, paired", hover=""))
        dot: dict[str, Any] = {"dash": "", "size": 5.5, "hover": "%{x:.5g}", "about": about, "level": 4, **style}
        marks.append(Line(x=[difference], y=[row], label=CALLED[kinds[place]], **dot))
        if data.attrs["held_out"] is not None:
            hollow: dict[str, Any] = {**dot, "face": "none", "about": f"{about}, on the choosing part", "level": 3}
            marks.append(Line(x=[float(choices[place] - choices[last])], y=[row], label="on the samples that chose", **hollow))
    texts = [f"{names[place]}{' (chosen)' if names[place] == data.attrs['chosen'] else ''}" for place in rows]
    better = "lower is better" if name == "loss" else "higher is better" if name == "accuracy" else ""
    return Panel(
        name=name,
        marks=marks,
        title="difference from the last state",
        x_label=label + (f"\n{better}" if better else ""),
        y_range=(len(rows) - 0.4, -0.6),
        y_ticks=(list(map(float, range(len(rows)))), texts),
        grid=True,
    )
