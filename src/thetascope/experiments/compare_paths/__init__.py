"""The straight line against the quadratic path against what happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from thetascope.experiments.framework.call_options import Alphas, Layers, OutPath, Parameters
from thetascope.experiments.framework.declaration import Declaration, Entry

if TYPE_CHECKING:
    from thetascope.results.result import Result
    from thetascope.scoring.objective import Objective
    from thetascope.trajectory import Trajectory


def compare_paths(
    objective: Objective | Mapping[str, Objective],
    trajectory: Trajectory,
    level: Literal["model", "parameter"] = "model",
    alphas: Alphas = 41,
    layers: Layers = None,
    parameters: Parameters = None,
    *,
    out: OutPath = None,
    engine: str = "auto",
    progress: bool = True,
) -> Result:
    """Score the linear and the quadratic path, and say how they compare.

    Model level: both against the losses measured at the recorded states. All three share their first value, the line
    meets the last state at α = 1 and the quadratic path the middle one at α = 0.5 *by construction*, so that meeting
    there says nothing. What says something are the other crossings, and the gaps at states that are knots of neither.

    Parameter level: each single parameter's two curves, with α in [-0.5, 1.5], and the pattern that they make (see
    `thetascope.experiments.shared.patterns` for the rules). The two curves are one function of the parameter's value seen
    through two parametrisations; ``midpoint`` says how they differ.

    Args:
        objective: what to score; several by label, ``{"train": …, "test": …}``, give the result a first dim ``data``.
        trajectory: at least 3 recorded states.
        level: "model" or "parameter".
        alphas: how many values of α evenly in [0, 1] ([-0.5, 1.5] for parameters), or the values.
        layers: at the level of parameters, where to draw: names or globs, or "trainable" for the layers that are not frozen.
        parameters: as for `interpolate`.
        out: store the result there; the same call then goes on where it stopped.
        engine: "auto", or the name of a backend.
        progress: say what is scored and how long it takes, and show how far it is.

    Returns:
        ``linear_loss``, ``quadratic_loss`` and the metrics likewise, over ``alpha`` or (``parameter``, ``alpha``). Model level:
        ``actual_loss`` over ``state`` with its ``progress``; ``attrs["crossings"]``: for each path the places in (0, 1) where it
        crosses the measured curve (both linear between their points), each with ``by_construction``; ``attrs["gaps"]``: the mean of
        ``|log10(path / measured)|`` at the states that are knots of neither path, ``linear`` and ``quadratic`` by clock (the path where
        α is the state's share of the steps), ``linear_by_place`` and ``quadratic_by_place`` by place: the line scored at the state's
        share of the way (``linear_by_place_loss`` at ``share``, with the distance ``off_line``), the parabola where it is nearest to
        the state (``quadratic_by_place_loss`` at ``nearest``, α in [−0.2, 1.2], with the distance ``off_path``), over ``state``.
        Parameter level: ``pattern``, ``midpoint`` = (θ_m − θ_i) / (θ_f − θ_i) (nan where θ did not move), ``distance``, ``layer`` over
        ``parameter``; ``attrs["pattern_shares"]``, and ``attrs["pattern_shares_interval"]``: [low, high] of each at 95 %, by a
        bootstrap over the parameters.

    Raises:
        TrajectoryError: fewer than 3 states, or none near the middle.
        GeometryError: alphas or parameters that are off.

    Example:
        >>> result = ts.compare_paths(objective, trajectory, alphas=11)
        >>> result.data["quadratic_loss"].dims, result.data["actual_loss"].dims
        (('alpha',), ('state',))
        >>> sorted(result.data.attrs["gaps"])
        ['linear', 'linear_by_place', 'quadratic', 'quadratic_by_place', 'states']
        >>> patterns = ts.compare_paths(objective, trajectory, level="parameter", parameters=1, alphas=11)
        >>> patterns.data["pattern"].sizes["parameter"]
        4
    """
    return EXPERIMENT.run(locals())


EXPERIMENT = Declaration(
    compare_paths,
    entries=(Entry(20), Entry(51, {"level": "parameter"})),
    examples=("compare-paths RUN --objective SPEC", "compare-paths RUN --objective SPEC --level parameter --parameters 10"),
    levels={"layers": ("parameter",), "parameters": ("parameter",)},
    demo_with={
        "digits": {"parameters": 3},
        "digits quick": {"alphas": 11, "parameters": 1},
        "mnist quick": {"alphas": 11, "parameters": 1},
    },
    buffers={"parameter": "final"},
)
