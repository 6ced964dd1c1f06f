"""What the picture of a training's plane shows: its paths, what lies off the plane, what the components explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.fields import GridInfo, grid_info
from thetascope.drawing.scales import text_of, written
from thetascope.drawing.style import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, Bools, check_holds
from thetascope.experiments.shared.recorded import RECORDED, recorded_of
from thetascope.results.status import NOT_FINITE

if TYPE_CHECKING:
    import xarray as xr

COLORS, MARKERS = (VERMILION, SKY, PURPLE, ORANGE, GREEN, BLUE), ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
"""Of the trainings."""
NEAR = (0.08, 0.055)
"""Of the plane's width and height: the number of an epoch closer than this to another is left out."""
WALKS = {
    "random_walk_ratio": "random walk of independent steps of these lengths",
    "correlated_walk_ratio": "random walk of steps of these lengths with the training's mean cosine",
    "equal_walk_ratio": "random walk of equal independent steps",
}
"""What is drawn beside the training, by the variable that holds what it explains."""


@dataclass(frozen=True)
class Walk:
    """One training in the plane, a value a state ``[T]``; `own` is measured at the states, `below` on the plane below them.

    `recorded` is measured at the states with the buffers that they were recorded with; nothing where `own` is that already.
    """

    label: str
    x: Floats
    y: Floats
    step: Floats
    epoch: Floats
    progress: Floats
    off_plane: Floats
    own: dict[str, Floats]
    below: dict[str, Floats]
    not_finite: Bools
    recorded: dict[str, Floats] = field(default_factory=dict)

    def when(self, k: int) -> str:
        """State `k` by its epoch and step, as far as they are known, else by its number."""
        known = [f"epoch {self.epoch[k]:g}"] * bool(np.isfinite(self.epoch[k])) + [f"step {self.step[k]:,.0f}"] * bool(
            np.isfinite(self.step[k])
        )
        return ", ".join(known) or f"state {k}"

    def told(self, k: int, variable: str) -> str:
        """State `k` in words."""
        recorded = self.recorded.get(variable)
        beside = "" if recorded is None else f" ({RECORDED}: {written(recorded[k])})"
        return f"{self.when(k)}: own {variable.replace('_', ' ')} {written(self.own[variable][k])}{beside}"

    def told_below(self, k: int, variable: str) -> str:
        """What the plane below state `k` is, in words."""
        return f"{variable.replace('_', ' ')} on the plane below: {written(self.below[variable][k])}"


@dataclass(frozen=True)
class PlaneInfo:
    """All that the figure shows. `shares`: of the variance, a value a component, of the trainings and of random walks; `cosine`: the mean
    of successive steps, nan where it is not known; `keeps_buffers`: whether states have their own buffers, and the plane the center's.
    """

    grid: GridInfo
    walks: tuple[Walk, ...]
    shares: dict[str, Floats]
    cosine: float
    keeps_buffers: bool = False

    @property
    def by_epoch(self) -> bool:
        """Whether states are called by their epochs; else by their steps."""
        return all(np.isfinite(walk.epoch).all() and np.ptp(walk.epoch) > 0 for walk in self.walks)

    @property
    def called(self) -> str:
        """What the numbers beside states are: their epochs, their steps, or, where neither are known, which states they are."""
        return "epoch" if self.by_epoch else "step" if all(np.isfinite(walk.step).all() for walk in self.walks) else "state"

    def dash(self, dash: str = "solid") -> str:
        """Of the line through the states: none where their order is not known, for they are joined by nothing."""
        return "" if self.called == "state" else dash

    @property
    def marker(self) -> str:
        """Of lines that need none: one where nothing joins the states, which would not be seen."""
        return "" if self.dash() else "circle"

    def numbers_of(self, walk: Walk) -> Floats:
        """The number of each state, as `called` says."""
        return {"epoch": walk.epoch, "step": walk.step, "state": np.arange(len(walk.x), dtype=np.float64)}[self.called]

    def clock(self, walk: Walk) -> Floats:
        """When each state was reached, as `clock_label` says."""
        return walk.progress if self.called == "step" else self.numbers_of(walk)

    @property
    def clock_label(self) -> str:
        """What an axis of the time is called."""
        return "share of the training's steps" if self.called == "step" else self.called

    def gap(self, variable: str) -> str:
        """How far the states' own values lie from the plane's below them, in words."""
        return _gap(variable, [(walk.own[variable], walk.below[variable]) for walk in self.walks])

    def gap_recorded(self, variable: str) -> str:
        """How far the states' values with the policy's buffers lie from those as recorded, in words; nothing where these are one."""
        if not all(variable in walk.recorded for walk in self.walks):
            return ""
        return _gap(variable, [(walk.own[variable], walk.recorded[variable]) for walk in self.walks])

    @property
    def correlated(self) -> str:
        """What a difference from the walk of independent steps says; nothing where the steps' cosine is not known."""
        independent = self.shares.get(WALKS["random_walk_ratio"])
        if not np.isfinite(self.cosine) or independent is None:
            return ""
        ours = next(iter(self.shares.values()))
        return (
            f"successive steps have a mean cosine of {written(round(self.cosine, 3))}; a difference from the walk of independent steps "
            f"({ours[:2].sum():.1f} % against {independent[:2].sum():.1f} % in two components) says that steps are correlated, not more"
        )

    def note(self, variable: str) -> str:
        """What the picture of the path must say."""
        off, name = text_of(max(float(walk.off_plane.max()) for walk in self.walks)), variable.replace("_", " ")
        recorded, gap = self.gap_recorded(variable), self.gap(variable)
        if recorded:
            return (
                f"colours show the plane's {name}; a state's own {name} {gap}: states lie up to {off} off the plane; as recorded it "
                f"{recorded} from that, by its buffers alone"
            )
        both = ", and keep the buffers that they were recorded with" if self.keeps_buffers else ""
        return f"colours show the plane's {name}; a state's own {name} {gap}: states lie up to {off} off the plane{both}"


def _gap(variable: str, pairs: Sequence[tuple[Floats, Floats]]) -> str:
    """How far the first of each pair is from the second at most: a loss as a factor, all else as a difference."""
    own, other = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    both = np.isfinite(own) & np.isfinite(other)
    own, other = own[both], other[both]
    if not len(own):
        return "is not known"
    if variable == "loss" and min(own.min(), other.min()) > 0:
        with np.errstate(over="ignore"):
            factor = float(np.exp(np.abs(np.log(own) - np.log(other)).max()))
        return f"differs by up to {100 * (factor - 1):.2g} %" if factor < 1.5 else f"differs by a factor of up to {text_of(factor)}"
    return f"differs by up to {text_of(float(np.abs(own - other).max()))}"


def info(data: xr.Dataset) -> PlaneInfo:
    """Gather what the picture shows; what is missing or not finite stays so.

    Raises:
        ResultError: the data hold no plane of a training, or are not finished.
    """
    grid = grid_info(data)
    check_holds(data, ("path_x", "path_y", "off_plane", "explained_variance_ratio"), "the plane of a training")
    ratio = np.asarray(data["explained_variance_ratio"].values, np.float64)
    x_label, y_label = (
        label if "%" in label or not np.isfinite(ratio[k : k + 1]).any() else f"{label}: {100 * ratio[k]:.1f} % of the variance"
        for k, label in enumerate((grid.x_label, grid.y_label))
    )
    walks = _walks(data, [field.name for field in grid.fields])
    ends = {(float(walk.x[k]), float(walk.y[k])) for walk in walks for k in (0, -1)}
    reach = max(np.ptp(grid.x), np.ptp(grid.y)) * 1e-6
    marks = tuple(mark for mark in grid.marks if all(np.hypot(mark[0] - x, mark[1] - y) > reach for x, y in ends))
    shares = {"training" if len(walks) == 1 else "trainings": ratio}
    shares |= {text: data[name].values for name, text in WALKS.items() if name in data and np.isfinite(data[name].values[:1]).any()}
    keeps = bool(data.attrs.get("floating_buffers")) and data.attrs.get("buffers") == "path"
    shown = replace(grid, x_label=x_label, y_label=y_label, marks=marks)
    return PlaneInfo(shown, walks, {k: 100 * v for k, v in shares.items()}, cosine_of(data), keeps)


def cosine_of(data: xr.Dataset) -> float:
    """The mean cosine of successive steps; nan where it is not known."""
    return float(data.attrs.get("mean_cosine", np.nan)) if "correlated_walk_ratio" in data else float("nan")


def _walks(data: Any, names: list[str]) -> tuple[Walk, ...]:
    training = data["training"].values if "training" in data.variables else np.zeros(data.sizes["state"], np.int64)
    told = data.attrs.get("trainings", [])
    walks = []
    for i in np.unique(training).tolist():
        part = data.isel(state=np.flatnonzero(training == i))
        label = str(told[i]["label"]) if i < len(told) else f"run {i + 1}"
        x, y, step, epoch, progress, off_plane = (
            np.asarray(part[name].values, np.float64) for name in ("path_x", "path_y", "step", "epoch", "progress", "off_plane")
        )
        own, below = ({name: np.asarray(part[f"{of}_{name}"].values, np.float64) for name in names} for of in ("path", "plane"))
        not_finite = np.asarray(part["path_status"].values == NOT_FINITE)
        recorded = {name: values for name in names if len(values := recorded_of(part, name))}
        walks.append(Walk(label, x, y, step, epoch, progress, off_plane, own, below, not_finite, recorded))
    return tuple(walks)


def times_of(walk: Walk) -> Floats:
    """When each state is reached, 0 to 1: by the training's steps, evenly where these do not rise."""
    rises = len(walk.progress) > 1 and np.isfinite(walk.progress).all() and (np.diff(walk.progress) > 0).all()
    return walk.progress if rises else np.linspace(0.0, 1.0, len(walk.x))


def reached(times: Floats, time: float) -> int:
    """The last state that is reached by then."""
    return max(int(np.searchsorted(times, time + 1e-9, side="right")) - 1, 0)


def numbers(found: PlaneInfo) -> list[tuple[float, float, float, float, str]]:
    """States that get a number, none too near to another: x, y, the way to write it beside the path, and the text.

    The last and the first states come first, then the rest in their order; whole epochs before parts of them.
    """
    size = np.array([np.ptp(found.grid.x) or 1.0, np.ptp(found.grid.y) or 1.0])
    wanted = []
    for walk in found.walks:
        called = found.numbers_of(walk)
        chosen = [k for k in range(len(called)) if k == 0 or called[k] != called[k - 1]]
        whole = [k for k in chosen if called[k] == np.round(called[k])]
        chosen = whole if len(whole) > 1 else chosen
        order = [*dict.fromkeys([chosen[-1], chosen[0], *chosen])]
        path = np.stack([walk.x, walk.y], axis=1) / size
        wanted += [
            (rank > 1, path[k], _beside(path, k), f"{called[k]:,g}" if called[k] < 1e6 else f"{called[k]:.3g}")
            for rank, k in enumerate(order)
        ]
    placed: list[Any] = []
    for _, at, way, text in sorted(wanted, key=lambda entry: entry[0]):
        if all((np.abs(at - other) > NEAR).any() for other, _, _ in placed):
            placed.append((at, way, text))
    return [(*(at * size).tolist(), *way.tolist(), text) for at, way, text in placed]


def _beside(path: Floats, k: int) -> Floats:
    """A direction away from the path at a state: across it, to the outer side of its bend."""
    before, after = path[max(k - 1, 0)], path[min(k + 1, len(path) - 1)]
    along = after - before
    length = np.hypot(*along)
    if length == 0:
        return np.array([0.0, 1.0])
    across = np.array([-along[1], along[0]]) / length
    bend = float(across @ (path[k] - (before + after) / 2))
    return np.asarray(across if bend > 0 or (bend == 0 and across[1] >= 0) else -across, np.float64)
