"""Small charts as SVG, drawn in milliseconds: a page that is written anew again and again can wait for no larger library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from thetascope.arrays import Floats

WIDTH, HEIGHT = 420, 220
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 12, 34
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7a7a7a", "#8b5a2b")
"""Okabe and Ito's, which colour-blind people tell apart."""


def number(value: float) -> str:
    """Three digits, with a true minus."""
    if not math.isfinite(value):
        return "not finite"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", "−")


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two."""
    if not high > low:
        return [low]
    size = 10 ** math.floor(math.log10((high - low) / most))
    size = next(size * k for k in (1, 2, 5, 10) if (high - low) / (size * k) <= most)
    return [float(f"{k * size:.12g}") for k in range(math.ceil(low / size), math.floor(high / size + 1e-9) + 1)]


class _Axes:
    """Where values lie on the paper."""

    def __init__(self, xs: Floats, ys: Floats, *, log: bool = False) -> None:
        self.log = log
        self.x = _ends(xs)
        self.y = _ends(np.log10(ys[ys > 0]) if log else ys)

    def at(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        with np.errstate(divide="ignore", invalid="ignore"):
            heights = np.log10(y) if self.log else y
        across = LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT)
        up = HEIGHT - BOTTOM - (heights - self.y[0]) / (self.y[1] - self.y[0]) * (HEIGHT - TOP - BOTTOM)
        return across, up

    def drawn(self, x_label: str) -> str:
        parts = [f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>']
        for value in ticks(*self.x):
            across, _ = self.at(np.array([value]), np.array([1.0]))
            parts.append(f'<text x="{across[0]:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{number(value)}</text>')
        marks = _round_powers(*self.y) if self.log else ticks(*self.y)
        for value in marks:
            _, up = self.at(np.array([0.0]), np.array([value]))
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up[0]:.1f}" y2="{up[0]:.1f}"/>')
            parts.append(f'<text x="{LEFT - 5}" y="{up[0] + 3.5:.1f}" text-anchor="end">{number(value)}</text>')
        return "".join(parts)


def _ends(values: Floats) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    room = 0.06 * (high - low) or 0.5 * abs(high) or 0.5
    return low - room, high + room


def _round_powers(low: float, high: float) -> list[float]:
    """Numbers such as 0.2, 0.5, 1 between two powers of ten; whole powers where there are many."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    wanted = (1,) if high - low > 3 else (1, 2, 5)
    found = [float(f"{k}e{power}") for power in decades for k in wanted if low <= math.log10(k * 10.0**power) <= high]
    return found if len(found) >= 2 else [float(f"{10**value:.2g}") for value in (low + 0.1 * (high - low), high - 0.1 * (high - low))]


def line_chart(
    curves: Mapping[str, tuple[Floats, Floats]], *, x_label: str, title: str, log: bool = False, marked: Sequence[str] = ()
) -> str:
    """Curves over one axis; those that are not `marked`, where any are, are grey and have no place in the legend."""
    xs = np.concatenate([x for x, _ in curves.values()]) if curves else np.zeros(0)
    ys = np.concatenate([y for _, y in curves.values()]) if curves else np.zeros(0)
    axes, named = _Axes(xs, ys, log=log and bool((ys > 0).any())), list(marked or curves)[: len(COLORS)]
    parts = [axes.drawn(x_label)]
    for name in sorted(curves, key=lambda name: name in named):
        x, y = curves[name]
        color = COLORS[named.index(name)] if name in named else "#9a9a9a"
        parts.append(_line(*axes.at(x, y), color, name, thin=name not in named))
    legend = "".join(f'<span><i style="background:{COLORS[k]}"></i>{escape(name)}</span>' for k, name in enumerate(named))
    return _figure(title, "".join(parts), legend if len(curves) > 1 else "")


def _line(across: Floats, up: Floats, color: str, name: str, *, thin: bool) -> str:
    parts, width = [], 0.7 if thin else 1.8
    for piece in _pieces(np.isfinite(across) & np.isfinite(up)):
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across[piece], up[piece], strict=True))
        if piece.stop - piece.start == 1:
            parts.append(f'<circle cx="{across[piece.start]:.1f}" cy="{up[piece.start]:.1f}" r="2" fill="{color}"/>')
        else:
            parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="{width}"/>')
    return f"<g><title>{escape(name)}</title>{''.join(parts)}</g>"


def _pieces(known: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> list[slice]:
    """The stretches in which values are known."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(int)))
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def way_chart(way: Floats, steps: Sequence[int], *, title: str, x_label: str, y_label: str) -> str:
    """A way in a plane, on one scale along both axes, from the circle to the star."""
    middle = (way.max(axis=0) + way.min(axis=0)) / 2
    half = max(float(np.ptp(way[:, 0])) / (WIDTH - LEFT - RIGHT), float(np.ptp(way[:, 1])) / (HEIGHT - TOP - BOTTOM)) / 2 or 1e-9
    spread = np.array([[-1.0, -1.0], [1.0, 1.0]]) * half * [WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM] + middle
    axes = _Axes(spread[:, 0], spread[:, 1])
    across, up = axes.at(way[:, 0], way[:, 1])
    parts = [axes.drawn(x_label), f'<text class="label" x="{LEFT}" y="{TOP - 2}">{escape(y_label)}</text>']
    parts.append(_line(across, up, COLORS[1], "the way", thin=False))
    for x, y, step in zip(across, up, steps, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4" fill="{COLORS[1]}"><title>step {step:,}</title></circle>')
    parts.append(f'<circle class="end" cx="{across[0]:.1f}" cy="{up[0]:.1f}" r="5"><title>first state</title></circle>')
    parts.append(f'<path class="end" d="{_star(across[-1], up[-1])}"><title>newest state, step {steps[-1]:,}</title></path>')
    return _figure(title, "".join(parts), "<span>○ first state</span><span>☆ newest state</span>")


def _star(x: float, y: float) -> str:
    angles = [math.pi * (k / 5 - 0.5) for k in range(10)]
    corners = [(x + r * math.cos(a), y + r * math.sin(a)) for k, a in enumerate(angles) for r in [7.0 if k % 2 == 0 else 3.0]]
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in corners) + "Z"


def _figure(title: str, drawn: str, legend: str) -> str:
    said = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{drawn}</svg>'
    return f'<figure><figcaption>{escape(title)}</figcaption>{said}<div class="legend">{legend}</div></figure>'
