"""Paths through a training: the whole model, one layer, or one single parameter moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from thetascope.experiments.framework.call_options import Alphas, Kind, Layers, OutPath, Parameters
from thetascope.experiments.framework.declaration import Declaration, Entry

if TYPE_CHECKING:
    from thetascope.results.result import Result
    from thetascope.scoring.objective import Objective
    from thetascope.trajectory import Trajectory


def interpolate(
    objective: Objective | Mapping[str, Objective],
    trajectory: Trajectory,
    kind: Kind = "linear",
    level: Literal["model", "layer", "parameter"] = "model",
    alphas: Alphas = 41,
    layers: Layers = None,
    parameters: Parameters = None,
    *,
    out: OutPath = None,
    engine: str = "auto",
    progress: bool = True,
) -> Result:
    """Score the model along a path through its training.

    ``Θ(α) = Σ_i ℓ_i(α) Θ_i`` with Lagrange's ℓ_i; the n + 1 knots are the recorded states nearest to i/n of the
    training's steps, set at α = i/n. Linear is n = 1 (first and last state), quadratic n = 2 (with the middle one).

    Args:
        objective: what to score; several by label, ``{"train": …, "test": …}``, give the result a first dim ``data``.
        trajectory: the recorded states.
        kind: "linear", "quadratic", or the degree n.
        level: what moves. "model": everything. "layer": one layer at a time, the rest stays final.
            "parameter": one single parameter at a time, the rest stays final.
        alphas: how many values of α evenly in [0, 1] (at the level of parameters in [-0.5, 1.5]), or the values.
        layers: for "layer": names or globs, one curve each; or ``{label: [names or globs]}`` for layers that move
            together; or "blocks" for a curve a block (`ParameterSpace.blocks`), or "trainable" for the layers that are not frozen.
            For "parameter": where to draw.
        parameters: for "parameter": labels such as "conv1.weight[0,0,1,1]", ``{tensor name: [index tuple, …]}``,
            or how many to draw in each layer (default 4, drawn with seed 0).
        out: store the result there, unit by unit; the same call then goes on where it stopped.
        engine: "auto", or the name of a backend.
        progress: say what is scored and how long it takes, and show how far it is.

    Returns:
        ``loss``, a variable a metric and ``status`` over ``alpha``, over (``layer``, ``alpha``) or over (``parameter``, ``alpha``).
        Layers and parameters have their ``distance``, Euclidean, from first to last state; layers the ``block`` that they lie in,
        parameters their ``layer``. At the level of the model, ``actual_loss`` and the metrics likewise over ``state``: measured at the
        recorded states themselves, with ``progress`` in [0, 1], ``step`` and ``epoch``, and with their place: ``share``, the share of
        the way from the first state to the last, and ``off_line``, the distance from the straight line; of a curve also ``nearest``,
        the α where it is nearest to the state, and ``off_path``, how far away; where the policy for buffers replaces theirs, also
        ``loss_recorded``: as they were recorded. In ``attrs`` ``barrier``, the most by which the loss rises above the straight line
        between the ends' losses, with its standard error ``barrier_se``, ``barrier_at`` (α), ``barrier_over_mean``, and
        ``has_barrier``: whether it is more than two errors and 1 % of the gain.
        ``attrs["knots"]``: which states the path goes through.

    Raises:
        TrajectoryError: too few states for the degree, or two knots fall on the same one.
        GeometryError: alphas that are empty, repeated or not finite; a parameter that there is not.
        StateError: the states do not fit the objective's model; a layer that there is not.

    Example:
        >>> line = ts.interpolate(objective, trajectory, "linear", alphas=11)
        >>> line.data["loss"].dims, line.data["actual_loss"].dims
        (('alpha',), ('state',))
        >>> layers = ts.interpolate(objective, trajectory, "quadratic", level="layer", layers=["conv*"], alphas=5)
        >>> layers.data["loss"].dims, layers.data["layer"].values.tolist()
        (('layer', 'alpha'), ['conv1', 'conv2'])
        >>> ts.interpolate(objective, trajectory, level="layer", layers="blocks", alphas=3).data["block"].values.tolist()
        ['conv1', 'conv2', 'fc1', 'fc2']
        >>> one = ts.interpolate(objective, trajectory, level="parameter", parameters=["fc2.bias[3]"], alphas=5)
        >>> one.data["alpha"].values.tolist()
        [-0.5, 0.0, 0.5, 1.0, 1.5]
    """
    return EXPERIMENT.run(locals())


EXPERIMENT = Declaration(
    interpolate,
    entries=(
        Entry(10),
        Entry(11, {"kind": "quadratic"}),
        Entry(30, {"level": "layer"}),
        Entry(31, {"kind": "quadratic", "level": "layer"}),
        Entry(50, {"level": "parameter"}),
    ),
    examples=(
        "interpolate RUN --objective SPEC",
        "interpolate e0.pt e5.pt e10.pt --objective SPEC --kind quadratic",
        "interpolate RUN --objective SPEC --level layer --layers blocks",
    ),
    levels={"layers": ("layer", "parameter"), "parameters": ("parameter",)},
    demo_with={
        "digits": {"parameters": 3},
        "digits quick": {"alphas": 11, "parameters": 1},
        "mnist quick": {"alphas": 11, "parameters": 1},
    },
    buffers={"parameter": "final"},
)
