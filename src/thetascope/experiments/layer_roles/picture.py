"""Robust and ambient layers, ranked: what re-initialising and re-randomising each of them costs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.layouts import FROM_TOP, framed, new_axes, panel_of, panels_of, room_for_notes
from thetascope.drawing.legends import entries, wrapped
from thetascope.drawing.style import BLUE, GREY, VERMILION, html, ink
from thetascope.experiments.layer_roles.picture_info import LayerRolesInfo, RolesPanel, info, labels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

__all__ = ["draw_matplotlib", "draw_plotly", "info"]

BAR = 0.36
"""A bar's height, of a row's."""
FAR = 12
"""With more rows the scale stands above them too."""
INK, LIGHT_ORANGE = "#333333", "#F5CC7F"


def draw_matplotlib(found: LayerRolesInfo, ax: Axes | None = None, variable: str | None = None) -> Axes | Figure:
    """Draw all variables beside one another in a new figure that grows with the layers, or only `variable`; on `ax` one (default:
    the loss)."""
    if ax is not None:
        _draw_panel(ax, found, panel_of(found.panels, variable))
        _label_rows(ax, found)
        _legend_within(ax, len(found.rows))
        return ax
    panels, names = panels_of(found.panels, variable), labels_of(found.rows)
    notes = wrapped(found.notes, 50 * len(panels))
    width = 0.4 + 0.075 * max(16, *map(len, names)) + 3.1 * len(panels)
    figure, axes = new_axes(width, 2.1 + 0.42 * len(found.rows) + 0.16 * len(notes.split("\n")), columns=len(panels), sharey=True)
    for panel, axis in zip(panels, axes, strict=True):
        _draw_panel(axis, found, panel)
    _label_rows(axes[0], found)
    figure.legend(*_bars_first(axes), loc="outside lower center", ncols=3 if width > 7 else 2, fontsize="small")
    figure.suptitle(found.title, fontsize="large")
    axes[0].set_title(notes, loc="left", fontsize="small", color=GREY, parse_math=False, gid="heading")
    return figure


def _bars_first(axes: Iterable[Axes]) -> tuple[list[Any], list[str]]:
    """What a legend says of them, the bars first."""
    found = sorted(zip(*entries(axes), strict=True), key=lambda entry: not entry[1].startswith("re-"))
    return [handle for handle, _ in found], [label for _, label in found]


def _legend_within(ax: Axes, rows: int) -> None:
    """A legend on the axes, in a band kept free below the rows: it covers no data and is not cut off."""
    handles, labels = _bars_first([ax])
    extent, dpi = ax.get_window_extent(), ax.figure.dpi
    columns = 2 if extent.width / dpi > 4.2 else 1
    band = min(0.2 + 0.16 * -(-len(labels) // columns), 0.6 * extent.height / dpi)
    ax.set_ylim(rows - 0.4 + rows * band / (extent.height / dpi - band), -0.6)
    ax.legend(handles, labels, loc="lower center", ncols=columns, fontsize="x-small", framealpha=1.0)


def _label_rows(ax: Axes, found: LayerRolesInfo) -> None:
    """Names, roles and shares at the left edge, the first row on top."""
    texts = [f"{name}\n{row.verdict}" for name, row in zip(labels_of(found.rows), found.rows, strict=True)]
    ax.set_yticks(range(len(texts)), texts, fontsize="small")
    for label in ax.get_yticklabels():
        label.set_parse_math(False)  # a name is text, also with dollar signs
    ax.set_ylim(len(texts) - 0.4, -0.6)


def _draw_panel(ax: Axes, found: LayerRolesInfo, panel: RolesPanel) -> None:
    """Bars from the final state's value: their length is what the change of the layer costs."""
    place = np.arange(len(found.rows), dtype=np.float64)
    if panel.log:
        ax.set_xscale("log")
    _bars(ax, place - BAR / 2, panel.reinit, panel.base, color=BLUE, label="re-initialised: its first values")
    mean = f"re-randomised: mean of {found.draws} draws" if found.draws > 1 else "re-randomised: one draw"
    _bars(ax, place + BAR / 2, panel.rerandom_mean, panel.base, color=LIGHT_ORANGE, hatch="////", label=mean)
    _draws(ax, place + BAR / 2, panel)
    _not_finite(ax, panel)
    ax.axvline(panel.final, color=ink(), linewidth=1.2, label="final state, where the bars start")
    ax.axvline(panel.initial, color=ink(), linewidth=1.2, linestyle="--", label="initial state")
    values = [f"final {panel.final:.3g}", f"initial {panel.initial:.3g}"]
    if panel.threshold is not None:
        ax.axvline(panel.threshold, color=VERMILION, linewidth=1.5, linestyle=(0, (4, 1.5, 1, 1.5)), label=found.threshold_label)
        values.append(f"threshold {panel.threshold:.3g}")
    ax.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.use_sticky_edges = False
    ax.margins(x=0.04)
    ax.tick_params(axis="y", length=0)
    if len(found.rows) > FAR:
        ax.tick_params(axis="x", top=True, labeltop=True)
    ax.set_xlabel(f"{panel.label}\n{', '.join(values)}", fontsize="small", parse_math=False)


def _bars(ax: Axes, place: Floats, values: Floats, base: float, **style: Any) -> None:
    """An edge shows a bar without length too."""
    shown = np.where(np.isfinite(values), values, np.nan)
    ax.barh(place, shown - base, BAR, left=np.where(np.isnan(shown), np.nan, base), edgecolor=INK, linewidth=0.7, **style)


def _draws(ax: Axes, place: Floats, panel: RolesPanel) -> None:
    """Every draw as a dot, and a line from the lowest to the highest."""
    if panel.rerandom.shape[1] == 1:
        return
    finite = np.where(np.isfinite(panel.rerandom), panel.rerandom, np.nan)
    rows = np.isfinite(finite).any(axis=1)
    ax.hlines(place[rows], np.nanmin(finite[rows], axis=1), np.nanmax(finite[rows], axis=1), color=ink(), linewidth=1.0, zorder=3)
    x, y = finite.ravel(), np.repeat(place, finite.shape[1])
    ax.plot(x, y, linestyle="", marker="o", markersize=3.2, markerfacecolor="white", markeredgecolor=INK, markeredgewidth=0.7,
            zorder=4, label="each draw, lowest to highest")  # fmt: skip


def _bad_places(panel: RolesPanel) -> Floats:
    """Where the marks of values stand that are not finite."""
    return np.concatenate([np.flatnonzero(panel.reinit_not_finite) - BAR / 2, np.flatnonzero(panel.bad_draws) + BAR / 2])


def _not_finite(ax: Axes, panel: RolesPanel) -> None:
    """Values that are not finite stand at the right edge of their row, so that they are not overlooked."""
    rows, bad = _bad_places(panel), panel.bad_draws
    if not len(rows):
        return
    ax.plot(np.full(len(rows), 0.97), rows, marker="X", markersize=7, linestyle="", markerfacecolor=VERMILION, markeredgecolor="white",
            transform=ax.get_yaxis_transform(), zorder=5, label="not finite (with how many of the draws)")  # fmt: skip
    for row in np.flatnonzero(bad):
        text = f"{bad[row]} of {panel.rerandom.shape[1]}"
        ax.text(0.94, float(row) + BAR / 2, text, transform=ax.get_yaxis_transform(), ha="right", va="center", fontsize="x-small",
                color=INK, zorder=5, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8})  # fmt: skip


def draw_plotly(found: LayerRolesInfo, variable: str | None = None) -> PlotlyFigure:
    """All variables beside one another, or only `variable`; values on hovering."""
    from plotly.subplots import make_subplots

    panels = panels_of(found.panels, variable)
    figure = make_subplots(rows=1, cols=len(panels), shared_yaxes=True, horizontal_spacing=0.04)
    for col, panel in enumerate(panels, 1):
        for trace in _traces(found, panel, first=col == 1):
            figure.add_trace(trace, row=1, col=col)
        figure.update_xaxes(title_text=html(panel.label), type="log" if panel.log else "linear", row=1, col=col)
    texts = [f"{html(name)}<br>{row.verdict}" for name, row in zip(labels_of(found.rows), found.rows, strict=True)]
    figure.update_yaxes(tickvals=list(range(len(texts))), ticktext=texts, range=[len(texts) - 0.4, -0.6], automargin=True, ticks="")
    above = 110 + room_for_notes(found, 110)
    legend = {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0.0, "x": 0}
    height, margin = above + 150 + 46 * len(found.rows), {"t": above - 50, "b": 150}
    return framed(figure, found, 110, title=FROM_TOP, barmode="overlay", height=height, legend=legend, margin=margin)


def _traces(found: LayerRolesInfo, panel: RolesPanel, *, first: bool) -> list[Any]:
    from plotly.graph_objects import Bar, Scatter

    place = np.arange(len(found.rows), dtype=np.float64)
    told = [f"{html(row.name)}<br>{row.verdict}<br>distance {row.distance:.4g}<br>drawn by {row.redraw}" for row in found.rows]
    hover = [text.replace("by both", "by both ways") for text in told]

    def named(name: str) -> dict[str, Any]:
        return {"name": name, "legendgroup": name, "showlegend": first}

    def bars(name: str, shift: float, values: Floats, marker: dict[str, Any]) -> Any:
        shown = np.where(np.isfinite(values), values, np.nan)
        return Bar(
            x=shown - panel.base, base=np.where(np.isnan(shown), np.nan, panel.base), y=place + shift, width=BAR, orientation="h",
            marker={"line": {"color": INK, "width": 1}, **marker}, text=hover, textposition="none", customdata=values,
            hovertemplate="%{text}<br>" + name + ": %{customdata:.5g}<extra></extra>", **named(name),
        )  # fmt: skip

    def dots(name: str, x: Floats, y: Floats, text: list[str], marker: dict[str, Any]) -> Any:
        return Scatter(x=x, y=y, mode="markers", text=text, marker=marker, hovertemplate="%{text}<extra></extra>", **named(name))

    def line(name: str, value: float, style: dict[str, Any]) -> Any:
        ends, hover = [-0.6, len(place) - 0.4], f"{name}: {value:.5g}<extra></extra>"
        return Scatter(x=[value, value], y=ends, mode="lines", line=style, hovertemplate=hover, **named(name))

    count = panel.rerandom.shape[1]
    each = [f"{html(row.name)}<br>draw {d}: {panel.rerandom[i, d]:.5g}" for i, row in enumerate(found.rows) for d in range(count)]
    hatched = {"color": LIGHT_ORANGE, "pattern": {"shape": "/", "fgcolor": INK, "size": 5}}
    white = {"color": "white", "size": 5, "line": {"color": INK, "width": 1}}
    drawn = np.where(np.isfinite(panel.rerandom), panel.rerandom, np.nan)
    traces = [
        bars("re-initialised", -BAR / 2, panel.reinit, {"color": BLUE}),
        bars("re-randomised, mean", BAR / 2, panel.rerandom_mean, hatched),
        dots("each draw", drawn.ravel(), np.repeat(place + BAR / 2, count), each, white),
        line("final state", panel.final, {"color": INK, "width": 1.5}),
        line("initial state", panel.initial, {"color": INK, "width": 1.5, "dash": "dash"}),
    ]
    if panel.threshold is not None:
        traces.append(line(found.threshold_label, panel.threshold, {"color": VERMILION, "width": 2, "dash": "dashdot"}))
    rows, bad = _bad_places(panel), panel.bad_draws
    if len(rows):
        texts = [f"{html(found.rows[i].name)}<br>re-initialised: not finite" for i in np.flatnonzero(panel.reinit_not_finite)]
        texts += [f"{html(found.rows[i].name)}<br>re-randomised: {bad[i]} of {count} draws not finite" for i in np.flatnonzero(bad)]
        values = np.concatenate([panel.reinit, panel.rerandom.ravel(), [panel.initial, panel.final]])
        finite = values[np.isfinite(values)]
        highest = np.full(len(rows), finite.max() if finite.size else 1.0)
        traces.append(dots("not finite", highest, rows, texts, {"color": VERMILION, "symbol": "x", "size": 10}))
    return traces
