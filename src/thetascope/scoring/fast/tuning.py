"""Choosing how a fast backend computes, by a short measurement."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from thetascope.geometry.points import PointSet
from thetascope.scoring.fast.choice import Engine
from thetascope.scoring.fast.patches import suits
from thetascope.scoring.fast.settings import Settings
from thetascope.scoring.fast.shared import GraphBackend
from thetascope.scoring.objective import Objective
from thetascope.scoring.point_tensors import PointTensors

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
    if engine.settings is not None or not issubclass(engine.backend, GraphBackend) or seconds < WORTH_SECONDS:
        return engine
    known = objective.cache.settings
    if known is not None:
        return replace(engine, settings=known, reason=f"{engine.reason}; {_described(known)}, measured before")
    batch = objective.batches.first()
    row = next((k for k in range(len(points)) if not points.is_stored(k)), None)
    sizes, layouts = _sizes(objective, batch), _layouts(objective, batch)
    if row is None or len(sizes) * len(layouts) == 1:
        return engine
    backend, expected = engine.backend, objective.model.evaluate(PointTensors(objective, points).tensors(row), batch)

    def fastest_first(candidates: Sequence[Settings]) -> list[Settings]:
        able = {s: own for s in candidates if (own := backend(objective, points, settings=s)).ready(row, expected)}
        return _race(able, row, batch)

    best_sizes = fastest_first([Settings(rows=rows) for rows in sizes])
    best = fastest_first([replace(layout, rows=settings.rows) for settings in best_sizes[:SIZES] for layout in layouts])
    if not best:
        return engine
    objective.cache.settings = best[0]
    return replace(engine, settings=best[0], reason=f"{engine.reason}; {_described(best[0])} was fastest on the first batch")


def _race(backends: Mapping[Settings, GraphBackend], row: int, batch: object) -> list[Settings]:
    """The settings of these backends, the fastest first. Nothing of an earlier race counts: the machine may have been faster then."""
    best = dict.fromkeys(backends, math.inf)
    for turn in range(FIRST + ROUNDS):
        for settings, backend in backends.items():
            if turn < FIRST or best[settings] <= CLOSE * min(best.values()):
                best[settings] = min(best[settings], backend.rehearse(row, batch))
    return sorted(best, key=lambda settings: best[settings])


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
