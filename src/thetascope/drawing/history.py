"""The metrics that were recorded during a training, over its epochs or steps: one panel a kind of metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.spec import Line, Panel, Picture, stacked, style_of
from thetascope.drawing.style import wants_log

MOST_PANELS = 4
"""More kinds of metrics than this are left out, and named."""


@dataclass(frozen=True)
class History:
    """Recorded metrics over epochs, where all records have rising ones, or steps; by the last word of their names, the loss first.

    Each is ``[T]``, nan where not recorded: ``train_loss`` and ``validation_loss`` stand together.
    """

    x_label: str
    x: Floats
    kinds: dict[str, dict[str, Floats]]


def history(steps: Sequence[int], epochs: Sequence[float | None], metrics: Sequence[Mapping[str, float]]) -> History:
    """Gather what was recorded."""
    known = [np.nan if epoch is None else float(epoch) for epoch in epochs]
    by_epoch = bool(np.isfinite(known).all()) and bool((np.diff(known) > 0).all())
    kinds: dict[str, dict[str, Floats]] = {}
    for name in dict.fromkeys(name for of_one in metrics for name in of_one):
        values = np.array([float(of_one.get(name, np.nan)) for of_one in metrics])
        kinds.setdefault(name.rsplit("_", 1)[-1], {})[name] = values
    ordered = dict(sorted(kinds.items(), key=lambda item: item[0] != "loss"))
    return History("epoch" if by_epoch else "step", np.array(known if by_epoch else steps, np.float64), ordered)


def picture(found: History) -> Picture:
    """All kinds of metrics below one another, what was measured on the same data in one colour."""
    shown, rest = list(found.kinds.items())[:MOST_PANELS], list(found.kinds.items())[MOST_PANELS:]
    measured_on = {name: name.rsplit("_", 1)[0].replace("_", " ") for _, curves in shown for name in curves}
    kinds, panels = list(dict.fromkeys(measured_on.values())), []
    for kind, curves in shown:
        marks = []
        for name, values in curves.items():
            recorded, on = np.isfinite(values), measured_on[name]
            style = style_of(kinds.index(on)) | {"marker": "circle", "about": name.replace("_", " ")}
            marks.append(Line(x=found.x[recorded], y=values[recorded], label=on, **style))
        log, hover = kind == "loss" and wants_log(*curves.values()), f"{found.x_label} %{{x:,}}<br>%{{y:.5g}}"
        panels.append(Panel(name=kind, marks=marks, x_label=found.x_label, y_label=kind, y_log=log, hover=hover))
    notes = (f"not drawn: {', '.join(name for _, curves in rest for name in curves)}",) if rest else ()
    title = "Metrics recorded during the training"
    return Picture(title=title, notes=notes, parts=stacked(panels), width=6.4, height=1.2 + 1.9 * len(panels))
