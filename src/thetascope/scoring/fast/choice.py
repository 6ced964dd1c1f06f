"""Ways to score points. To add one: a class with the protocol's method, named in BACKENDS, and the contract
test class run over it. All must equal `EagerBackend` within rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from thetascope.errors import ObjectiveError
from thetascope.geometry.points import PointSet
from thetascope.scoring.fast.checked import reason_against
from thetascope.scoring.fast.graph import NotTraceableError, TracedModel
from thetascope.scoring.fast.settings import Settings, parsed
from thetascope.scoring.fast.shared import GraphBackend
from thetascope.scoring.fast.vmapped import SMALL_MODEL, BatchedBackend
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.scoring.scores import Sums


class Backend(Protocol):
    """Scores points; made for one set of them. `fallback` says why it leaves all to the oracle, None where it does not."""

    name: str
    fallback: str | None

    def __init__(self, objective: Objective, points: PointSet, *, as_recorded: bool = False, settings: Settings | None = None) -> None: ...

    def evaluate(self, rows: Sequence[int]) -> list[Sums]:
        """Score the points `rows`, in order."""
        ...


BACKENDS: dict[str, type[Backend]] = {"eager": EagerBackend, "graph": GraphBackend, "batched": BatchedBackend}
RENAMED = {"prefix": "graph"}
"""What backends were called in earlier versions, and are called now."""


@dataclass(frozen=True)
class Engine:
    """A chosen backend: which, why, and how it computes."""

    backend: type[Backend]
    reason: str
    settings: Settings | None = None

    def to_json(self) -> dict[str, Any]:
        """What a result says of it."""
        return {"name": self.backend.name, "reason": self.reason, "settings": None if self.settings is None else self.settings.to_json()}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Engine:
        """The engine that a result was made with."""
        name, settings = stored["name"], stored.get("settings")
        return cls(BACKENDS[RENAMED.get(name, name)], stored["reason"], None if settings is None else Settings(**settings))


def chosen_engine(engine: str, objective: Objective, *, layers_are_shared: bool = True) -> Engine:
    """The backend for `engine`: "auto", a name, or a name with settings as in "graph:rows=200". Call it within `running`.

    `layers_are_shared`: whether the points have layers in common, which need to be computed once only.

    Raises:
        ObjectiveError: there is none of that name.
    """
    name, settings = parsed(engine)
    if name == "auto" and settings is None:
        against = reason_against(objective)
        if against is None:
            try:
                TracedModel(objective.model)
            except NotTraceableError as error:
                against = str(error)
        if against is not None:
            return Engine(EagerBackend, f"full passes, because {against}")
        wide, small = objective.device.type == "cuda", objective.model.space.parameter_count <= SMALL_MODEL
        if wide and small and not layers_are_shared:
            return Engine(BatchedBackend, "a small model on a GPU, so several points are scored at once")
        return Engine(GraphBackend, "the model can be traced, so layers that points share are computed once")
    if name in RENAMED:
        now = RENAMED[name]
        raise ObjectiveError(f'engine "{name}" is called "{now}" now: write engine="{engine.replace(name, now, 1)}"')
    if name not in BACKENDS:
        raise ObjectiveError(f'engine must be "auto" or one of {", ".join(BACKENDS)}. Got "{name}" instead.')
    return Engine(BACKENDS[name], "asked for", settings)
