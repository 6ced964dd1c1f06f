"""``samples="auto"``: how many samples tell the points of an experiment apart, found by a pilot on few.

A pilot scores some of the points on few samples, and asks how many would bring the paired standard error of each point's difference
from the reference down to a share of the larger of what the training gained and the point's own loss. Samples are drawn in one order,
so that more of them hold all that fewer did.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from thetascope.errors import PlaceError
from thetascope.files import write_json
from thetascope.geometry.points import PointSet, StoredStates
from thetascope.safe_paths import read_whole
from thetascope.scoring.protocols import Scorable
from thetascope.scoring.scores import Reference
from thetascope.state import State

PILOT_POINTS, FIRST, LEAST = 8, 200, 100
"""So many points are scored in a pilot, on so many samples at first; so many are chosen at least."""

SURE = 2
"""A pilot on at least the chosen number over this is believed; else it is made again on more."""

FILE, MOST_BYTES = "samples.json", 2**24


@dataclass
class Chosen:
    """How many samples an objective with ``samples="auto"`` draws, once that is known; shared by its copies.

    Attributes:
        precision: the share that a paired standard error may be.
        count: how many; None as long as it is not known.
        of: of how many.
        reason: why it is all of them, where it is for another reason than that so many are needed.
    """

    precision: float
    count: int | None = None
    of: int = 0
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """What a result says of it."""
        return {"precision": self.precision, "count": self.count, "of": self.of, "reason": self.reason}


class Pilot(Protocol):
    """An objective on few samples."""

    def kept_at(self, points: PointSet, rows: Sequence[int], *, as_recorded: bool = False) -> list[Reference]:
        """What every sample scores at some points."""
        ...


class Sampled(Scorable, Protocol):
    """What a pilot needs of an objective."""

    chosen: Chosen | None
    compared: State | None

    @property
    def chance(self) -> Mapping[str, float]:
        """What is scored without looking at inputs."""
        ...

    def pilot(self, samples: int) -> Pilot:
        """The same on so many samples."""
        ...

    def sampling_identity(self) -> str:
        """What the number is kept by."""
        ...

    def stored(self, states: Sequence[State]) -> StoredStates:
        """States as points."""
        ...


def choose(objective: Sampled, sets: Sequence[tuple[PointSet, bool]], homes: Sequence[Path], keep: Path | None) -> None:
    """Find how many samples are drawn, if that is not known yet: as many as some run of `homes` keeps, else by a pilot.

    Call it within the model's `running`.

    Args:
        objective: with ``samples="auto"``; compared with a state.
        sets: points that will be scored, each with whether they are scored as recorded.
        homes: folders that may keep what was chosen before; of several the largest number holds.
        keep: where it is kept.
    """
    chosen = objective.chosen
    if chosen is None:
        return
    if chosen.count is None:
        identity = objective.sampling_identity()
        kept = [count for home in homes if (count := _kept(home, identity)) is not None]
        chosen.of = objective.batches.survey.rows or 0
        chosen.count = max(kept) if kept else _piloted(objective, chosen, sets)
        objective.batches.resample(chosen.count if chosen.count < chosen.of else None)
    if keep is not None and keep.is_dir():
        _keep(keep, objective.sampling_identity(), chosen.count)


def _kept(home: Path, identity: str) -> int | None:
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError, PlaceError):
        count = json.loads(read_whole(home / FILE, home, MOST_BYTES))[identity]
        return count if isinstance(count, int) and count > 1 else None
    return None


def _keep(home: Path, identity: str, count: int) -> None:
    held: dict[str, int] = {}
    with suppress(OSError, ValueError, RecursionError, PlaceError):
        found = json.loads(read_whole(home / FILE, home, MOST_BYTES))
        held = found if isinstance(found, dict) else {}
    if held.get(identity) != count:
        write_json(home / FILE, {**held, identity: count})


def _piloted(objective: Sampled, chosen: Chosen, sets: Sequence[tuple[PointSet, bool]]) -> int:
    """The number that a pilot asks for; all where losses are not of samples, or where there are few."""
    total, size = chosen.of, FIRST
    if objective.fixed or total <= LEAST:
        chosen.reason = "a batch is the sample" if objective.fixed else "there are few"
        return total
    while True:
        needed = _needed(objective, sets, min(size, total), chosen.precision)
        if needed is None:
            chosen.reason = "losses are not those of single samples"
            return total
        if size >= total or needed <= SURE * size:
            return min(total, max(LEAST, needed))
        size = min(4 * size, needed)


def _needed(objective: Sampled, sets: Sequence[tuple[PointSet, bool]], size: int, precision: float) -> int | None:
    """How many samples the points ask for, by `size` of them."""
    pilot = objective.pilot(size)
    state = objective.compared
    assert state is not None
    reference = _losses(pilot, objective.stored((state,)), [0], as_recorded=False)
    if reference is None:
        return None
    values, weights = reference[0]
    final, needed = float((values * weights).sum() / weights.sum()), 0.0
    each = max(1, PILOT_POINTS // len(sets))
    scored: list[tuple[float, torch.Tensor]] = []
    for points, as_recorded in sets:
        rows = sorted({round(k) for k in torch.linspace(0, len(points) - 1, min(each, len(points))).tolist()})
        for losses, own in _losses(pilot, points, rows, as_recorded=as_recorded) or ():
            if len(losses) == len(values) and bool(torch.isfinite(losses).all()):
                scored.append((float((losses * own).sum() / own.sum()), (losses - values) * own / own.mean()))
    chance = objective.chance.get("loss", math.inf)
    worst = min(chance, max((loss for loss, _ in scored), default=final))
    gain = max(0.0, worst - final)
    for loss, differences in scored:
        allowed = precision * max(gain, loss)
        spread = float(differences.std())
        if spread > 0 and allowed > 0:
            needed = max(needed, (spread / allowed) ** 2)
    return math.ceil(needed)


def _losses(pilot: Pilot, points: PointSet, rows: Sequence[int], *, as_recorded: bool) -> list[tuple[Any, Any]] | None:
    """Values and weights of the samples at each point; None where they are not those of samples."""
    kept = [each.columns["loss"] for each in pilot.kept_at(points, rows, as_recorded=as_recorded)]
    return [(values.cpu(), weights.cpu()) for values, weights, _ in kept] if all(per_sample for _, _, per_sample in kept) else None
