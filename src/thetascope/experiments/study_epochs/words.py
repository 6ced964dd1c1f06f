"""What is said of the study: how many epochs are enough?"""

from __future__ import annotations

import xarray as xr

from thetascope.experiments.framework.words import Words, samples_of
from thetascope.experiments.shared.study_words import TRAINED, headline_of, shown_by, table_of


def _how(data: xr.Dataset) -> str:
    attrs = data.attrs
    return (
        f"One training on {attrs['training_samples']:,} samples (seed {attrs['seed']}) was run again, and the model was scored after "
        "each of "
        f"{attrs['training_epochs']} epochs on {samples_of(data)}. Recommended are the fewest epochs after which the loss stays "
        "within the stated tolerance of the best."
    )


WORDS = Words(
    findings=TRAINED,
    chapter="training",
    asks="How many epochs are enough?",
    headline=headline_of,
    how=_how,
    shows=shown_by,
    does_not_show="This is one training with one seed; another would have its best epoch elsewhere. The number holds for this data and "
    "these settings.",
    table=table_of,
)
