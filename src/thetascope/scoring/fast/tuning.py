"""Choosing how points are scored, by a short measurement on the first batch.

Every candidate is measured at the same point on the same rows: memory layouts on few rows, then how many rows go through at once. At most
`SHARE` of the work ahead is spent, and what is not finished by then is left as it is known to do no harm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from thetascope.geometry.points import PointSet
from thetascope.scoring.fast.captured import is_fine
from thetascope.scoring.fast.checked import CheckedBackend
from thetascope.scoring.fast.choice import Engine
from thetascope.scoring.fast.graph import NotTraceableError, traced
from thetascope.scoring.fast.plain import PlainBackend
from thetascope.scoring.fast.settings import Settings
from thetascope.scoring.fast.shared import GraphBackend, captured_step
from thetascope.scoring.metrics import SupervisedStep
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import IMAGE_ROWS, EagerBackend
from thetascope.scoring.pytrees import cut, holds_images, rows_of

SHARE = 0.03
"""So much of the work ahead is spent on choosing, at most, and what was `EARNED`."""

EARNED = 0.25
"""So much of what a candidate saves may be spent on looking further."""

CAPTURE_SECONDS = 6.0
"""Less work than this does not repay the second or two that torch.export takes."""

LAYOUT_ROWS, AS_GOOD = 16, 1.15
"""So many rows tell layouts apart; on more, channels last gains more, so that it is taken where it is at most so many times as slow."""

ROWS, STEP = 64, 4
"""How many rows go through at once: from `ROWS` on up in these steps as long as that gains, then twice as many, or half."""

GAIN = 1.1
"""So many times as fast is faster; less may be noise."""

ROUNDS, CLOSE = 3, 1.15
"""So many times candidates are measured that are at most so many times as slow as the fastest, where there is work enough."""


@dataclass(frozen=True)
class Work:
    """What is ahead: so many points, whose full passes take `seconds` each, over so many samples."""

    points: int
    seconds: float
    samples: int

    @property
    def all_seconds(self) -> float:
        """Of full passes over all points."""
        return self.points * self.seconds

    @property
    def rows(self) -> float:
        """How many samples go through the network."""
        return float(self.points * self.samples)


@dataclass
class _Race:
    """Seconds a row of candidates at one point, as long as `rows` last.

    `unfit`: those that gave other values than the model, or could not run.
    """

    objective: Objective
    backend: type[CheckedBackend]
    points: PointSet
    row: int
    work: Work
    rows: float
    best: dict[Settings, float] = field(default_factory=dict)
    unfit: bool = False

    def run(self, candidates: Sequence[Settings], size: int | None, share: float = 1.0) -> bool:
        """Measure candidates in turn on so many rows, if a `share` of the rows left is enough; the close ones again if there is room."""
        batch = cut(self.objective.batches.first(), size)[0]
        rows, able = rows_of(batch) or 1, dict[Settings, CheckedBackend]()
        if rows * len(candidates) > self.rows * share:
            return False
        for settings in candidates:
            made = self.backend(self.objective, self.points, settings=settings)
            if made.ready(self.row):
                able[settings] = made
                self._measure(settings, made, batch, rows)
            self.unfit = self.unfit or made.fallback is not None
        for _ in range(ROUNDS - 1):
            for settings, scorer in able.items():
                if self.best[settings] <= CLOSE * min(self.best.values()) and rows <= self.rows * share / 4:
                    self._measure(settings, scorer, batch, rows)
        return bool(able)

    def _measure(self, settings: Settings, scorer: CheckedBackend, batch: Any, rows: int) -> None:
        self.rows -= rows
        self.best[settings] = min(self.best.get(settings, math.inf), scorer.rehearse(self.row, batch) / rows)

    def earn(self, before: float, now: float) -> None:
        """Look further for what is saved of the seconds a row."""
        if now < before < math.inf:
            self.rows += EARNED * (1 - now / before) * self.work.rows

    def fastest(self) -> Settings:
        """The best candidate so far."""
        return min(self.best, key=lambda candidate: self.best[candidate])


def tuned(engine: Engine, objective: Objective, points: PointSet, work: Work) -> Engine:
    """The engine for these points, with settings that were measured, where there is work enough. Call it within `running`."""
    kind, asked = engine.open_for, engine.backend
    if engine.settings is not None or (kind is None and not issubclass(asked, GraphBackend)):
        return engine
    known: Engine | None = objective.cache.measured.get((kind, objective.buffers))
    if known is not None:
        return known
    row = next((k for k in range(len(points)) if not points.is_stored(k)), None)
    if row is None:
        return replace(engine, open_for=None)
    backend, reason = (GraphBackend, engine.reason) if kind is None else _backend(objective, kind, work)
    found, measured = _raced(_Race(objective, backend, points, row, work, SHARE * work.rows), reason)
    if measured:
        objective.cache.measured[kind, objective.buffers] = replace(found, reason=f"{found.reason} before")
    return found


def _backend(objective: Objective, kind: str, work: Work) -> tuple[type[CheckedBackend], str]:
    """Which backend comes into question for points of that kind, and why. A model of plain layers goes through its graph in any case:
    that takes milliseconds to make, and folds normalisations."""
    plain_layers = _plain_layers(objective)
    if kind == "whole" and (plain_layers or not objective.calibrates):
        return GraphBackend if plain_layers else PlainBackend, "points share no layers"
    if not plain_layers and work.all_seconds < CAPTURE_SECONDS:
        return PlainBackend, "there is too little work to capture the step for"
    try:
        captured = captured_step(objective)
    except NotTraceableError as error:
        return PlainBackend, f"full passes, because {error}"
    return GraphBackend, f"what points share is computed once{f' ({captured.reason})' if captured.reason else ''}"


def _plain_layers(objective: Objective) -> bool:
    """Whether the step is captured in milliseconds."""
    step = objective.model.step
    if not (isinstance(step, SupervisedStep) and step.by_name):
        return False
    try:
        return is_fine(traced(objective.model))
    except NotTraceableError:
        return False


def _raced(race: _Race, reason: str) -> tuple[Engine, bool]:
    """The fastest, and whether it was measured to be."""
    batch = race.objective.batches.first()
    images, total = holds_images(batch), 0 if race.objective.fixed else rows_of(batch) or 0
    layout, measured = Settings(), False
    if images and race.run([Settings(), Settings(channels_last=True)], LAYOUT_ROWS, share=0.5):
        usual, last = (race.best.get(Settings(channels_last=on), math.inf) for on in (False, True))
        layout, measured = Settings(channels_last=last < AS_GOOD * usual), True
        race.earn(usual, last)
        race.best.clear()

    def gains(rows: int) -> bool:
        """Whether so many rows at once are faster than what was measured before."""
        before, size = min(race.best.values(), default=math.inf), math.ceil(total / math.ceil(total / rows))  # in equal parts
        settings = replace(layout, rows=size if size < total else None)
        if not race.run([settings], size):
            return False
        now = race.best[settings]
        race.earn(before, now)
        if now >= before / GAIN:
            del race.best[settings]  # so little may be noise, and what was measured before is kept
        return now < before / GAIN

    sizes = [*(size for size in (ROWS * STEP**n for n in range(16)) if size < total), total] if total >= ROWS // 2 else []
    faster = next((n for n, size in enumerate(sizes) if not gains(size)), len(sizes))
    if faster:
        best = sizes[faster - 1]
        if not (best * 2 < total and gains(best * 2)):
            gains(best // 2)
    few = IMAGE_ROWS if images and total > IMAGE_ROWS and not race.unfit else None
    settings = race.fastest() if race.best else replace(layout, rows=few)
    measured = measured or bool(race.best)
    return _engine(race.backend, settings, f"{reason}; {settings}, measured" if measured else reason), measured


def _engine(backend: type[CheckedBackend], settings: Settings, reason: str) -> Engine:
    """The oracle is the plain call with nothing set."""
    if settings != Settings():
        return Engine(backend, reason, settings)
    return Engine(EagerBackend if backend is PlainBackend else backend, reason)
