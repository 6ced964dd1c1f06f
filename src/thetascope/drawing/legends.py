"""Legends that cover no data, notes as lines, logarithmic axes with plain numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.drawing.scales import text_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def wrapped(notes: Sequence[str], width: int) -> str:
    """The notes as lines of at most so many characters."""
    return "\n".join(part for note in notes for part in wrap(note, width))


def log_y(ax: Axes) -> None:
    """A logarithmic axis of what is drawn, with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 300 * low else (1.0,)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: text_of(value)))
    ax.yaxis.set_minor_formatter(NullFormatter())


def legend_text(label: str) -> str:
    """A label as a legend shows it: matplotlib leaves out what begins with an underscore."""
    return f" {label}" if label.startswith("_") else label


def entries(axes: Iterable[Axes], order: Sequence[str] = ()) -> tuple[list[Any], list[str]]:
    """What is drawn, each kind once, in that order of their labels."""
    found: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    places = {label: place for place, label in enumerate(order)}
    labels = sorted(found, key=lambda label: places.get(label, len(places)))
    return [found[label] for label in labels], labels


def legend_on(ax: Axes, order: Sequence[str], *, inside: bool = False, note: str = "") -> None:
    """A legend above the axes, where it covers nothing; or inside, beside curves."""
    handles, labels = entries([ax], order)
    fits = 0.16 * max(map(len, labels), default=0) < ax.get_window_extent().width / ax.figure.dpi
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.01), "borderaxespad": 0, "alignment": "left", "frameon": False}
    style: dict[str, Any] = {"loc": "best", "ncols": 1} if inside else {**place, "ncols": 2 if fits else 1}
    ax.legend(handles, labels, fontsize="small", title=note or None, title_fontsize="small", **style)


def legend_below(figure: Figure, axes: Sequence[Axes], order: Sequence[str], most: int = 5) -> None:
    """One legend for all `axes` below them, in at most so many columns."""
    handles, labels = entries(axes, order)
    ncols = int(np.clip(figure.get_figwidth() // (0.07 * max(map(len, labels), default=0) + 0.5), 1, most))
    figure.legend(handles, labels, fontsize="small", loc="outside lower center", ncols=ncols)


def clipped(name: str, length: int) -> str:
    """The last so many characters of a name: names of layers and parameters differ at their ends."""
    return name if len(name) <= length else f"…{name[len(name) - length + 1 :]}"


def told_apart(names: Sequence[str], length: int) -> list[str]:
    """The names clipped to so many characters, or as many more as tell them apart."""
    for enough in range(length, max(map(len, names), default=0) + 1):
        short = [clipped(name, enough) for name in names]
        if len(set(short)) == len(set(names)):
            return short
    return list(names)
