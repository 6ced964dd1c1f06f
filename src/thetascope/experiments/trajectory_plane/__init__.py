"""The plane in which a training moved: its principal components, the loss there, and the way over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thetascope.experiments.framework.call_options import AxisOrCount, OutPath
from thetascope.experiments.framework.declaration import Declaration, Entry, SubjectOption

if TYPE_CHECKING:
    from thetascope.results.result import Result
    from thetascope.scoring.objective import Objective
    from thetascope.trajectory import Trajectory


def trajectory_plane(
    objective: Objective | Mapping[str, Objective],
    trajectory: Trajectory | Sequence[Trajectory] | Mapping[str, Trajectory],
    x: AxisOrCount = 51,
    y: AxisOrCount = 51,
    margin: float = 0.3,
    tolerance: float | None = None,
    *,
    out: OutPath = None,
    engine: str = "auto",
    progress: bool = True,
) -> Result:
    """Score the plane of a training's first two principal components, and the training's way over it.

    The components are those of the recorded parameters (no buffers), mean-centred; the plane with their directions is
    placed through the last state, which is (0, 0). Their signs are such that the first state has x ≥ 0 and y ≥ 0.

    The states do not lie in the plane: ``path_loss`` is measured at the states themselves, ``plane_loss`` on the plane
    right below each, ``off_plane`` says how far away the state is.

    Args:
        objective: what to score; several by label, ``{"train": …, "test": …}``, give the result a first dim ``data``.
        trajectory: the recorded states, at least 3; or several trainings, a list or ``{"name": trajectory, …}``, which then share
            the plane of all their states together, through the last state of the first. Where they have no names, those of
            their folders name them.
        x: how many values, over the way with its margin; or (low, high, how many).
        y: likewise.
        margin: how far the grid reaches beyond the way on each side, as a share of the way's extent.
        tolerance: a relative error of the loss that may be made in cells that are not scored but estimated, such as 0.01; they
            have status 3. Cells near Chebyshev points are scored and fitted; the fit is checked on cells that it has not seen,
            where it is in doubt, and refined with them. If it does not hold, every cell is scored and
            ``attrs["estimate"]["reason"]`` says so. None: every cell is scored.
        out: store the result there, unit by unit; the same call then goes on where it stopped.
        engine: "auto", or the name of a backend.
        progress: say what is scored and how long it takes, and show how far it is.

    Returns:
        ``loss``, a variable a metric and ``status`` over (``y``, ``x``), in units of distance in parameter space. Over
        ``state``: ``path_x``, ``path_y``, ``path_loss``, ``plane_loss`` and the metrics likewise, ``off_plane``,
        ``distance`` (from the last state), ``step``, ``epoch``, ``progress``, ``training`` (which one). Over
        ``component``: ``explained_variance_ratio``; ``random_walk_ratio``, what a walk of independent steps of these lengths
        would show; ``correlated_walk_ratio``, what one would whose successive steps have the training's mean cosine,
        ``attrs["mean_cosine"]``; ``equal_walk_ratio``, what one of as many equal independent steps would. All three follow
        from the walks' expected products, exactly so in very many dimensions; nothing is drawn.

    Raises:
        GeometryError: the states lie on one line, or the grid is off.
        TrajectoryError: there is no trajectory.

    Example:
        >>> result = ts.trajectory_plane(objective, trajectory, x=5, y=4)
        >>> result.data["loss"].dims, result.data["path_loss"].dims
        (('y', 'x'), ('state',))
        >>> float(result.data["path_x"][-1]), float(result.data["off_plane"][-1])
        (0.0, 0.0)
    """
    return EXPERIMENT.run(locals())


def _together(trajectory: Any, also: Sequence[Path]) -> list[Trajectory]:
    from thetascope.trajectory import Trajectory

    return [trajectory, *map(Trajectory, also)]


def _others(subject: Any) -> list[Any] | None:
    several = list(subject.values()) if isinstance(subject, Mapping) else subject
    return [training.run for training in several[1:]] if isinstance(several, list | tuple) else None


def _grid(count: int) -> dict[str, int]:
    return {"x": count, "y": count}


EXPERIMENT = Declaration(
    trajectory_plane,
    entries=(Entry(80),),
    examples=(
        "trajectory-plane RUN --objective SPEC --tolerance 0.01",
        "trajectory-plane runs/a --also runs/b --objective SPEC --export walk.gif",
    ),
    examine_with={"tolerance": 0.01},
    demo_with={"digits": _grid(31), "digits quick": _grid(9), "mnist quick": _grid(11)},
    grid=_grid,
    subject_options={"also": SubjectOption(list[Path], "Further run directories, drawn on the same plane.", _together, _others)},
)
