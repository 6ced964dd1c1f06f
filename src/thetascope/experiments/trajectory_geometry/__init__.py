"""The geometry of the way that a training went, from its recorded states alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from thetascope.experiments.framework.call_options import Layers, OutPath
from thetascope.experiments.framework.declaration import Declaration, Entry

if TYPE_CHECKING:
    from thetascope.results.result import Result
    from thetascope.trajectory import Trajectory


def trajectory_geometry(
    trajectory: Trajectory,
    level: Literal["model", "layer"] = "model",
    layers: Layers = None,
    *,
    out: OutPath = None,
    progress: bool = True,
) -> Result:
    """Measure the way that a training went through parameter space.

    Neither a model nor data are needed, and nothing is scored: all follows from the recorded states, which are read in pieces, in
    float64. The way is that of the floating parameters. Which tensors are parameters, and their layers in the order of the forward
    pass, is known where a Recorder wrote it down; else running statistics and other buffers are known by their names, and the layers
    are those of the names.

    With the states θ_0 … θ_T, their steps d_t = θ_t − θ_{t−1} and the chord c = θ_T − θ_0:

    Args:
        trajectory: two or more recorded states.
        level: "model": the way of all parameters together. "layer": that of each layer by itself.
        layers: for "layer": names or globs, one way each; or ``{label: [names or globs]}`` for layers that count as one vector; or
            "blocks" for a way a block, or "trainable" for the layers that are not the same in all states.
        out: store the result there; the same call then only checks that the states are the same.
        progress: say how long it takes, and show how far it is.

    Returns:
        Over ``state``, or (``layer``, ``state``): ``arc``, Σ |d_t| so far; ``from_start`` and ``to_end``, the distances from the first and
        to the last state; ``share``, s_t = ⟨θ_t − θ_0, c⟩ / |c|², the share of the way from the first to the last state (0 and 1 at
        these, and any number between); ``off_line``, the distance from the straight line through both (rounding below 1e-7 of
        ``from_start``); of the step that leads to a state ``step_length``, |d_t|, ``heading``, its cosine with what was left to go,
        θ_T − θ_{t−1}, and ``turning``, its cosine with the step before. nan where there is no such step, or one of length 0.

        In ``attrs`` (model), or over ``layer``: ``tortuosity``, arc / |c|: 1 straight on, π/2 on a half circle, √T for T orthogonal equal
        steps; ``mean_cosine`` over all pairs of steps, −1 to 1. In ``attrs`` also ``chord``, |c|, and ``parameters``, their number.

        Over ``layer``, at both levels: ``relative_distance``, |θ_T − θ_0| / |θ_0| (nan for a layer that begins at 0), and
        ``squared_share``, each layer's share of the squared way |c|²; over (``layer``, ``state``) ``relative_from_start``,
        |θ_t − θ_0| / |θ_0|. Coordinates: ``step`` and ``epoch`` of the states where they are known, and the ``block`` of the layers.

    Raises:
        TrajectoryError: fewer than 2 states; an unknown level, or layers at the level of the model.
        StateError: a layer that there is not, or states without floating parameters.
        GeometryError: a state holds a value that is not finite.

    Example:
        >>> way = ts.trajectory_geometry(trajectory)
        >>> way.data["share"].dims, way.data["relative_from_start"].dims
        (('state',), ('layer', 'state'))
        >>> way.data.attrs["tortuosity"] > 1
        True
        >>> ts.trajectory_geometry(trajectory, "layer", layers=["fc*"]).data["tortuosity"].dims
        ('layer',)
    """
    return EXPERIMENT.run(locals())


EXPERIMENT = Declaration(
    trajectory_geometry,
    entries=(Entry(5), Entry(6, {"level": "layer"})),
    examples=("trajectory-geometry RUN", "trajectory-geometry e0.pt e5.pt e10.pt --level layer --layers blocks"),
    levels={"layers": ("layer",)},
)
