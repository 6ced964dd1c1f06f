"""The plane of a training: the loss on it with the optimizer's path, and what the plane does not show (thesis figure 6.27)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.drawing.curves import mark_at_edge
from thetascope.drawing.fields import draw_field
from thetascope.drawing.layouts import new_figure, panel_of, titled
from thetascope.drawing.legends import legend_below, legend_on, legend_text, log_y, wrapped
from thetascope.drawing.scales import scale_of
from thetascope.drawing.style import BLUE, GREY, ink
from thetascope.experiments.trajectory_plane.picture_info import COLORS, MARKERS, PlaneInfo, Walk, info, numbers
from thetascope.experiments.trajectory_plane.picture_plotly import draw_plotly

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_matplotlib", "draw_plotly", "info"]

COMPONENTS = 6
"""So many are shown."""


def draw_matplotlib(found: PlaneInfo, ax: Axes | None = None, variable: str | None = None) -> Axes | Figure:
    """Draw the plane with the path on `ax`; or a new figure with the explained variance, the states' own values and distances beside it."""
    variable = panel_of(found.grid.fields, variable).name
    if ax is not None:
        draw_plane(ax, found, variable)
        legend_on(ax, note=wrapped([found.note(variable)], 64))
        return ax
    wide = found.grid.equal and np.ptp(found.grid.x) > 1.4 * np.ptp(found.grid.y)
    low = 10 * np.ptp(found.grid.y) / np.ptp(found.grid.x) + 0.3 if wide else 0.0  # so high the plane is at equal scales, in inches
    figure = new_figure(12, low + 4.6) if wide else new_figure(13, 7.6)
    grid: Any = figure.add_gridspec(2, 1, height_ratios=(low, 3.0)) if wide else figure.add_gridspec(1, 2, width_ratios=(1.75, 1))
    main = figure.add_subplot(grid[0])
    sides = [figure.add_subplot(part) for part in grid[1].subgridspec(*((1, 3) if wide else (3, 1)))]
    figure.get_layout_engine().set(h_pad=0.08)  # type: ignore[union-attr, call-arg]
    draw_plane(main, found, variable)
    _draw_shares(sides[0], found)
    _draw_values(sides[1], found, variable)
    _draw_distances(sides[2], found)
    titled(figure, found.grid, 130, found.note(variable))
    legend_below(figure, [main])
    return figure


def draw_plane(ax: Axes, found: PlaneInfo, variable: str, *, paths: bool = True) -> None:
    """The field below, and the `paths` on it from first state to last with numbers of epochs, or steps."""
    from matplotlib.patheffects import withStroke

    draw_field(ax, found.grid, panel_of(found.grid.fields, variable), contours=True)
    ax.set_ylabel(wrapped([found.grid.y_label], 32), parse_math=False)  # the axes are often wide and low
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    x, y = (np.concatenate([getattr(walk, name) for walk in found.walks]) for name in ("x", "y"))
    ax.set(xlim=(min(left, x.min()), max(right, x.max())), ylim=(min(low, y.min()), max(high, y.max())))
    if not paths:
        return
    for i, walk in enumerate(found.walks):
        draw_path(ax, walk, i, walk.label if len(found.walks) > 1 else "optimizer's path")
    first, last = (np.array([[walk.x[k], walk.y[k]] for walk in found.walks]).T for k in (0, -1))
    style: dict[str, Any] = {"linestyle": "", "markerfacecolor": "white", "markeredgecolor": "black", "zorder": 7}
    ax.plot(*first, "o", markersize=9, label="first state", **style)
    ax.plot(*last, "*", markersize=14, label="last state", **style)
    for at_x, at_y, across, up, text in numbers(found):
        ax.annotate(
            text, (at_x, at_y), (13 * across, 13 * up), textcoords="offset points", ha="center", va="center", fontsize="small", zorder=8,
            color="black",  # on its own white edge, whatever the ground
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip
    ax.plot([], [], linestyle="", marker="$1$", color=ink(), label="epoch" if found.by_epoch else "step")


def draw_path(ax: Axes, walk: Walk, i: int, label: str) -> Any:
    """The path of one training, with a white edge against the colours below."""
    from matplotlib.patheffects import Normal, withStroke

    (line,) = ax.plot(walk.x, walk.y, color=COLORS[i % len(COLORS)], linewidth=2.0, marker=MARKERS[i % len(MARKERS)], markersize=4.5,
                      markeredgecolor="white", markeredgewidth=0.6, zorder=5, label=legend_text(label))  # fmt: skip
    line.set_path_effects([withStroke(linewidth=3.6, foreground="white"), Normal()])
    return line


def _draw_shares(ax: Axes, found: PlaneInfo) -> None:
    """What the components explain, beside two random walks: a walk alone explains much."""
    styles: Any = ({"color": BLUE}, {"color": "white", "edgecolor": GREY, "hatch": "////"}, {"color": "#D0D0D0", "edgecolor": GREY})
    count = min(COMPONENTS, *(len(shares) for shares in found.shares.values()))
    width = 0.8 / len(found.shares)
    for i, (label, shares) in enumerate(found.shares.items()):
        places = np.arange(1, count + 1) + (i - (len(found.shares) - 1) / 2) * width
        ax.bar(places, shares[:count], width, label=f"the {label}" if i == 0 else label, **styles[min(i, 2)])
    ax.set_xticks(range(1, count + 1))
    _finish(ax, "principal component", "% of the variance")


def _draw_values(ax: Axes, found: PlaneInfo, variable: str) -> None:
    for i, walk in enumerate(found.walks):
        at = found.clock(walk)
        style: dict[str, Any] = {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)], "markersize": 3.5}
        own, below = (np.where(np.isfinite(values), values, np.nan) for values in (walk.own[variable], walk.below[variable]))
        ax.plot(at, own, label="at the states themselves" if i == 0 else "_", **style)
        style |= {"linestyle": (0, (4, 1.5)), "markerfacecolor": "white"}
        ax.plot(at, below, label="on the plane below them" if i == 0 else "_", **style)
        mark_at_edge(ax, at, walk.not_finite & np.isnan(own), color=ink(), height=0.95)
    every = np.concatenate([values[variable] for walk in found.walks for values in (walk.own, walk.below)])
    if variable == "loss" and scale_of(every).log:
        log_y(ax)
    _finish(ax, found.clock_label, panel_of(found.grid.fields, variable).label)


def _draw_distances(ax: Axes, found: PlaneInfo) -> None:
    for i, walk in enumerate(found.walks):
        ax.plot(found.clock(walk), walk.off_plane, color=COLORS[i % len(COLORS)], marker=MARKERS[i % len(MARKERS)], markersize=3.5)
    ax.set_ylim(bottom=0)
    _finish(ax, found.clock_label, "distance off the plane")


def _finish(ax: Axes, x_label: str, y_label: str) -> None:
    ax.set_xlabel(x_label, fontsize="small")
    ax.set_ylabel(y_label, fontsize="small", parse_math=False)
    ax.grid(color=GREY, alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize="small")
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize="x-small")
