"""Ways to score points. To add one: a class with the protocol's method, named in BACKENDS, and the contract
test class run over it. All must equal `EagerBackend` within rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from thetascope.errors import ObjectiveError
from thetascope.geometry.points import PointSet
from thetascope.scoring.fast.checked import reason_against
from thetascope.scoring.fast.graph import NotTraceableError, traced
from thetascope.scoring.fast.plain import PlainBackend
from thetascope.scoring.fast.settings import Settings, parsed
from thetascope.scoring.fast.shared import GraphBackend
from thetascope.scoring.fast.vmapped import SMALL_MODEL, BatchedBackend
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.scoring.scores import Sums

Kind = Literal["whole", "shared", "edits"]
"""What points have in common: nothing, layers, or all but a single parameter each."""


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
    """A chosen backend: which, why, and how it computes.

    `open_for`: nothing is chosen yet for such points; `thetascope.scoring.fast.tuning` chooses when it is known how much work there is.
    """

    backend: type[Backend]
    reason: str
    settings: Settings | None = None
    open_for: Kind | None = None

    def to_json(self) -> dict[str, Any]:
        """What a result says of it."""
        return {"name": self.backend.name, "reason": self.reason, "settings": None if self.settings is None else self.settings.to_json()}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Engine:
        """The engine that a result was made with."""
        name, settings = stored["name"], stored.get("settings")
        settings = None if settings is None else Settings(settings["rows"], settings["channels_last"])
        return cls(_backend(RENAMED.get(name, name), settings), stored["reason"], settings)


def chosen_engine(engine: str, objective: Objective, kind: Kind = "shared") -> Engine:
    """The backend for `engine`: "auto", a name, or a name with settings as in "graph:rows=200". Call it within `running`.

    Raises:
        ObjectiveError: there is none of that name.
    """
    name, settings = parsed(engine)
    if name == "auto" and settings is None:
        against = reason_against(objective, estimates=objective.calibrates and bool(objective.statistics.others))
        if against is not None:
            return Engine(EagerBackend, f"full passes, because {against}")
        if kind == "edits":
            return _for_edits(objective)
        if kind == "whole" and objective.device.type == "cuda" and objective.model.space.parameter_count <= SMALL_MODEL:
            return Engine(BatchedBackend, "a small model on a GPU, so several points are scored at once")
        return Engine(EagerBackend, "full passes, because there is too little work to choose for", open_for=kind)
    if name in RENAMED:
        now = RENAMED[name]
        raise ObjectiveError(f'engine "{name}" is called "{now}" now: write engine="{engine.replace(name, now, 1)}"')
    if name not in BACKENDS:
        raise ObjectiveError(f'engine must be "auto" or one of {", ".join(BACKENDS)}. Got "{name}" instead.')
    return Engine(_backend(name, settings), "asked for", settings)


def _for_edits(objective: Objective) -> Engine:
    try:
        traced(objective.model)
    except NotTraceableError as error:
        return Engine(EagerBackend, f"full passes, because {error}")
    return Engine(GraphBackend, "the model can be traced, so only what a single parameter reaches is computed")


def _backend(name: str, settings: Settings | None) -> type[Backend]:
    """The oracle takes no settings: with some it is the plain call that is measured against it."""
    return PlainBackend if name == "eager" and settings is not None else BACKENDS[name]
