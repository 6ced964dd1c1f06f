"""The two paths against what was measured, and the detail where they meet (thesis figure 6.19)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thetascope.errors import ResultError
from thetascope.figures.legends import heading
from thetascope.figures.path import epoch_axis
from thetascope.figures.style import BLUE, GREY, ORANGE, VERMILION, buffers_note, html, ink, quantity_label, wants_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

    from thetascope.results import Result

Floats = NDArray[np.float64]

STYLES: dict[str, tuple[str, Any]] = {"linear": (ORANGE, (0, (5, 1.5))), "quadratic": (BLUE, "-")}
MEASURED = VERMILION
CROSSINGS = {False: ("o", "circle-open", "crosses what was measured"), True: ("s", "square-open", "meets it by construction")}
"""By whether it does so by construction: the marker in matplotlib and in plotly, and what it says."""


@dataclass(frozen=True)
class ComparisonInfo:
    """All that the figure shows. `crossings`: (path, α, loss, by construction)."""

    title: str
    subtitle: str
    alphas: Floats
    progress: Floats
    epochs: Floats
    values: dict[str, dict[str, Floats]]
    axis_labels: dict[str, str]
    crossings: tuple[tuple[str, float, float, bool], ...]
    log: bool
    detail: tuple[tuple[float, float], tuple[float, float]]


def info(result: Result) -> ComparisonInfo:
    """Gather what the figure shows."""
    data, attrs = result.data, result.data.attrs
    order = np.argsort(data["alpha"].values)
    names = [name for name in attrs["scored"] if name != "loss_standard_error"]
    alphas, progress = data["alpha"].values[order], data["progress"].values
    values = {
        name: {
            "linear": data[f"linear_{name}"].values[order],
            "quadratic": data[f"quadratic_{name}"].values[order],
            "measured": data[f"actual_{name}"].values,
        }
        for name in names
    }
    gaps = attrs["gaps"]
    told = ", ".join(f"{kind} {gaps[kind]:.2f}" for kind in ("linear", "quadratic"))
    steps = ", ".join(f"{knot['step']:,}" for knot in attrs["knots"])
    return ComparisonInfo(
        title="Linear and quadratic path against what was measured",
        subtitle=f"knots at steps {steps}; {attrs['samples_scored']:,} samples{buffers_note(attrs)}; "
        f"mean |log10| gap at {gaps['states']} other states: {told}",
        alphas=alphas,
        progress=progress,
        epochs=data["epoch"].values,
        values=values,
        axis_labels={name: quantity_label(name, attrs["loss_name"]) for name in names},
        crossings=tuple((kind, c["alpha"], c["loss"], c["by_construction"]) for kind, found in attrs["crossings"].items() for c in found),
        log=wants_log(*values["loss"].values()),
        detail=_detail(alphas, progress, values["loss"]),
    )


def _detail(alphas: Floats, progress: Floats, losses: dict[str, Floats]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the paths meet the measured curve: the second part of α, from the lowest loss to four times the measured ones."""
    left = 0.35
    measured = losses["measured"][(progress >= left) & np.isfinite(losses["measured"])]
    paths = [losses[kind][alphas >= left] for kind in STYLES]
    shown = np.concatenate([measured, *(path[np.isfinite(path)] for path in paths)])
    if not len(measured):
        return (left, 1.0), (float(shown.min(initial=0.0)), float(shown.max(initial=1.0)))
    low, top = float(shown.min()), float(measured.max())
    return (left, 1.02), (low - 0.1 * abs(low), top + 3 * max(top - low, 0.1 * abs(top)))


def draw_matplotlib(found: ComparisonInfo, ax: Axes | None = None, variable: str | None = None) -> Axes | Figure:
    """Draw all variables in a new figure, or only `variable`, the loss beside its detail; on `ax` one (default: the loss).

    Raises:
        ResultError: there is no such variable.
    """
    chosen = _chosen(found, variable)
    if ax is not None:
        _draw(ax, found, chosen[0])
        ax.legend()
        return ax
    from thetascope.figures.picture import Picture

    drawn = [(name, detail) for name in chosen for detail in ([False, True] if name == "loss" else [False])]
    figure = Picture(figsize=(4.3 * max(len(drawn), 2), 4.6), layout="constrained")
    axes = figure.subplots(1, len(drawn), squeeze=False)[0]
    for axis, (name, detail) in zip(axes, drawn, strict=True):
        _draw(axis, found, name, linear_scale=detail)
        if detail:
            axis.set_xlim(*found.detail[0])
            axis.set_ylim(*found.detail[1])
            axis.set_title("detail where they meet", fontsize="small", color=GREY)
        else:
            epoch_axis(axis, found.progress, found.epochs)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize="small")
    figure.suptitle(f"{found.title}\n{found.subtitle}", fontsize="medium")
    return figure


def _chosen(found: ComparisonInfo, variable: str | None) -> list[str]:
    """What is drawn, the loss first."""
    if variable is None:
        return sorted(found.values, key=lambda name: name != "loss")
    if variable not in found.values:
        raise ResultError(f'there is no variable "{variable}"; there are: {", ".join(found.values)}')
    return [variable]


def _draw(ax: Axes, found: ComparisonInfo, name: str, *, linear_scale: bool = False) -> None:
    curves = found.values[name]
    for kind, (color, dashes) in STYLES.items():
        ax.plot(found.alphas, curves[kind], color=color, linestyle=dashes, label=f"{kind} path")
    ax.plot(found.progress, curves["measured"], color=MEASURED, marker="D", markersize=4, linestyle=":", linewidth=1, label="measured")
    if name == "loss":
        for by_construction, (marker, _, label) in CROSSINGS.items():
            at = [(a, loss) for _, a, loss, made in found.crossings if made is by_construction]
            if at:
                ax.plot(*zip(*at, strict=True), marker, markersize=9, markerfacecolor="none", color=ink(), label=label)
        if found.log and not linear_scale:
            ax.set_yscale("log")
    ax.set_xlabel("α, share of the steps for measured")
    ax.set_ylabel(found.axis_labels[name])


def draw_plotly(found: ComparisonInfo, variable: str | None = None) -> PlotlyFigure:
    """All variables below one another, or only `variable`.

    Raises:
        ResultError: there is no such variable.
    """
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    chosen = _chosen(found, variable)
    figure = make_subplots(rows=len(chosen), cols=1, shared_xaxes=True, vertical_spacing=0.06)
    colors = {kind: color for kind, (color, _) in STYLES.items()} | {"measured": MEASURED}
    for row, name in enumerate(chosen, 1):
        for kind, curve in found.values[name].items():
            measured = kind == "measured"
            figure.add_trace(
                Scatter(
                    x=found.progress if measured else found.alphas,
                    y=curve,
                    mode="lines+markers" if measured else "lines",
                    name=kind if measured else f"{kind} path",
                    legendgroup=kind,
                    showlegend=row == 1,
                    line={"color": colors[kind], "dash": {"measured": "dot", "linear": "dash"}.get(kind, "solid")},
                    hovertemplate="%{x:.3f}<br>%{y:.5g}<extra></extra>",
                ),
                row=row,
                col=1,
            )
        log = found.log and name == "loss"
        figure.update_yaxes(title_text=html(found.axis_labels[name]), type="log" if log else "linear", row=row, col=1)
    for by_construction, (_, symbol, label) in CROSSINGS.items() if "loss" in chosen else ():
        at = [
            (alpha, loss, f"{kind} path {label} at α = {alpha:.3f}")
            for kind, alpha, loss, made in found.crossings
            if made is by_construction
        ]
        if at:
            x, y, texts = zip(*at, strict=True)
            marker = {"symbol": symbol, "size": 11, "color": "black"}
            figure.add_trace(
                Scatter(x=x, y=y, mode="markers", marker=marker, name=label, text=texts, hovertemplate="%{text}<extra></extra>"), 1, 1
            )
    figure.update_xaxes(title_text="α for the paths, share of the training's steps for measured states", row=len(chosen), col=1)
    height = 660 if len(chosen) > 1 else 460
    figure.update_layout(title={"text": heading(found.title, [found.subtitle])}, template="plotly_white", height=height)
    return figure
