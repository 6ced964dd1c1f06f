"""The pictures of the preliminary studies: performance over epochs, over training sizes, and its spread over test sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.curves import mark_at_edge
from thetascope.drawing.layouts import Panel, PictureInfo, framed, new_axes, panel_of, panels_of, stacked_page
from thetascope.drawing.legends import entries, legend_of_all, log_y, wrapped
from thetascope.drawing.style import BLUE, GREY, ORANGE, SKY, VERMILION, Ints, quantity_label, wants_log
from thetascope.errors import ResultError

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

RULE_WIDTH = 96
"""Characters a line of the sentence above the panels."""
CROWDED = 50
"""Labels below the boxes with more characters in all than this are slanted."""
LOG_RATIO = 10.0
"""Losses that span more than this are drawn on a logarithmic axis, earlier than in other pictures: what matters is how those near
the lowest compare with it."""
TICK_DISTANCE = 0.09
"""Of the axis: numbers closer than this to the one before are left without a label."""
UNITS = {"study_epochs": "epochs", "study_train_size": "training samples", "study_test_size": "test samples"}
"""Of the numbers that each study compares."""


@dataclass(frozen=True)
class StudyPanel(Panel):
    """One quantity.

    Attributes:
        values: ``[S, R]``, all repeats; ``[S, 1]`` for epochs.
        line: ``[S]``: the values themselves for epochs, medians over repeats for training sizes, None for test sizes.
        full: the value on all test samples, for test sizes.
        band: lowest and highest value that the rule allows, where it is about this quantity; a bound may be missing.
    """

    values: Floats
    line: Floats | None
    full: float | None
    band: tuple[float | None, float] | None


@dataclass(frozen=True)
class StudyInfo(PictureInfo):
    """All that the picture shows; its only note is the rule that recommends a number."""

    study: str
    x_label: str
    x: Ints
    repeats: int
    recommendation: int | None
    panels: tuple[StudyPanel, ...]

    @property
    def places(self) -> Floats:
        """Where the numbers stand on the axis: boxes side by side, else the numbers themselves."""
        return np.arange(len(self.x), dtype=np.float64) if self.has_boxes else self.x.astype(np.float64)

    @property
    def has_boxes(self) -> bool:
        """Whether the repeats are drawn as boxes."""
        return self.study == "study_test_size"

    @property
    def tick_labels(self) -> list[str]:
        """The numbers, but those that would run into others on the logarithmic axis."""
        labels = [f"{size:,}" for size in self.x]
        if self.has_boxes:
            return labels
        share = (np.log(self.x) / max(np.log(self.x[-1] / self.x[0]), 1e-9)).tolist()
        last = share[0]
        for i in range(1, len(labels) - 1):
            if min(share[i] - last, share[-1] - share[i]) < TICK_DISTANCE:
                labels[i] = ""
            else:
                last = share[i]
        return labels

    @property
    def recommended_place(self) -> float | None:
        """Where the recommended number stands."""
        found = np.flatnonzero(self.x == self.recommendation)
        return float(self.places[found[0]]) if len(found) else None

    @property
    def recommended_label(self) -> str:
        """How the legend calls it."""
        return f"recommended: {self.recommendation:,} {UNITS[self.study]}"

    @property
    def line_label(self) -> str:
        """How the legend calls the line."""
        if self.study == "study_epochs":
            return "measured after each epoch"
        return f"median of {self.repeats} trainings" if self.repeats > 1 else "one training"


def info(data: xr.Dataset) -> StudyInfo:
    """Gather what the picture shows; what is missing or not finite stays so.

    Raises:
        ResultError: the data are of no study.
    """
    attrs, study = data.attrs, str(data.attrs["experiment"])
    if study not in UNITS:
        raise ResultError(f'this figure is of a study; got a result of "{study}"')
    x = data["epochs" if study == "study_epochs" else "size"].values.astype(np.int64)
    of_tests, panels = study == "study_test_size", []
    for name in attrs["scored"]:
        values: Floats = np.asarray(data[name].values, np.float64).reshape(len(x), -1)
        full = float(data[f"full_{name}"]) if of_tests else None
        line = None if of_tests else np.asarray(np.median(values, axis=1), np.float64)
        limit, band = attrs.get("limit"), None
        if name == "loss" and limit is not None:
            band = (None, limit) if full is None else (full - limit, full + limit)
        log = name == "loss" and not of_tests and wants_log(values, ratio=LOG_RATIO)
        panels.append(StudyPanel(name, quantity_label(name, attrs["loss_name"]), log, values, line, full, band))
    return StudyInfo(
        title=_title(study, attrs),
        notes=(attrs.get("rule", "unfinished: nothing is recommended yet"),),
        study=study,
        x_label=UNITS[study] + {"study_epochs": " of training", "study_test_size": " in a subset (not to scale)"}.get(study, ""),
        x=x,
        repeats=panels[0].values.shape[1],
        recommendation=attrs.get("recommendation"),
        panels=tuple(panels),
    )


def _title(study: str, attrs: Mapping[Any, Any]) -> str:
    if study == "study_test_size":
        return f"Test size: one model on random subsets of {attrs['test_samples']:,} samples"
    if study == "study_train_size":
        return f"Training size: {attrs['training_epochs']} epochs on random subsets of {attrs['training_samples']:,} samples"
    return f"Epochs: one training on {attrs['training_samples']:,} samples"


def draw_matplotlib(found: StudyInfo, ax: Axes | None = None, variable: str | None = None) -> Axes | Figure:
    """Draw all variables below one another in a new figure, or only `variable`; on `ax` one (default: the loss)."""
    if ax is not None:
        _draw_panel(ax, found, panel_of(found.panels, variable))
        _label_x(ax, found)
        ax.legend(*entries([ax]), fontsize="small")
        return ax
    panels = panels_of(found.panels, variable)
    figure, axes = new_axes(6.4, 1.9 + 2.3 * len(panels), rows=len(panels), sharex=True)
    for panel, axis in zip(panels, axes, strict=True):
        _draw_panel(axis, found, panel)
    _label_x(axes[-1], found)
    figure.suptitle(found.title, fontsize="large")
    axes[0].set_title(wrapped(found.notes, RULE_WIDTH), fontsize="x-small", color=GREY)
    legend_of_all(figure, axes, ncols=2, frameon=False)
    return figure


def _draw_panel(ax: Axes, found: StudyInfo, panel: StudyPanel) -> None:
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
    if panel.band is not None and panel.band[0] is not None:
        ax.axhspan(panel.band[0], panel.band[1], color=ORANGE, alpha=0.2, linewidth=0, label="± tolerance of the standard deviation")
    elif panel.band is not None:
        ax.axhline(panel.band[1], color=GREY, linestyle=":", linewidth=1.2, label=f"within tolerance: at most {panel.band[1]:.4g}")
    if found.recommended_place is not None:
        ax.axvline(found.recommended_place, color=VERMILION, linestyle="--", linewidth=1.2, zorder=0, label=found.recommended_label)
    mark_at_edge(ax, places, ~np.asarray(np.isfinite(panel.values).all(axis=1)), "not finite, or missing")
    if panel.log:
        log_y(ax)
    ax.set_ylabel(panel.label)


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


def draw_plotly(found: StudyInfo, variable: str | None = None) -> PlotlyFigure:
    """All variables below one another, or only `variable`; values on hovering."""
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
    if found.study != "study_epochs":
        figure.update_xaxes(tickvals=found.places, ticktext=found.tick_labels)
    if found.study == "study_train_size":
        figure.update_xaxes(type="log")
    legend = {"orientation": "h", "yanchor": "top", "y": -0.12, "x": 0}
    return framed(figure, found, RULE_WIDTH, height=220 + 240 * len(panels), legend=legend, margin={"t": 120})


def _traces(found: StudyInfo, panel: StudyPanel, *, first: bool) -> list[Any]:
    from plotly.graph_objects import Box, Scatter

    repeats = panel.values.shape[1]
    every = {"x": np.repeat(found.places, repeats), "y": panel.values.ravel(), "legendgroup": "points", "showlegend": first}
    if found.has_boxes:
        style = {"marker": {"size": 3, "color": BLUE}, "line": {"width": 1, "color": BLUE}, "fillcolor": SKY}
        return [Box(**every, **style, name=f"{repeats} subsets of each size")]
    labels = [f"{size:,} {UNITS[found.study]}" for size in found.x]
    shared: dict[str, Any] = {"hovertemplate": "%{text}<br>%{y:.5g}<extra></extra>", "showlegend": first}
    style = {"mode": "lines+markers" if repeats == 1 else "lines", "line": {"color": BLUE}, "marker": {"size": 5}}
    traces = [Scatter(x=found.places, y=panel.line, name=found.line_label, legendgroup="line", text=labels, **style, **shared)]
    if repeats > 1:
        points = {"color": SKY, "size": 7, "line": {"color": BLUE, "width": 1}}
        style = {"mode": "markers", "name": "one training", "marker": points, "text": np.repeat(labels, repeats)}
        traces.append(Scatter(**every, **style, hovertemplate=shared["hovertemplate"]))
    return traces
