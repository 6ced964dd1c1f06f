"""How many training samples are enough: trainings on random subsets of each size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thetascope.experiments.framework.call_options import OutPath, Sizes
from thetascope.experiments.framework.declaration import Declaration, Entry

if TYPE_CHECKING:
    from thetascope.results.result import Result
    from thetascope.training.training import Training


def study_train_size(
    training: Training,
    sizes: Sizes = None,
    repeats: int = 3,
    *,
    tolerance: float = 0.1,
    out: OutPath = None,
    engine: str = "auto",
    progress: bool = True,
) -> Result:
    """Train on random subsets of each size, each time from the same initial state, and score on all validation data.

    Subsets are drawn without replacement, each from a seed made of the training's, the size and the repeat; they
    stay in the order drawn. At the full size the repeats therefore differ in the order of the samples alone.

    Args:
        training: what is run, for its number of epochs each time.
        sizes: how many samples; default: 1, 2, 5, 10, 20, … from about a hundredth of all samples on, and all.
        repeats: how many subsets of each size.
        tolerance: recommended is the smallest size whose median loss over the repeats is at most ``full + tolerance ·
            (initial loss − full)``: it keeps ``1 − tolerance`` of what training on the largest size gains. Where only the
            largest does, which keeps all of its own gain by construction, nothing is recommended.
        out: store the result there, training by training; the same call goes on with the trainings that are missing.
        engine: "auto" or "eager": each trained model is scored with a full pass.
        progress: say how long it takes, and show loss, metrics and the time left.

    Returns:
        ``loss``, the metrics and ``status`` over (``size``, ``repeat``); ``loss_median`` and the metrics likewise over
        ``size``; ``initial_loss`` and the metrics likewise; ``attrs["recommendation"]`` (None where it is
        undecided) and ``attrs["rule"]``.

    Raises:
        TrainingError: an argument is off.
        ResultError: what lies at `out` is of another call.

    Example:
        >>> result = ts.study_train_size(training, sizes=[100, 400], repeats=2)  # as in the example of Training
        >>> result.data["loss"].dims, result.data["loss"].shape
        (('size', 'repeat'), (2, 2))
    """
    return EXPERIMENT.run(locals())


EXPERIMENT = Declaration(
    study_train_size,
    entries=(Entry(110),),
    examples=("study-train-size --training SPEC --repeats 3",),
    demo_with={
        "digits": {"sizes": (100, 200, 500, 1000, 1433), "repeats": 2},
        "digits quick": {"sizes": (200, 1433), "repeats": 1},
        "mnist quick": {"repeats": 1},
    },
)
