"""What scoring the first point shows: whether a pass can be trusted, and how long it takes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from thetascope.errors import NotDeterministicError, ResultError
from thetascope.evaluation.backends.eager import EagerBackend
from thetascope.evaluation.engine import Request, Values
from thetascope.evaluation.memory import halving
from thetascope.evaluation.objective import Objective
from thetascope.evaluation.preserve import RandomStates, seed_all


@dataclass(frozen=True)
class Probe:
    """What scoring the first point showed."""

    names: tuple[str, ...]
    samples: int
    seconds: float


def probe(objective: Objective, request: Request) -> Probe:
    """Score the first point twice, with other random seeds and the same data, and time the second pass; once an objective.

    Raises:
        NotDeterministicError: the passes disagree; the message says what is likely random.
    """
    if objective.memo.probe is not None:
        known: Probe = objective.memo.probe
        return known
    backend = EagerBackend(objective, request.points, as_recorded=request.as_recorded)
    first, _ = halving(objective, lambda: _timed_point(objective, backend, 0, seed=1))
    second, seconds = _timed_point(objective, backend, 0, seed=2)
    if not _equal(first.values, second.values, tolerance=0.0):
        raise NotDeterministicError(_what_is_random(objective, first.values, second.values))
    found = Probe(tuple(first.values), first.samples, seconds)
    objective.memo.probe = found
    return found


def recheck(objective: Objective, request: Request, row: int, stored: Values) -> Probe:
    """Score one stored point again.

    Raises:
        ResultError: it comes out otherwise than it was stored.
    """
    backend = EagerBackend(objective, request.points, as_recorded=request.as_recorded)
    again, seconds = halving(objective, lambda: _timed_point(objective, backend, row, seed=1))
    tolerance = 1e-9 if "float64" in str(objective.dtype) else 1e-5
    if not _equal(again.values, stored, tolerance):
        raise ResultError(
            f"a stored point does not come out again: stored {_shown(stored)}, now {_shown(again.values)}. The model's code, "
            "a library or the machine changed what it computes; choose another out="
        )
    return Probe(tuple(again.values), again.samples, seconds)


@dataclass(frozen=True)
class _Scored:
    values: Values
    samples: int


def _timed_point(objective: Objective, backend: EagerBackend, row: int, seed: int) -> tuple[_Scored, float]:
    start = time.perf_counter()
    seed_all(seed)
    (sums,) = backend.evaluate([row])
    values = sums.means()
    return _Scored(values, sums.samples), time.perf_counter() - start


def _equal(a: Values, b: Values, tolerance: float) -> bool:
    def same(x: float, y: float) -> bool:
        return x == y or (math.isnan(x) and math.isnan(y)) or math.isclose(x, y, rel_tol=tolerance, abs_tol=tolerance)

    return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)


def _shown(values: Values) -> str:
    return ", ".join(f"{name}={value:.9g}" for name, value in values.items())


def _what_is_random(objective: Objective, first: Values, second: Values) -> str:
    """Say which source of randomness the difference points to."""
    found = f"two passes over one point disagree ({_shown(first)} against {_shown(second)}), so no curve could be trusted. "
    batches = objective.batches
    if not batches.resident and batches.fingerprint_again() != batches.survey.fingerprint:
        return found + "The data differ from walk to walk: turn random augmentation off, or pass tensors"
    seed_all(0)
    before = RandomStates.capture()
    objective.model.evaluate(objective.model.tensors_of(objective.model.present_state()), batches.first())
    after = RandomStates.capture()
    drawn = [
        name
        for name, changed in (
            (
                "torch",
                not before.torch_cpu.equal(after.torch_cpu)
                or any(not a.equal(b) for a, b in zip(before.torch_cuda, after.torch_cuda, strict=False)),
            ),
            ("numpy", repr(before.numpy) != repr(after.numpy)),
            ("Python's random", before.python != after.python),
        )
        if changed
    ]
    if drawn:
        return found + (
            f"The pass draws random numbers from {' and '.join(drawn)} although the model is in evaluation mode: look for "
            "functional.dropout without training=self.training, or noise added in forward"
        )
    return found + (
        "No random numbers are drawn, so it is a kernel that sums in changing order (torch.use_deterministic_algorithms(True) "
        "names it) or something the model keeps from one pass to the next"
    )
