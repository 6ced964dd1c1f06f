"""How many epochs are enough: one training, scored before it starts and after each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thetascope.experiments.framework.call_options import OutPath
from thetascope.experiments.framework.declaration import Declaration, Entry

if TYPE_CHECKING:
    from thetascope.results.result import Result
    from thetascope.training.training import Training


def study_epochs(
    training: Training,
    epochs: int | None = None,
    *,
    tolerance: float = 0.05,
    out: OutPath = None,
    engine: str = "auto",
    progress: bool = True,
) -> Result:
    """Score a training before it starts and after each epoch.

    One training is enough: with the same initial state, the same order of the samples and the same schedule, a
    training of n epochs is the beginning of every longer one, bit for bit. A schedule that is made for a number of
    epochs (cosine annealing, say) is cut off after n, not shrunk to them.

    Args:
        training: what is run.
        epochs: up to how many; default: those of `training`.
        tolerance: recommended are the fewest epochs after which the loss stays at most ``best + tolerance · |best|``, the
            best over all epochs; a loss that comes so near and leaves it again does not count.
        out: store the result there, epoch by epoch. The same call goes on with what is missing; it trains from the
            start again, for states are not stored, and checks the last stored epoch on the way.
        engine: "auto" or "eager": each trained model is scored with a full pass.
        progress: say how long it takes, and show loss, metrics and the time left.

    Returns:
        ``loss``, the metrics and ``status`` over ``epochs`` 0 … n; ``attrs["recommendation"]`` (None where the loss does not
        stay near its best) and ``attrs["rule"]``.

    Raises:
        TrainingError: an argument is off.
        ResultError: what lies at `out` is of another call, or does not come out again.

    Example:
        >>> result = ts.study_epochs(training, epochs=2)  # as in the example of Training
        >>> result.data["loss"].sizes["epochs"], result.data.attrs["recommendation"] in (0, 1, 2)
        (3, True)
    """
    return EXPERIMENT.run(locals())


EXPERIMENT = Declaration(study_epochs, entries=(Entry(100),), examples=("study-epochs --training SPEC --epochs 30",))
