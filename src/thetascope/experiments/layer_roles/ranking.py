"""Layers ranked by what re-initialising them costs: their roles, and what must be noted of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.drawing.captions import scored_notes
from thetascope.drawing.moments import moment_of
from thetascope.drawing.style import Ints
from thetascope.errors import ResultError

if TYPE_CHECKING:
    import xarray as xr

LABEL_LENGTH = 44
"""A longer name is cut in its middle."""
MARKS = {"critical": "●", "ambient": "○", "undecided": "?"}


@dataclass(frozen=True)
class RolesRow:
    """A layer: its name, role, share of the training's gain that is lost, distance travelled, and how it was drawn anew."""

    name: str
    role: str
    share: float
    distance: float
    drawn_from: str
    critical_in: str = ""

    @property
    def verdict(self) -> str:
        """The role with its mark and the share."""
        percent = 100 * self.share
        share = f"{percent:,.0f}" if abs(percent) >= 9.95 else f"{round(percent, 1) + 0.0:.1f}"  # + 0.0: no minus before a zero
        shown = "" if np.isnan(self.share) else f"  {share.replace('-', '−')} %"
        only = f" in {self.critical_in} only" if self.critical_in not in ("", "both") else ""
        return f"{MARKS.get(self.role, '?')} {self.role}{only}{shown}"


def ranked(data: xr.Dataset) -> tuple[Ints, list[RolesRow]]:
    """The layers, the highest share first, undecided ones last: their places in the data, and what is known of them.

    Raises:
        ResultError: the result is not finished, so that there are no roles yet.
    """
    if "share" not in data:
        raise ResultError("this result is not finished, so there are no roles yet; repeat the call with the same out= to go on with it")
    share = data["share"].values
    order = np.asarray(sorted(range(len(share)), key=lambda i: (1, 0.0) if np.isnan(share[i]) else (0, -share[i])), dtype=np.int64)
    columns = (data[name].values[order] for name in ("layer", "role", "share", "distance", "drawn_from", "critical_in"))
    return order, [
        RolesRow(str(n), str(role), float(s), float(d), str(made), str(c)) for n, role, s, d, made, c in zip(*columns, strict=True)
    ]


def notes_of(attrs: Any) -> tuple[str, ...]:
    """What a reader must know beside the bars."""
    first, last = (moment_of(attrs["knots"][place], "") for place in (0, -1))
    notes = [
        f"one layer changed, the rest final; {first} to {last}; {attrs['samples_scored']:,} samples",
        *scored_notes(attrs, "running statistics are put back with their layers"),
        f"percentage: the share of the training's gain in loss that re-initialising loses{_gained_from(attrs)}",
    ]
    notes += [f"undecided: {reason}" for reason in attrs["undecided"]]
    if attrs["with_buffers"]:
        notes.append(f"re-initialised with their running statistics, re-randomised without: {_listed(attrs['with_buffers'])}")
    if attrs["not_called"]:
        notes.append(f"never called itself (a parent may use its tensors): {_listed(attrs['not_called'])}")
    if attrs["drawn_normally"]:
        drawn = _listed(list(attrs["drawn_normally"]))
        notes.append(f"re-randomised by a normal distribution with mean and spread of the first values: {drawn}")
    return tuple(notes)


def gain_of(attrs: Any, variable: str) -> float:
    """What the training gained in the loss or in accuracy; 0 where nothing, or where it is not known."""
    gain = attrs.get({"loss": "gain", "accuracy": "gain_accuracy"}.get(variable, ""), 0.0)
    return max(0.0, float(gain)) if np.isfinite(gain) else 0.0


def _gained_from(attrs: Any) -> str:
    """Where the gain is counted from, if not from the initial loss."""
    is_chance = attrs["gain_from"] == "chance"
    return f"; gained from chance on ({attrs['chance_loss']:.3g}), which is less than the initial loss" if is_chance else ""


def _listed(names: list[str], most: int = 4) -> str:
    shown = ", ".join(map(_shortened, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _shortened(name: str) -> str:
    if len(name) <= LABEL_LENGTH:
        return name
    half = (LABEL_LENGTH - 1) // 2
    return f"{name[: LABEL_LENGTH - 1 - half]}…{name[-half:]}"


def labels_of(rows: list[RolesRow]) -> list[str]:
    """The names, shortened where that does not make two of them the same."""
    short = [_shortened(row.name) for row in rows]
    return [name if short.count(name) == 1 else row.name for name, row in zip(short, rows, strict=True)]
