"""Panels of a parameter atlas: impact against distance, the ranking, the parameters on top, the patterns, single curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from thetascope.drawing.curves import CYCLE, mark_at_edge, mark_ends, style_of
from thetascope.drawing.legends import legend_text, wrapped
from thetascope.drawing.scales import text_of
from thetascope.drawing.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, YELLOW, Ints, ink
from thetascope.errors import ResultError
from thetascope.experiments.parameter_atlas.picture_info import AtlasInfo, AtlasLayer, correlation, members_of
from thetascope.results.status import ESTIMATED, MISSING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = len(CYCLE) - 1  # its black would not show on a dark ground
"""So many layers have colours of their own, those with the largest impacts."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LIGHT = "#B3B3B3"
LARGE = 0.06
"""A share of this or more is written into its bar."""
PATTERN_STYLES: dict[str, dict[str, Any]] = {
    "descending–convex": {"facecolor": BLUE},
    "ascending–concave": {"facecolor": ORANGE, "hatch": "////"},
    "flat": {"facecolor": SKY},
    "bump": {"facecolor": VERMILION, "hatch": "...."},
    "wave": {"facecolor": YELLOW, "hatch": "xxxx"},
    "other": {"facecolor": "#4D4D4D"},
    "unresolved": {"facecolor": "#D9D9D9"},
    "not finite": {"facecolor": "white", "hatch": "xxxxx"},
}
"""Told apart by colour-blind readers, and in grey with the hatches."""
SPARE_STYLES = ({"facecolor": GREEN}, {"facecolor": PURPLE, "hatch": "\\\\\\\\"}, {"facecolor": LIGHT, "hatch": "oo"})


def colors_of(found: AtlasInfo) -> dict[str, str]:
    """The colour of each tensor: its layer's own for layers with the largest impacts, light grey for the rest."""
    impacts = {layer.name: found.impact[layer.members] for layer in found.layers}
    tops = {name: float(impact.max(initial=-1.0, where=impact >= 0)) for name, impact in impacts.items()}
    named = sorted(tops, key=lambda name: -tops[name])[:NAMED]
    own = dict(zip([layer.name for layer in found.layers if layer.name in named], CYCLE, strict=False))
    return {tensor: own.get(layer.name, LIGHT) for layer in found.layers for tensor in layer.tensors}


def marker_of(color: str) -> str:
    """Of the layers with that colour."""
    return MARKERS[CYCLE.index(color)] if color in CYCLE else "."


def _short(value: float) -> str:
    return text_of(float(f"{value:.3g}"))


def correlation_text(found: AtlasInfo, members: Ints) -> str:
    """Spearman's rank correlation of impact and distance in words."""
    rho = correlation(found.impact[members], found.distance[members])
    return f"ρ {rho:.2f}".replace("-", "−") if np.isfinite(rho) else "ρ unknown"


def draw_scatter(ax: Axes, found: AtlasInfo, layers: Sequence[AtlasLayer]) -> None:
    """Impact against distance; large layers first and faint, so that small ones lie on top of them."""
    colors, members = colors_of(found), members_of(layers)
    for layer in sorted(layers, key=lambda layer: -len(layer.members)):
        own = layer.members[(found.impact[layer.members] > 0) & np.isfinite(found.distance[layer.members])]
        own, color = own[found.distance[own] > 0], colors[layer.tensors[0]]
        size, alpha = np.clip(900 / max(len(own), 1), 1.2, 20), np.clip(60 / max(len(own), 1) ** 0.5, 0.15, 0.9)
        ax.scatter(
            found.distance[own], found.impact[own], s=size, color=color, marker=marker_of(color), alpha=alpha, linewidths=0,
            rasterized=True, zorder=1 if color == LIGHT else 2,
        )  # fmt: skip
    _name_layers(ax, found, layers, [f": {correlation_text(found, layer.members)}" for layer in layers])
    _log_log(ax, found, ((found.impact[members] > 0) & (found.distance[members] > 0)).any(), "distance travelled, |θ final − θ initial|")
    _finish(ax, f"Spearman's {correlation_text(found, members)}{left_out(found, members)}")


def _name_layers(ax: Axes, found: AtlasInfo, layers: Sequence[AtlasLayer], remarks: Sequence[str]) -> None:
    """What the legend says of the layers: those without a colour of their own come last, once."""
    names, colors = [found.short_names[layer.name] for layer in layers], colors_of(found)
    of_layer = [colors[layer.tensors[0]] for layer in layers]
    entries = [(color, f"{name}{remark}") for color, name, remark in zip(of_layer, names, remarks, strict=True) if color != LIGHT]
    if LIGHT in of_layer:
        entries.append((LIGHT, "other layers"))
    for color, label in entries:
        ax.plot([], [], linestyle="", marker=marker_of(color), color=color, label=legend_text(label))


def left_out(found: AtlasInfo, members: Ints) -> str:
    """How many parameters a logarithmic scatter does not show, and why."""
    impact, distance = found.impact[members], found.distance[members]
    bad = ~np.isfinite(impact) | ~np.isfinite(distance)
    still = (distance == 0) & ~bad
    zero = (impact == 0) & ~bad & ~still
    told = [
        f"{which.sum():,} {what}" for which, what in ((still, "unmoved"), (zero, "of impact 0"), (bad, "without a value")) if which.any()
    ]
    return f"; not drawn: {', '.join(told)}" if told else ""


def draw_ranking(ax: Axes, found: AtlasInfo, layers: Sequence[AtlasLayer], *, named: bool = True) -> None:
    """The impacts of each layer from the largest down, and of all parameters; layers `named` for a legend."""
    colors, members = colors_of(found), members_of(layers)
    if len(layers) > 1:
        _draw_ranks(ax, found, members, color=ink(), linewidth=1.2, linestyle=(0, (1, 1)), label="all parameters", zorder=3)
    for layer in layers:
        color = colors[layer.tensors[0]]
        style: dict[str, Any] = {"marker": marker_of(color), "markersize": 4.5, "linewidth": 1.5, "zorder": 1 if color == LIGHT else 2}
        _draw_ranks(ax, found, layer.members, color=color, **style)
    if named:
        _name_layers(ax, found, layers, [""] * len(layers))
    _log_log(ax, found, (found.impact[members] > 0).any(), "rank, the largest impact first")
    zero = int((found.impact[members] == 0).sum())
    _finish(ax, f"impact by rank{f'; {zero:,} of impact 0 are not drawn' if zero else ''}")


def _log_log(ax: Axes, found: AtlasInfo, any_drawn: np.bool_, x_label: str) -> None:
    """Logarithmic axes of the impact and something else; where there is nothing for them, a word on it."""
    ax.set_xlabel(x_label)
    ax.set_ylabel(found.impact_label, parse_math=False)
    if any_drawn:
        ax.set(xscale="log", yscale="log")
    else:
        ax.set(xticks=[], yticks=[])
        ax.text(0.5, 0.5, "nothing above 0", transform=ax.transAxes, ha="center", va="center")


def _draw_ranks(ax: Axes, found: AtlasInfo, members: Ints, **style: Any) -> None:
    """Some hundred vertices of the curve, close where it bends: a vector file of it stays small."""
    impact = found.impact[found.ranked(members)]
    impact = impact[impact > 0]
    if len(impact):
        at = np.unique(np.geomspace(1, len(impact), 400).round().astype(int))
        marked = np.unique(np.searchsorted(at, np.geomspace(1, len(impact), 7)).clip(0, len(at) - 1))
        ax.plot(at, impact[at - 1], markevery=marked.tolist(), **style)


def draw_top(ax: Axes, found: AtlasInfo, layers: Sequence[AtlasLayer], top: int) -> None:
    """The parameters with the largest impacts, by name."""
    chosen, colors = found.ranked(members_of(layers))[:top], colors_of(found)
    chosen = chosen[found.impact[chosen] > 0]
    impact = found.impact[chosen]
    ax.barh(np.arange(len(chosen)), impact, height=0.62, color=[colors[found.tensor_of(int(i))] for i in chosen])
    for place, value in enumerate(impact.tolist()):
        ax.annotate(_short(value), (value, place), (3, 0), textcoords="offset points", va="center", fontsize="x-small")
    names = [found.short_label(int(i)) for i in chosen]
    ax.set_yticks(range(len(chosen)), names, fontsize="small", parse_math=False)
    ax.set(ylim=(max(len(chosen), 1) - 0.4, -0.6), xlim=(0, 1.18 * impact.max(initial=0.0) or 1.0))
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(found.impact_label, parse_math=False)
    said = "the largest impact" if len(chosen) == 1 else f"the {len(chosen):,} largest impacts"
    _finish(ax, said if len(chosen) else "no impact above 0", grid="x")


def draw_patterns(ax: Axes, found: AtlasInfo, layers: Sequence[AtlasLayer]) -> None:
    """Shares of the patterns of the linear and the quadratic path, of all parameters and of each layer.

    Raises:
        ResultError: no parameter has a pattern.
    """
    if not found.has_patterns:
        raise ResultError("this result tells no patterns: they need a state in the middle of the training and the quadratic path")
    rows, shares = found.pattern_rows(layers)
    left = np.zeros(len(rows))
    for name, style in pattern_styles(found).items():
        widths = np.array([100 * of_row.get(name, 0.0) for of_row in shares])
        if widths.any():
            ax.barh(range(len(rows)), widths, left=left, height=0.68, edgecolor=ink(), linewidth=0.5, label=legend_text(name), **style)
        for row in np.flatnonzero(widths >= 100 * LARGE).tolist():
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
            ax.text(left[row] + widths[row] / 2, row, f"{widths[row]:.0f}", ha="center", va="center", fontsize="x-small", bbox=box)
        left += widths
    for row in np.flatnonzero(left == 0).tolist():
        ax.text(1, row, "none known", va="center", fontsize="x-small")
    ax.set_yticks(range(len(rows)), rows, fontsize="small", parse_math=False)
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlim=(0, 100), xlabel="% of the parameters")
    ax.tick_params(axis="y", length=0)
    _finish(ax, "patterns of the two paths", grid=None)


def pattern_styles(found: AtlasInfo) -> dict[str, dict[str, Any]]:
    """How each pattern's bars are filled, in the order of the patterns."""
    spare = iter(SPARE_STYLES * len(found.pattern_names))
    return {name: PATTERN_STYLES[name] if name in PATTERN_STYLES else next(spare) for name in found.pattern_names}


def draw_curves(ax: Axes, found: AtlasInfo, chosen: Sequence[int]) -> None:
    """The change of the loss along the paths of some parameters; points that are not finite are marked at the upper edge."""
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    for place, i in enumerate(chosen):
        curve = np.asarray(found.curves[i], np.float64)
        scored = found.status[i] != MISSING
        label = legend_text(found.short_label(i))
        ax.plot(found.alphas, np.where(scored & np.isfinite(curve), curve, np.nan), label=label, **style_of(place))
        mark_at_edge(ax, found.alphas, scored & ~np.isfinite(curve))
    mark_ends(ax, found.alphas)
    ax.set_xlabel("α of the parameter (0: its first value, 1: its last)")
    ax.set_ylabel(f"change of {found.loss_label}", parse_math=False)
    _finish(ax)


def draw_parameter(ax: Axes, found: AtlasInfo, i: int) -> None:
    """One parameter's curve, with what is known of it."""
    draw_curves(ax, found, [i])
    told = [f"distance {_short(found.distance[i])}"]
    told.insert(0, f"impact {_short(found.impact[i])}" if np.isfinite(found.impact[i]) else "impact unknown")
    if found.patterns[i]:
        told.append(str(found.patterns[i]))
    if np.isfinite(found.midpoint[i]):
        told.append(f"middle state at {found.midpoint[i]:.3g} of its way")
    if (found.status[i] == ESTIMATED).any():
        told.append("values read from a table")
    ax.set_title(f"{found.labels[i]}\n{wrapped(['; '.join(told)], 72)}", fontsize="medium", parse_math=False)


def _finish(ax: Axes, title: str = "", grid: Literal["both", "x"] | None = "both") -> None:
    if title:
        ax.set_title(title, fontsize="small", loc="left")
    if grid:
        ax.grid(axis=grid, color=GREY, alpha=0.25, linewidth=0.6)
        ax.set_axisbelow(True)
    ax.tick_params(labelsize="small")
    ax.xaxis.label.set_fontsize("small")
    ax.yaxis.label.set_fontsize("small")
    ax.spines[["top", "right"]].set_visible(False)
