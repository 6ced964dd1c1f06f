"""The same in the terminal, readable at 60 columns; into a pipe or a file only what is new, in plain lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from thetascope.arrays import Floats
from thetascope.live.charts import number
from thetascope.live.watcher import View
from thetascope.shown import shown

if TYPE_CHECKING:
    from rich.console import RenderableType

BARS = "▁▂▃▄▅▆▇█"
LAYERS, CURVE, MAP = 12, 24, (28, 6)
"""So many layers have a row, so wide is a curve, so many letters wide and high the map of the way."""


def rendered(view: View) -> RenderableType:
    """What is shown at once."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = [Text(shown(view.name), style="bold"), Text(shown(view.status), style="dim")]
    parts += [Text(f"! {shown(told)}", style="bold red") for told in view.alarms]
    parts += [Text(shown(view.problem), style="yellow")] if view.problem else []
    if len(view.measured) > 1:
        percent = " and ".join(f"{100 * share:.0f}%" for share in view.shares)
        parts += [Text(f"\nThe path in its plane ({percent} of the variance), from o to ★", style="bold"), Text(braille(view.way))]
    if view.line is not None:
        parts.append(Text(f"\nLine to step {view.line.step:,}, {view.line.samples:,} samples: {sparkline(view.line.losses)}"))
    if view.metrics:
        table = Table.grid(padding=(0, 2))
        for name, (_, values) in view.metrics.items():
            table.add_row(Text(shown(name)), Text(sparkline(values)), Text(number(float(values[-1]))))
        parts += [Text("\nRecorded", style="bold"), table]
    if view.measured:
        newest = view.measured[-1]
        table = Table.grid(padding=(0, 2))
        table.add_row(*(Text(title, style="dim") for title in ("layer", "distance from its start", "now", "last move")))
        layers = sorted(newest.distance, key=lambda layer: -np.nan_to_num(newest.distance[layer]))
        for layer in layers[:LAYERS]:
            curve = np.array([one.distance[layer] for one in view.measured])
            moved = newest.moved.get(layer, math.nan)
            table.add_row(Text(shown(layer)), Text(sparkline(curve)), Text(_cell(newest.distance[layer])), Text(_cell(moved)))
        left = len(layers) - LAYERS
        parts += [Text("\nLayers, in units of their norms at the start", style="bold"), table]
        parts += [Text(f"and {left} more that moved less", style="dim")] if left > 0 else []
        parts.append(Text(f"\nMoved {_cell(newest.step)} per step at last, cosine with the move before {_cell(newest.turn)}"))
    return Group(*parts)


def _cell(value: float) -> str:
    return "–" if math.isnan(value) else number(value)


def sparkline(values: Floats, width: int = CURVE) -> str:
    """A curve in a line of letters, at most so many; blank where a value is not finite."""
    if len(values) > width:
        values = values[np.linspace(0, len(values) - 1, width).round().astype(int)]
    finite = values[np.isfinite(values)]
    if not len(finite):
        return " " * len(values)
    low, high = float(finite.min()), float(finite.max())
    heights = (values - low) / (high - low or 1.0) * (len(BARS) - 1)
    return "".join(BARS[round(float(h))] if math.isfinite(h) else " " for h in heights)


def braille(way: Floats, size: tuple[int, int] = MAP) -> str:
    """A way in the plane in letters of 2 × 4 dots each, one scale along both axes."""
    across, up = size
    dots = np.zeros((4 * up, 2 * across), bool)
    room = np.ptp(way, axis=0)
    scale = min((2 * across - 1) / room[0] if room[0] > 0 else math.inf, (4 * up - 1) / room[1] if room[1] > 0 else math.inf)
    places = (way - way.min(axis=0)) * (scale if math.isfinite(scale) else 0.0)
    for (x0, y0), (x1, y1) in pairwise(places):
        count = int(max(abs(x1 - x0), abs(y1 - y0))) + 1
        for t in np.linspace(0, 1, count + 1):
            dots[4 * up - 1 - round(y0 + t * (y1 - y0)), round(x0 + t * (x1 - x0))] = True
    bits = ((0, 0, 0x01), (1, 0, 0x02), (2, 0, 0x04), (0, 1, 0x08), (1, 1, 0x10), (2, 1, 0x20), (3, 0, 0x40), (3, 1, 0x80))
    rows = [
        [chr(0x2800 + sum(bit for dy, dx, bit in bits if dots[4 * row + dy, 2 * column + dx])) for column in range(across)]
        for row in range(up)
    ]
    for (x, y), letter in ((places[0], "o"), (places[-1], "★")):
        rows[(4 * up - 1 - round(float(y))) // 4][round(float(x)) // 2] = letter
    used = [row for row in rows if any(letter != "\u2800" for letter in row)]
    return "\n".join("".join(row).rstrip("\u2800") for row in used)


def news(before: Sequence[str], view: View, last: int) -> list[str]:
    """What a pipe is told: the newest record's metrics, where it is newer than step `last`, and alarms that were not told `before`."""
    told = [f"alarm: {alarm}" for alarm in view.alarms if alarm not in before]
    if view.measured and view.measured[-1].record.step > last:
        newest = view.measured[-1]
        values = [f"{name} {number(value)}" for name, value in newest.record.metrics.items()]
        told.insert(0, ", ".join([f"step {newest.record.step:,}", *values, f"moved {_cell(newest.step)} per step"]))
    return [shown(line) for line in told]
