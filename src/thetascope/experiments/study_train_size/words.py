"""What is said of the study: how many training samples are enough?"""

from __future__ import annotations

import xarray as xr

from thetascope.experiments.framework.phrases import plural
from thetascope.experiments.framework.words import Words, samples_of
from thetascope.experiments.shared.study_words import TRAINED, headline_of, shown_by, table_of


def _how(data: xr.Dataset) -> str:
    attrs, sizes = data.attrs, data["size"].values
    return (
        f"From one initial state the network was trained for {attrs['training_epochs']} epochs on random subsets of {sizes.min():,} to "
        f"{sizes.max():,} of "
        f"{attrs['training_samples']:,} samples, {plural(data.sizes['repeat'], 'subset')} of each size, and scored on "
        f"{samples_of(data)}. "
        "Recommended is the smallest size that keeps the stated share of what training on the largest gains, unless only the largest does."
    )


WORDS = Words(
    findings=TRAINED,
    chapter="sure",
    asks="How many training samples are enough?",
    headline=headline_of,
    how=_how,
    shows=shown_by,
    does_not_show="All sizes train for the same number of epochs, so smaller ones take fewer steps: part of what they lack are steps, not"
    " samples.",
    table=table_of,
)
