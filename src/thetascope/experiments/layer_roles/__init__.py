"""Robust and ambient layers: what it costs to put one layer back to its first values, or to draw it anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thetascope.experiments.framework.call_options import Layers, OutPath
from thetascope.experiments.framework.declaration import Declaration, Entry

if TYPE_CHECKING:
    from thetascope.results.result import Result
    from thetascope.scoring.objective import Objective
    from thetascope.trajectory import Trajectory


def layer_roles(
    objective: Objective,
    trajectory: Trajectory,
    draws: int = 5,
    threshold: float = 0.25,
    seed: int = 0,
    layers: Layers = None,
    *,
    out: OutPath = None,
    engine: str = "auto",
    progress: bool = True,
) -> Result:
    """Tell the layers that the training depends on from those it hardly does.

    One layer at a time, all else final, is

    - *re-initialised*: put back to its first values, its floating buffers with it (where the objective takes buffers
      from the path);
    - *re-randomised*: its parameters drawn anew, `draws` times, by its module's own ``reset_parameters``; what that does
      not draw, from a normal distribution with the mean and standard deviation of the first values, tensor by tensor.
      Its buffers stay final. A tied tensor is drawn once, with the layer that owns it. A draw depends on
      `seed`, its number and the layer's name, and on nothing else: not on which other layers are examined.

    ``share = (reinit_loss − final_loss) / (initial_loss − final_loss)`` is how much of what the training gained is lost
    by re-initialising. A layer with a share above `threshold` is *robust*, one with less *ambient*: so calls them Němcová
    (2021, sections 4.1 and 6.2), and robust means that the layer's training shows in the result, not that it stands
    disturbance. Zhang, Bengio and Singer ("Are All Layers Created Equal?", 2019) call the former *critical*.

    Args:
        objective: what to score.
        trajectory: the recorded states, of which the first and the last are used.
        draws: how many times each layer is drawn anew.
        threshold: the share above which a layer is robust.
        seed: of the draws.
        layers: names or globs, or ``{label: [names or globs]}`` for layers that are put back together; or "blocks" for all
            layers of a block at once (`ParameterSpace.blocks`), or "trainable" for the layers that are not frozen.
        out: store the result there, unit by unit; the same call then goes on where it stopped.
        engine: "auto", or the name of a backend.
        progress: say what is scored and how long it takes, and show how far it is.

    Returns:
        Over ``layer``: ``reinit_loss``, the metrics likewise, ``reinit_status``; ``distance``, Euclidean, from first to
        last state; ``share``, nan where it is undecided; ``role``: "robust", "ambient", or "undecided" where the
        training gained nothing or a value is not finite (``attrs["undecided"]`` says which); ``redraw``: how the layer was drawn,
        "reset_parameters", "normal" or "both" (``attrs["drawn_normally"]``: which tensors, and why).
        ``block``, the block that the layer lies in.
        ``attrs["with_buffers"]``: the layers whose running statistics are put back with them, and stay when they are drawn anew.
        Over (``layer``, ``draw``): ``rerandom_loss``, the metrics likewise, ``rerandom_status``.
        Over ``end`` ("initial", "final"): ``end_loss``, the metrics likewise, ``end_status``: the two states as recorded.
        ``attrs["not_called"]``: layers that no forward pass called; a parent may still use their tensors.

    Raises:
        UsageError: draws, threshold or seed are off.
        TrajectoryError: the trajectory holds only one state.
        StateError: the states do not fit the objective's model; a layer that there is not.

    Example:
        >>> result = ts.layer_roles(objective, trajectory, draws=2)
        >>> result.data["role"].dims, result.data["rerandom_loss"].dims
        (('layer',), ('layer', 'draw'))
        >>> set(result.data["role"].values.tolist()) <= {"robust", "ambient", "undecided"}
        True
    """
    return EXPERIMENT.run(locals())


EXPERIMENT = Declaration(
    layer_roles,
    entries=(Entry(40),),
    examples=("layer-roles RUN --objective SPEC", "layer-roles RUN --objective SPEC --draws 20 --threshold 0.1"),
    demo_with={"digits quick": {"draws": 2}, "mnist quick": {"draws": 2}},
)
