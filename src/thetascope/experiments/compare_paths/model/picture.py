"""The two paths against what was measured, and the detail where they meet (thesis figure 6.19)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.curves import epoch_axis
from thetascope.drawing.layouts import Panel, PictureInfo, framed, new_axes, panels_of, stacked_page
from thetascope.drawing.legends import legend_of_all
from thetascope.drawing.style import BLUE, GREY, ORANGE, VERMILION, ink, knots_note, quantities, wants_log

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

STYLES: dict[str, tuple[str, Any, str]] = {"linear": (ORANGE, (0, (5, 1.5)), "dash"), "quadratic": (BLUE, "-", "solid")}
"""Of each path: its colour, and its dashes in matplotlib and in plotly."""
CROSSINGS = {False: ("o", "circle-open", "crosses what was measured"), True: ("s", "square-open", "meets it by construction")}
"""By whether it does so by construction: the marker in matplotlib and in plotly, and what it says."""


@dataclass(frozen=True)
class ComparisonPanel(Panel):
    """One quantity: along each path ``[K]``, and as it was measured ``[T]``."""

    paths: dict[str, Floats]
    measured: Floats


@dataclass(frozen=True)
class ComparisonInfo(PictureInfo):
    """All that the picture shows. `crossings`: (path, α, loss, by construction)."""

    alphas: Floats
    progress: Floats
    epochs: Floats
    panels: tuple[ComparisonPanel, ...]
    crossings: tuple[tuple[str, float, float, bool], ...]
    detail: tuple[tuple[float, float], tuple[float, float]]


def info(data: xr.Dataset) -> ComparisonInfo:
    """Gather what the picture shows, the loss first."""
    data, attrs = data.sortby("alpha"), data.attrs
    alphas, progress, gaps = data["alpha"].values, data["progress"].values, attrs["gaps"]
    panels = []
    for name, label in quantities(attrs).items():
        paths, measured = {kind: data[f"{kind}_{name}"].values for kind in STYLES}, data[f"actual_{name}"].values
        panels.append(ComparisonPanel(name, label, name == "loss" and wants_log(*paths.values(), measured), paths, measured))
    panels.sort(key=lambda panel: panel.name != "loss")
    told = ", ".join(f"{kind} {gaps[kind]:.2f}" for kind in STYLES)
    return ComparisonInfo(
        title="Linear and quadratic path against what was measured",
        notes=(f"{knots_note(attrs)}; mean |log10| gap at {gaps['states']} other states: {told}",),
        alphas=alphas,
        progress=progress,
        epochs=data["epoch"].values,
        panels=tuple(panels),
        crossings=tuple((kind, c["alpha"], c["loss"], c["by_construction"]) for kind, found in attrs["crossings"].items() for c in found),
        detail=_detail(alphas, progress, panels[0]),
    )


def _detail(alphas: Floats, progress: Floats, loss: ComparisonPanel) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the paths meet the measured curve: the second part of α, from the lowest loss to four times the measured ones."""
    left = 0.35
    measured = loss.measured[(progress >= left) & np.isfinite(loss.measured)]
    paths = [path[alphas >= left] for path in loss.paths.values()]
    shown = np.concatenate([measured, *(path[np.isfinite(path)] for path in paths)])
    if not len(measured):
        return (left, 1.0), (float(shown.min(initial=0.0)), float(shown.max(initial=1.0)))
    low, top = float(shown.min()), float(measured.max())
    return (left, 1.02), (low - 0.1 * abs(low), top + 3 * max(top - low, 0.1 * abs(top)))


def draw_matplotlib(found: ComparisonInfo, ax: Axes | None = None, variable: str | None = None) -> Axes | Figure:
    """Draw all variables in a new figure, or only `variable`, the loss beside its detail; on `ax` one (default: the loss)."""
    panels = panels_of(found.panels, variable)
    if ax is not None:
        _draw(ax, found, panels[0])
        ax.legend()
        return ax
    drawn = [(panel, detail) for panel in panels for detail in ([False, True] if panel.name == "loss" else [False])]
    figure, axes = new_axes(4.3 * max(len(drawn), 2), 4.6, columns=len(drawn))
    for axis, (panel, detail) in zip(axes, drawn, strict=True):
        _draw(axis, found, panel, linear_scale=detail)
        if detail:
            axis.set(xlim=found.detail[0], ylim=found.detail[1])
            axis.set_title("detail where they meet", fontsize="small", color=GREY)
        else:
            epoch_axis(axis, found.progress, found.epochs)
    legend_of_all(figure, axes[:1], ncols=5)
    figure.suptitle(f"{found.title}\n{found.notes[0]}", fontsize="medium")
    return figure


def _draw(ax: Axes, found: ComparisonInfo, panel: ComparisonPanel, *, linear_scale: bool = False) -> None:
    for kind, (color, dashes, _) in STYLES.items():
        ax.plot(found.alphas, panel.paths[kind], color=color, linestyle=dashes, label=f"{kind} path")
    ax.plot(found.progress, panel.measured, color=VERMILION, marker="D", markersize=4, linestyle=":", linewidth=1, label="measured")
    for by_construction, (marker, _, label) in CROSSINGS.items() if panel.name == "loss" else ():
        at = [(a, loss) for _, a, loss, made in found.crossings if made is by_construction]
        if at:
            ax.plot(*zip(*at, strict=True), marker, markersize=9, markerfacecolor="none", color=ink(), label=label)
    if panel.log and not linear_scale:
        ax.set_yscale("log")
    ax.set_xlabel("α, share of the steps for measured")
    ax.set_ylabel(panel.label)


def draw_plotly(found: ComparisonInfo, variable: str | None = None) -> PlotlyFigure:
    """All variables below one another, or only `variable`."""
    from plotly.graph_objects import Scatter

    panels = panels_of(found.panels, variable)

    def traces(panel: ComparisonPanel, first: bool) -> list[Any]:
        shared: dict[str, Any] = {"showlegend": first, "hovertemplate": "%{x:.3f}<br>%{y:.5g}<extra></extra>"}
        made = []
        for kind, (color, _, dash) in STYLES.items():
            line, named = {"color": color, "dash": dash}, {"name": f"{kind} path", "legendgroup": kind}
            made.append(Scatter(x=found.alphas, y=panel.paths[kind], mode="lines", line=line, **named, **shared))
        shared |= {"name": "measured", "legendgroup": "measured", "line": {"color": VERMILION, "dash": "dot"}}
        return [*made, Scatter(x=found.progress, y=panel.measured, mode="lines+markers", **shared)]

    x_label = "α for the paths, share of the training's steps for measured states"
    figure = stacked_page(panels, x_label, traces)
    for by_construction, (_, symbol, label) in CROSSINGS.items() if panels[0].name == "loss" else ():
        at = [
            (alpha, loss, f"{kind} path {label} at α = {alpha:.3f}")
            for kind, alpha, loss, made in found.crossings
            if made is by_construction
        ]
        if at:
            x, y, texts = zip(*at, strict=True)
            marks: dict[str, Any] = {"mode": "markers", "marker": {"symbol": symbol, "size": 11, "color": "black"}, "name": label}
            figure.add_trace(Scatter(x=x, y=y, text=texts, hovertemplate="%{text}<extra></extra>", **marks), row=1, col=1)
    return framed(figure, found, height=660 if len(panels) > 1 else 460)
