"""Watching a run: its log is read on, its new states are measured as far as the share of a core allows that this may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thetascope.arrays import Floats
from thetascope.errors import RecordingError
from thetascope.live.alarms import Seen, alarms, at_step
from thetascope.live.following import Following
from thetascope.live.line import LineLosses, LineSoFar
from thetascope.live.measuring import Measured, Measuring, plane_of
from thetascope.live.pacing import Allowance
from thetascope.recording.log import Record
from thetascope.recording.run_directory import RunDirectory
from thetascope.scoring.objective import Objective

SHARE = 0.005
"""Of a core, for measuring states; as much again is for showing them."""

CATCH_UP = 5.0
"""Seconds."""

MOST_POINTS = 400
"""A curve of a metric has so many points at most: more are let go evenly, but the newest."""


@dataclass(frozen=True)
class View:
    """What there is to show.

    Attributes:
        name: of the run.
        status: whether it is being recorded, and how far it is.
        alarms: in words, the gravest first.
        way: ``[T, 2]``, the measured states in the plane of the way so far.
        shares: ``[2]``, of the variance along the plane's axes.
        measured: the measured states.
        metrics: by name, the steps and the values.
        problem: what could not be read.
        is_over: whether nobody records any more.
        line: the loss along the straight line so far, where there is an objective.
    """

    name: str
    status: str
    alarms: Sequence[str]
    way: Floats
    shares: Floats
    measured: Sequence[Measured]
    metrics: dict[str, tuple[Floats, Floats]]
    problem: str
    is_over: bool
    line: LineLosses | None = None


class Watcher:
    """A run that is watched.

    Args:
        path: of the run directory.
        share: of a core, that measuring states may take; None measures all at once, for a run that is over.
        objective: scores the line so far, when the machine has time.

    Raises:
        RecordingError: `path` is no run directory.
    """

    def __init__(self, path: Path, share: float | None = SHARE, objective: Objective | None = None) -> None:
        self.path, self._following, self._objective = path, Following(path), objective
        self._pace = None if share is None else Allowance(share, 0.0)
        self._begin()

    def _begin(self) -> None:
        run = RunDirectory.open(self.path)
        self._measuring, self._identity = Measuring(run), self._following.header.get("identity")
        self._line = None if self._objective is None else LineSoFar(self._objective, run)

    def update(self, done: Callable[[Record], None] = lambda record: None) -> bool:
        """Read on and measure what is new. Returns whether there is anything new; `done` is told each record that was measured.

        The first time measures for `CATCH_UP` seconds what is there. Then, where states come faster than the share of a core allows, some
        are left out, the newest is not.
        """
        changed = self._following.read_on()
        if self._following.header.get("identity") != self._identity:
            self._begin()
        left = self._measuring.left(self._following.records)
        if self._pace is None:
            for record in left:
                changed |= self._measure(record, done)
            return self._scored(anyway=True) or changed
        until = time.monotonic() + CATCH_UP if not self._measuring.measured else 0.0
        while left and time.monotonic() < until:  # what was recorded before anybody watched
            changed |= self._measure(left[0], done)
            left = self._measuring.left(self._following.records)
        while left and self._pace.is_due:
            with self._pace.counted():
                changed |= self._measure(left[-1], done)
            left = self._measuring.left(self._following.records)
        return self._scored(anyway=False) or changed

    def _scored(self, *, anyway: bool) -> bool:
        return self._line is not None and self._line.update(self._following.records, anyway=anyway)

    @property
    def newest(self) -> Measured:
        """The state that was measured last."""
        return self._measuring.measured[-1]

    def _measure(self, record: Record, done: Callable[[Record], None]) -> bool:
        if self._measuring.measure(record):
            done(record)
        return True

    def view(self) -> View:
        """What there is to show now."""
        records, measured = self._following.records, self._measuring.measured
        way, shares = plane_of(measured)
        names = list(dict.fromkeys(name for record in records for name in record.metrics))
        curves = {}
        for name in names:
            own = [record for record in records if name in record.metrics]
            kept = [own[k] for k in np.unique(np.linspace(0, len(own) - 1, min(len(own), MOST_POINTS)).round().astype(int))]
            curves[name] = (np.array([float(record.step) for record in kept]), np.array([record.metrics[name] for record in kept]))
        is_recording = self._following.is_recording
        return View(
            name=self.path.resolve().name,
            status=self._status(records, len(measured), is_recording=is_recording),
            alarms=alarms(Seen(records, measured)),
            way=way,
            shares=shares,
            measured=measured,
            metrics=curves,
            problem="; ".join(filter(None, (self._following.problem, self._measuring.problem, self._line.problem if self._line else ""))),
            is_over=not is_recording,
            line=self._line.line if self._line else None,
        )

    @staticmethod
    def _status(records: Sequence[Record], measured: int, *, is_recording: bool) -> str:
        doing = "Recording" if is_recording else "Nobody records into it now"
        if not records:
            return f"{doing}; nothing is recorded yet."
        return f"{doing}; {at_step(records[-1])}; {len(records):,} records, the states of {measured:,} measured."


def opened(path: Path, share: float | None, objective: Objective | None = None) -> Watcher:
    """A watcher of a run directory.

    Raises:
        RecordingError: it is none.
    """
    if not path.is_dir():
        raise RecordingError(f'"{path}" is no folder; expected a run directory, as ts.Recorder("{path}", model) makes it')
    return Watcher(path, share, objective)
