"""Choosing how a fast backend computes, by a short measurement."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from thetascope.evaluation.backends import Backend, Engine
from thetascope.evaluation.backends.prefix import PrefixBackend
from thetascope.evaluation.backends.settings import Settings
from thetascope.evaluation.objective import Objective
from thetascope.evaluation.patches import suits
from thetascope.evaluation.scores import Column
from thetascope.geometry.points import PointSet

WORTH_SECONDS = 4.0
"""Less work than this is not worth a measurement."""

ROWS = (64, 128, 256, 512)
FIRST, ROUNDS, CLOSE = 2, 5, 1.25
"""So many rounds of all candidates, so many further ones of those that were at most so many times as slow as the fastest: in one
round alone a machine that others use is slow by chance."""

SIZES = 2
"""With so many sizes, the fastest for images as they are, each layout is measured."""


def tuned(engine: Engine, objective: Objective, points: PointSet, seconds: float) -> Engine:
    """The engine with settings that were measured on the first batch, where it takes any and about `seconds` of work are ahead.

    Candidates are run in turn, round by round, and their best times count: a machine that others use is slow at times, never fast
    by chance.
    """
    if engine.settings is not None or not issubclass(engine.backend, PrefixBackend) or seconds < WORTH_SECONDS:
        return engine
    if objective.memo.settings is not None:
        return replace(
            engine, settings=objective.memo.settings, reason=f"{engine.reason}; {_described(objective.memo.settings)}, measured before"
        )
    batch = objective.batches.first()
    row = next((k for k in range(len(points)) if not points.is_stored(k)), None)
    sizes, layouts = _sizes(objective, batch), _layouts(objective, batch)
    if row is None or len(sizes) * len(layouts) == 1:
        return engine
    race = _Race(lambda settings: engine.backend(objective, points, settings=settings), row, batch)
    best_sizes = race.run([Settings(rows=rows) for rows in sizes])
    best = race.run([replace(layout, rows=settings.rows) for settings in best_sizes[:SIZES] for layout in layouts])
    if not best:
        return engine
    fastest = best[0]
    objective.memo.settings = fastest
    return replace(engine, settings=fastest, reason=f"{engine.reason}; {_described(fastest)} was fastest on the first batch")


class _Race:
    """Measures candidates against each other."""

    def __init__(self, backend_with: Callable[[Settings], Backend], row: int, batch: object) -> None:
        self._backend_with, self._row, self._batch = backend_with, row, batch
        self._expected: Mapping[str, Column] | None = None

    def run(self, candidates: Sequence[Settings]) -> list[Settings]:
        """Those that can run, the fastest first. Times of an earlier run do not count: the machine may have been faster then."""
        backends = {settings: backend for settings in candidates if (backend := self._ready(settings)) is not None}
        best = dict.fromkeys(backends, math.inf)
        for turn in range(FIRST + ROUNDS):
            for settings, backend in backends.items():
                if turn < FIRST or best[settings] <= CLOSE * min(best.values()):
                    best[settings] = min(best[settings], backend.rehearse(self._row, self._batch))
        return sorted(best, key=lambda settings: best[settings])

    def _ready(self, settings: Settings) -> PrefixBackend | None:
        """The backend that has done what is done once only, which is not measured; None where it would fall back."""
        backend = self._backend_with(settings)
        assert isinstance(backend, PrefixBackend)
        if self._expected is None:
            self._expected = backend.expected(self._row)
        return backend if backend.ready(self._row, self._expected) else None


def _sizes(objective: Objective, batch: object) -> list[int | None]:
    inputs = batch[0] if isinstance(batch, Sequence) else None
    if not isinstance(inputs, Tensor) or objective.device.type != "cpu":
        return [None]
    return [None, *(rows for rows in ROWS if rows < len(inputs))]


def _layouts(objective: Objective, batch: object) -> list[Settings]:
    """How images may be laid out; `_sizes` are measured as they are."""
    inputs = batch[0] if isinstance(batch, Sequence) else None
    convolutions = [module for module in objective.model.model.modules() if isinstance(module, nn.Conv2d)]
    if not isinstance(inputs, Tensor) or inputs.ndim != 4 or not convolutions:
        return [Settings()]
    layouts = [Settings(), Settings(channels_last=True)]
    if objective.device.type == "cpu":
        further = [Settings(blocked=True)] if torch.backends.mkldnn.is_available() else []  # type: ignore[no-untyped-call]
        if any(suits(module) for module in convolutions):
            further += [replace(layout, unfolded=True) for layout in (Settings(), *further)]
        layouts += further
    return layouts


def _described(settings: Settings) -> str:
    rows = "whole batches" if settings.rows is None else f"{settings.rows} samples at once"
    layout = " with channels last" if settings.channels_last else " in blocks of channels" if settings.blocked else ""
    return f"{rows}{layout}{', the patches of the data laid out' if settings.unfolded else ''}"
