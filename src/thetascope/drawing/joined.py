"""Pictures of one kind put together: on common axes, in views that a page switches between, or beside one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np

from thetascope.drawing.spec import CYCLE, INK, Edge, FieldMark, Form, Line, Mark, Panel, Parts, Picture, Rule, stacked

WIDEST = 14.0
"""Inches that pictures may take side by side; wider ones stand below one another."""


def joined(pictures: Mapping[str, Picture], form: Form, note: str, *, common: bool) -> Picture:
    """One picture of several, each called by its label.

    Args:
        pictures: by label, of one kind.
        form: what they are made for.
        note: what is said below the others' notes.
        common: draw their curves on common axes.
    """
    first = next(iter(pictures.values()))
    notes = (*_notes({label: picture.notes for label, picture in pictures.items()}), note)
    if common:
        return replace(first, notes=notes, parts=_overlaid({label: picture.parts for label, picture in pictures.items()}))
    if form == "page" and all(_switches(picture) for picture in pictures.values()):
        return replace(first, notes=notes, parts=Parts(parts=[_views(pictures)]), moving=None)
    widths, heights = [picture.width for picture in pictures.values()], [picture.height for picture in pictures.values()]
    parts = [_titled(picture.parts, label) for label, picture in pictures.items()]
    if sum(widths) <= WIDEST:
        return replace(first, notes=notes, parts=Parts(parts=parts, sizes=widths), width=sum(widths), height=max(heights), moving=None)
    below = stacked(parts, heights, shared=False)
    return replace(first, notes=notes, parts=below, width=max(widths), height=sum(heights), moving=None)


def _notes(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """What all say once, the rest with the label of who says it, notes of one place together."""
    told: list[str] = []
    for row in zip_longest(*notes.values()):
        said = [note for note in row if note is not None]
        alike = len(said) == len(notes) and len(set(said)) == 1
        told += said[:1] if alike else [f"{label}: {note}" for label, note in zip(notes, row, strict=True) if note is not None]
    return told


def _switches(picture: Picture) -> bool:
    """Whether a page of it is one panel that switches views, or could."""
    panels = list(picture.parts.panels)
    return len(panels) == 1 and (bool(panels[0].others) or any(isinstance(mark, FieldMark) for mark in panels[0].marks))


def _views(pictures: Mapping[str, Picture]) -> Panel:
    """The only panels of all, of which a page shows one at a time."""
    views = []
    for label, picture in pictures.items():
        (panel,) = picture.parts.panels
        views += [(f"{label}: {name}", view) for name, view in ((panel.name, panel), *panel.others)]
    (name, shown), *others = ((name, replace(view, name=name, others=())) for name, view in views)
    return replace(shown, name=name, others=others)


def _titled(part: Panel | Parts, label: str) -> Panel | Parts:
    """The part with the label above each of its panels."""
    if isinstance(part, Parts):
        return replace(part, parts=[_titled(inner, label) for inner in part.parts])
    if not part.marks:
        return part
    name = f"{label}: {part.name}" if part.name else label
    return replace(part, title=f"{label}: {part.title}" if part.title else label, name=name)


def _overlaid(parts: Mapping[str, Parts]) -> Parts:
    """Panel by panel the curves of all on the same axes, in colours that tell them apart."""
    every = {label: list(part.panels) for label, part in parts.items()}
    colors = _colors(every)
    panels = iter([_one(dict(zip(every, row, strict=True)), colors) for row in zip(*every.values(), strict=True)])

    def filled(part: Panel | Parts) -> Panel | Parts:
        return next(panels) if isinstance(part, Panel) else replace(part, parts=[filled(inner) for inner in part.parts])

    found = filled(next(iter(parts.values())))
    assert isinstance(found, Parts)
    return found


def _colors(every: Mapping[str, Sequence[Panel]]) -> dict[tuple[str, str], str]:
    """For each label and colour of its own picture one that no other has, as long as there are some; the first keeps its own."""
    found: dict[tuple[str, str], str] = {}
    for label, panels in every.items():
        for color in dict.fromkeys(mark.color for panel in panels for mark in panel.marks if isinstance(mark, Line)):
            free = [other for other in CYCLE if other not in (INK, *found.values())]
            is_first = label == next(iter(every))
            found[label, color] = color if is_first or color == INK else free[0] if free else CYCLE[len(found) % len(CYCLE)]
    return found


def _one(panels: Mapping[str, Panel], colors: Mapping[tuple[str, str], str]) -> Panel:
    """The marks of all on one panel; rules, which stand for the same in each, once."""
    marks: list[Mark] = []
    for place, (label, panel) in enumerate(panels.items()):
        for mark in panel.marks:
            name = f"{label}: {mark.label}" if mark.label else ""
            if isinstance(mark, Line):
                marks.append(replace(mark, label=name, about=label, color=colors[label, mark.color]))
            elif isinstance(mark, Edge):
                marks.append(replace(mark, label=name))
            elif place == 0 or not isinstance(mark, Rule):
                marks.append(mark)
    lines = [np.asarray(mark.y, np.float64) for mark in marks if isinstance(mark, Line)]
    values = np.concatenate([*lines, np.empty(0)])
    positive = bool((values[np.isfinite(values)] > 0).all())
    ranges = [panel.y_range for panel in panels.values() if panel.y_range is not None]
    y_range = (min(low for low, _ in ranges), max(high for _, high in ranges)) if len(ranges) == len(panels) else None
    first = next(iter(panels.values()))
    return replace(first, marks=marks, y_log=positive and any(panel.y_log for panel in panels.values()), y_range=y_range)
