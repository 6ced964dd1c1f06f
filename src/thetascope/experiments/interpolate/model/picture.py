"""The path of the whole model: loss and metrics over α, beside what was measured at the recorded states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.curves import epoch_axis, mark_at_edge, thin_lines
from thetascope.drawing.layouts import LEGEND_ABOVE, Panel, PictureInfo, framed, new_axes, panel_of, panels_of, stacked_page
from thetascope.drawing.style import BLUE, GREY, ORANGE, Ints, knots_note, quantities, wants_log

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

X_LABEL = "α for the path, share of the training's steps for measured states"


@dataclass(frozen=True)
class PathPanel(Panel):
    """One quantity: along the path ``[K]``, at the recorded states ``[T]``, and the path's standard error if known."""

    path: Floats
    actual: Floats
    standard_error: Floats | None


@dataclass(frozen=True)
class PathInfo(PictureInfo):
    """All that the picture shows."""

    path_name: str
    alphas: Floats
    progress: Floats
    epochs: Floats
    steps: Ints
    knots: Floats
    panels: tuple[PathPanel, ...]


def info(data: xr.Dataset) -> PathInfo:
    """Gather what the picture shows; points that are missing or not finite stay so."""
    data, attrs = data.sortby("alpha"), data.attrs
    panels = []
    for name, label in quantities(attrs).items():
        path, actual = data[name].values, data[f"actual_{name}"].values
        error = data["loss_standard_error"].values if name == "loss" and "loss_standard_error" in data else None
        panels.append(PathPanel(name, label, name == "loss" and wants_log(path, actual), path, actual, error))
    return PathInfo(
        title=f"{attrs['kind'].capitalize()} path through the training",
        notes=(knots_note(attrs),),
        path_name=f"{attrs['kind']} path",
        alphas=data["alpha"].values,
        progress=data["progress"].values,
        epochs=data["epoch"].values,
        steps=data["step"].values,
        knots=np.asarray([knot["alpha"] for knot in attrs["knots"]]),
        panels=tuple(panels),
    )


def draw_matplotlib(found: PathInfo, ax: Axes | None = None, variable: str | None = None) -> Axes | Figure:
    """Draw all variables below one another in a new figure, or only `variable`; on `ax` one (default: the loss)."""
    if ax is not None:
        _draw_panel(ax, found, panel_of(found.panels, variable))
        ax.set_xlabel("α")
        ax.legend()
        return ax
    panels = panels_of(found.panels, variable)
    figure, axes = new_axes(6.4, 1.2 + 2.5 * len(panels), rows=len(panels), sharex=True)
    for panel, axis in zip(panels, axes, strict=True):
        _draw_panel(axis, found, panel)
    axes[-1].set_xlabel(X_LABEL)
    axes[0].legend(loc="best")
    epoch_axis(axes[0], found.progress, found.epochs)
    figure.suptitle(found.title, fontsize="large")
    axes[0].set_title(found.notes[0], fontsize="small", color=GREY)
    return figure


def _draw_panel(ax: Axes, found: PathInfo, panel: PathPanel) -> None:
    ax.plot(found.alphas, panel.path, color=BLUE, marker=".", markersize=4, label=found.path_name)
    if panel.standard_error is not None:
        low, high = panel.path - 2 * panel.standard_error, panel.path + 2 * panel.standard_error
        ax.fill_between(found.alphas, low, high, color=BLUE, alpha=0.2, linewidth=0, label="± 2 standard errors")
    measured: dict[str, Any] = {"color": ORANGE, "marker": "D", "markersize": 4, "linestyle": ":", "linewidth": 1}
    ax.plot(found.progress, panel.actual, label="measured at recorded states", **measured)
    mark_at_edge(ax, found.alphas, ~np.isfinite(panel.path), "path not finite")
    mark_at_edge(ax, found.progress, ~np.isfinite(panel.actual), "state not finite", "+")
    thin_lines(ax, found.knots)
    if panel.log:
        ax.set_yscale("log")
    ax.set_ylabel(panel.label)


def draw_plotly(found: PathInfo, variable: str | None = None) -> PlotlyFigure:
    """All variables below one another, or only `variable`; values on hovering."""
    panels = panels_of(found.panels, variable)
    figure = stacked_page(panels, X_LABEL, lambda panel, first: _traces(found, panel, first=first))
    for knot in found.knots:
        figure.add_vline(x=float(knot), line_width=1, line_dash="dot", line_color=GREY)
    return framed(figure, found, height=180 + 240 * len(panels), legend=LEGEND_ABOVE, margin={"t": 110})


def _traces(found: PathInfo, panel: PathPanel, *, first: bool) -> list[Any]:
    from plotly.graph_objects import Scatter

    shared: dict[str, Any] = {"mode": "lines+markers", "showlegend": first}
    error = None if panel.standard_error is None else {"type": "data", "array": 2 * panel.standard_error, "visible": True}
    path = {"name": found.path_name, "legendgroup": "path", "line": {"color": BLUE}, "marker": {"size": 4}, "error_y": error}
    path["hovertemplate"] = "α = %{x:.3f}<br>%{y:.5g}<extra></extra>"
    labels = [f"step {step:,}, epoch {epoch:g}" for step, epoch in zip(found.steps, found.epochs, strict=True)]
    dotted, diamond = {"color": ORANGE, "dash": "dot", "width": 1}, {"symbol": "diamond", "size": 7}
    actual = {"name": "measured at recorded states", "legendgroup": "actual", "line": dotted, "marker": diamond, "text": labels}
    actual["hovertemplate"] = "%{text}<br>%{y:.5g}<extra></extra>"
    return [Scatter(x=found.alphas, y=panel.path, **path, **shared), Scatter(x=found.progress, y=panel.actual, **actual, **shared)]
