"""What is said of the study: how many test samples are enough?"""

from __future__ import annotations

import xarray as xr

from thetascope.experiments.framework.facts import SAMPLES, Fact, attribute
from thetascope.experiments.framework.phrases import number, percent
from thetascope.experiments.framework.words import Words, samples_of
from thetascope.experiments.shared.study_words import RECOMMENDED, headline_of, table_of
from thetascope.quantities import HEAVY, top_count


def _how(data: xr.Dataset) -> str:
    sizes = data["size"].values
    error = "its standard error, s/√n, s being the standard deviation of the loss over the samples"
    if "loss_bootstrap_error" in data:
        error = "by a bootstrap, since few samples carry the loss: the longer arm of the central 95 % of the resampled means, over 1.96"
    return (
        f"The one trained model was scored on each of {samples_of(data)}; then {data.sizes['repeat']} random subsets of each size from "
        f"{sizes.min():,} to {sizes.max():,} were drawn without replacement from those values. Recommended is the smallest size whose "
        f"loss on new samples has an error within the stated tolerance ({error})."
    )


def _shows(data: xr.Dataset) -> list[str]:
    attrs, sizes = data.attrs, data["size"].values
    told = [f"On all {attrs['test_samples']:,} samples the loss is {number(float(data['full_loss']))}."]
    if "loss_standard_error" in data:
        errors, full = data["loss_standard_error"].values, float(data["full_loss"])
        of_loss = f", {percent(errors[-1] / abs(full))} of it" if full else ""
        told.append(
            f"On new samples the loss has a standard error of {number(errors[0])} with {sizes[0]:,} samples, and of {number(errors[-1])} "
            f"with {sizes[-1]:,}{of_loss}."
        )
    if "loss_spread" in data:
        told.append(
            f"The standard deviation over the subsets goes from {number(data['loss_spread'][0])} with {sizes[0]:,} to "
            f"{number(data['loss_spread'][-1])} with {sizes[-1]:,}; on all samples it is 0 by construction."
        )
    if "loss_bootstrap_error" in data:
        errors = data["loss_bootstrap_error"].values
        told.append(f"The error by bootstrap goes from {number(errors[0])} to {number(errors[-1])}.")
    if "top_share" in attrs and attrs["top_share"] == attrs["top_share"]:
        count, share = top_count(attrs["test_samples"]), attrs["top_share"]
        worth = "so the error goes by a bootstrap" if share > HEAVY else f"at most {percent(HEAVY)}, so the standard error will do"
        told.append(f"The top 1 % of the samples ({count:,}) carry {percent(share)} of the loss, {worth}.")
    return told


def _last(data: xr.Dataset, name: str) -> float | None:
    return float(data[name].values[-1]) if name in data else None


FINDINGS = (
    *RECOMMENDED,
    Fact("samples_needed", int, "about how many samples would have an error within the tolerance", attribute("samples_needed")),
    Fact("full_loss", float, "the loss on all samples", lambda data: data["full_loss"].item() if "full_loss" in data else None),
    Fact("loss_standard_error", float, "its standard error on so many new samples", lambda data: _last(data, "loss_standard_error")),
    Fact(
        "loss_bootstrap_error",
        float,
        "its error by a bootstrap, where few samples carry it",
        lambda data: _last(data, "loss_bootstrap_error"),
    ),
    Fact("top_share", float, "the share of the loss that the 1 % of the samples with the highest carry, 0 to 1", attribute("top_share")),
    SAMPLES,
)
WORDS = Words(
    findings=FINDINGS,
    chapter="sure",
    asks="How many test samples are enough?",
    headline=headline_of,
    how=_how,
    shows=_shows,
    does_not_show="The error is that on new samples of the same kind; what samples of another kind would say is not measured. Where few "
    "samples carry the loss, rarer ones that would carry more may not be among these. The spread over subsets is of the data, not of the "
    "training.",
    table=table_of,
)
