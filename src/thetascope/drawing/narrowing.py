"""A picture made for another width: panels that lie side by side stand below one another where they would be too narrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from thetascope.drawing.legends import fitted, legend_rows, legend_text, points_of
from thetascope.drawing.spec import ColorBar, Image, Panel, Parts, Picture

WIDE, SMALL, IMAGE = 2.5, 1.5, 0.55
"""Inches that a panel needs in a font of ten points, one of many small ones, and one that shows cells."""
LOWEST, LOWEST_SMALL = 1.15, 1.1
"""Inches that axes are high at least, and a small panel with its labels."""
BESIDE = 0.65
"""Inches that numbers and a label take beside axes."""
SHAPE = 0.62
"""Height by width of curves, and of all that has no shape of its own."""
MARGIN = 0.2
"""Inches around all."""


def font() -> float:
    """The size of the user's font, in tens of points."""
    return points_of("medium") / 10


def said_height(picture: Picture) -> float:
    """Inches of the title, the notes and the legend of a figure."""
    inches = picture.width - MARGIN
    labels = {legend_text(mark.label) for panel in picture.parts.panels for mark in panel.marks if mark.label and mark.listed}
    title, notes = fitted([picture.title], inches, "large"), fitted(picture.notes, inches, "small")
    rows = [
        (title.count("\n") + 1, "large", 1.2),
        (len(notes.splitlines()), "small", 1.2),
        (legend_rows(list(labels), inches), "small", 1.5),
    ]
    return sum(count * points_of(size) * space / 72 for count, size, space in rows) + MARGIN


def narrowed(picture: Picture, width: float, height: float | None = None) -> Picture:
    """The picture so many inches wide; high as given, or as its panels need."""
    parts, needed = _fitted(picture.parts, picture.width, picture.height - said_height(picture), width)
    made = replace(picture, parts=parts if isinstance(parts, Parts) else Parts(parts=[parts]), width=width, sized=True)
    return replace(made, height=needed + said_height(made) if height is None else height)


def _fitted(part: Panel | Parts, wide: float, high: float, width: float) -> tuple[Panel | Parts, float]:
    """The part, now so `wide` and so `high`, for another width; and how high it is then."""
    if isinstance(part, Panel):
        return part, _height(part, wide, high, width)
    count = len(part.parts)
    if part.columns:
        needs, columns = max(map(_needs, part.parts)), part.columns
        columns, rows = max(min(columns, int(width / needs)), 1), -(-count // part.columns)
        inner = part.parts if columns == part.columns else [_alone(one) for one in part.parts if _needs(one)]
        heights = [_fitted(one, wide / part.columns, high / rows, width / columns)[1] for one in inner]
        return replace(part, parts=inner, columns=columns), -(-len(inner) // columns) * max(heights)
    sizes = [size / sum(part.sizes or [1.0] * count) for size in (part.sizes or [1.0] * count)]
    if part.down:
        made = [_fitted(one, wide, high * size, width) for one, size in zip(part.parts, sizes, strict=True)]
    elif _is_crowded(part, [width * size for size in sizes]):
        columns = max(int(width / max(map(_needs, part.parts))), 1)
        if columns > 1 and not part.sizes and not any(isinstance(one, Parts) for one in part.parts):
            return _fitted(replace(part, columns=columns, shared=False), columns * wide / count, high * -(-count // columns), width)
        made = [_fitted(one, wide * size, high, width) for one, size in zip(part.parts, sizes, strict=True) if _needs(one)]
        part = replace(part, down=True, shared=False)
    else:
        bars = sum(wide * size for one, size in zip(part.parts, sizes, strict=True) if _is_bar(one))
        scale = (width - bars) / (wide - bars)
        widths = [wide * size * (1 if _is_bar(one) else scale) for one, size in zip(part.parts, sizes, strict=True)]
        made = [_fitted(one, wide * size, high, new) for one, size, new in zip(part.parts, sizes, widths, strict=True)]
        return replace(part, parts=[one for one, _ in made], sizes=widths), max(height for _, height in made)
    heights = [height for _, height in made]
    return replace(part, parts=[one for one, _ in made], sizes=heights), sum(heights)


def _is_crowded(row: Parts, widths: Sequence[float]) -> bool:
    """Whether parts side by side have less width than they need; what colours mean stays beside the rest."""
    return not any(map(_is_bar, row.parts)) and any(_needs(one) > width for one, width in zip(row.parts, widths, strict=True))


def _alone(part: Panel | Parts) -> Panel | Parts:
    """A small panel out of its row, with what stood beside the row above it."""
    if isinstance(part, Parts) or not _is_small(part):
        return part
    return replace(part, title="\n".join(filter(None, (part.y_label.replace("\n", ", ") or part.name, part.title))), y_label="")


def _needs(part: Panel | Parts) -> float:
    """Inches of width below which a part does not show what it should."""
    if isinstance(part, Parts):
        needs: Sequence[float] = [_needs(one) for one in part.parts]
        return max(needs) if part.down else max(needs) * part.columns if part.columns else sum(needs)
    if not part.marks or _is_bar(part):
        return 0.0
    return font() * (SMALL if _is_small(part) else IMAGE if _has_cells(part) else WIDE)


def _is_small(panel: Panel) -> bool:
    """Whether it needs little room: one with a legend of its own needs as much as any."""
    return panel.small and not panel.legend


def _has_cells(panel: Panel) -> bool:
    return any(isinstance(mark, Image | ColorBar) for mark in panel.marks)


def _is_bar(part: Panel | Parts) -> bool:
    """Whether it is what colours mean, alone."""
    return isinstance(part, Panel) and len(part.marks) == 1 and isinstance(part.marks[0], ColorBar)


def _height(panel: Panel, wide: float, high: float, width: float) -> float:
    """True to its shape, and as high as its texts need; curves become flatter."""
    if not panel.marks or _is_bar(panel):
        return 0.0
    if _has_cells(panel) or _is_small(panel):
        return max(min(high, high * width / wide, 0.45 * width if _has_cells(panel) else high), font() * LOWEST_SMALL)
    rows = sum(text.count("\n") + 1 for text in panel.y_ticks[1]) if panel.y_ticks and panel.y_range else 0
    plane = panel.plane
    texts, across = _texts(panel, width - BESIDE * font()), width - BESIDE * font() * (2 if plane else 1)
    if plane is not None and plane.kind != "3d" and plane.grid.equal:
        (left, right), (low, top) = panel.x_range or plane.grid.x[[0, -1]], panel.y_range or plane.grid.y[[0, -1]]
        return float(max(across * abs((top - low) / (right - left)), 0.7 * font())) + texts
    if plane is not None:
        return high * width / wide
    return (
        max(1.3 * rows * points_of("small") / 72, min(high, SHAPE * across) if not rows else high * width / wide - texts, LOWEST * font())
        + texts
    )


def _texts(panel: Panel, inches: float) -> float:
    """Inches of what stands above and below axes of that width."""
    label = fitted([panel.x_label], inches).count("\n") + 1.6
    title = len(fitted([panel.title], inches, "small").splitlines())
    labels = [legend_text(mark.label) for mark in panel.marks if mark.label and mark.listed] if panel.legend else []
    small = title + 1.5 * (legend_rows(list(dict.fromkeys(labels)), inches, 2) if labels else 0)
    return (1.3 * points_of("medium") * (label + 2.4 * (panel.epochs is not None)) + 1.3 * points_of("small") * small) / 72
