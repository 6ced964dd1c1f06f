"""What is said of the study: how many test samples are enough?"""

from __future__ import annotations

import xarray as xr

from thetascope.experiments.framework.words import Words, samples_of
from thetascope.experiments.shared.study_words import headline_of, shown_by, table_of


def _how(data: xr.Dataset) -> str:
    sizes = data["size"].values
    return (
        f"The one trained model was scored on each of {samples_of(data)}; then {data.sizes['repeat']} random subsets of each "
        "size from "
        f"{sizes.min():,} to {sizes.max():,} were drawn without replacement from those values. Recommended is the smallest size whose "
        "losses spread "
        "within the stated tolerance."
    )


WORDS = Words(
    chapter="sure",
    asks="How many test samples are enough?",
    headline=headline_of,
    how=_how,
    shows=shown_by,
    does_not_show="Subsets are drawn from the test samples that there are, so the spread at the full size is 0 by construction, and what "
    "other samples would say is not measured. The spread over subsets is of the data, not of the training.",
    table=table_of,
)
