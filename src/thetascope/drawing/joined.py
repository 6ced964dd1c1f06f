"""Pictures of one kind put together: on common axes, beside one another on one scale, or in views that a page switches between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile, zip_longest
from typing import Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.fields import Field, edges, on_one_scale
from thetascope.drawing.relief import best_view, relief_of
from thetascope.drawing.scales import around
from thetascope.drawing.spec import (
    CYCLE,
    DASHES,
    INK,
    Bars,
    Boxes,
    Edge,
    FieldMark,
    Form,
    Line,
    Mark,
    Panel,
    Parts,
    Picture,
    Rule,
    changed,
    stacked,
)  # fmt: skip

WIDEST = 14.0
"""Inches that pictures may take side by side; wider ones stand below one another, and panels become narrower."""


def joined(pictures: Mapping[str, Picture], form: Form, notes: Sequence[str] = (), *, common: bool = False, views: bool = False) -> Picture:
    """One picture of several, each called by its label. The colours and heights of a quantity are on one scale in all of them.

    Args:
        pictures: by label, of one kind.
        form: what they are made for.
        notes: what is said below the others' notes.
        common: draw their curves on common axes.
        views: a page of planes, or of others that it switches between, shows one at a time; else all are beside one another.
    """
    first, titles = next(iter(pictures.values())), {label: (picture.title,) for label, picture in pictures.items()}
    every, said = _on_one_scale(_with_the_same_panels(pictures))
    if len({*titles.values()}) > 1:
        first, said = replace(first, title=_title([title for (title,) in titles.values()])), [*_notes(titles), *said]
    notes = (*said, *_notes({label: picture.notes for label, picture in pictures.items()}), *notes)
    first = replace(first, notes=tuple(notes), moving=None)
    if common:
        return replace(first, parts=_overlaid({label: picture.parts for label, picture in every.items()}))
    if views and form == "page" and all(_switches(picture) for picture in every.values()):
        return replace(first, parts=Parts(parts=[_views(every)]))
    every = _with_common_axes(_called(every))
    if all(len(list(picture.parts.panels)) == 1 for picture in every.values()):
        return _beside(first, every, form)
    parts = [picture.parts for picture in every.values()]
    widths, heights = [picture.width for picture in every.values()], [picture.height for picture in every.values()]
    if sum(widths) <= WIDEST:
        return replace(first, parts=Parts(parts=parts, sizes=widths), width=sum(widths), height=max(heights))
    return replace(first, parts=stacked(parts, heights, shared=False), width=max(widths), height=sum(heights))


def has_plane(picture: Picture) -> bool:
    """Whether it shows a quantity over a plane first."""
    return next(picture.parts.panels).plane is not None


# --- what is said ---------------------------------------------------------------------------------------------


def _notes(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """What all say once, the rest with the label of who says it, notes of one place together."""
    shared = set.intersection(*map(set, notes.values()))
    told = [
        note if note in shared else f"{label}: {note}"
        for row in zip_longest(*notes.values())
        for label, note in zip(notes, row, strict=True)
        if note is not None
    ]
    return list(dict.fromkeys(told))


def _title(titles: Sequence[str]) -> str:
    """What titles have in common: what stands before a colon, or their last words."""
    if len({title.partition(":")[0] for title in titles}) == 1:
        return titles[0].partition(":")[0]
    words = [title.split()[::-1] for title in titles]
    shared = [row[0] for row in takewhile(lambda row: len(set(row)) == 1, zip(*words, strict=False))][::-1]
    return " ".join(shared)[:1].upper() + " ".join(shared)[1:] if shared else " / ".join(dict.fromkeys(titles))


def _called(pictures: Mapping[str, Picture]) -> dict[str, Picture]:
    """Each with its label above its panels, and in the legend before what not all of them show."""
    labels = [{mark.label for panel in picture.parts.panels for mark in panel.marks} for picture in pictures.values()]
    shared = set.intersection(*labels) | {""}

    def called(panel: Panel, label: str) -> Panel:
        marks = [mark if mark.label in shared else replace(mark, label=f"{label}: {mark.label}") for mark in panel.marks]
        return replace(panel, marks=marks, title=f"{label}: {panel.title}" if panel.title else label)

    return {label: replace(p, parts=changed(p.parts, partial(called, label=label))) for label, p in pictures.items()}


def _with_the_same_panels(pictures: Mapping[str, Picture]) -> dict[str, Picture]:
    """Pictures of one panel, of which a page switches only to what all of them show."""
    names = [{name for name, _ in panel.others} for picture in pictures.values() for panel in list(picture.parts.panels)[:1]]
    shared = set.intersection(*names)

    def kept(panel: Panel) -> Panel:
        return replace(panel, others=[(name, other) for name, other in panel.others if name in shared])

    return {label: replace(picture, parts=changed(picture.parts, kept)) for label, picture in pictures.items()}


# --- one scale, common axes -----------------------------------------------------------------------------------


def _on_one_scale(pictures: Mapping[str, Picture]) -> tuple[dict[str, Picture], list[str]]:
    """Fields of one quantity on one scale; and what must be said of it."""
    fields: dict[str, list[Field]] = {}
    for picture in pictures.values():
        for panel in picture.parts.panels:
            for shown in (panel, *(other for _, other in panel.others)):
                for mark in shown.marks:
                    if isinstance(mark, FieldMark):
                        fields.setdefault(mark.field.name, []).append(mark.field)
    new = {id(old): made for some in fields.values() for old, made in zip(some, on_one_scale(some), strict=True)}

    def scaled(panel: Panel) -> Panel:
        marks = [replace(mark, field=new[id(mark.field)]) if isinstance(mark, FieldMark) else mark for mark in panel.marks]
        return replace(panel, marks=marks)

    made = {label: replace(picture, parts=changed(picture.parts, scaled)) for label, picture in pictures.items()}
    return made, ["one scale of colours and heights for all"] if fields and len(pictures) > 1 else []


def _with_common_axes(pictures: dict[str, Picture]) -> dict[str, Picture]:
    """Panels of one place with one range along an axis that says the same."""
    every = [list(picture.parts.panels) for picture in pictures.values()]
    if len({len(panels) for panels in every}) > 1:
        return pictures
    new = {id(old): made for row in zip(*every, strict=True) for old, made in zip(row, _on_common_axes(row), strict=True)}
    return {label: replace(p, parts=changed(p.parts, lambda panel: new.get(id(panel), panel))) for label, p in pictures.items()}


def _on_common_axes(panels: Sequence[Panel]) -> list[Panel]:
    """The panels with common ranges; names along an axis, and pictures true to scale, stay as they are."""
    if any(not panel.marks or panel.aspect is not None for panel in panels):
        return list(panels)
    new: dict[str, Any] = {}
    for axis in "xy":
        said = [(getattr(panel, f"{axis}_label").partition("\n")[0], getattr(panel, f"{axis}_ticks") is None) for panel in panels]
        if len(set(said)) > 1 or not said[0][1]:
            continue
        own = [getattr(panel, f"{axis}_range") for panel in panels]
        reached = [_reach(panel, axis) for panel in panels]
        values = np.concatenate([*reached, *(np.asarray(ends, np.float64) for ends in own if ends is not None)])
        values = values[np.isfinite(values)]
        if not values.size:
            continue
        log = any(getattr(panel, f"{axis}_log") for panel in panels) and bool((values > 0).all())
        if all(ends is not None for ends in own) or panels[0].plane is not None:
            ends = float(values.min()), float(values.max())
            new[f"{axis}_range"] = ends[::-1] if own[0] is not None and own[0][0] > own[0][1] else ends
        else:
            new |= {f"{axis}_log": log, f"{axis}_range": around(values, log=log)}
    return [replace(panel, **new) for panel in panels]


def _reach(panel: Panel, axis: str) -> Floats:
    """All that lies along an axis of a panel without ranges of its own."""
    found: list[Any] = [np.empty(0)]
    is_x = axis == "x"
    for mark in panel.marks:
        if isinstance(mark, FieldMark):
            at, other = (mark.grid.x, mark.grid.y) if is_x else (mark.grid.y, mark.grid.x)
            found.append(at if mark.kind == "contour" and not mark.field.scale.flat else edges(at, other))
        elif isinstance(mark, Line) and mark.z is None:
            spread = 0.0 if is_x or mark.spread is None else mark.spread
            found += [np.ravel(mark.x)] if is_x else [np.ravel(np.asarray(mark.y) - spread), np.ravel(np.asarray(mark.y) + spread)]
        elif isinstance(mark, Bars):
            where: Any = np.asarray(mark.at)
            where = np.arange(len(where)) if where.dtype.kind == "U" else where
            along = [np.add(mark.base, mark.lengths), mark.base]
            found += map(np.ravel, along if mark.across == is_x else [where - mark.width / 2, where + mark.width / 2])
        elif isinstance(mark, Boxes):
            found.append(mark.at if is_x else mark.values.ravel())
        elif isinstance(mark, Rule) and mark.upright == is_x:
            found.append([mark.at, mark.at if mark.to is None else mark.to])
        elif isinstance(mark, Edge) and mark.upright == is_x:
            found.append(np.ravel(mark.at))
    return np.concatenate(found).astype(np.float64)


# --- beside one another ---------------------------------------------------------------------------------------


def _beside(first: Picture, pictures: Mapping[str, Picture], form: Form) -> Picture:
    """Panels of one picture each in rows. One bar stands for the colours of all: beside the last of the first row."""
    panels = [panel for picture in pictures.values() for panel in picture.parts.panels]
    columns = 2 if len(panels) == 4 else min(len(panels), 3 if len(panels) <= 9 else 4)
    if len({(panel.y_label, panel.y_range) for panel in panels}) == 1:  # what an axis says stands once a row
        panels = [replace(panel, y_label=panel.y_label if place % columns == 0 else "") for place, panel in enumerate(panels)]
    plane = panels[0].plane
    view = None if plane is None else plane.view or best_view(relief_of(plane.grid, plane.field))
    panels = [changed(panel, _barred(view, has_bar=place == columns - 1)) for place, panel in enumerate(panels)]
    rows = -(-len(panels) // columns)
    wide = min(first.width, WIDEST / columns)
    if form == "page":
        high = max(first.height * (1 if columns == 1 else 0.9 if columns == 2 else 0.7), 3.6)
    elif plane is not None:
        high = max(_plane_height(panel, wide - 0.9) for panel in panels) + (1.1 if plane.kind == "3d" else 0.7)
    else:
        high = max(picture.height for picture in pictures.values()) * max(wide / first.width, 0.75)
    above = 0.0 if form == "page" else 0.7 + 0.17 * len(first.notes)
    return replace(first, parts=Parts(parts=panels, columns=columns), width=wide * columns, height=high * rows + above)


def _plane_height(panel: Panel, width: float) -> float:
    plane = panel.plane
    return 0.0 if plane is None else 0.9 * width if plane.kind == "3d" else plane.grid.height(width)


def _barred(view: tuple[float, float] | None, *, has_bar: bool) -> Callable[[Panel], Panel]:
    """A panel with or without a bar of its plane's colours, its plane seen from there."""

    def barred(panel: Panel) -> Panel:
        marks = [replace(mark, bar=has_bar, view=view) if isinstance(mark, FieldMark) else mark for mark in panel.marks]
        return replace(panel, marks=marks)

    return barred


# --- views, curves on common axes -----------------------------------------------------------------------------


def _switches(picture: Picture) -> bool:
    """Whether a page of it is one panel that switches views, or could."""
    panels = list(picture.parts.panels)
    return len(panels) == 1 and (bool(panels[0].others) or panels[0].plane is not None)


def _views(pictures: Mapping[str, Picture]) -> Panel:
    """The only panels of all, of which a page shows one at a time."""
    views = []
    for label, picture in pictures.items():
        (panel,) = picture.parts.panels
        views += [(f"{label}: {name}", view) for name, view in ((panel.name, panel), *panel.others)]
    (name, shown), *others = ((name, replace(view, name=name, others=())) for name, view in views)
    return replace(shown, name=name, others=others)


def _overlaid(parts: Mapping[str, Parts]) -> Parts:
    """Panel by panel the curves of all on the same axes, in colours that tell them apart; panels that all have."""
    every = {label: {(panel.name, panel.title): panel for panel in part.panels} for label, part in parts.items()}
    shared = [key for key in next(iter(every.values())) if all(key in own for own in every.values())]
    colors = _colors({label: own.values() for label, own in every.items()})

    def filled(part: Any) -> Any:
        if isinstance(part, Parts):
            places = [k for k, inner in enumerate(part.parts) if isinstance(inner, Parts) or (inner.name, inner.title) in shared]
            sizes = [part.sizes[k] for k in places] if part.sizes else ()
            return replace(part, parts=[filled(part.parts[k]) for k in places], sizes=sizes)
        return _one({label: own[part.name, part.title] for label, own in every.items()}, colors)

    found = filled(next(iter(parts.values())))
    assert isinstance(found, Parts)
    return found


def _colors(every: Mapping[str, Iterable[Panel]]) -> dict[tuple[str, str], str]:
    """For each label and colour of its own picture one that no other has; where these are too many, one colour a label."""
    own = {
        label: dict.fromkeys(mark.color for panel in panels for mark in panel.marks if isinstance(mark, Line) and mark.color != INK)
        for label, panels in every.items()
    }
    free = [color for color in CYCLE if color != INK]
    if sum(map(len, own.values())) > len(free):
        return {(label, color): free[place % len(free)] for place, (label, some) in enumerate(own.items()) for color in some}
    found = {(label, color): color for label, some in list(own.items())[:1] for color in some}
    for label, some in list(own.items())[1:]:
        for color in some:
            found[label, color] = next(other for other in free if other not in found.values())
    return found


def _one(panels: Mapping[str, Panel], colors: Mapping[tuple[str, str], str]) -> Panel:
    """The marks of all on one panel; rules that stand for the same once."""
    marks, rules = list[Mark](), set[Any]()
    for place, (label, panel) in enumerate(panels.items()):
        for mark in panel.marks:
            name = f"{label}: {mark.label}" if mark.label else ""
            if isinstance(mark, Line):
                again = place // (len(CYCLE) - 1)  # with the colours of an earlier one
                dash = DASHES[(DASHES.index(mark.dash) + again) % len(DASHES)] if mark.dash and again else mark.dash
                marks.append(replace(mark, label=name, about=label, color=colors.get((label, mark.color), mark.color), dash=dash))
            elif isinstance(mark, Rule):
                if (same := (mark.at, mark.to, mark.upright, mark.label)) not in rules:
                    rules.add(same)
                    marks.append(mark)
            else:
                marks.append(replace(mark, label=name) if isinstance(mark, Edge) else mark)
    values = np.concatenate([*(np.asarray(mark.y, np.float64) for mark in marks if isinstance(mark, Line)), np.empty(0)])
    positive = bool((values[np.isfinite(values)] > 0).all())
    ranges = [panel.y_range for panel in panels.values() if panel.y_range is not None]
    y_range = (min(low for low, _ in ranges), max(high for _, high in ranges)) if len(ranges) == len(panels) else None
    first = next(iter(panels.values()))
    return replace(
        first,
        marks=marks,
        y_log=positive and any(panel.y_log for panel in panels.values()),
        y_range=y_range,
        y_label=first.y_label if len({panel.y_label for panel in panels.values()}) == 1 else first.name,
        epochs=first.epochs if len({panel.epochs for panel in panels.values()}) == 1 else None,
    )
