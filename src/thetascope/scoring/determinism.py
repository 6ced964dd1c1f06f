"""Whether scoring is deterministic: what scoring the first point twice shows, and a stored point again."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import replace
from functools import partial

from thetascope.errors import NotDeterministicError, ResultError
from thetascope.quantities import is_error
from thetascope.scoring.cache import FirstPoint
from thetascope.scoring.failures import StepFailedError
from thetascope.scoring.memory import halving
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.scoring.pytrees import cut
from thetascope.scoring.runner import Request, Values, stored_key
from thetascope.scoring.untouched import RandomStates, seed_all

SEEDS, SECONDS = 64, 1.0
"""Where random numbers are drawn, so many more passes are compared, for so long at most: what they decide may be rare."""

GUARD_ROWS = 8
"""So many rows of the first batch show whether two passes agree."""


def check_determinism(objective: Objective, request: Request) -> FirstPoint:
    """Score the first point twice, with other random seeds and the same data, once an objective; and time a full pass.

    Where the data stay in memory, `GUARD_ROWS` of them are enough to see whether two passes agree; data that are loaded anew may differ
    themselves, and norms of other libraries may do anything while they estimate, so that both passes are full then.

    Raises:
        NotDeterministicError: the passes disagree; the message says what is likely random.
    """
    how = (objective.compared is not None, objective.buffers)
    if how in objective.cache.first_points:
        return objective.cache.first_points[how]
    backend = EagerBackend(objective, request.points, as_recorded=request.as_recorded)
    objective.guard(request.points.basis[:1])
    whole = objective.fixed or (objective.calibrates and (objective.statistics.others or not objective.calibration.resident))
    few = objective.batches.resident and not whole and _agree_on_few(objective, backend)
    values, found = halving(objective, lambda: _timed(objective, request, backend, 0, seed=1))
    if not few:
        again, second = _timed(objective, request, backend, 0, seed=2)
        _check_same(objective, values, again)
        found = replace(found, seconds=second.seconds)
    if request.points.is_stored(0):
        objective.cache.remember(stored_key(objective, request, 0), values)
    objective.cache.first_points[how] = found
    return found


def _check_same(objective: Objective, values: Values, again: Values) -> None:
    if not _equal(values, again, tolerance=0.0):
        raise NotDeterministicError(_what_is_random(objective, values, again))


def _agree_on_few(objective: Objective, backend: EagerBackend) -> bool:
    """Whether passes over some rows of the first point could be compared, and agree; many passes where random numbers are drawn.

    Raises:
        NotDeterministicError: two of them disagree.
    """

    def score(seed: int) -> tuple[Values, bool]:
        """The values, and whether random numbers were drawn."""
        sums = objective.new_sums()
        tensors, batch = backend.point_tensors.tensors(0), cut(objective.batches.first(), GUARD_ROWS)[0]
        seed_all(seed)
        before = RandomStates.capture()
        sums.add(objective.model.evaluate(tensors, batch))
        return sums.means(), bool(_drawn(before, RandomStates.capture()))

    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is said of so few rows (a class that lacks) is not about the data
            first, draws = halving(objective, partial(score, 1))
            for seed in range(2, 2 + (SEEDS if draws else 1)):
                _check_same(objective, first, halving(objective, partial(score, seed))[0])
                if time.perf_counter() - start > SECONDS:
                    break
    except StepFailedError:  # the model does not run on part of a batch
        return False
    return True


def recheck_reference(objective: Objective, stored: Values) -> FirstPoint:
    """Score the state again that points are compared with.

    Raises:
        ResultError: it comes out otherwise than it was stored.
    """
    start = time.perf_counter()
    found = objective.reference
    assert found is not None
    check_same_score(objective, stored, found.values_of_itself)
    return FirstPoint(tuple(found.values_of_itself), found.count, time.perf_counter() - start)


def recheck(objective: Objective, request: Request, row: int, stored: Values) -> FirstPoint:
    """Score one stored point again.

    Raises:
        ResultError: it comes out otherwise than it was stored.
    """
    backend = EagerBackend(objective, request.points, as_recorded=request.as_recorded)
    values, found = halving(objective, lambda: _timed(objective, request, backend, row, seed=1))
    check_same_score(objective, stored, values)
    return found


def check_same_score(objective: Objective, stored: Values, now: Values) -> None:
    """Whether what was stored comes out again.

    Raises:
        ResultError: it does not.
    """
    if objective.compared is None:  # errors and differences are left out, which were of a comparison
        stored, now = ({name: value for name, value in values.items() if not is_error(name)} for values in (stored, now))
    if not _equal(now, stored, 1e-9 if "float64" in str(objective.dtype) else 1e-5):
        raise ResultError(
            f"a stored score does not come out again: stored {_shown(stored)}, now {_shown(now)}. The model's code, "
            "a library or the machine changed what it computes; choose another out="
        )


def _timed(objective: Objective, request: Request, backend: EagerBackend, row: int, seed: int) -> tuple[Values, FirstPoint]:
    start = time.perf_counter()
    seed_all(seed)
    (sums,) = backend.evaluate([row])
    values = objective.scored(request.points, row, sums, as_recorded=request.as_recorded)
    return values, FirstPoint(tuple(values), sums.samples, time.perf_counter() - start)


def _equal(a: Values, b: Values, tolerance: float) -> bool:
    def same(x: float, y: float) -> bool:
        return x == y or (math.isnan(x) and math.isnan(y)) or math.isclose(x, y, rel_tol=tolerance, abs_tol=tolerance)

    return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)


def _shown(values: Values) -> str:
    return ", ".join(f"{name}={value:.9g}" for name, value in values.items())


def _drawn(before: RandomStates, after: RandomStates) -> list[str]:
    """Where random numbers were drawn from in between."""
    cuda = zip(before.torch_cuda, after.torch_cuda, strict=False)
    sources = {
        "torch": not before.torch_cpu.equal(after.torch_cpu) or any(not a.equal(b) for a, b in cuda),
        "numpy": repr(before.numpy) != repr(after.numpy),
        "Python's random": before.python != after.python,
    }
    return [name for name, changed in sources.items() if changed]


def _what_is_random(objective: Objective, first: Values, second: Values) -> str:
    """Say which source of randomness the difference points to."""
    found = f"two passes over one point disagree ({_shown(first)} against {_shown(second)}), so no curve could be trusted. "
    batches = objective.batches
    if not batches.resident and batches.fingerprint_again() != batches.survey.fingerprint:
        return found + "The data differ from walk to walk: turn random augmentation off, or pass tensors"
    seed_all(0)
    before = RandomStates.capture()
    objective.model.evaluate(objective.model.tensors_of(objective.model.present_state()), batches.first())
    drawn = _drawn(before, RandomStates.capture())
    if drawn:
        return found + (
            f"The pass draws random numbers from {' and '.join(drawn)} although the model is in evaluation mode: look for "
            "functional.dropout without training=self.training, or noise added in forward"
        )
    return found + (
        "No random numbers are drawn, so it is a kernel that sums in changing order (torch.use_deterministic_algorithms(True) "
        "names it) or something the model keeps from one pass to the next"
    )
