"""The atlas: what every single parameter of a model does on its way through the training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from thetascope.experiments.framework.call_options import Alphas, Layers, OutPath
from thetascope.experiments.framework.declaration import Declaration, Entry

if TYPE_CHECKING:
    from thetascope.results.result import Result
    from thetascope.scoring.objective import Objective
    from thetascope.trajectory import Trajectory


def parameter_atlas(
    objective: Objective,
    trajectory: Trajectory,
    kind: Literal["linear", "quadratic"] = "linear",
    alphas: Alphas = 41,
    mode: Literal["tabulated", "exact"] = "tabulated",
    layers: Layers = None,
    *,
    out: OutPath = None,
    engine: str = "auto",
    progress: bool = True,
) -> Result:
    """Move every single parameter of the model along its path, one at a time, while the rest stays final.

    All weights of one output of a linear layer move the same number, so the loss of a sample, tabulated once as a function of that
    number, serves them all ("tabulated"; see `thetascope.experiments.parameter_atlas.loss_tables`). Other parameters are scored at a few
    places each and read in between. How far all this is off is measured: on the parameters that change the loss most and on others that are
    drawn, against double precision. "exact" scores every parameter at every α instead, which takes days where the table takes minutes.

    Args:
        objective: what to score.
        trajectory: the recorded states; at least 3 for the quadratic path and for patterns.
        kind: "linear" or "quadratic": the path.
        alphas: how many values of α evenly in [-0.5, 1.5], or the values.
        mode: "tabulated" or "exact".
        layers: names or globs: only these; or "trainable": only the layers that are not frozen.
        out: store the result there; the same call then goes on where it stopped.
        engine: "auto", or the name of a backend; "eager" tabulates nothing.
        progress: say what is done and show how far it is.

    Returns:
        ``loss_change`` over (``parameter``, ``alpha``): the loss minus that of the final state, in single precision for models that
        are scored in it; ``status`` (3 where tabulated or read between scored places, 1 where scored). Over ``parameter``:
        ``impact``, its largest size; ``distance``, from first to last value; ``layer``; and where there is a middle state
        ``midpoint`` and ``pattern`` (as in `compare_paths`), for which the other path's change is kept too, as
        ``quadratic_change`` or ``linear_change``. ``attrs``: ``final_loss``, ``table_error`` (measured, as a share of the final
        loss, the largest seen where it was tested), ``noise_floor``, ``pattern_shares``, ``pattern_shares_interval`` ([low, high] of each
        at 95 %, by a bootstrap over the parameters), ``tensors`` (their shapes, in the order of ``parameter``).

    Raises:
        TrajectoryError: too few states for the path, or another kind or mode.
        GeometryError: alphas that are off, or more values than fit into memory.
        StateError: the states do not fit the objective's model; a layer that there is not.

    Example:
        >>> atlas = ts.parameter_atlas(objective, trajectory, alphas=9, layers=["fc2"], progress=False)
        >>> int(atlas.data.sizes["parameter"]), bool((atlas.data["loss_change"].sel(alpha=1.0) == 0).all())
        (330, True)
    """
    return EXPERIMENT.run(locals())


EXPERIMENT = Declaration(
    parameter_atlas,
    entries=(Entry(60, by_name_only=True),),
    examples=("parameter-atlas RUN --objective SPEC", "parameter-atlas RUN --objective SPEC --kind quadratic --layers fc1 fc2"),
    buffers="final",
    one_objective=True,
)
