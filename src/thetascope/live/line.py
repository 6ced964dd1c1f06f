"""The loss along the straight line from the first state to the newest, on few samples: what a training may look like so far."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thetascope.arrays import Floats
from thetascope.errors import ThetascopeError
from thetascope.experiments.interpolate import interpolate
from thetascope.live.pacing import Allowance
from thetascope.recording.log import Record
from thetascope.recording.run_directory import RunDirectory
from thetascope.scoring.objective import Objective
from thetascope.trajectory import Trajectory

SAMPLES, ALPHAS = 500, 9
"""So many samples are scored, at so many values of α."""

SHARE, LEAST = 0.05, 10.0
"""Of a core that this may take, where there is a core that nobody wants; and seconds between two times."""


@dataclass(frozen=True)
class LineLosses:
    """Losses ``[A]`` at ``alphas [A]``: of samples, to a step."""

    alphas: Floats
    losses: Floats
    samples: int
    step: int


class LineSoFar:
    """Scores the line again and again, when the machine has time.

    Args:
        objective: what scores.
        run: whose states.

    Attributes:
        line: as it was scored last.
        problem: why it could not be; empty where it could.
    """

    def __init__(self, objective: Objective, run: RunDirectory) -> None:
        self._objective, self._run, self._pace = objective.pilot(SAMPLES), run, Allowance(SHARE, LEAST)
        self.line: LineLosses | None = None
        self.problem = ""

    def update(self, records: Sequence[Record], *, anyway: bool = False) -> bool:
        """Score it to the newest stored state, if that is another and there is time for it, or `anyway`. Returns whether it was."""
        stored = [record for record in records if record.file is not None]
        if len(stored) < 2 or (self.line is not None and self.line.step == stored[-1].step):
            return False
        if not anyway and not (self._pace.is_due and _is_idle()):
            return False
        first, newest = stored[0], stored[-1]
        with self._pace.counted():
            try:
                ends = [self._run.state(record) for record in (first, newest)]
                trajectory = Trajectory.from_states([dict(end.tensors()) for end in ends], steps=[first.step, newest.step])
                data = interpolate(self._objective, trajectory, alphas=ALPHAS, progress=False).data
            except (ThetascopeError, OSError) as error:
                self.problem = f"the line so far could not be scored: {error}"
                return True
        self.problem = ""
        self.line = LineLosses(np.asarray(data["alpha"]), np.asarray(data["loss"]), int(data.attrs["samples_scored"]), newest.step)
        return True


def _is_idle() -> bool:
    """Whether a core has nothing to do, as far as the system tells."""
    return not hasattr(os, "getloadavg") or os.getloadavg()[0] < (os.cpu_count() or 1) - 0.5
