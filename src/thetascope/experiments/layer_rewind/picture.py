"""When each layer was finished: what it costs to take it from each recorded state, below the loss and the barrier to the end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.captions import scored_notes
from thetascope.drawing.moments import called_by, from_to, short_moment
from thetascope.drawing.scales import SymmetricLog
from thetascope.drawing.spec import INK, Bars, Form, Line, Mark, Panel, Picture, Rule, Ticks, stacked, unbounded
from thetascope.drawing.style import BLUE, GREY, VERMILION, check_holds, quantities, spread_of, wants_log
from thetascope.errors import ResultError
from thetascope.experiments.framework.phrases import give_or_take, percent
from thetascope.experiments.layer_rewind.rules import within
from thetascope.experiments.layer_rewind.words import columns_of, cost, headline, way_shares
from thetascope.experiments.shared.barrier_words import ERRORS
from thetascope.experiments.shared.layer_rows import NAMES, ROWS_NOTE, inches, rows_panel
from thetascope.experiments.shared.layer_words import mover
from thetascope.experiments.shared.recorded import recorded_marks, recorded_of

if TYPE_CHECKING:
    import xarray as xr

TITLE = "When each layer was finished"
ON_CELLS = "#1a1a1a"
"""Of a line on cells, which are light on any ground, so that it does not become light on a dark one."""
COLORS = "RdBu_r"
"""White in the middle."""
LABELS = 14
"""So many states at most are called by their epoch or step."""
TOP, COLUMN, LEAST, MOST = 1.15, 0.34, 4.4, 8.0
"""Inches: the height of a panel above the cells, the width of a column, and of all of them at least and at most."""
ROW, HIGHEST = 0.11, 9.0
"""Inches: the height of a row at least, and of all of them at most."""
WAY = 0.16
"""Of the width of the cells: how far the bars of the way go to their left."""

Spacing = Literal["states", "steps", "log"]


@dataclass(frozen=True)
class Columns:
    """Where states stand along the upright axes: one a column, or as wide as the training took."""

    data: xr.Dataset
    spacing: Spacing

    @cached_property
    def edges(self) -> Floats:
        """``[T + 1]``; by steps a state stands in the middle of its column, but for the first and the last."""
        count, steps = self.data.sizes["state"], np.asarray(self.data["step"].values, np.float64)
        if self.spacing == "states":
            return np.arange(count + 1, dtype=np.float64)
        if not np.isfinite(steps).all():
            raise ResultError(f'spacing="{self.spacing}" needs the steps of all states, which are not known; leave it out')
        at = steps
        if self.spacing == "log":
            least = steps[steps > 0].min(initial=np.inf)
            at = np.log10(np.maximum(steps, least / 2))  # the first step is often 0
        middle = (at[1:] + at[:-1]) / 2
        return np.concatenate([[2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]])

    @cached_property
    def centers(self) -> Floats:
        """``[T]``"""
        return (self.edges[1:] + self.edges[:-1]) / 2

    @property
    def start(self) -> float:
        """Where the bars of the way end, on the left."""
        return float(self.edges[0] - 1.12 * WAY * (self.edges[-1] - self.edges[0]))

    @property
    def ticks(self) -> Ticks:
        """The states' epochs or steps, as many as have room, and what stands to the left of the first."""
        count, apart = len(self.centers), (self.edges[-1] - self.edges[0]) / LABELS
        shown = [0]
        for place in range(1, count):
            if self.centers[place] - self.centers[shown[-1]] >= apart <= self.centers[-1] - self.centers[place] or place == count - 1:
                shown.append(place)
        what, named = called_by(self.data)
        texts = [f"{named[place]:g}" if what == "epoch" else f"{int(named[place]):,}" for place in shown]
        return [(self.start + self.edges[0]) / 2, *self.centers[shown].tolist()], ["share of\nthe way", *texts]

    @property
    def label(self) -> str:
        """What the axis is called."""
        how = {"states": "", "steps": ", spaced by steps", "log": ", spaced by the logarithm of steps"}[self.spacing]
        return f"recorded state: {called_by(self.data)[0]}{how}"


def picture(data: xr.Dataset, form: Form, variable: str | None = None, spacing: Spacing = "states") -> Picture:
    """Cells of (layer, state): what the layer from there costs; above the loss of the states, and the barrier to the end.

    Another `variable` than the loss has its values as cells. `spacing` is what decides how wide the columns are: all alike, or by "steps"
    or their logarithm ("log"). A page switches between the variables.
    """
    check_holds(data, ["finished"], "finished layers")
    if spacing not in ("states", "steps", "log"):
        raise ResultError(f'spacing must be "states", "steps" or "log". Got {spacing!r} instead.')
    columns, shown = Columns(data, spacing), quantities(data.attrs, variable)
    cells = [_cells(data, name, label, columns) for name, label in shown.items()]
    first = next(iter(shown))
    main = replace(cells[0], others=[(panel.name, panel) for panel in cells[1:]]) if form == "page" else cells[0]
    layers = data.sizes["layer"]
    rows = max(inches(layers, len(main.y_ticks[1]) if main.y_ticks else 1), min(ROW * layers, HIGHEST))
    wide = min(max(COLUMN * data.sizes["state"], LEAST), MOST)
    names = 0.075 * max(map(len, main.y_ticks[1] if main.y_ticks else ()), default=0)
    notes, width = _notes(data, first), 1.9 + names + wide * (1 + WAY)
    if form == "axes":
        return Picture(title=TITLE, notes=notes, parts=stacked([main]), width=width, height=rows)
    above = [_above(data, first, shown[first], columns)]
    above += [_barriers(data, columns)] if first == "loss" and "barrier_to_end" in data else []
    heights = [*[TOP] * len(above), rows]
    height = sum(heights) + 1.7 + 0.2 * len(notes)
    return Picture(title=TITLE, notes=notes, parts=stacked([*above, main], heights), width=width, height=height)


def _notes(data: xr.Dataset, name: str) -> tuple[str, ...]:
    attrs = data.attrs
    samples = int(attrs["samples_scored"])
    notes = [
        headline(data),
        f"one {mover(data)} at a time from each state, the rest final; {from_to(data)}; {samples:,} samples",
        *scored_notes(attrs, "running statistics are taken with their layers"),
    ]
    if name == "loss" and attrs["gain"] > 0:
        white = f"white: at most {percent(attrs['tolerance'])} of it, or {ERRORS:g} standard errors of the difference"
        notes.append(f"colours: excess loss as share of what the training gained; {white}")
    return (*notes, *([ROWS_NOTE] if data.sizes["layer"] > NAMES else []))


def _cells(data: xr.Dataset, name: str, label: str, columns: Columns) -> Panel:
    """A row a layer; of the loss its excess as a share of the gain, white where it counts as nothing."""
    values, status = np.asarray(data[name].values, np.float64), data["status"].values
    told = [[f"{layer} from {moment}\n{said}" for moment, said in zip(_moments(data), row, strict=True)]
            for layer, row in zip(data["layer"].values.astype(str), _told(data, name), strict=True)]  # fmt: skip
    how: dict[str, Any] = {}
    if name == "loss":
        shares, fine = cost(data), within(np.abs(data["excess"].values), data["excess_se"].values, data.attrs["least"])
        values = np.where(fine, 0.0, shares)
        values[~np.isfinite(data[name].values)] = np.nan
        label = "excess loss, share of the gain" if data.attrs["gain"] > 0 else "excess loss"
        threshold = data.attrs["tolerance"] if data.attrs["gain"] > 0 else data.attrs["least"]
        how = {"scale": SymmetricLog.of(values, threshold or 1e-3), "color_map": COLORS}
    axes: dict[str, Any] = {"x_label": columns.label, "x_ticks": columns.ticks, "x_range": (columns.start, float(columns.edges[-1]))}
    return rows_panel(
        data, values, status, columns.edges, label, name=name, hover="", told=told, marks=_on_cells(data, columns), **how, **axes
    )  # fmt: skip


def _told(data: xr.Dataset, name: str) -> list[list[str]]:
    """What hovering tells of each cell."""
    values = data[name].values
    if name != "loss":
        return [[f"{name.replace('_', ' ')} {value:.5g}" for value in row] for row in values]
    excess, error, share = data["excess"].values, data["excess_se"].values, cost(data)
    of_gain = data.attrs["gain"] > 0
    return [
        [
            f"loss {values[i, j]:.5g}, excess {give_or_take(excess[i, j], error[i, j])}{f' ({percent(share[i, j])} of the gain)' * of_gain}"
            for j in range(values.shape[1])
        ]
        for i in range(values.shape[0])
    ]


def _moments(data: xr.Dataset) -> list[str]:
    return [short_moment(data, place) for place in range(data.sizes["state"])]


def _on_cells(data: xr.Dataset, columns: Columns) -> list[Mark]:
    """The bars of the way, and where each layer was finished."""
    layers, shares = data["layer"].values.astype(str).tolist(), way_shares(data)
    at, width = np.arange(len(layers)) + 0.5, columns.edges[-1] - columns.edges[0]
    base = float(columns.edges[0] - 0.04 * WAY * width)
    longest = float(np.nanmax(shares, initial=0.0)) or 1.0
    told = [f"{layer}: {percent(share)} of the squared way" for layer, share in zip(layers, shares, strict=True)]
    bars = Bars(
        at=at, lengths=-np.nan_to_num(shares) / longest * WAY * width, base=base, across=True, width=0.62, color=GREY, told=told, hover="",
        layers=layers, label=f"share of the squared way (longest bar: {percent(longest)})",
    )  # fmt: skip
    places = columns_of(data, data["finished"].values)
    edge = columns.edges[places]
    steps: dict[str, Any] = {
        "color": ON_CELLS,
        "width": 2.0 if len(layers) <= NAMES else 1.2,
        "halo": True,
        "level": 6,
        "label": "finished from here on",
        "hover": "",
    }
    line = Line(x=np.repeat(edge, 2), y=np.repeat(np.arange(len(places) + 1), 2)[1:-1], **steps)
    marks: list[Mark] = [bars, line]
    unsure = np.flatnonzero(~data["resolved"].values.astype(bool))
    if len(unsure):
        why = "two standard errors are more than the tolerance, so that more samples may show it finished later"
        said = [f"{layers[i]}: {why}" for i in unsure]
        dot: dict[str, Any] = {
            "dash": "",
            "marker": "triangle-right",
            "size": 6 if len(layers) <= NAMES else 4,
            "face": "white",
            "edge": INK,
            "color": INK,
            "level": 7,
        }
        marks.append(Line(x=edge[unsure], y=at[unsure], label="at the earliest: not resolved by these samples", told=said, hover="", **dot))
    return marks


def _above(data: xr.Dataset, name: str, label: str, columns: Columns) -> Panel:
    """What the states score."""
    values, recorded, moments = data[f"actual_{name}"].values, recorded_of(data, name), _moments(data)
    style: dict[str, Any] = {"color": VERMILION, "marker": "diamond", "width": 1.2, "told": moments, "hover": "%{y:.5g}"}
    style |= spread_of(data, name, prefix="actual_")
    marks: list[Mark] = [Line(x=columns.centers, y=values, label="the states themselves", **style)]
    marks += recorded_marks(columns.centers, recorded, moments, marker="diamond", color=VERMILION)
    marks += [] if np.isfinite(values).all() else [unbounded(columns.centers, values)]
    log = name == "loss" and wants_log(values, recorded)
    return Panel(name=name, marks=marks, y_label=label, y_log=log, **_over(columns))


def _barriers(data: xr.Dataset, columns: Columns) -> Panel:
    """The barrier from each state to the last, and what counts as none."""
    attrs, gain = data.attrs, data.attrs["gain"] if data.attrs["gain"] > 0 else 1.0
    values, errors = data["barrier_to_end"].values / gain, data["barrier_to_end_se"].values / gain
    allowed, since = f"tolerance: {percent(attrs['tolerance'])} of the gain", columns_of(data, attrs["connected_from"])
    marks: list[Mark] = [
        Line(
            x=columns.centers, y=values, label="barrier to the end", color=BLUE, marker="square", width=1.2, told=_moments(data),
            hover="%{y:.4g}", spread=2 * errors,
        ),
        Rule(at=attrs["least"] / gain, upright=False, dash="dash", color=GREY, label=allowed),
        Rule(at=float(columns.edges[since]), dash="dashdot", color=BLUE, width=1.2,
             label="linearly connected to the end from here on", level=3),
    ]  # fmt: skip
    marks += [] if np.isfinite(values).all() else [unbounded(columns.centers, values)]
    label = "barrier, share\nof the gain" if attrs["gain"] > 0 else "barrier"
    tops = (values + 2 * np.nan_to_num(errors))[np.isfinite(values)]
    high = float(np.max(np.append(tops, 2 * attrs["least"] / gain)))
    return Panel(name="barrier to the end", marks=marks, y_label=label, y_range=(-0.08 * high, 1.12 * high), **_over(columns))


def _over(columns: Columns) -> dict[str, Any]:
    return {"x_ticks": columns.ticks, "x_range": (columns.start, float(columns.edges[-1])), "x_label": columns.label}
