"""What the figure of robust and ambient layers shows: the layers ranked, their losses and metrics, what must be noted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thetascope.errors import ResultError
from thetascope.figures.style import buffers_note, quantity_label

if TYPE_CHECKING:
    from thetascope.results import Result

Floats = NDArray[np.float64]
LABEL_LENGTH = 44
"""A longer name is cut in its middle."""
MANY_GAINS = 8.0
"""A logarithmic axis where the worst loss is so many times the training's gain above the final one."""
MARKS = {"robust": "●", "ambient": "○", "undecided": "?"}


@dataclass(frozen=True)
class Row:
    """A layer: its name, role, share of the training's gain that is lost, distance travelled, and how it was drawn anew."""

    name: str
    role: str
    share: float
    distance: float
    redraw: str

    @property
    def verdict(self) -> str:
        """The role with its mark and the share."""
        percent = 100 * self.share
        share = f"{percent:,.0f}" if abs(percent) >= 9.95 else f"{round(percent, 1) + 0.0:.1f}"  # + 0.0: no minus before a zero
        shown = "" if np.isnan(self.share) else f"  {share.replace('-', '−')} %"
        return f"{MARKS.get(self.role, '?')} {self.role}{shown}"


@dataclass(frozen=True)
class Panel:
    """One quantity, layers in the order of the rows: re-initialised ``[L]``, re-randomised ``[L, D]``, and the two ends.

    `threshold` is the value above which a layer is robust, for the loss where the training gained anything. The
    masks say what was scored and is not finite.
    """

    name: str
    label: str
    reinit: Floats
    rerandom: Floats
    reinit_not_finite: NDArray[np.bool_]
    rerandom_not_finite: NDArray[np.bool_]
    initial: float
    final: float
    threshold: float | None
    log: bool

    @property
    def base(self) -> float:
        """Where bars start: at the final state's value, so that their length is what is lost."""
        return self.final if np.isfinite(self.final) else 0.0

    @property
    def rerandom_mean(self) -> Floats:
        """Over the draws; nan where one of them has no finite value."""
        return np.array([draws.mean() if np.isfinite(draws).all() else np.nan for draws in self.rerandom])


@dataclass(frozen=True)
class LayerRolesInfo:
    """All that the figure shows; rows are ranked, the highest share first, undecided ones last."""

    title: str
    subtitle: str
    notes: tuple[str, ...]
    share_threshold: float
    draws: int
    rows: tuple[Row, ...]
    panels: tuple[Panel, ...]


def info(result: Result) -> LayerRolesInfo:
    """Gather and rank what the figure shows.

    Raises:
        ResultError: the result is not finished, so that there are no roles yet.
    """
    data, attrs = result.data, result.data.attrs
    if "share" not in data:
        raise ResultError("this result is not finished, so there are no roles yet; repeat the call with the same out= to go on with it")
    share = data["share"].values
    order = np.asarray(sorted(range(len(share)), key=lambda i: (1, 0.0) if np.isnan(share[i]) else (0, -share[i])), dtype=np.int64)
    rows = tuple(
        Row(
            str(data["layer"].values[i]),
            str(data["role"].values[i]),
            float(share[i]),
            float(data["distance"].values[i]),
            str(data["redraw"].values[i]),
        )
        for i in order
    )
    panels = tuple(_panel(data, name, order) for name in attrs["scored"] if name != "loss_standard_error")
    first, last = attrs["knots"][0], attrs["knots"][-1]
    return LayerRolesInfo(
        title="Robust and ambient layers",
        subtitle=f"one layer changed, the rest final; steps {first['step']:,} to {last['step']:,}; "
        f"{attrs['samples_scored']:,} samples{buffers_note(attrs)}",
        notes=_notes(attrs),
        share_threshold=float(attrs["threshold"]),
        draws=int(data.sizes["draw"]),
        rows=rows,
        panels=panels,
    )


def _panel(data: Any, name: str, order: NDArray[np.int64]) -> Panel:
    attrs = data.attrs
    reinit, rerandom = data[f"reinit_{name}"].values[order], data[f"rerandom_{name}"].values[order]
    initial, final = (float(data[f"end_{name}"].sel(end=end)) for end in ("initial", "final"))
    gain = initial - final
    threshold = final + attrs["threshold"] * gain if name == "loss" and np.isfinite(gain) and gain > 0 else None
    everything = np.concatenate([reinit, rerandom.ravel(), [initial, final]])
    finite = everything[np.isfinite(everything)]
    log = threshold is not None and finite.min() > 0 and finite.max() - final > MANY_GAINS * gain
    return Panel(
        name,
        quantity_label(name, attrs["loss_name"]),
        reinit,
        rerandom,
        ~np.isfinite(reinit) & (data["reinit_status"].values[order] != 0),
        ~np.isfinite(rerandom) & (data["rerandom_status"].values[order] != 0),
        initial,
        final,
        threshold,
        bool(log),
    )


def _notes(attrs: Any) -> tuple[str, ...]:
    """What a reader must know beside the bars."""
    notes = ["percentage: the share of the training's gain in loss that re-initialising loses"]
    notes += [f"undecided: {reason}" for reason in attrs["undecided"]]
    if attrs["with_buffers"]:
        layers = _listed(attrs["with_buffers"])
        notes.append(f"re-initialised with their running statistics, re-randomised without: {layers}")
    if attrs["not_called"]:
        notes.append(f"never called itself (a parent may use its tensors): {_listed(attrs['not_called'])}")
    if attrs["drawn_normally"]:
        drawn = _listed(list(attrs["drawn_normally"]))
        notes.append(f"re-randomised by a normal distribution like that of the first values: {drawn}; the rest by reset_parameters")
    return tuple(notes)


def _listed(names: list[str], most: int = 4) -> str:
    shown = ", ".join(_shortened(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _shortened(name: str) -> str:
    if len(name) <= LABEL_LENGTH:
        return name
    half = (LABEL_LENGTH - 1) // 2
    return f"{name[: LABEL_LENGTH - 1 - half]}…{name[-half:]}"


def labels_of(rows: tuple[Row, ...]) -> list[str]:
    """The names, shortened where that does not make two of them the same."""
    short = [_shortened(row.name) for row in rows]
    return [name if short.count(name) == 1 else row.name for name, row in zip(short, rows, strict=True)]
