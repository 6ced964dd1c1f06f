"""Choosing one of a run's states by its step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thetascope.errors import UsageError

if TYPE_CHECKING:
    from thetascope.state import State


def state_at(trajectory: Any, step: int) -> State:
    """The state that was recorded at a step.

    Raises:
        UsageError: there is none.
    """
    if trajectory.steps is None:
        raise UsageError(f"no state is known to be of step {step}: the steps of these states are not known; give them with --steps")
    if step not in trajectory.steps:
        raise UsageError(f"no state was recorded at step {step}; there are: {', '.join(map(str, trajectory.steps))}")
    state: State = trajectory[trajectory.steps.index(step)]
    return state


def step_unless_last(subject: Any) -> int | None:
    """The step of a recorded state that is not the last of its run; None of all else."""
    step: int | None = getattr(subject, "step", None)
    return None if step is None or subject.run is None or subject.ends_run else step
