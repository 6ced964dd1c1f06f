"""Texts that fit: notes and labels as lines of a measured width, legends that cover no data, logarithmic axes with plain numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from thetascope.drawing.scales import text_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HANDLE = 3.4
"""What stands beside the text of a legend's entry, in widths of an m."""


def wrapped(notes: Sequence[str], width: int) -> str:
    """The notes as lines of at most so many characters."""
    return "\n".join(part for note in notes for part in wrap(note, width))


def points_of(size: str) -> float:
    """A relative size of the user's font in points."""
    from matplotlib.font_manager import FontProperties

    return float(FontProperties(size=size).get_size_in_points())


def inches_of(text: str, size: str | float = "medium") -> float:
    """How wide the widest line is in the user's font."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size)
    return max(float(text_to_path.get_text_width_height_descent(line, font, ismath=False)[0]) for line in text.split("\n")) / 72


def fitted(texts: Iterable[str], inches: float, size: str | float = "medium") -> str:
    """The texts as lines that are no wider in the user's font; a word that is wider alone is cut."""
    return "\n".join(line for text in texts for part in text.split("\n") for line in _lines(part, inches, size))


def _lines(text: str, inches: float, size: str | float) -> list[str]:
    width = inches_of(text, size)
    if width <= inches:
        return [text]
    for most in range(max(int(1.15 * len(text) * inches / width), 1), 0, -1):
        lines = wrap(text, most)
        if all(inches_of(line, size) <= inches for line in lines):
            return lines
    return wrap(text, 1)


def _plain(value: float, _: Any) -> str:
    return text_of(value)


def log_axis(ax: Axes, name: str) -> None:
    """The x or the y axis of what is drawn made logarithmic, with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set(**{f"{name}scale": "log"})
    (low, high), axis = getattr(ax, f"get_{name}lim")(), getattr(ax, f"{name}axis")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if max(low, high) < 300 * min(low, high) else (1.0,)))
    axis.set_major_formatter(FuncFormatter(_plain))
    axis.set_minor_formatter(NullFormatter())


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


def legend_on(ax: Axes, order: Sequence[str], *, inches: tuple[float, float], inside: float = 0.0, note: str = "") -> None:
    """A legend above axes of that width and height, where it covers nothing; or inside, where it takes less than that share of them."""
    handles, labels = entries([ax], order)
    texts, ncols = _columns(labels, inches[0], 2)
    rows = sum(text.count("\n") + 1 for text in texts)
    small = 1.45 * rows * points_of("small") / 72 < inside * inches[1]
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.01), "borderaxespad": 0, "alignment": "left", "frameon": False}
    style: dict[str, Any] = {"loc": "best", "ncols": 1} if small else {**place, "ncols": ncols}
    title = fitted([note], inches[0], "small") if note else None
    ax.legend(handles, texts, fontsize="small", title=title, title_fontsize="small", **style)


def legend_below(figure: Figure, axes: Sequence[Axes], order: Sequence[str], most: int = 5) -> None:
    """One legend for all `axes` below them, in at most so many columns."""
    handles, labels = entries(axes, order)
    texts, ncols = _columns(labels, figure.get_figwidth() - 0.2, most)
    figure.legend(handles, texts, fontsize="small", loc="outside lower center", ncols=ncols)


def _columns(labels: Sequence[str], inches: float, most: int) -> tuple[list[str], int]:
    """The labels, on lines of their own where they are wide, in as many columns as make the legend lowest."""
    beside, found = HANDLE * inches_of("m", "small"), list[tuple[int, int, list[str]]]()
    for ncols in range(1, min(most, max(len(labels), 1)) + 1):
        room = inches / ncols - beside
        if ncols > 1 and any(inches_of(label, "small") > 3 * room for label in labels):
            break
        texts = [fitted([label], max(room, beside), "small") for label in labels]
        rows = -(-len(texts) // ncols)
        lines = [sum(text.count("\n") + 1 for text in texts[at : at + rows]) for at in range(0, len(texts), rows or 1)]
        found.append((max(lines, default=0), ncols, texts))
    return min(found)[2], min(found)[1]


def legend_rows(labels: Sequence[str], inches: float, most: int = 5) -> int:
    """How many lines a legend of them takes."""
    texts, ncols = _columns(labels, inches, most)
    return -(-sum(text.count("\n") + 1 for text in texts) // ncols)


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
