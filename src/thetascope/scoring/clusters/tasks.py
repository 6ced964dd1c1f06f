"""What travels between this process and those that score for it, and what these do with it."""

from __future__ import annotations

import copy
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from thetascope.scoring.cache import Cache
from thetascope.scoring.failures import out_of_memory, problem_of
from thetascope.scoring.fast.choice import Engine
from thetascope.scoring.objective import Objective
from thetascope.scoring.runner import Request, Scorer, Values
from thetascope.scoring.scores import Kept

KEPT = 2
"""So many objectives a worker holds: an experiment that chooses on one part of the data and tells on another has two."""


@dataclass(frozen=True)
class Handle:
    """Something that was put where every worker can fetch it; `key` says which it is."""

    key: str
    where: Any


@dataclass(frozen=True)
class Task:
    """Points to score: a list for each share, whose points are scored together."""

    objective: Handle
    request: Handle
    engine: Engine
    batch_size: int
    threads: int
    shares: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Assignment:
    """Something to call with one item; what it is and does, the caller knows (`thetascope.scoring.clusters.apart`)."""

    work: Handle
    item: Any
    threads: int


@dataclass(frozen=True)
class Probe:
    """What a worker is, and what it scores at the state that points are compared with.

    Attributes:
        host: the machine's name.
        device: what computes.
        threads: on a CPU, how many.
        fingerprint: the objective's, of what arrived.
        values: by name; empty where points are compared with nothing.
    """

    host: str
    device: str
    threads: int
    fingerprint: Mapping[str, Any]
    values: Mapping[str, float]

    @classmethod
    def of(cls, objective: Objective, values: Mapping[str, float] | None = None) -> Probe:
        """Of this process; with the values of the state that points are compared with. Call it within the model's `running`."""
        device = objective.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        if values is None:
            reference = objective.reference
            values = {} if reference is None else dict(reference.means)
        return cls(socket.gethostname(), name, torch.get_num_threads(), objective.fingerprint(), values)


@dataclass(frozen=True)
class Answer:
    """What became of a task or a call: values by share and point, or what the call found; or memory ran out, or an error."""

    values: Sequence[Sequence[Values]] = ()
    losses: Mapping[Hashable, Kept] = field(default_factory=dict)
    """Of samples, where the objective keeps them."""
    seconds: float = 0.0
    notes: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None
    error: BaseException | None = None
    probe: Probe | None = None
    """With the first answer of a worker about an objective, or something that it calls."""
    found: Any = None


def portable(objective: Objective) -> Objective:
    """A copy that can be sent: it remembers nothing that was scored, computed or captured here."""
    sent = copy.copy(objective)
    sent.batches, sent.calibration = objective.batches.cast(objective.dtype), objective.calibration.cast(objective.dtype)
    sent.cache = Cache(guarded=objective.cache.guarded, uncut=objective.cache.uncut, spectral=objective.cache.spectral)
    return sent


class Worker:
    """Scores what it is sent; lives in a process of its own. Objectives and points are fetched once, and held.

    Args:
        fetch: gets what a handle points to.
    """

    def __init__(self, fetch: Callable[[Any], Any]) -> None:
        self._fetch = fetch
        self._scorers: OrderedDict[str, Scorer] = OrderedDict()
        self._requests: OrderedDict[str, Request] = OrderedDict()
        self._works: OrderedDict[str, Any] = OrderedDict()

    def ready(self) -> bool:
        """Say that the process works."""
        return True

    def score(self, task: Task) -> Answer:
        """Score a task's points; errors are a part of the answer."""
        torch.set_num_threads(task.threads)
        try:
            return self._scored(task)
        except Exception as error:  # noqa: BLE001 - whoever asked raises it
            if not out_of_memory(error):
                return Answer(error=error.with_traceback(None))
            return Answer(problem=problem_of(error))

    def call(self, call: Assignment) -> Answer:
        """Call something with an item; errors are a part of the answer."""
        torch.set_num_threads(call.threads)
        try:
            is_new = call.work.key not in self._works
            work = self._held(self._works, call.work, lambda found: found)
            probe = work.probe() if is_new else None
            return Answer(found=work(call.item), probe=probe)
        except Exception as error:  # noqa: BLE001 - whoever asked raises it
            return Answer(error=error.with_traceback(None))

    def _scored(self, task: Task) -> Answer:
        is_new = task.objective.key not in self._scorers
        scorer = self._held(self._scorers, task.objective, lambda found: Scorer(found, task.engine))
        request = self._held(self._requests, task.request, lambda found: found)
        with scorer.objective.model.running():
            scorer.take(task.engine, task.batch_size)
            probe = Probe.of(scorer.objective) if is_new else None
            start = time.perf_counter()
            values = [scorer.attempt(request, rows) if rows else [] for rows in task.shares]
        lasted, cache = time.perf_counter() - start, scorer.objective.cache
        losses = {key: (kept[0].cpu(), kept[1].cpu(), kept[2]) for key, kept in cache.losses.items()}
        cache.losses.clear()
        return Answer(values, losses, lasted, dict(scorer.notes), probe=probe)

    def _held(self, held: OrderedDict[str, Any], handle: Handle, made: Callable[[Any], Any]) -> Any:
        if handle.key not in held:
            while len(held) >= KEPT:
                held.popitem(last=False)
            held[handle.key] = made(self._fetch(handle.where))
        held.move_to_end(handle.key)
        return held[handle.key]
