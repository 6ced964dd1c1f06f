"""Requests of which every value is known, and where what is scored goes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from thetascope.geometry.points import Points, StoredStates
from thetascope.scoring.objective import Objective
from thetascope.scoring.runner import Request
from thetascope.testing.contracts import line
from thetascope.testing.models import QuadraticBowl, case

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def objective_of(name: str, **options: Any) -> Objective:
    """Of one of the usual cases, in one batch."""
    chosen = case(name)
    return Objective(chosen.model(), chosen.data(), **{"loss": chosen.loss, **options})


def bowl(**options: Any) -> Objective:
    return Objective.from_step(QuadraticBowl([2.0], [0.0]), QuadraticBowl.data(), step=QuadraticBowl.step, **options)


def request(objective: Objective, *shape: int, prefix: str = "") -> Request:
    """The line from 0 to 1 in as many points as `shape` holds; the bowl's loss there is α²."""
    states = [{"position": torch.tensor([value], dtype=torch.float64)} for value in (0.0, 1.0)]
    points = line(objective, states, np.linspace(0, 1, math.prod(shape)).tolist())
    return Request(points, tuple("xyz"[: len(shape)]), shape, prefix)


def of_present_state(objective: Objective) -> Request:
    state = objective.bind(objective.model.present_state())
    return Request(StoredStates((state,)), ("state",), (1,))


def layer_line(objective: Objective) -> Request:
    """Six points on the line between two states."""
    basis = tuple(objective.bind(state) for state in case("linear").states(2))
    coeffs = np.array([[[1 - a, a]] for a in ALPHAS])
    return Request(Points(basis, coeffs, dict.fromkeys(objective.space.parameters, 0)), ("alpha",), (6,))


@dataclass
class MemorySink:
    """Holds what it is given, by prefix and flat index."""

    size: int
    stored: dict[str, dict[int, dict[str, float]]] = field(default_factory=dict)
    total: int = 6

    def done(self, prefix: str) -> NDArray[np.bool_]:
        return np.isin(np.arange(self.total), list(self.stored.get(prefix, {})))

    def unit(self, prefix: str) -> int:
        return self.size

    def write(self, prefix: str, start: int, values: Mapping[str, Sequence[float]]) -> None:
        for offset, row in enumerate(zip(*values.values(), strict=True)):
            self.stored.setdefault(prefix, {})[start + offset] = dict(zip(values, row, strict=True))

    def write_cells(self, prefix: str, cells: Sequence[int], values: Mapping[str, Sequence[float]]) -> None:
        for n, cell in enumerate(cells):
            self.write(prefix, cell, {name: column[n : n + 1] for name, column in values.items()})

    def losses(self, prefix: str = "") -> dict[int, float]:
        return {k: values["loss"] for k, values in sorted(self.stored[prefix].items())}
