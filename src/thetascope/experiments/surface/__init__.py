"""The loss surface around a state: a plane through parameter space, scored on a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from thetascope.experiments.framework.call_options import Layers, Normalize, OutPath, Typed
from thetascope.experiments.framework.declaration import Declaration, Entry, SubjectOption
from thetascope.experiments.shared.states import state_at, step_unless_last
from thetascope.specification import provided

if TYPE_CHECKING:
    from torch import Tensor

    from thetascope.results.result import Result
    from thetascope.scoring.objective import Objective
    from thetascope.state import State
    from thetascope.trajectory import Trajectory


def _states_at(steps: list[int], trajectory: Any) -> list[State]:
    return [state_at(trajectory, step) for step in steps]


def _directions(given: str, _: object) -> Any:
    """A word, or what the user's function returns."""
    if ":" not in given:
        return given
    return tuple(part if isinstance(part, Mapping) else dict(part) for part in provided(given, tuple, "--directions"))


DIRECTIONS = '"random", "pca", or "file.py:function", which returns two mappings of parameter names to tensors.'
THROUGH = "Steps of one or two recorded states: the way through them and the center."
Directions = Annotated[
    Literal["random", "pca"] | tuple[Mapping[str, "Tensor"], Mapping[str, "Tensor"]], Typed(str, _directions, DIRECTIONS)
]
Through = Annotated["Sequence[Mapping[str, Tensor]] | None", Typed(list[int], _states_at, THROUGH)]


def surface(
    objective: Objective | Mapping[str, Objective],
    trajectory_or_state: Trajectory | Mapping[str, Tensor],
    directions: Directions = "random",
    through: Through = None,
    normalize: Normalize = "filter",
    orthogonal: bool = False,
    x: tuple[float, float, int] = (-1.0, 1.0, 51),
    y: tuple[float, float, int] = (-1.0, 1.0, 51),
    seed: int = 0,
    tolerance: float | None = None,
    layers: Layers = None,
    *,
    out: OutPath = None,
    engine: str = "auto",
    progress: bool = True,
) -> Result:
    """Score the model on a plane through its final state.

    On random directions frozen parameters stay: those that are the same, bit for bit, in all states of a training that moved, and
    those whose requires_grad is off while others' are on. On ways to other states each parameter moves as the states do.

    Floating buffers such as BatchNorm statistics stay the center's, or are estimated at each point where the
    objective says ``buffers="recalibrate"``.

    Args:
        objective: what to score; several by label, ``{"train": …, "test": …}``, give the result a first dim ``data``.
        trajectory_or_state: a training, whose last state is the center, or a state.
        directions: "random": from a normal distribution, normalised as `normalize` says; 1 on an axis is then the length
            of the weights themselves. "pca": the first two principal components of the training, of length 1. Or two of
            one's own, mappings of parameter names to tensors, used as given; names that are left out stay.
        through: one or two other states instead of directions: the plane in which the center is (0, 0) and they are (1, 0)
            and (0, 1); with one, a line, and `y` must be ``(0, 0, 1)``.
        normalize: of random directions: "filter" (the weights that lead to one output unit, wherever the tensor holds those),
            "layer" or None.
        orthogonal: make the second random direction orthogonal to the first.
        x: (low, high, how many).
        y: likewise; it may differ from `x`.
        seed: of random directions. The same seed gives the same directions on every machine.
        tolerance: a relative error of the loss that may be made in cells that are not scored but estimated, such as 0.01; they
            have status 3. Cells near Chebyshev points are scored and fitted; the fit is checked on cells that it has not seen,
            where it is in doubt, and refined with them. If it does not hold, every cell is scored and
            ``attrs["estimate"]["reason"]`` says so. None: every cell is scored.
        layers: names or globs of the layers that move, frozen or not; all else stays. "trainable": the layers that are not frozen.
        out: store the result there, unit by unit; the same call then goes on where it stopped.
        engine: "auto", or the name of a backend.
        progress: say what is scored and how long it takes, and show how far it is.

    Returns:
        ``loss``, a variable a metric and ``status`` over (``y``, ``x``); with a tolerance ``attrs["estimate"]``: how many cells were
        scored, the errors of the estimates, what was fitted. ``attrs["directions"]``: how they were made, their
        lengths and the cosine between them; of random ones what is frozen and why, how many parameters move, which tensors
        hold their output units along other dimensions than the first, and how many filters have one weight only.

    Raises:
        GeometryError: ranges or directions that are off, or that span no plane.
        TrajectoryError: "pca" without a training.
        StateError: the states do not fit the objective's model.

    Example:
        >>> result = ts.surface(objective, trajectory, x=(-1, 1, 5), y=(-0.5, 0.5, 3), seed=1)
        >>> result.data["loss"].dims, result.data["loss"].shape
        (('y', 'x'), (3, 5))
        >>> line = ts.surface(objective, trajectory, through=[trajectory[0]], x=(0, 1, 5), y=(0, 0, 1))
        >>> line.data.attrs["directions"]["kind"]
        'states'
    """
    return EXPERIMENT.run(locals())


def _grid(count: int) -> dict[str, tuple[float, float, int]]:
    return {"x": (-1.0, 1.0, count), "y": (-1.0, 1.0, count)}


EXPERIMENT = Declaration(
    surface,
    entries=(Entry(70),),
    examples=(
        "surface RUN --objective SPEC --tolerance 0.01",
        "surface RUN --objective SPEC --x -0.5 0.5 31 --y -0.5 0.5 31",
        "surface RUN --objective SPEC --export surface.vti --dry-run",
    ),
    examine_with={"tolerance": 0.01},
    demo_with={"digits": _grid(31), "digits quick": _grid(9), "mnist quick": _grid(11)},
    grid=_grid,
    subject_options={"center": SubjectOption(int, "The step of the state in the middle (default: the last).", state_at, step_unless_last)},
    buffers="final",
)
