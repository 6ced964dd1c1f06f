"""The metrics that were recorded during a training, over its epochs or steps: one panel a kind of metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from thetascope.figures.curves import CYCLE
from thetascope.figures.style import html, wants_log

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

Floats = NDArray[np.float64]
MOST_PANELS = 4
"""More kinds of metrics than this are left out, and named."""


@dataclass(frozen=True)
class Panel:
    """Metrics whose names end alike, such as ``train_loss`` and ``validation_loss``, each ``[T]``, nan where not recorded."""

    label: str
    curves: dict[str, Floats]
    log: bool


@dataclass(frozen=True)
class HistoryInfo:
    """All that the figure shows."""

    title: str
    x_label: str
    x: Floats
    panels: tuple[Panel, ...]
    left_out: tuple[str, ...]


def info(steps: Sequence[int], epochs: Sequence[float | None], metrics: Sequence[Mapping[str, float]]) -> HistoryInfo:
    """Gather recorded metrics by the last word of their names, the loss first; over epochs where all records have rising ones."""
    known = [np.nan if epoch is None else float(epoch) for epoch in epochs]
    by_epoch = bool(np.isfinite(known).all()) and bool((np.diff(known) > 0).all())
    kinds: dict[str, dict[str, Floats]] = {}
    for name in dict.fromkeys(name for of_one in metrics for name in of_one):
        values = np.array([float(of_one.get(name, np.nan)) for of_one in metrics])
        kinds.setdefault(name.rsplit("_", 1)[-1], {})[name] = values
    ordered = sorted(kinds.items(), key=lambda item: item[0] != "loss")
    panels = tuple(Panel(kind, curves, kind == "loss" and wants_log(*curves.values())) for kind, curves in ordered[:MOST_PANELS])
    return HistoryInfo(
        title="Metrics recorded during the training",
        x_label="epoch" if by_epoch else "step",
        x=np.array(known if by_epoch else steps, np.float64),
        panels=panels,
        left_out=tuple(name for _, curves in ordered[MOST_PANELS:] for name in curves),
    )


def _kind(name: str) -> str:
    """What a metric was measured on: its name without the last word."""
    return name.rsplit("_", 1)[0].replace("_", " ")


def draw_plotly(found: HistoryInfo) -> PlotlyFigure:
    """All kinds of metrics below one another, what was measured on the same data in one colour."""
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=len(found.panels), cols=1, shared_xaxes=True, vertical_spacing=0.07)
    kinds = list(dict.fromkeys(_kind(name) for panel in found.panels for name in panel.curves))
    told: set[str] = set()
    for row, panel in enumerate(found.panels, 1):
        for name, values in panel.curves.items():
            recorded, kind = np.isfinite(values), _kind(name)
            place = kinds.index(kind)
            figure.add_trace(
                Scatter(
                    x=found.x[recorded],
                    y=values[recorded],
                    mode="lines+markers",
                    name=html(kind),
                    legendgroup=str(place),
                    line={"color": CYCLE[place % len(CYCLE)], "dash": ("solid", "dash", "dot", "dashdot", "longdash")[place % 5]},
                    marker={"size": 5},
                    hovertemplate=f"{html(name.replace('_', ' '))}<br>{found.x_label} %{{x:,}}<br>%{{y:.5g}}<extra></extra>",
                    showlegend=kind not in told,
                ),
                row=row,
                col=1,
            )
            told.add(kind)
        figure.update_yaxes(title_text=html(panel.label), type="log" if panel.log else "linear", row=row, col=1)
    figure.update_xaxes(title_text=found.x_label, row=len(found.panels), col=1)
    notes = f"<br><sub>not drawn: {html(', '.join(found.left_out))}</sub>" if found.left_out else ""
    figure.update_layout(
        title={"text": f"{found.title}{notes}"},
        template="plotly_white",
        height=140 + 190 * len(found.panels),
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
        margin={"t": 110},
    )
    return figure
