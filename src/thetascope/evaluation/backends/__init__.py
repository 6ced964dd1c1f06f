"""Ways to score points. To add one: a class with this protocol's method, named in BACKENDS, and the contract
test class run over it. All must equal `EagerBackend` within rounding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from thetascope.errors import ObjectiveError
from thetascope.evaluation.backends.eager import EagerBackend
from thetascope.evaluation.scores import Sums

if TYPE_CHECKING:
    from thetascope.evaluation.objective import Objective
    from thetascope.geometry.points import PointSet


class Backend(Protocol):
    """Scores points; made for one set of them."""

    name: str

    def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False) -> None: ...

    def evaluate(self, rows: Sequence[int]) -> list[Sums]:
        """Score the points `rows`, in order."""
        ...


BACKENDS: dict[str, type[Backend]] = {"eager": EagerBackend}


def chosen_backend(engine: str) -> tuple[type[Backend], str]:
    """The backend for `engine` ("auto" or a name) and why it was chosen.

    Raises:
        ObjectiveError: there is none of that name.
    """
    if engine == "auto":
        return EagerBackend, "every point is scored with full passes"
    if engine not in BACKENDS:
        raise ObjectiveError(f'engine must be "auto" or one of {", ".join(BACKENDS)}. Got "{engine}" instead.')
    return BACKENDS[engine], "asked for"
