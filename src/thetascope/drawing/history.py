"""The metrics that were recorded during a training, over its epochs or steps: one panel a kind of metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.curves import CYCLE, PAGE_DASHES
from thetascope.drawing.layouts import LEGEND_ABOVE, Panel, PictureInfo, framed, stacked_page
from thetascope.drawing.style import html, wants_log

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

MOST_PANELS = 4
"""More kinds of metrics than this are left out, and named."""


@dataclass(frozen=True)
class MetricPanel(Panel):
    """Metrics whose names end alike, such as ``train_loss`` and ``validation_loss``, each ``[T]``, nan where not recorded."""

    curves: dict[str, Floats]


@dataclass(frozen=True)
class HistoryInfo(PictureInfo):
    """All that the picture shows."""

    x_label: str
    x: Floats
    panels: tuple[MetricPanel, ...]


def info(steps: Sequence[int], epochs: Sequence[float | None], metrics: Sequence[Mapping[str, float]]) -> HistoryInfo:
    """Gather recorded metrics by the last word of their names, the loss first; over epochs where all records have rising ones."""
    known = [np.nan if epoch is None else float(epoch) for epoch in epochs]
    by_epoch = bool(np.isfinite(known).all()) and bool((np.diff(known) > 0).all())
    kinds: dict[str, dict[str, Floats]] = {}
    for name in dict.fromkeys(name for of_one in metrics for name in of_one):
        values = np.array([float(of_one.get(name, np.nan)) for of_one in metrics])
        kinds.setdefault(name.rsplit("_", 1)[-1], {})[name] = values
    ordered = sorted(kinds.items(), key=lambda item: item[0] != "loss")
    return HistoryInfo(
        title="Metrics recorded during the training",
        notes=(f"not drawn: {', '.join(name for _, curves in ordered[MOST_PANELS:] for name in curves)}",) if ordered[MOST_PANELS:] else (),
        x_label="epoch" if by_epoch else "step",
        x=np.array(known if by_epoch else steps, np.float64),
        panels=tuple(MetricPanel(kind, kind, kind == "loss" and wants_log(*of.values()), of) for kind, of in ordered[:MOST_PANELS]),
    )


def draw_plotly(found: HistoryInfo) -> PlotlyFigure:
    """All kinds of metrics below one another, what was measured on the same data in one colour."""
    from plotly.graph_objects import Scatter

    measured_on = {name: name.rsplit("_", 1)[0].replace("_", " ") for panel in found.panels for name in panel.curves}
    kinds, told = list(dict.fromkeys(measured_on.values())), set[str]()

    def traces(panel: MetricPanel, _first: bool) -> list[Any]:
        made = []
        for name, values in panel.curves.items():
            recorded, kind = np.isfinite(values), measured_on[name]
            place = kinds.index(kind)
            line = {"color": CYCLE[place % len(CYCLE)], "dash": PAGE_DASHES[place % len(PAGE_DASHES)]}
            hover = f"{html(name.replace('_', ' '))}<br>{found.x_label} %{{x:,}}<br>%{{y:.5g}}<extra></extra>"
            named: dict[str, Any] = {"name": html(kind), "legendgroup": str(place), "showlegend": kind not in told, "hovertemplate": hover}
            made.append(Scatter(x=found.x[recorded], y=values[recorded], mode="lines+markers", line=line, marker={"size": 5}, **named))
            told.add(kind)
        return made

    figure = stacked_page(found.panels, found.x_label, traces, spacing=0.07)
    return framed(figure, found, 10_000, height=140 + 190 * len(found.panels), legend=LEGEND_ABOVE, margin={"t": 110})
