"""When was each layer finished: the final model with one layer at a time taken from each recorded state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from thetascope.experiments.framework.call_options import Layers, OutPath, States
from thetascope.experiments.framework.declaration import Declaration, Entry

if TYPE_CHECKING:
    from thetascope.results.result import Result
    from thetascope.scoring.objective import Objective
    from thetascope.trajectory import Trajectory


def layer_rewind(
    objective: Objective | Mapping[str, Objective],
    trajectory: Trajectory,
    layers: Layers = None,
    states: States = None,
    barriers: bool = True,
    alphas: int = 5,
    tolerance: float = 0.01,
    *,
    out: OutPath = None,
    engine: str = "auto",
    progress: bool = True,
) -> Result:
    """Find when each layer was finished, and since when the training is linearly connected to its end.

    One layer at a time is taken from a recorded state, all else stays final (Zhang, Bengio and Singer, "Are All Layers Created
    Equal?", 2019, who rewind to the first state and to some epochs; here to every recorded state). ``excess`` is how much higher the
    loss is than the final model's; a state whose layer has the final values has an excess of exactly 0.

    A layer is *finished* at the earliest state t from which on it costs nothing to take it from there: ``excess_u ≤ max(2 ·
    excess_se_u, tolerance · gain)`` for all states u ≥ t, where ``gain = min(loss of the first state, chance) − final loss``. Cost
    need not fall steadily; what is better than the final model counts as finished. Errors shrink with more samples, so that a layer may
    then turn out to be finished later: ``resolved`` is whether two standard errors at t are at most ``tolerance · gain``.

    ``barrier_to_end`` is the barrier on the straight line from each state to the last, all weights moving: ``max_α [L(α) − (1 − α)
    L(0) − α L(1)]``. The training is *linearly connected to its end* from the first state on since which it stays within ``max(2
    errors, tolerance · gain)`` (Frankle et al., "Linear Mode Connectivity and the Lottery Ticket Hypothesis", 2020, for two copies of
    a training).

    Args:
        objective: what to score; several by label, ``{"train": …, "test": …}``, give the result a first dim ``data``.
        trajectory: the recorded states, at least two.
        layers: names or globs, or ``{label: [names or globs]}`` for layers that are rewound together; or "blocks" for all
            layers of a block at once (`ParameterSpace.blocks`), or "trainable" for the layers that are not frozen.
        states: how many of the recorded states, evenly chosen, or their places in the trajectory; the first and the last are always
            among them. All by default.
        barriers: score the lines from each state to the last too: that is (alphas − 2) full passes a state.
        alphas: how many points a line has, both ends among them; at least 3.
        tolerance: the share of the gain that counts as nothing.
        out: store the result there, unit by unit; the same call then goes on where it stopped.
        engine: "auto", or the name of a backend.
        progress: say what is scored and how long it takes, and show how far it is.

    Returns:
        Over (``layer``, ``state``): ``loss``, the metrics, ``status``, ``excess`` and ``excess_se``, its paired standard error.
        Over ``layer``: ``finished``, the state, by its place in the trajectory as the coordinate ``state`` has it; ``resolved``;
        ``distance``, Euclidean, from the first to the last state; ``block``.
        Over ``state``: ``step``, ``epoch``, ``progress``; ``actual_loss``, the metrics likewise: what the state itself scores;
        ``barrier_to_end``, ``barrier_to_end_se``, its standard error by a bootstrap over samples.
        Over (``state``, ``alpha``): ``line_loss``, the metrics likewise, between the ends of each line.
        ``attrs``: ``final_loss``; ``gain``, ``gain_from`` ("initial" or "chance"), ``chance_loss``; ``connected_from``, the state, None
        without barriers; ``frozen_share``: of all parameters times steps the share that lies after a layer was finished, which is
        what freezing could have spared at most; ``states_recorded``: how many states there are to choose from;
        ``not_called``: layers that no forward pass called.

    Raises:
        UsageError: states, alphas or tolerance are off.
        TrajectoryError: the trajectory holds only one state.
        StateError: the states do not fit the objective's model; a layer that there is not.

    Example:
        >>> result = ts.layer_rewind(objective, trajectory, states=3, alphas=3)
        >>> result.data["excess"].dims, result.data["state"].values.tolist()
        (('layer', 'state'), [0, 5, 10])
        >>> result.data["excess"].sel(state=10).values.tolist()
        [0.0, 0.0, 0.0, 0.0]
        >>> bool((result.data["finished"] <= 10).all()), result.data["barrier_to_end"].dims
        (True, ('state',))
    """
    return EXPERIMENT.run(locals())


EXPERIMENT = Declaration(
    layer_rewind,
    entries=(Entry(45),),
    examples=(
        "layer-rewind RUN --objective SPEC",
        "layer-rewind RUN --objective SPEC --layers blocks --states 16 --no-barriers",
    ),
    examine_with={"states": 17},
    keeps=("alphas",),
)
