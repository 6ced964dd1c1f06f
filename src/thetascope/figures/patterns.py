"""The patterns of single parameters (thesis figures 6.20 to 6.25): each one found, with examples and its share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from thetascope.errors import ResultError
from thetascope.figures.comparison import STYLES
from thetascope.figures.legends import heading, wrapped
from thetascope.figures.style import GREY, html, quantity_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

    from thetascope.results import Result

Floats = NDArray[np.float64]
EXAMPLES = 3
"""How many examples of each pattern are shown: those whose loss varies most."""


@dataclass(frozen=True)
class PatternInfo:
    """Both curves ``[E, A]`` of each parameter, of each variable, and its pattern."""

    title: str
    subtitle: str
    axis_labels: dict[str, str]
    labels: tuple[str, ...]
    patterns: tuple[str, ...]
    midpoints: Floats
    alphas: Floats
    values: dict[str, dict[str, Floats]]
    shares: dict[str, float]

    def examples(self, pattern: str) -> list[int]:
        """The parameters of a pattern, the most varying first."""
        mine = [i for i, found in enumerate(self.patterns) if found == pattern]
        return sorted(mine, key=lambda i: -float(np.ptp(self.values["loss"]["linear"][i])))


def info(result: Result) -> PatternInfo:
    """Gather what the figure shows."""
    data, attrs = result.data, result.data.attrs
    order = np.argsort(data["alpha"].values)
    names = [name for name in attrs["scored"] if name != "loss_standard_error"]
    return PatternInfo(
        title="Patterns of the linear and the quadratic path of single parameters",
        subtitle=f"{data.sizes['parameter']:,} parameters, α from {data['alpha'].values.min():g} to {data['alpha'].values.max():g}, "
        f"{attrs['samples_scored']:,} samples; dotted: first and last state",
        axis_labels={name: quantity_label(name, attrs["loss_name"]) for name in names},
        labels=tuple(map(str, data["parameter"].values)),
        patterns=tuple(map(str, data["pattern"].values)),
        midpoints=data["midpoint"].values,
        alphas=data["alpha"].values[order],
        values={name: {kind: data[f"{kind}_{name}"].values[:, order] for kind in STYLES} for name in names},
        shares=dict(attrs["pattern_shares"]),
    )


def draw_matplotlib(found: PatternInfo, ax: Axes | None = None, variable: str | None = None, parameter: str | None = None) -> Axes | Figure:
    """Draw the two curves of one `variable` (default: the loss): a row of examples for each pattern found, in a new figure; or
    those of one `parameter`, on `ax` or alone.

    Raises:
        ResultError: there is no such variable or parameter.
    """
    variable = variable or "loss"
    if variable not in found.values:
        raise ResultError(f'there is no variable "{variable}"; there are: {", ".join(found.values)}')
    if ax is not None or parameter is not None:
        return _one(found, ax, variable, parameter)
    from thetascope.figures.picture import Picture

    rows = [name for name, share in found.shares.items() if share > 0]
    shown = {name: found.examples(name)[:EXAMPLES] for name in rows}
    columns = max(map(len, shown.values()))
    figure = Picture(figsize=(max(4.8, 2.8 * columns), 1.0 + 1.75 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (name, examples) in zip(grid, shown.items(), strict=True):
        for axis, i in zip(axes, examples, strict=False):
            _draw(axis, found, i, variable)
            axis.set_title(found.labels[i], fontsize="x-small")
            axis.tick_params(labelsize="xx-small")
            axis.ticklabel_format(axis="y", useOffset=True)
            axis.yaxis.get_offset_text().set_fontsize("xx-small")
            axis.locator_params(axis="y", nbins=3)
            axis.locator_params(axis="x", nbins=4)
        for axis in axes[len(examples) :]:
            axis.set_axis_off()
        axes[0].set_ylabel(f"{name}\n{found.shares[name]:.1%}", fontsize="small")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize="small")
    grid[-1][0].set_xlabel("α of the parameter", fontsize="small")
    title = wrapped([f"{found.title}: {found.axis_labels[variable]}"], 24 * max(columns, 2))
    figure.suptitle(f"{title}\n{wrapped([found.subtitle], 24 * max(columns, 2))}", fontsize="small", parse_math=False)
    return figure


def _one(found: PatternInfo, ax: Axes | None, variable: str, parameter: str | None) -> Axes | Figure:
    if parameter not in found.labels:
        raise ResultError(f'name one parameter of this result: parameter="…". There are: {", ".join(found.labels[:20])}')
    i = found.labels.index(parameter)
    figure: Figure | None = None
    if ax is None:
        from thetascope.figures.picture import Picture

        figure = Picture(figsize=(5.4, 3.8), layout="constrained")
        ax = figure.subplots()
    _draw(ax, found, i, variable)
    ax.set_title(f"{parameter}: {found.patterns[i]}, midpoint {found.midpoints[i]:.3g}", fontsize="medium")
    ax.set_xlabel("α of the parameter")
    ax.set_ylabel(found.axis_labels[variable])
    ax.legend()
    return ax if figure is None else figure


def _draw(ax: Axes, found: PatternInfo, i: int, variable: str) -> None:
    for kind, (color, dashes) in STYLES.items():
        ax.plot(found.alphas, found.values[variable][kind][i], color=color, linestyle=dashes, label=f"{kind} path")
    for end in (0.0, 1.0):
        ax.axvline(end, color=GREY, linewidth=0.6, linestyle=(0, (1, 3)), zorder=0)


def draw_plotly(found: PatternInfo) -> PlotlyFigure:
    """The shares as bars; the parameters of each pattern on hovering."""
    from plotly.graph_objects import Bar, Figure

    rows = [name for name, share in found.shares.items() if share > 0]
    examples = [", ".join(found.labels[i] for i in found.examples(name)[:EXAMPLES]) for name in rows]
    bars = Bar(
        x=[found.shares[name] for name in rows],
        y=rows,
        orientation="h",
        text=[f"{found.shares[name]:.1%}" for name in rows],
        customdata=[html(text) for text in examples],
        hovertemplate="%{y}: %{x:.1%}<br>such as %{customdata}<extra></extra>",
        marker={"color": STYLES["quadratic"][0]},
    )
    figure = Figure(bars)
    figure.update_xaxes(title_text="share of the parameters", tickformat=".0%")
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(title={"text": heading(found.title, [found.subtitle])}, template="plotly_white", height=420)
    return figure
