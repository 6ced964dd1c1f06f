"""Panels of a parameter atlas: impact against distance, the ranking, the parameters on top, the patterns, single curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thetascope.drawing.legends import wrapped
from thetascope.drawing.scales import text_of
from thetascope.drawing.spec import CYCLE, INK, Bars, Edge, Form, Line, Mark, Panel, Rule, ends_of, style_of
from thetascope.drawing.style import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, YELLOW, Ints, html
from thetascope.errors import ResultError
from thetascope.experiments.parameter_atlas.images import MOST
from thetascope.experiments.parameter_atlas.picture_info import AtlasInfo, AtlasLayer, correlation, members_of
from thetascope.results.status import ESTIMATED, MISSING

NAMED = len(CYCLE) - 1  # its black would not show on a dark ground
"""So many layers have colours of their own, those with the largest impacts."""
MARKERS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")
LIGHT = "#B3B3B3"
LARGE = 0.06
"""A share of this or more is written into its bar."""
PATTERN_STYLES: dict[str, dict[str, Any]] = {
    "descending–convex": {"color": BLUE},
    "ascending–concave": {"color": ORANGE, "hatch": "////"},
    "flat": {"color": SKY},
    "bump": {"color": VERMILION, "hatch": "...."},
    "wave": {"color": YELLOW, "hatch": "xxxx"},
    "other": {"color": "#4D4D4D"},
    "unresolved": {"color": "#D9D9D9"},
    "not finite": {"color": "white", "hatch": "xxxxx"},
}
"""Told apart by colour-blind readers, and in grey with the hatches."""
SPARE_STYLES = ({"color": GREEN}, {"color": PURPLE, "hatch": "\\\\\\\\"}, {"color": LIGHT, "hatch": "oo"})


def colors_of(found: AtlasInfo) -> dict[str, str]:
    """The colour of each tensor: its layer's own for layers with the largest impacts, light grey for the rest."""
    impacts = {layer.name: found.impact[layer.members] for layer in found.layers}
    tops = {name: float(impact.max(initial=-1.0, where=impact >= 0)) for name, impact in impacts.items()}
    named = sorted(tops, key=lambda name: -tops[name])[:NAMED]
    own = dict(zip([layer.name for layer in found.layers if layer.name in named], CYCLE, strict=False))
    return {tensor: own.get(layer.name, LIGHT) for layer in found.layers for tensor in layer.tensors}


def marker_of(color: str) -> str:
    """Of the layers with that colour."""
    return MARKERS[CYCLE.index(color)] if color in CYCLE else "circle"


def _short(value: float) -> str:
    return text_of(float(f"{value:.3g}"))


def correlation_text(found: AtlasInfo, members: Ints) -> str:
    """Spearman's rank correlation of impact and distance in words."""
    rho = correlation(found.impact[members], found.distance[members])
    return f"ρ {rho:.2f}".replace("-", "−") if np.isfinite(rho) else "ρ unknown"


def scatter_panel(found: AtlasInfo, layers: Sequence[AtlasLayer], form: Form) -> Panel:
    """Impact against distance; large layers first and faint, so that small ones lie on top of them."""
    colors, members = colors_of(found), members_of(layers)
    drawn = members[(found.impact[members] > 0) & np.isfinite(found.distance[members]) & (found.distance[members] > 0)]
    said = f"Spearman's {correlation_text(found, members)}{left_out(found, members)}"
    if len(drawn) > MOST and form == "page":
        top = found.ranked(drawn)[: MOST // 10]
        rest = np.random.default_rng(0).choice(np.setdiff1d(drawn, top), MOST - len(top), replace=False)
        drawn, said = np.sort(np.concatenate([top, rest])), f"{said}; {MOST:,} of {len(found.labels):,} points shown"
    called = {layer.name: f"{found.short_names[layer.name]}: {correlation_text(found, layer.members)}" for layer in layers}
    marks = _named(found, layers, called)
    for layer in sorted(layers, key=lambda layer: -len(layer.members)):
        count = int(np.isin(layer.members, drawn).sum())
        for tensor in layer.tensors:
            (shape, start), color = found.tensors[tensor], colors[tensor]
            own = drawn[(drawn >= start) & (drawn < start + int(np.prod(shape)))]
            hover = _indices(tensor, shape, own - start) if form == "page" else {}
            x, y = (values[own].astype(np.float32) for values in (found.distance, found.impact))
            style: dict[str, Any] = {"size": float(np.clip(30 / max(count, 1) ** 0.4, 1.3, 4.5)), "level": 1 if color == LIGHT else 2}
            style["opacity"] = float(np.clip(60 / max(count, 1) ** 0.5, 0.2, 0.9))
            name = "other layers" if color == LIGHT else called[layer.name]
            marks.append(Line(x=x, y=y, label=name, color=color, dash="", marker=marker_of(color), listed=False, **style, **hover))
    return _log_log(found, marks, said, "distance travelled, |θ final − θ initial|", some=len(drawn) > 0)


def _named(found: AtlasInfo, layers: Sequence[AtlasLayer], called: dict[str, str]) -> list[Mark]:
    """What the legend says of the layers: those without a colour of their own come last, once."""
    colors = colors_of(found)
    entries = {called[layer.name]: colors[layer.tensors[0]] for layer in layers if colors[layer.tensors[0]] != LIGHT}
    if any(colors[layer.tensors[0]] == LIGHT for layer in layers):
        entries["other layers"] = LIGHT
    return [Line(x=[], y=[], dash="", marker=marker_of(color), label=name, color=color, size=5) for name, color in entries.items()]


def _indices(tensor: str, shape: tuple[int, ...], own: Ints) -> dict[str, Any]:
    """What hovering tells: the label made of the tensor's name and the indices, as small numbers."""
    told = "<br>impact %{y:.3~g}<br>distance %{x:.3~g}"
    if not shape:
        return {"hover": f"{html(tensor)}{told}"}
    small: Any = np.uint16 if max(shape) < 2**16 else np.uint32
    indices: NDArray[Any] = np.stack(np.unravel_index(own, shape), axis=1).astype(small)
    label = ",".join(f"%{{customdata[{k}]}}" for k in range(len(shape)))
    return {"data": indices, "hover": f"{html(tensor)}[{label}]{told}"}


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


def ranking_panel(found: AtlasInfo, layers: Sequence[AtlasLayer], *, named: bool = True) -> Panel:
    """The impacts of each layer from the largest down, and of all parameters; layers `named` for a legend."""
    colors, members = colors_of(found), members_of(layers)
    marks = _named(found, layers, found.short_names) if named else []
    if len(layers) > 1:
        marks += _ranks(found, members, color=INK, width=1.2, dash="dot", label="all parameters", level=3)
    for layer in layers:
        color, name = colors[layer.tensors[0]], found.short_names[layer.name]
        style: dict[str, Any] = {"marker": marker_of(color), "size": 4.5, "level": 1 if color == LIGHT else 2, "listed": False}
        marks += _ranks(found, layer.members, color=color, about=name, **style)
    zero = int((found.impact[members] == 0).sum())
    said = f"impact by rank{f'; {zero:,} of impact 0 are not drawn' if zero else ''}"
    return _log_log(found, marks, said, "rank, the largest impact first", some=bool((found.impact[members] > 0).any()))


def _log_log(found: AtlasInfo, marks: list[Mark], said: str, x_label: str, *, some: bool) -> Panel:
    """Logarithmic axes of the impact and something else; where there is nothing for them, a word on it."""
    none: Any = None if some else ([], [])
    labels: dict[str, Any] = {"x_label": x_label, "y_label": found.impact_label, "title": said if some else f"{said}; nothing above 0"}
    return Panel(marks=marks, **labels, x_log=some, y_log=some, x_ticks=none, y_ticks=none, grid=True, crowded=True)


def _ranks(found: AtlasInfo, members: Ints, **style: Any) -> list[Mark]:
    """Some hundred vertices of the curve, close where it bends: a vector file of it stays small."""
    impact = found.impact[found.ranked(members)]
    impact = impact[impact > 0]
    if not len(impact):
        return []
    at = np.unique(np.geomspace(1, len(impact), 400).round().astype(int))
    marked = np.unique(np.searchsorted(at, np.geomspace(1, len(impact), 7)).clip(0, len(at) - 1))
    return [Line(x=at, y=impact[at - 1], marked=marked.tolist(), **style)]


def top_panel(found: AtlasInfo, layers: Sequence[AtlasLayer], top: int) -> Panel:
    """The parameters with the largest impacts, by name."""
    chosen, colors = found.ranked(members_of(layers))[:top], colors_of(found)
    chosen = chosen[found.impact[chosen] > 0]
    impact, names = found.impact[chosen], [found.short_label(int(i)) for i in chosen]
    fills, texts = [colors[found.tensor_of(int(i))] for i in chosen], [_short(value) for value in impact.tolist()]
    hover = "%{y}<br>%{x:.4g}"
    bars = Bars(at=np.arange(len(chosen)), lengths=impact, width=0.62, across=True, colors=fills, texts=texts, hover=hover)
    said = "the largest impact" if len(chosen) == 1 else f"the {len(chosen):,} largest impacts"
    return Panel(
        marks=[bars],
        title=said if len(chosen) else "no impact above 0",
        x_label=found.impact_label,
        x_range=(0, 1.18 * float(impact.max(initial=0.0)) or 1.0),
        y_range=(max(len(chosen), 1) - 0.4, -0.6),
        y_ticks=(list(range(len(chosen))), names),
    )


def patterns_panel(found: AtlasInfo, layers: Sequence[AtlasLayer]) -> Panel:
    """Shares of the patterns of the linear and the quadratic path, of all parameters and of each layer.

    Raises:
        ResultError: no parameter has a pattern.
    """
    if not found.has_patterns:
        raise ResultError("this result tells no patterns: they need a state in the middle of the training and the quadratic path")
    rows, shares = found.pattern_rows(layers)
    base, marks, at = np.zeros(len(rows)), list[Mark](), np.arange(len(rows))
    for name, style in pattern_styles(found).items():
        widths = np.array([100 * of_row.get(name, 0.0) for of_row in shares])
        texts = [f"{width:.0f}" if width >= 100 * LARGE else "" for width in widths.tolist()]
        said: dict[str, Any] = {"label": name, "hover": f"{html(name)}: %{{x:.3~g}} %", "told": rows, "texts": texts, "inside": True}
        if widths.any():
            marks.append(Bars(at=at, lengths=widths, base=base.copy(), across=True, edge=INK, data=widths, **said, **style))
        base += widths
    called = [row if known else f"{row}: none known" for row, known in zip(rows, base > 0, strict=True)]
    ends: dict[str, Any] = {"x_range": (0, 100), "y_range": (len(rows) - 0.5, -0.5), "y_ticks": (at.tolist(), called)}
    x_label = "% of the parameters"
    if np.isfinite(found.widest) and (len(rows) > 1 or len(found.layers) == 1):
        x_label += f" (of all: ± {100 * found.widest:.2g} at most, bootstrap, 95 %)"
    return Panel(marks=marks, title="patterns of the two paths", x_label=x_label, crowded=True, **ends)


def pattern_styles(found: AtlasInfo) -> dict[str, dict[str, Any]]:
    """How each pattern's bars are filled, in the order of the patterns."""
    spare = iter(SPARE_STYLES * len(found.pattern_names))
    return {name: PATTERN_STYLES[name] if name in PATTERN_STYLES else next(spare) for name in found.pattern_names}


def curves_panel(found: AtlasInfo, chosen: Sequence[int]) -> Panel:
    """The change of the loss along the paths of some parameters; points that are not finite are marked at the upper edge."""
    marks: list[Mark] = [Rule(at=0.0, upright=False, dash="solid")]
    for place, i in enumerate(chosen):
        curve, scored = np.asarray(found.curves[i], np.float64), found.status[i] != MISSING
        label, shown = found.short_label(i), np.where(scored & np.isfinite(curve), curve, np.nan)
        marks.append(Line(x=found.alphas, y=shown, label=label, about=label, **style_of(place)))
        marks.append(Edge(at=found.alphas[scored & ~np.isfinite(curve)], marker="x-thin"))
    return Panel(
        marks=[*marks, *ends_of(found.alphas)],
        title="the parameters with the largest impacts" if chosen else "no parameter has an impact",
        x_label="α of the parameter (0: its first value, 1: its last)",
        y_label=f"change of {found.loss_label}",
        hover="α = %{x:.3f}<br>%{y:.5g}",
        grid=True,
    )


def known_of(found: AtlasInfo, i: int) -> str:
    """One parameter, with what is known of it."""
    told = [f"distance {_short(found.distance[i])}"]
    told.insert(0, f"impact {_short(found.impact[i])}" if np.isfinite(found.impact[i]) else "impact unknown")
    if found.patterns[i]:
        told.append(str(found.patterns[i]))
    if np.isfinite(found.midpoint[i]):
        told.append(f"middle state at {found.midpoint[i]:.3g} of its way")
    if (found.status[i] == ESTIMATED).any():
        told.append("values read from a table")
    return f"{found.labels[i]}\n{wrapped(['; '.join(told)], 72)}"
