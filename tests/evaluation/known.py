"""Requests to the engine of which every value is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from thetascope.evaluation.engine import Request
from thetascope.evaluation.objective import Objective
from thetascope.geometry.paths import stored_points
from thetascope.geometry.points import Points
from thetascope.testing.contracts import line
from thetascope.testing.models import QuadraticBowl, case

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def bowl(**options: Any) -> Objective:
    return Objective.from_step(QuadraticBowl([2.0], [0.0]), QuadraticBowl.data(), step=QuadraticBowl.step, **options)


def request(objective: Objective, *shape: int, prefix: str = "") -> Request:
    """The line from 0 to 1 in as many points as `shape` holds; the bowl's loss there is α²."""
    states = [{"position": torch.tensor([value], dtype=torch.float64)} for value in (0.0, 1.0)]
    points = line(objective, states, np.linspace(0, 1, math.prod(shape)).tolist())
    return Request(points, tuple("xyz"[: len(shape)]), shape, prefix)


def of_present_state(objective: Objective) -> Request:
    state = objective.bind(objective.model.present_state())
    return Request(stored_points([state], tuple(state)), ("state",), (1,))


def layer_line(objective: Objective) -> Request:
    """Six points on the line between two states."""
    basis = tuple(objective.bind(state) for state in case("linear").states(2))
    coeffs = np.array([[[1 - a, a]] for a in ALPHAS])
    return Request(Points(basis, coeffs, dict.fromkeys(objective.space.parameters, 0)), ("alpha",), (6,))
