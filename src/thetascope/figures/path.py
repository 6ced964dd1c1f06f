"""The path of the whole model: loss and metrics over α, beside what was measured at the recorded states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thetascope.figures.legends import heading
from thetascope.figures.stacks import stacked_page
from thetascope.figures.style import BLUE, GREY, ORANGE, VERMILION, buffers_note, panel_of, panels_of, quantity_label, wants_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

    from thetascope.results import Result

Floats = NDArray[np.float64]
X_LABEL = "α for the path, share of the training's steps for measured states"


@dataclass(frozen=True)
class Panel:
    """One quantity: along the path ``[K]``, at the recorded states ``[T]``, and the path's standard error if known."""

    name: str
    label: str
    path: Floats
    actual: Floats
    standard_error: Floats | None
    log: bool


@dataclass(frozen=True)
class PathInfo:
    """All that the figure shows."""

    title: str
    subtitle: str
    path_name: str
    alphas: Floats
    progress: Floats
    epochs: Floats
    steps: NDArray[np.int64]
    knots: Floats
    panels: tuple[Panel, ...]


def info(result: Result) -> PathInfo:
    """Gather what the figure shows; points that are missing or not finite stay so."""
    data, attrs = result.data, result.data.attrs
    order = np.argsort(data["alpha"].values)
    panels = []
    for name in attrs["scored"]:
        if name == "loss_standard_error":
            continue
        path, actual = data[name].values[order], data[f"actual_{name}"].values
        error = data["loss_standard_error"].values[order] if name == "loss" and "loss_standard_error" in data else None
        log = name == "loss" and wants_log(path, actual)
        panels.append(Panel(name, quantity_label(name, attrs["loss_name"]), path, actual, error, log))
    knots = ", ".join(f"{knot['step']:,}" for knot in attrs["knots"])
    return PathInfo(
        title=f"{attrs['kind'].capitalize()} path through the training",
        subtitle=f"knots at steps {knots}; {attrs['samples_scored']:,} samples{buffers_note(attrs)}",
        path_name=f"{attrs['kind']} path",
        alphas=data["alpha"].values[order],
        progress=data["progress"].values,
        epochs=data["epoch"].values,
        steps=data["step"].values,
        knots=np.asarray([knot["alpha"] for knot in attrs["knots"]]),
        panels=tuple(panels),
    )


def draw_matplotlib(found: PathInfo, ax: Axes | None = None, variable: str | None = None) -> Axes | Figure:
    """Draw all variables below one another in a new figure, or only `variable`; on `ax` one (default: the loss).

    Raises:
        ResultError: there is no such variable.
    """
    if ax is not None:
        _draw_panel(ax, found, panel_of(found.panels, variable or "loss"))
        ax.set_xlabel("α")
        ax.legend()
        return ax
    from thetascope.figures.picture import Picture

    panels = panels_of(found.panels, variable)
    count = len(panels)
    figure = Picture(figsize=(6.4, 1.2 + 2.5 * count), layout="constrained")
    axes = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    for panel, axis in zip(panels, axes, strict=True):
        _draw_panel(axis, found, panel)
    axes[-1].set_xlabel(X_LABEL)
    axes[0].legend(loc="best")
    epoch_axis(axes[0], found.progress, found.epochs)
    figure.suptitle(found.title, fontsize="large")
    axes[0].set_title(found.subtitle, fontsize="small", color=GREY)
    return figure


def _draw_panel(ax: Axes, found: PathInfo, panel: Panel) -> None:
    ax.plot(found.alphas, panel.path, color=BLUE, marker=".", markersize=4, label=found.path_name)
    if panel.standard_error is not None:
        ax.fill_between(
            found.alphas, panel.path - 2 * panel.standard_error, panel.path + 2 * panel.standard_error,
            color=BLUE, alpha=0.2, linewidth=0, label="± 2 standard errors",
        )  # fmt: skip
    ax.plot(
        found.progress,
        panel.actual,
        color=ORANGE,
        marker="D",
        markersize=4,
        linestyle=":",
        linewidth=1,
        label="measured at recorded states",
    )
    _mark_not_finite(ax, found.alphas, panel.path, "path not finite", "x")
    _mark_not_finite(ax, found.progress, panel.actual, "state not finite", "+")
    for knot in found.knots:
        ax.axvline(knot, color=GREY, linewidth=0.7, linestyle=(0, (1, 3)), zorder=0)
    if panel.log:
        ax.set_yscale("log")
    ax.set_ylabel(panel.label)


def _mark_not_finite(ax: Axes, x: Floats, y: Floats, label: str, marker: str) -> None:
    """Points without a finite value stand at the upper edge, so that they are not overlooked."""
    bad = ~np.isfinite(y)
    if bad.any():
        ax.plot(
            x[bad],
            np.full(bad.sum(), 0.97),
            marker=marker,
            linestyle="",
            color=VERMILION,
            transform=ax.get_xaxis_transform(),
            label=label,
        )


def epoch_axis(ax: Axes, progress: Floats, epochs: Floats) -> None:
    """Epochs of the training along the upper edge, where they rise evenly with the steps."""
    first, last = epochs[0], epochs[-1]
    if first == last or not np.allclose(epochs, first + progress * (last - first), atol=1e-6 * abs(last - first)):
        return
    from matplotlib.ticker import MaxNLocator

    top = ax.secondary_xaxis(
        "top", functions=(lambda p: first + np.asarray(p) * (last - first), lambda e: (np.asarray(e) - first) / (last - first))
    )
    top.xaxis.set_major_locator(MaxNLocator(nbins=9, integer=True))
    top.set_xlabel("epoch of the training, for measured states")


def draw_plotly(found: PathInfo, variable: str | None = None) -> PlotlyFigure:
    """All variables below one another, or only `variable`; values on hovering.

    Raises:
        ResultError: there is no such variable.
    """
    panels = panels_of(found.panels, variable)
    figure = stacked_page(panels, X_LABEL, lambda panel, first: _traces(found, panel, first=first))
    for knot in found.knots:
        figure.add_vline(x=float(knot), line_width=1, line_dash="dot", line_color=GREY)
    figure.update_layout(
        title={"text": heading(found.title, [found.subtitle])},
        template="plotly_white",
        height=180 + 240 * len(panels),
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
        margin={"t": 110},
    )
    return figure


def _traces(found: PathInfo, panel: Panel, *, first: bool) -> list[Any]:
    from plotly.graph_objects import Scatter

    error = None if panel.standard_error is None else {"type": "data", "array": 2 * panel.standard_error, "visible": True}
    path = Scatter(
        x=found.alphas, y=panel.path, error_y=error, mode="lines+markers", name=found.path_name, legendgroup="path", showlegend=first,
        line={"color": BLUE}, marker={"size": 4}, hovertemplate="α = %{x:.3f}<br>%{y:.5g}<extra></extra>",
    )  # fmt: skip
    labels = [f"step {step:,}, epoch {epoch:g}" for step, epoch in zip(found.steps, found.epochs, strict=True)]
    actual = Scatter(
        x=found.progress, y=panel.actual, mode="lines+markers", name="measured at recorded states", legendgroup="actual", showlegend=first,
        line={"color": ORANGE, "dash": "dot", "width": 1}, marker={"symbol": "diamond", "size": 7}, text=labels,
        hovertemplate="%{text}<br>%{y:.5g}<extra></extra>",
    )  # fmt: skip
    return [path, actual]
