"""What the picture of robust and ambient layers shows: the layers ranked, their losses and metrics, what must be noted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.drawing.layouts import Panel, PictureInfo
from thetascope.drawing.style import Bools, Ints, buffers_note, quantities
from thetascope.errors import ResultError
from thetascope.results.status import MISSING

if TYPE_CHECKING:
    import xarray as xr

LABEL_LENGTH = 44
"""A longer name is cut in its middle."""
MANY_GAINS = 8.0
"""A logarithmic axis where the worst loss is so many times the training's gain above the final one."""
MARKS = {"robust": "●", "ambient": "○", "undecided": "?"}


@dataclass(frozen=True)
class RolesRow:
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
class RolesPanel(Panel):
    """One quantity, layers in the order of the rows: re-initialised ``[L]``, re-randomised ``[L, D]``, and the two ends.

    `threshold` is the value above which a layer is robust, for the loss where the training gained anything. The
    masks say what was scored and is not finite.
    """

    reinit: Floats
    rerandom: Floats
    reinit_not_finite: Bools
    rerandom_not_finite: Bools
    initial: float
    final: float
    threshold: float | None

    @property
    def base(self) -> float:
        """Where bars start: at the final state's value, so that their length is what is lost."""
        return self.final if np.isfinite(self.final) else 0.0

    @property
    def bad_draws(self) -> Ints:
        """How many draws of each row are not finite."""
        return np.asarray(self.rerandom_not_finite.sum(axis=1), np.int64)

    @property
    def rerandom_mean(self) -> Floats:
        """Over the draws; nan where one of them has no finite value."""
        return np.array([draws.mean() if np.isfinite(draws).all() else np.nan for draws in self.rerandom])


@dataclass(frozen=True)
class LayerRolesInfo(PictureInfo):
    """All that the picture shows; rows are ranked, the highest share first, undecided ones last."""

    share_threshold: float
    draws: int
    rows: tuple[RolesRow, ...]
    panels: tuple[RolesPanel, ...]

    @property
    def threshold_label(self) -> str:
        """How the legend calls it."""
        return f"threshold: {100 * self.share_threshold:g} % of the gain in loss"


def info(data: xr.Dataset) -> LayerRolesInfo:
    """Gather and rank what the picture shows.

    Raises:
        ResultError: the result is not finished, so that there are no roles yet.
    """
    attrs = data.attrs
    if "share" not in data:
        raise ResultError("this result is not finished, so there are no roles yet; repeat the call with the same out= to go on with it")
    share = data["share"].values
    order = np.asarray(sorted(range(len(share)), key=lambda i: (1, 0.0) if np.isnan(share[i]) else (0, -share[i])), dtype=np.int64)
    columns = (data[name].values[order] for name in ("layer", "role", "share", "distance", "redraw"))
    return LayerRolesInfo(
        title="Robust and ambient layers",
        notes=_notes(attrs),
        share_threshold=float(attrs["threshold"]),
        draws=int(data.sizes["draw"]),
        rows=tuple(RolesRow(str(n), str(role), float(s), float(d), str(redraw)) for n, role, s, d, redraw in zip(*columns, strict=True)),
        panels=tuple(_panel(data, name, label, order) for name, label in quantities(attrs).items()),
    )


def _panel(data: xr.Dataset, name: str, label: str, order: Ints) -> RolesPanel:
    reinit, rerandom = data[f"reinit_{name}"].values[order], data[f"rerandom_{name}"].values[order]
    initial, final = (float(data[f"end_{name}"].sel(end=end)) for end in ("initial", "final"))
    gain = initial - final
    threshold = final + data.attrs["threshold"] * gain if name == "loss" and np.isfinite(gain) and gain > 0 else None
    everything = np.concatenate([reinit, rerandom.ravel(), [initial, final]])
    finite = everything[np.isfinite(everything)]
    return RolesPanel(
        name=name,
        label=label,
        log=bool(threshold is not None and finite.min() > 0 and finite.max() - final > MANY_GAINS * gain),
        reinit=reinit,
        rerandom=rerandom,
        reinit_not_finite=~np.isfinite(reinit) & (data["reinit_status"].values[order] != MISSING),
        rerandom_not_finite=~np.isfinite(rerandom) & (data["rerandom_status"].values[order] != MISSING),
        initial=initial,
        final=final,
        threshold=threshold,
    )


def _notes(attrs: Any) -> tuple[str, ...]:
    """What a reader must know beside the bars."""
    first, last = attrs["knots"][0], attrs["knots"][-1]
    notes = [
        f"one layer changed, the rest final; steps {first['step']:,} to {last['step']:,}; "
        f"{attrs['samples_scored']:,} samples{buffers_note(attrs)}",
        "percentage: the share of the training's gain in loss that re-initialising loses",
    ]
    notes += [f"undecided: {reason}" for reason in attrs["undecided"]]
    if attrs["with_buffers"]:
        notes.append(f"re-initialised with their running statistics, re-randomised without: {_listed(attrs['with_buffers'])}")
    if attrs["not_called"]:
        notes.append(f"never called itself (a parent may use its tensors): {_listed(attrs['not_called'])}")
    if attrs["drawn_normally"]:
        drawn = _listed(list(attrs["drawn_normally"]))
        notes.append(f"re-randomised by a normal distribution like that of the first values: {drawn}; the rest by reset_parameters")
    return tuple(notes)


def _listed(names: list[str], most: int = 4) -> str:
    shown = ", ".join(map(_shortened, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _shortened(name: str) -> str:
    if len(name) <= LABEL_LENGTH:
        return name
    half = (LABEL_LENGTH - 1) // 2
    return f"{name[: LABEL_LENGTH - 1 - half]}…{name[-half:]}"


def labels_of(rows: tuple[RolesRow, ...]) -> list[str]:
    """The names, shortened where that does not make two of them the same."""
    short = [_shortened(row.name) for row in rows]
    return [name if short.count(name) == 1 else row.name for name, row in zip(short, rows, strict=True)]
