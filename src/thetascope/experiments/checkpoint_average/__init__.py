"""What an average of checkpoints is worth: windows, exponential averages, the greedy soup, chosen and told on different samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from thetascope.experiments.framework.call_options import OutPath, Typed
from thetascope.experiments.framework.declaration import Declaration, Entry

if TYPE_CHECKING:
    from thetascope.results.result import Result
    from thetascope.scoring.objective import Objective
    from thetascope.trajectory import Trajectory

Windows = Annotated[Sequence[int] | None, Typed(list[int])]
Decays = Annotated[Sequence[float], Typed(list[float])]


def checkpoint_average(
    objective: Objective | Mapping[str, Objective],
    trajectory: Trajectory,
    windows: Windows = None,
    decays: Decays = (),
    greedy: bool = False,
    holdout: float | None = 0.5,
    *,
    out: OutPath = None,
    engine: str = "auto",
    progress: bool = True,
) -> Result:
    """Score averages of the recorded states beside the last state and the best single one.

    - *windows*: uniform averages of the last k states (SWA: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and
      Better Generalization"; LAWA: Kaddour 2022, "Stop Wasting My Time!").
    - *decays*: exponential averages of all states, each with d times the weight of the state after it; weights sum to 1.
    - *greedy*: the greedy soup (Wortsman et al. 2022, "Model soups"): states in order of their loss; each is added to the average if
      that does not make its loss higher.

    What is best among many, told on the samples that chose it, looks better than it is. So all that is chosen (the best single state,
    the soup, the best average) is chosen on a part of the samples, drawn once with the objective's seed, and every number is told
    on the rest, which is the share `holdout`. Running statistics are estimated anew for each average, from the choosing part where
    they are from the objective's own data.

    Args:
        objective: what to score; several by label, ``{"train": …, "test": …}``, give the result a first dim ``data``.
        trajectory: the recorded states.
        windows: how many of the last states each window averages; by default all since half of the steps, and 2, 4, 8, … of them.
        decays: of exponential averages, each between 0 and 1, such as 0.9.
        greedy: make the greedy soup too, which scores an average for each state.
        holdout: the share of the samples on which everything is told; None chooses and tells on all of them. Where a batch is the sample
            whole batches are held out; of one batch nothing can be, and ``attrs["held_out"]`` is None.
        out: store the result there, point by point; the same call then goes on where it stopped.
        engine: "auto", or the name of a backend.
        progress: say what is scored and how long it takes, and show how far it is.

    Returns:
        Over ``average`` ("last", "best", "window-2", …, "decay-0.9", "soup", "chosen", which is the best window, decay or soup): ``loss``,
        the metrics, ``status``, ``excess`` and ``excess_se``, its paired standard error, against the last state; ``choice_loss`` and the
        like on the choosing part; ``kind``, ``size`` (how many states are in it) and ``decay``; ``valley_height`` of windows: the mean of
        its states' losses minus the loss of their average, which is what the noise of the last steps costs.
        Over ``state``: ``step``, ``epoch``, ``progress``; ``actual_loss``, ``choice_actual_loss``, the metrics likewise.
        Over (``average``, ``state``): ``weight``. Over ``trial``, of the soup: ``trial_loss`` of the average with one more state.
        ``attrs``: ``held_out``, the share (None: chosen and told on all samples); ``samples_choosing``; ``chosen`` and ``best``: which.
        ``result.state("chosen")`` gives an averaged state with its statistics, ``.save(path)`` writes it.

    Raises:
        UsageError: windows, decays or holdout are off.
        StateError: the states do not fit the objective's model.

    Example:
        >>> result = ts.checkpoint_average(objective, trajectory, windows=[2, 4], greedy=True)
        >>> result.data["average"].values.tolist()
        ['last', 'best', 'window-2', 'window-4', 'soup', 'chosen']
        >>> float(result.data["excess"].sel(average="last"))
        0.0
        >>> path = result.state("chosen").save("chosen.safetensors")
        >>> from safetensors.torch import load_file
        >>> model.load_state_dict(load_file(path))
        <All keys matched successfully>
    """
    return EXPERIMENT.run(locals())


EXPERIMENT = Declaration(
    checkpoint_average,
    entries=(Entry(25),),
    examples=(
        "checkpoint-average RUN --objective SPEC",
        "checkpoint-average RUN --objective SPEC --windows 2 4 8 --decays 0.9 --greedy",
    ),
)
