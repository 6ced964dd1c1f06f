"""The sections on the preliminary studies: how many epochs and samples are enough."""

from __future__ import annotations

import numpy as np

from thetascope.figures.study_info import UNITS
from thetascope.report.sections.section import Section, metrics_of, samples_of
from thetascope.report.tables import Table, table
from thetascope.report.words import number, plural
from thetascope.results import Result


def _how_epochs(result: Result) -> str:
    attrs = result.data.attrs
    return (
        f"One training on {attrs['training_samples']:,} samples (seed {attrs['seed']}) was run again, and the model was scored after "
        "each of "
        f"{attrs['training_epochs']} epochs on {samples_of(result)}. Recommended are the fewest epochs whose loss is within the stated "
        "tolerance of the best."
    )


def _how_train_size(result: Result) -> str:
    attrs, sizes = result.data.attrs, result.data["size"].values
    return (
        f"From one initial state the network was trained for {attrs['training_epochs']} epochs on random subsets of {sizes.min():,} to "
        f"{sizes.max():,} of "
        f"{attrs['training_samples']:,} samples, {plural(result.data.sizes['repeat'], 'subset')} of each size, and scored on "
        f"{samples_of(result)}. "
        "Recommended is the smallest size that keeps the stated share of what training on all of them gains."
    )


def _how_test_size(result: Result) -> str:
    sizes = result.data["size"].values
    return (
        f"The one trained model was scored on each of {samples_of(result)}; then {result.data.sizes['repeat']} random subsets of each "
        "size from "
        f"{sizes.min():,} to {sizes.max():,} were drawn without replacement from those values. Recommended is the smallest size whose "
        "losses spread "
        "within the stated tolerance."
    )


def _reads(result: Result) -> list[str]:
    data = result.data
    losses = np.asarray(data["loss"].values, np.float64).reshape(len(data["loss"]), -1)
    at = data["epochs" if result.experiment == "study_epochs" else "size"].values
    told = []
    if np.isfinite(losses).all():
        medians = np.median(losses, axis=1)
        best = int(medians.argmin())
        told.append(f"The lowest median loss, {number(medians[best])}, is found at {at[best]:,} {UNITS[result.experiment]}.")
        if losses.shape[1] > 1:
            spread = np.std(losses, axis=1)
            told.append(
                f"The standard deviation of the loss goes from {number(spread[0])} at {at[0]:,} to {number(spread[-1])} at {at[-1]:,}."
            )
    return told


def _table(result: Result) -> Table:
    data = result.data
    unit = "epochs" if result.experiment == "study_epochs" else "size"
    columns, titles = [data[unit].values], [UNITS[result.experiment]]
    for name in ("loss", *metrics_of(result)):
        values = np.asarray(data[name].values, np.float64).reshape(len(columns[0]), -1)
        plain = name.replace("_", " ")
        if values.shape[1] == 1:
            columns.append(values[:, 0])
            titles.append(plain)
        else:
            columns += [np.median(values, axis=1), values.min(axis=1), values.max(axis=1)]
            titles += [f"median {plain}", f"lowest {plain}", f"highest {plain}"]
    return table(result.title, titles, zip(*columns, strict=True))


SECTIONS = (
    Section(
        "epochs",
        "training",
        lambda attrs: attrs.get("experiment") == "study_epochs",
        _how_epochs,
        _reads,
        "This is one training with one seed; another would have its best epoch elsewhere. The number holds for this data and these "
        "settings.",
        "thetascope study epochs RUN --training SPEC",
        table=_table,
    ),
    Section(
        "train-size",
        "sure",
        lambda attrs: attrs.get("experiment") == "study_train_size",
        _how_train_size,
        _reads,
        "All sizes train for the same number of epochs, so smaller ones take fewer steps: part of what they lack are steps, not samples.",
        "thetascope study train-size RUN --training SPEC",
        table=_table,
    ),
    Section(
        "test-size",
        "sure",
        lambda attrs: attrs.get("experiment") == "study_test_size",
        _how_test_size,
        _reads,
        "Subsets are drawn from the test samples that there are, so the spread at the full size is 0 by construction, and what other "
        "samples "
        "would say is not measured. The spread over subsets is of the data, not of the training.",
        "thetascope study test-size RUN --objective SPEC",
        table=_table,
    ),
)
