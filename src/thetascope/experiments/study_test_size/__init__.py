"""How many test samples are enough: one model on random subsets of each size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thetascope.experiments.framework.call_options import OutPath, Sizes
from thetascope.experiments.framework.declaration import Declaration, Entry, SubjectOption
from thetascope.experiments.shared.states import state_at, step_unless_last

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from thetascope.results.result import Result
    from thetascope.scoring.objective import Objective


def study_test_size(
    objective: Objective,
    state: Mapping[str, Tensor],
    sizes: Sizes = None,
    repeats: int = 100,
    seed: int = 0,
    *,
    tolerance: float | None = None,
    out: OutPath = None,
    engine: str = "auto",
    progress: bool = True,
) -> Result:
    """Score one trained model on random subsets of each size of the objective's data.

    The value of each sample is computed once and the subsets are drawn from these values without replacement, each
    from a seed made of `seed`, the size and the repeat. Without replacement the spread falls to 0 at the full size by
    construction: it says how far a subset is from these data, not how far these data are from new ones.

    The recommendation goes by the error on *new* samples of the same kind: the standard error s/√n, s being the standard
    deviation of the loss over the samples. Where the 1 % of the samples with the highest losses carry over a quarter of
    the loss, it goes by a bootstrap: the longer arm of the central 95 % of 1,000 resampled means, over 1.96, and at least
    s/√n. Nothing is recommended where even the largest size varies by more than the tolerance, or only the largest by
    less: the rule then begins with "Undecided".

    Args:
        objective: what to score; its loss and metrics must give per-sample values.
        state: of the trained model.
        sizes: how many samples; default: each tenth of all samples, and 1 %, 2 %, 5 % where these are at least 30.
        repeats: how many subsets of each size, at least 2.
        seed: of the drawing, at least 0.
        tolerance: recommended is the smallest size at which the error of the loss on new samples is at most this, in
            units of the loss; default: 5 % of the loss on all samples.
        out: store the result there; the same call checks it and goes on.
        engine: "auto" or "eager": the value of every sample is needed.
        progress: show how far it is.

    Returns:
        ``loss``, the metrics and ``status`` over (``size``, ``repeat``); over ``size`` ``loss_standard_error`` on new
        samples, ``loss_spread`` (standard deviation over the subsets) and the metrics likewise, and where few samples carry
        the loss ``loss_bootstrap_error``; ``full_loss`` and the metrics likewise: on all samples;
        ``attrs["recommendation"]`` (None where it is undecided) and ``attrs["rule"]``, ``attrs["top_share"]`` (of the loss,
        carried by the top 1 % of the samples), ``attrs["samples_needed"]`` for the tolerance.

    Raises:
        TrainingError: an argument is off.
        ObjectiveError: the loss or a metric gives means only.
        StateError: the state does not fit the model.
        ResultError: what lies at `out` is of another call.

    Example:
        >>> result = ts.study_test_size(objective, trajectory[-1], sizes=[50, 100, 397], repeats=20)
        >>> float(result.data["loss_spread"][-1])  # on all samples: 0 by construction
        0.0
        >>> error = result.data["loss_standard_error"]  # on new samples: it falls as one over the square root
        >>> round(float(error[0] / error[1]), 3)
        1.414
    """
    return EXPERIMENT.run(locals())


EXPERIMENT = Declaration(
    study_test_size,
    entries=(Entry(90),),
    examples=("study-test-size RUN --objective SPEC",),
    keeps=("sizes", "repeats"),
    subject_options={"state": SubjectOption(int, "The step of the state that is scored (default: the last).", state_at, step_unless_last)},
    one_objective=True,
)
