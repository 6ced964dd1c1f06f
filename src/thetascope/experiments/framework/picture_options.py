"""The options that all pictures share, applied to a picture as data: no experiment knows of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from thetascope.arrays import Floats, evenly
from thetascope.drawing.narrowing import narrowed, said_height
from thetascope.drawing.options import PictureOptions
from thetascope.drawing.scales import Scale, around, text_of
from thetascope.drawing.spec import Bars, Boxes, ColorBar, Edge, FieldMark, Form, Image, Line, Mark, Panel, Parts, Picture, Rule, changed
from thetascope.errors import ResultError

NEEDS = {
    "cmap": "it has no colours that stand for values",
    "levels": "it has no contours",
    "label": "no legend names what it shows",
    "vmin": "it shows no values along an axis",
    "vmax": "it shows no values along an axis",
    "log": "it shows no values along an axis",
    "size": "axes of your own have their size",
}
"""Why an option does not apply."""
MOST = 40
"""So many points of a curve at most are marked at the edge of its axes."""


def applied(options: PictureOptions, picture: Picture, form: Form, called: str) -> Picture:
    """The picture with these options.

    Args:
        options: of the call.
        picture: as its experiment makes it.
        form: what it is made for.
        called: what an error calls it.

    Raises:
        ResultError: an option does not apply to it, or a value does not fit.
    """
    if not (given := options.given):
        return picture
    if form == "axes":
        picture = replace(picture, parts=Parts(parts=[next(picture.parts.panels)]))
    taken = applicable(picture, form)
    for name in given:
        if name not in taken:
            raise ResultError(f"{called} takes no {name}=: {NEEDS[name]}. Of those that all pictures share it takes {', '.join(taken)}")
    picture, said = _scaled(options, picture) if {"cmap", "levels", "vmin", "vmax", "log"} & set(given) else (picture, [])
    if options.label is not None:
        picture = _mapped(picture, lambda panel: _called(panel, str(options.label)))
    if form == "axes" and (options.title is not None or not options.subtitle):
        picture = _mapped(picture, lambda panel: replace(panel, title=options.title or ("" if not options.subtitle else panel.title)))
    title = picture.title if options.title is None else options.title
    texts = said_height(picture)
    picture = replace(picture, title=title, notes=(*picture.notes, *said) if options.subtitle else ())
    if options.size is None:
        return replace(picture, height=picture.height + said_height(picture) - texts)
    width, height = options.size if isinstance(options.size, Sequence) else (options.size, None)
    return narrowed(picture, float(width), None if height is None else float(height))


def _scaled(options: PictureOptions, picture: Picture) -> tuple[Picture, list[str]]:
    """Colours, heights and axes of the quantity that is shown first; and what must be said of values beyond."""
    shown, said = list(picture.parts.panels), list[str]()
    first = next((panel for panel in shown if _is_main(panel)), shown[0])
    sought = _quantity(first)

    beyond = np.zeros(2, int)

    def scaled(panel: Panel) -> Panel:
        nonlocal beyond
        marks: list[Mark] = []
        is_it = _quantity(panel) in (sought, "") or (picture.grid and _is_main(panel))
        chosen = {name: getattr(options, name) for name in ("levels", "vmin", "vmax", "log")} if is_it else {}
        for mark in panel.marks:
            if isinstance(mark, FieldMark):
                field = mark.field.scaled(cmap=options.cmap, **chosen)
                said.extend(field.clipped)
                mark = replace(mark, field=field)  # noqa: PLW2901
            elif _has_values(mark):
                mark = _colored(options, mark)  # noqa: PLW2901
                beyond += _beyond(mark) if isinstance(mark, Image) else (0, 0)
            marks.append(mark)
        if is_it and not any(isinstance(mark, FieldMark) or _has_values(mark) for mark in marks):
            return _limited(options, replace(panel, marks=marks), said)
        return replace(panel, marks=marks)

    made = _mapped(picture, scaled)
    if options.vmin is not None or options.vmax is not None:
        ends = zip(beyond.tolist(), ("below", "above"), (options.vmin, options.vmax), strict=True)
        said += [f"{count:,} cells lie {side} {end:.3g}, where the colours end" for count, side, end in ends if count and end is not None]
    return made, list(dict.fromkeys(said))


def _has_values(mark: Mark) -> bool:
    """Whether its colours stand for the values that options are about."""
    return isinstance(mark, Image) or (isinstance(mark, ColorBar) and not mark.steady)


def _colored(options: PictureOptions, mark: Any) -> Any:
    """Images, and what their colours mean."""
    mark = replace(mark, color_map=options.cmap or mark.color_map)
    if mark.scale is None or mark.scale.flat or options.vmin is options.vmax is options.log is None:
        return mark
    log, ends = mark.scale.log if options.log is None else options.log, mark.scale.levels[[0, -1]].tolist()
    low, high = (end if given is None else given for end, given in zip(ends, (options.vmin, options.vmax), strict=True))
    if not (low > 0 or not log) or low >= high:
        by = "by their logarithm" if log else "evenly"
        raise ResultError(f"colours go {by} from {ends[0]:.3g} to {ends[1]:.3g}; vmin and vmax leave {low:g} to {high:g}")
    levels = (np.geomspace if log else np.linspace)(low, high, len(mark.scale.levels))
    more = {"below": mark.below or low > ends[0], "above": high < ends[1]} if isinstance(mark, ColorBar) else {}
    return replace(mark, scale=Scale(np.asarray(levels, np.float64), log=log, even=True), **more)


def _beyond(mark: Image) -> Floats:
    """How many cells lie below the colours, and above."""
    if mark.scale is None or mark.scale.flat:
        return np.zeros(2, int)
    low, high = mark.scale.levels[[0, -1]]
    counted = mark.values[(mark.values > 0) | (not mark.scale.log)]
    return np.array([(counted < low).sum(), (counted > high).sum()])


def _limited(options: PictureOptions, panel: Panel, said: list[str]) -> Panel:
    """An axis of values from `vmin` to `vmax`; what lies beyond stands at its edge."""
    across, values = _lies_across(panel), _values(panel)
    axis, limits = "x" if across else "y", getattr(panel, f"{'x' if across else 'y'}_range")
    finite = values[np.isfinite(values)]
    log = getattr(panel, f"{axis}_log") if options.log is None else options.log
    if not finite.size:
        return panel
    if options.log and not (finite > 0).all():
        raise ResultError(f'log=True needs values above 0; "{_quantity(panel) or panel.name}" goes down to {finite.min():.3g}')
    new: dict[str, Any] = {f"{axis}_log": log}
    if options.log is not None:
        new |= {"scale": None, f"{axis}_ticks": None if panel.scale is not None else getattr(panel, f"{axis}_ticks")}
    if (options.vmin is options.vmax is None) or (not across and None not in (panel.x_range, panel.y_range)):  # a detail keeps its own
        return replace(panel, **new)
    if log and options.vmin is not None and options.vmin <= 0:
        raise ResultError(f"vmin must be above 0 on a logarithmic axis; got {options.vmin:g}: choose another, or log=False")
    low, high = limits or around(finite, log=log)
    low, high = low if options.vmin is None else options.vmin, high if options.vmax is None else options.vmax
    if low >= high:
        raise ResultError(
            f"vmin and vmax leave an axis from {low:.3g} to {high:.3g}; values go from {finite.min():.3g} to {finite.max():.3g}"
        )
    beyond = int(((finite < low) | (finite > high)).sum())
    said += [f"{beyond:,} of {finite.size:,} values lie beyond the axis of {_quantity(panel) or panel.name}"] if beyond else []
    bars = any(isinstance(mark, Bars) for mark in panel.marks)
    shown = [mark for mark in panel.marks if not (bars and isinstance(mark, Line) and not mark.marker)]  # lines beside bars are no values
    marks = [*panel.marks, *(edge for mark in shown for edge in _edges(mark, low, high, across=across))]
    new[f"{axis}_range"] = (low, high)
    return replace(panel, **new, marks=marks)


def applicable(picture: Picture, form: Form) -> list[str]:
    """The names of the options that the picture takes."""
    panels = [shown for panel in picture.parts.panels for shown in (panel, *(other for _, other in panel.others))]
    marks = [mark for panel in panels for mark in panel.marks]
    planes = [mark for mark in marks if isinstance(mark, FieldMark)]
    has_values = bool(planes) or any(isinstance(mark, Line | Bars | Boxes | Image) for mark in marks)
    there = {
        "size": form != "axes",
        "cmap": bool(planes) or any(isinstance(mark, Image) for mark in marks),
        "levels": any(mark.kind == "contour" or form == "page" for mark in planes),
        "label": any(mark.label for mark in marks if isinstance(mark, Line | Bars | Boxes)),
        **dict.fromkeys(("vmin", "vmax", "log"), has_values),
    }
    return [option.name for option in fields(PictureOptions) if there.get(option.name, True)]


def _mapped(picture: Picture, change: Callable[[Panel], Panel]) -> Picture:
    """The picture with each panel changed, those too that a page switches to."""

    return replace(picture, parts=changed(picture.parts, change))


def _is_main(panel: Panel) -> bool:
    return any(isinstance(mark, FieldMark | Image | Line | Boxes) for mark in panel.marks)


def _lies_across(panel: Panel) -> bool:
    return any((isinstance(mark, Bars) and mark.across) or (isinstance(mark, Edge) and not mark.upright) for mark in panel.marks)


def _quantity(panel: Panel) -> str:
    """What its colours, heights or values are called."""
    for mark in panel.marks:
        if isinstance(mark, FieldMark):
            return mark.field.label
        if isinstance(mark, ColorBar) and not mark.steady:
            return mark.label
    if any(isinstance(mark, Image) for mark in panel.marks):
        return ""
    label = panel.x_label if _lies_across(panel) else panel.y_label
    return label.split("\n", maxsplit=1)[0].removesuffix(", log scale").removesuffix(", uneven scale")


def _called(panel: Panel, label: str) -> Panel:
    """Its marks by that label; where a legend would have none of them, the first."""
    kinds = Line | Bars | Boxes
    names = {mark.label for mark in panel.marks if isinstance(mark, kinds) and mark.label and mark.listed}
    first = next((mark for mark in panel.marks if isinstance(mark, Line)), None) if not names else None

    def one(mark: Mark) -> Mark:
        if mark is first:
            return replace(mark, label=label, listed=True)
        if isinstance(mark, Line) and mark.spread is not None and mark.label:
            mark = replace(mark, spread_label=f"{label}: {mark.spread_label}")
        if not mark.label or not isinstance(mark, kinds | Edge | Rule):
            return mark
        return replace(mark, label=label if names == {mark.label} else f"{label}: {mark.label}")

    return replace(panel, marks=[one(mark) for mark in panel.marks])


def _values(panel: Panel) -> Floats:
    """All values along the axis of values."""
    across, found, bars = _lies_across(panel), [np.empty(0)], any(isinstance(mark, Bars) for mark in panel.marks)
    for mark in panel.marks:
        if isinstance(mark, Line) and (mark.marker or not bars):
            found.append(np.ravel(mark.x if across else mark.y))
        elif isinstance(mark, Bars) and mark.across == across:
            found.append(np.ravel(np.add(mark.base, mark.lengths)))
        elif isinstance(mark, Boxes):
            found.append(mark.values.ravel())
    return np.concatenate(found).astype(np.float64)


def _edges(mark: Mark, low: float, high: float, *, across: bool) -> Iterator[Edge]:
    """Points of a mark that lie beyond an axis, at its ends."""
    if isinstance(mark, Line):
        at, values = (mark.y, mark.x) if across else (mark.x, mark.y)
    elif isinstance(mark, Bars) and mark.across == across:
        at, values = mark.at, np.add(mark.base, mark.lengths)
    else:
        return
    color = mark.color if not isinstance(mark, Line) or mark.face in ("", "none", "white") else mark.face
    for beyond, first, name in ((np.greater(values, high), False, "above"), (np.less(values, low), True, "below")):
        places = np.flatnonzero(beyond)
        places = places[evenly(len(places), MOST)] if len(places) else places
        marker = (("triangle-left", "triangle-right") if across else ("triangle-down", "triangle-up"))[not first]
        style: dict[str, Any] = {"marker": marker, "color": color, "label": f"{name} {text_of(low if first else high)}"}
        if len(places):
            yield Edge(at=np.asarray(at)[places], upright=not across, first=first, size=5, **style)
