"""The patterns of single parameters (thesis figures 6.20 to 6.25): each one found, with examples and its share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.curves import thin_lines
from thetascope.drawing.layouts import PictureInfo, framed, known_variable, new_axes
from thetascope.drawing.legends import clipped, legend_of_all, wrapped
from thetascope.drawing.style import GREY, html, quantities
from thetascope.errors import ResultError
from thetascope.experiments.compare_paths.model.picture import STYLES

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

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

    def final(self, variable: str) -> float:
        """What `variable` is at the final state, where α = 1 was scored and it is finite there; else 0."""
        there = self.values[variable]["linear"][:, self.alphas == 1.0].ravel()
        return float(next(iter(there[np.isfinite(there)]), 0.0))

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be said of the picture of the loss."""
        return (self.subtitle, f"examples: {self.named('loss')}")

    def named(self, variable: str) -> str:
        """What examples show: the change from the final state, which is small beside the value itself."""
        name, final = self.axis_labels[variable], self.final(variable)
        return f"change of {name} from the final state's {final:.4g}" if final else name


def info(data: xr.Dataset) -> PatternInfo:
    """Gather what the picture shows."""
    data, attrs = data.sortby("alpha"), data.attrs
    alphas, axis_labels = data["alpha"].values, quantities(data.attrs)
    return PatternInfo(
        title="Patterns of the linear and the quadratic path of single parameters",
        subtitle=f"{data.sizes['parameter']:,} parameters, α from {alphas.min():g} to {alphas.max():g}, "
        f"{attrs['samples_scored']:,} samples; dotted: first and last state",
        axis_labels=axis_labels,
        labels=tuple(map(str, data["parameter"].values)),
        patterns=tuple(map(str, data["pattern"].values)),
        midpoints=data["midpoint"].values,
        alphas=alphas,
        values={name: {kind: data[f"{kind}_{name}"].values for kind in STYLES} for name in axis_labels},
        shares=dict(attrs["pattern_shares"]),
    )


def draw_matplotlib(found: PatternInfo, ax: Axes | None = None, variable: str | None = None, parameter: str | None = None) -> Axes | Figure:
    """Draw the two curves of one `variable` (default: the loss): a row of examples for each pattern found, in a new figure; or
    those of one `parameter`, on `ax` or alone."""
    variable = known_variable(variable or "loss", found.values)
    if ax is not None or parameter is not None:
        return _one(found, ax, variable, parameter)
    shown, columns = _shown(found)
    figure, every = new_axes(max(4.8, 2.8 * columns), 1.0 + 1.75 * len(shown), rows=len(shown), columns=columns)
    for row, (name, examples) in enumerate(shown.items()):
        axes = every[row * columns : (row + 1) * columns]
        for axis, i in zip(axes, examples, strict=False):
            _draw(axis, found, i, variable, found.final(variable))
            axis.set_title(found.labels[i], fontsize="x-small")
            axis.tick_params(labelsize="xx-small")
            axis.ticklabel_format(axis="y", scilimits=(-3, 4))
            axis.yaxis.get_offset_text().set_fontsize("xx-small")
            axis.locator_params(axis="y", nbins=3)
            axis.locator_params(axis="x", nbins=4)
        for axis in axes[len(examples) :]:
            axis.set_axis_off()
        axes[0].set_ylabel(f"{name}\n{found.shares[name]:.1%}", fontsize="small")
    legend_of_all(figure, every[:1], ncols=2)
    every[-columns].set_xlabel("α of the parameter", fontsize="small")
    title = wrapped([found.title, found.named(variable), found.subtitle], 32 * max(columns, 2))
    figure.suptitle(title, fontsize="small", parse_math=False)
    return figure


def _one(found: PatternInfo, ax: Axes | None, variable: str, parameter: str | None) -> Axes | Figure:
    if parameter not in found.labels:
        raise ResultError(f'name one parameter of this result: parameter="…". There are: {", ".join(found.labels[:20])}')
    i = found.labels.index(parameter)
    figure, (axis,) = (ax, [ax]) if ax is not None else new_axes(5.4, 3.8)
    _draw(axis, found, i, variable, 0.0)
    axis.set_title(f"{parameter}: {found.patterns[i]}, midpoint {found.midpoints[i]:.3g}", fontsize="medium")
    axis.set_xlabel("α of the parameter")
    axis.set_ylabel(found.axis_labels[variable])
    axis.legend()
    return figure


def _draw(ax: Axes, found: PatternInfo, i: int, variable: str, final: float) -> None:
    for kind, (color, dashes, _) in STYLES.items():
        ax.plot(found.alphas, found.values[variable][kind][i] - final, color=color, linestyle=dashes, label=f"{kind} path")
    thin_lines(ax, (0.0, 1.0), 0.6)


def draw_plotly(found: PatternInfo, variable: str | None = None) -> PlotlyFigure:
    """The shares of the patterns as bars; beside each the two curves of its examples, of one `variable` (default: the loss)."""
    from plotly.graph_objects import Bar
    from plotly.subplots import make_subplots

    variable, (shown, columns) = known_variable(variable or "loss", found.values), _shown(found)
    rows = len(shown)
    titles = [title for examples in shown.values() for title in ([found.labels[i] for i in examples] + [""] * columns)[:columns]]
    figure = make_subplots(
        rows=rows,
        cols=1 + columns,
        specs=[[{"rowspan": rows} if row == 0 else None, *({} for _ in range(columns))] for row in range(rows)],
        column_widths=[0.18, *[0.82 / columns] * columns],
        horizontal_spacing=0.06,
        vertical_spacing=0.26 / rows,
        subplot_titles=["", *(html(clipped(title, 28)) for title in titles)],
    )
    figure.update_annotations(font_size=12)
    for title, name in zip(figure.layout.annotations, (name for name, examples in shown.items() for _ in examples), strict=True):
        title.name = name  # where panels stand below one another, nothing else says whose example it is
    shares = [found.shares[name] for name in shown]
    texts = {"text": [f"{share:.1%}" for share in shares], "textposition": "auto", "textangle": 0, "constraintext": "none"}
    style: dict[str, Any] = {"orientation": "h", "marker": {"color": GREY}, "width": 0.5, "showlegend": False}
    figure.add_trace(Bar(x=shares, y=list(shown), hovertemplate="%{y}: %{x:.1%}<extra></extra>", **texts, **style), row=1, col=1)
    figure.update_xaxes(title_text="share", tickformat=".0%", nticks=4, row=1, col=1)
    figure.update_yaxes(range=[rows - 0.5, -0.5], row=1, col=1)
    for row, examples in enumerate(shown.values(), 1):
        for column, i in enumerate(examples, 2):
            for curve in _curves(found, i, variable, named=(row, column) == (1, 2)):
                figure.add_trace(curve, row=row, col=column)
            figure.update_yaxes(nticks=4, exponentformat="e", row=row, col=column)
            for end in (0.0, 1.0):
                figure.add_vline(end, line={"color": GREY, "width": 0.8, "dash": "dot"}, row=row, col=column)
    figure.update_xaxes(title_text="α of the parameter", row=rows, col=2)
    legend = {"orientation": "h", "x": 0.0, "xanchor": "left", "y": 0.0, "yref": "container", "yanchor": "bottom"}
    above = PictureInfo(found.title, (found.named(variable), found.subtitle))
    return framed(figure, above, margin={"t": 136}, height=226 + 170 * rows, legend=legend, meta={"panels": "grid"})


def _curves(found: PatternInfo, i: int, variable: str, *, named: bool) -> list[Any]:
    """The two curves of a parameter as changes from the final state; in the legend where they are `named`."""
    from plotly.graph_objects import Scatter

    curves, final = [], found.final(variable)
    text = f"{html(found.labels[i])}<br>α %{{x:.3f}}: %{{y:.4g}} (%{{customdata:.7g}})<extra></extra>"
    for kind, (color, _, dash) in STYLES.items():
        values, line = found.values[variable][kind][i], {"color": color, "dash": dash}
        curve = Scatter(x=found.alphas, y=values - final, mode="lines", line=line, name=f"{kind} path")
        curves.append(curve.update(legendgroup=kind, showlegend=named, customdata=values, hovertemplate=text))
    return curves


def _shown(found: PatternInfo) -> tuple[dict[str, list[int]], int]:
    """The patterns that there are with the examples of each, and how many stand in a row."""
    shown = {name: found.examples(name)[:EXAMPLES] for name, share in found.shares.items() if share > 0}
    return shown, max(map(len, shown.values()))
