"""The commands for planes through parameter space: surface, plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from thetascope.cli.application import app, examples
from thetascope.cli.options import FLAG, Checkpoints, ObjectiveSpec, Output, Run

if TYPE_CHECKING:
    import thetascope as ts

Tolerance = Annotated[float | None, Parameter(help="Relative error of the loss allowed in estimated cells (default: all are scored).")]
Range = Annotated[tuple[float, float, int], Parameter(help="Low end, high end, how many values.", negative=())]


@app.command(
    sort_key=60,
    help_epilogue=examples(
        "thetascope surface runs/mine --objective objective.py:objective --tolerance 0.01",
        "thetascope surface runs/mine --objective objective.py:objective --x -0.5 0.5 31 --y -0.5 0.5 31",
        "thetascope surface runs/mine --objective objective.py:objective --export surface.vti --dry-run",
    ),
)
def surface(
    run: Run,
    /,
    *,
    objective: ObjectiveSpec,
    directions: Annotated[
        str, Parameter(help='"random", "pca", or "file.py:function", which returns two mappings of parameter names to tensors.')
    ] = "random",
    through: Annotated[
        list[int] | None,
        Parameter(help="Steps of one or two recorded states: the way through them and the center.", consume_multiple=True, negative=()),
    ] = None,
    center: Annotated[int | None, Parameter(help="The step of the state in the middle (default: the last).")] = None,
    normalize: Annotated[Literal["filter", "layer", "none"], Parameter(help="How random directions get their length.")] = "filter",
    orthogonal: Annotated[bool, Parameter(help="Make the second random direction orthogonal to the first.", **FLAG)] = False,
    x: Range = (-1.0, 1.0, 51),
    y: Range = (-1.0, 1.0, 51),
    seed: Annotated[int, Parameter(help="Of random directions.")] = 0,
    tolerance: Tolerance = None,
    checkpoints: Checkpoints | None = None,
    output: Output | None = None,
) -> None:
    """Draw the loss surface around the trained model: a plane through parameter space."""
    import thetascope as ts

    def experiment(scored: ts.Objective, trajectory: ts.Trajectory, **shared: Any) -> ts.Result:
        around = trajectory if center is None else _state_at(trajectory, center)
        states = None if through is None else [_state_at(trajectory, step) for step in through]
        lengths = None if normalize == "none" else normalize
        return ts.surface(scored, around, _directions(directions), states, lengths, orthogonal, x, y, seed, tolerance, **shared)

    (output or Output()).run(run, f"surface-{_kind(directions, through)}", objective, checkpoints, experiment)


@app.command(
    sort_key=70,
    help_epilogue=examples(
        "thetascope plane runs/mine --objective objective.py:objective --tolerance 0.01",
        "thetascope plane runs/a --also runs/b --objective objective.py:objective --export walk.gif",
    ),
)
def plane(
    run: Run,
    /,
    *,
    objective: ObjectiveSpec,
    also: Annotated[
        list[Path] | None, Parameter(help="Further run directories, drawn on the same plane.", consume_multiple=True, negative=())
    ] = None,
    x: Annotated[int, Parameter(help="How many values along the first principal component.")] = 51,
    y: Annotated[int, Parameter(help="How many along the second.")] = 51,
    margin: Annotated[float, Parameter(help="How far the grid reaches beyond the way on each side, as a share of its extent.")] = 0.3,
    tolerance: Tolerance = None,
    checkpoints: Checkpoints | None = None,
    output: Output | None = None,
) -> None:
    """Draw the plane in which the training moved, and the optimizer's way over it."""
    import thetascope as ts

    def experiment(scored: ts.Objective, trajectory: ts.Trajectory, **shared: Any) -> ts.Result:
        together = [trajectory, *(ts.Trajectory(other) for other in also)] if also else trajectory
        return ts.trajectory_plane(scored, together, x, y, margin, tolerance, **shared)

    (output or Output()).run(run, "plane", objective, checkpoints, experiment)


def _kind(directions: str, through: Sequence[int] | None) -> str:
    if through is not None:
        return "through-" + "-".join(map(str, through))
    return "own" if ":" in directions else directions


def _directions(given: str) -> Any:
    from thetascope.specification import provided

    if ":" not in given:
        return given
    found = provided(given, tuple, "--directions")
    return tuple(part if isinstance(part, Mapping) else dict(part) for part in found)


def _state_at(trajectory: ts.Trajectory, step: int) -> ts.State:
    from thetascope.errors import UsageError

    if step not in trajectory.steps:
        raise UsageError(f"no state was recorded at step {step}; there are: {', '.join(map(str, trajectory.steps))}")
    return trajectory[trajectory.steps.index(step)]
