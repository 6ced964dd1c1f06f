"""Choosing how a fast backend computes, by a short measurement."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from thetascope.evaluation.backends import Engine
from thetascope.evaluation.backends.prefix import PrefixBackend
from thetascope.evaluation.backends.settings import Settings
from thetascope.evaluation.objective import Objective
from thetascope.geometry.points import PointSet

WORTH_SECONDS = 4.0
"""Less work than this is not worth a measurement."""

ROWS = (64, 128, 256, 512)
ROUNDS, CLOSE = 2, 1.25
"""So many further rounds, of those candidates that were at most so many times as slow as the fastest in the first."""


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
    candidates = _candidates(objective, batch)
    row = next((k for k in range(len(points)) if not points.is_stored(k)), None)
    if row is None or len(candidates) == 1:
        return engine
    backends = {settings: engine.backend(objective, points, settings=settings) for settings in candidates}
    best = dict.fromkeys(candidates, float("inf"))
    for turn in range(1 + ROUNDS):
        for settings in [s for s in candidates if turn == 0 or best[s] <= CLOSE * min(best.values())]:
            backend = backends[settings]
            assert isinstance(backend, PrefixBackend)
            if turn == 0 and not backend.rehearse(row, batch):  # what is done once only is not measured
                return engine
            start = time.perf_counter()
            if not backend.rehearse(row, batch):
                return engine
            best[settings] = min(best[settings], time.perf_counter() - start)
    fastest = min(best, key=lambda settings: best[settings])
    objective.memo.settings = fastest
    return replace(engine, settings=fastest, reason=f"{engine.reason}; {_described(fastest)} was fastest on the first batch")


def _candidates(objective: Objective, batch: object) -> list[Settings]:
    inputs = batch[0] if isinstance(batch, Sequence) else None
    if not isinstance(inputs, Tensor):
        return [Settings()]
    sizes = [None, *(rows for rows in ROWS if rows < len(inputs))] if objective.device.type == "cpu" else [None]
    layouts = [Settings()]
    if inputs.ndim == 4 and any(isinstance(module, nn.Conv2d) for module in objective.model.model.modules()):
        layouts.append(Settings(channels_last=True))
        if objective.device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            layouts.append(Settings(blocked=True))
    return [replace(layout, rows=rows) for layout in layouts for rows in sizes]


def _described(settings: Settings) -> str:
    rows = "whole batches" if settings.rows is None else f"{settings.rows} samples at once"
    return f"{rows}{' with channels last' if settings.channels_last else ' in blocks of channels' if settings.blocked else ''}"
