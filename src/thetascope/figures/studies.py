"""The preliminary studies: performance over epochs, over training sizes, and its spread over test sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.figures.legends import entries, heading, log_y, wrapped
from thetascope.figures.stacks import stacked_page
from thetascope.figures.study_info import UNITS, Floats, Panel, StudyInfo, info
from thetascope.figures.style import BLUE, GREY, ORANGE, SKY, VERMILION, panel_of, panels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

__all__ = ["draw_matplotlib", "draw_plotly", "info"]

RULE_WIDTH = 96
"""Characters a line of the sentence above the panels."""

CROWDED = 50
"""Labels below the boxes with more characters in all than this are slanted."""


def draw_matplotlib(found: StudyInfo, ax: Axes | None = None, variable: str | None = None) -> Axes | Figure:
    """Draw all variables below one another in a new figure, or only `variable`; on `ax` one (default: the loss).

    Raises:
        ResultError: there is no such variable.
    """
    if ax is not None:
        _draw_panel(ax, found, panel_of(found.panels, variable or "loss"))
        _label_x(ax, found)
        handles, labels = entries([ax])
        ax.legend(handles, labels, fontsize="small")
        return ax
    from thetascope.figures.picture import Picture

    panels = panels_of(found.panels, variable)
    count = len(panels)
    figure = Picture(figsize=(6.4, 1.9 + 2.3 * count), layout="constrained")
    axes = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    for panel, axis in zip(panels, axes, strict=True):
        _draw_panel(axis, found, panel)
    _label_x(axes[-1], found)
    figure.suptitle(found.title, fontsize="large")
    axes[0].set_title(wrapped([found.rule], RULE_WIDTH), fontsize="x-small", color=GREY)
    handles, labels = entries(axes)
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    return figure


def _draw_panel(ax: Axes, found: StudyInfo, panel: Panel) -> None:
    places = found.places
    if found.has_boxes:
        rows = [row[np.isfinite(row)] for row in panel.values]
        ax.boxplot(
            rows, positions=places, widths=0.6, patch_artist=True, manage_ticks=False,
            boxprops={"facecolor": SKY, "edgecolor": BLUE, "label": f"{found.repeats} random subsets (box: quartiles)"},
            medianprops={"color": "black"}, whiskerprops={"color": BLUE}, capprops={"color": BLUE},
            flierprops={"marker": ".", "markersize": 3, "markerfacecolor": BLUE, "markeredgecolor": BLUE},
        )  # fmt: skip
    if panel.line is not None:
        ax.plot(places, panel.line, color=BLUE, marker="." if found.repeats == 1 else "", markersize=5, label=found.line_label)
        if found.repeats > 1:
            ax.plot(
                np.repeat(places, found.repeats), panel.values.ravel(), linestyle="", marker="o", markersize=4.5,
                markerfacecolor=SKY, markeredgecolor=BLUE, markeredgewidth=0.7, label="one training",
            )  # fmt: skip
    if panel.full is not None:
        ax.axhline(panel.full, color=ORANGE, linewidth=1.2, label="on all samples")
    _draw_rule(ax, found, panel)
    _mark_not_finite(ax, places, panel.values)
    if panel.log:
        log_y(ax)
    ax.set_ylabel(panel.label)


def _draw_rule(ax: Axes, found: StudyInfo, panel: Panel) -> None:
    """What the rule allows, and what it recommends."""
    if panel.band is not None:
        low, high = panel.band
        if low is None:
            ax.axhline(high, color=GREY, linestyle=":", linewidth=1.2, label=f"within tolerance: at most {high:.4g}")
        else:
            ax.axhspan(low, high, color=ORANGE, alpha=0.2, linewidth=0, label="± tolerance of the standard deviation")
    if found.recommended_place is not None:
        ax.axvline(found.recommended_place, color=VERMILION, linestyle="--", linewidth=1.2, zorder=0, label=found.recommended_label)


def _label_x(ax: Axes, found: StudyInfo) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    ax.set_xlabel(found.x_label)
    if found.study == "study_epochs":
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        return
    if not found.has_boxes:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.set_xticks(found.places, found.tick_labels, fontsize="small")
    if found.has_boxes and sum(map(len, found.tick_labels)) > CROWDED:
        ax.tick_params(axis="x", rotation=45)


def _mark_not_finite(ax: Axes, x: Floats, values: Floats) -> None:
    """Numbers with a repeat that is not finite or missing stand at the upper edge, so that they are not overlooked."""
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        ax.plot(
            x[bad], np.full(bad.sum(), 0.97), marker="x", linestyle="", color=VERMILION, transform=ax.get_xaxis_transform(),
            label="not finite, or missing",
        )  # fmt: skip


def draw_plotly(found: StudyInfo, variable: str | None = None) -> PlotlyFigure:
    """All variables below one another, or only `variable`; values on hovering.

    Raises:
        ResultError: there is no such variable.
    """
    panels = panels_of(found.panels, variable)
    figure = stacked_page(panels, found.x_label, lambda panel, first: _traces(found, panel, first=first))
    for row, panel in enumerate(panels, 1):
        if panel.full is not None:
            figure.add_hline(y=panel.full, line_color=ORANGE, line_width=1.5, row=row, col=1)
        if panel.band is not None and panel.band[0] is not None:
            figure.add_hrect(y0=panel.band[0], y1=panel.band[1], fillcolor=ORANGE, opacity=0.2, line_width=0, row=row, col=1)
        elif panel.band is not None:
            figure.add_hline(y=panel.band[1], line_color=GREY, line_dash="dot", line_width=1.5, row=row, col=1)
    if found.recommended_place is not None:
        figure.add_vline(x=found.recommended_place, line_color=VERMILION, line_dash="dash", line_width=1.5)
    _plotly_x(figure, found)
    figure.update_layout(
        title={"text": heading(found.title, [found.rule], RULE_WIDTH)},
        template="plotly_white",
        height=220 + 240 * len(panels),
        legend={"orientation": "h", "yanchor": "top", "y": -0.12, "x": 0},
        margin={"t": 120},
    )
    return figure


def _plotly_x(figure: PlotlyFigure, found: StudyInfo) -> None:
    if found.study != "study_epochs":
        figure.update_xaxes(tickvals=found.places, ticktext=found.tick_labels)
    if found.study == "study_train_size":
        figure.update_xaxes(type="log")


def _traces(found: StudyInfo, panel: Panel, *, first: bool) -> list[Any]:
    from plotly.graph_objects import Box, Scatter

    repeats = panel.values.shape[1]
    shared = {"showlegend": first}
    every_x = np.repeat(found.places, repeats)
    labels = [f"{size:,} {UNITS[found.study]}" for size in found.x]
    hover = "%{text}<br>%{y:.5g}<extra></extra>"
    if found.has_boxes:
        return [
            Box(
                x=every_x, y=panel.values.ravel(), name=f"{repeats} subsets of each size", legendgroup="points",
                marker={"size": 3, "color": BLUE}, line={"width": 1, "color": BLUE}, fillcolor=SKY, **shared,
            )
        ]  # fmt: skip
    traces = [
        Scatter(
            x=found.places, y=panel.line, mode="lines+markers" if repeats == 1 else "lines", name=found.line_label, legendgroup="line",
            line={"color": BLUE}, marker={"size": 5}, text=labels, hovertemplate=hover, **shared,
        )
    ]  # fmt: skip
    if repeats > 1:
        points = {"color": SKY, "size": 7, "line": {"color": BLUE, "width": 1}}
        traces.append(
            Scatter(
                x=every_x, y=panel.values.ravel(), mode="markers", name="one training", legendgroup="points", marker=points,
                text=np.repeat(labels, repeats), hovertemplate=hover, **shared,
            )
        )  # fmt: skip
    return traces
