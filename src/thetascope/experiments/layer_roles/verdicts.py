"""The rule of critical and ambient layers: what putting a layer back costs, beside what the training gained and how sure both are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from thetascope.arrays import Floats
from thetascope.experiments.framework.source import Variables
from thetascope.experiments.shared.gains import gain_in_loss

CRITICAL, AMBIENT, UNDECIDED = "critical", "ambient", "undecided"

ERRORS = 2.0
"""So many standard errors a cost must lie beyond the threshold, or before it."""


def roles(data: Any, *, threshold: float, chance: Mapping[str, float]) -> tuple[Variables, dict[str, Any]]:
    """What follows from the scores.

    A layer is critical where re-initialising it costs more than `threshold` of what the training gained by two paired standard errors,
    in the loss or in accuracy; ambient where it costs less by two in both; else undecided. Without a known error the cost alone decides.

    Args:
        data: the scores.
        threshold: the share of the gain.
        chance: what is scored without looking at inputs, by the loss and "accuracy".
    """
    initial, final = (float(data["end_loss"].sel(end=end)) for end in ("initial", "final"))
    gained = gain_in_loss(initial, final, chance)
    gain = gained.value
    excess, error = (np.asarray(data[f"reinit_{name}"].values, np.float64) for name in ("excess", "excess_se"))
    notes = []
    if not gained.positive:
        notes.append(gained.missing(final))
    names = data["layer"].values
    losses = zip(names, data["reinit_loss"].values, strict=True)
    notes += [f'the loss with "{name}" re-initialised is {loss}' for name, loss in losses if not np.isfinite(loss)]
    share, by_loss = _judged(excess, error, gain, threshold)
    attrs: dict[str, Any] = {"undecided": notes, **gained.attrs}
    share_accuracy, by_accuracy = np.full(len(share), np.nan), [""] * len(share)
    if "reinit_accuracy" in data and "accuracy" in chance:
        best = float(data["end_accuracy"].sel(end="final"))
        drop = best - np.asarray(data["reinit_accuracy"].values, np.float64)
        share_accuracy, by_accuracy = _judged(drop, data["reinit_accuracy_excess_se"].values, best - chance["accuracy"], threshold)
        attrs["gain_accuracy"] = best - chance["accuracy"]
    verdicts = [_role(*pair) for pair in zip(by_loss, by_accuracy, strict=True)]
    found: dict[str, Any] = {"share": share, "share_accuracy": share_accuracy, "excess": excess, "excess_se": error}
    words = {"role": [role for role, _ in verdicts], "critical_in": [where for _, where in verdicts]}
    return {name: (("layer",), values) for name, values in {**found, **words}.items()}, attrs


def _judged(cost: Floats, error: Floats, gain: float, threshold: float) -> tuple[Floats, list[str]]:
    """The costs as shares of the gain, and what each says of its layer; nothing where there is no gain."""
    if not (math.isfinite(gain) and gain > 0):
        return np.full(len(cost), np.nan), [""] * len(cost)
    share = np.where(np.isfinite(cost), cost / gain, np.nan)
    beyond = ERRORS * np.nan_to_num(np.asarray(error, np.float64) / gain)
    judged = np.select([share - beyond > threshold, share + beyond <= threshold], [CRITICAL, AMBIENT], UNDECIDED)
    return share, [str(word) for word in judged]


def _role(by_loss: str, by_accuracy: str) -> tuple[str, str]:
    """A layer's role, and in what it is critical."""
    measures = {"loss": by_loss, "accuracy": by_accuracy}
    critical = [name for name, word in measures.items() if word == CRITICAL]
    if critical:
        return CRITICAL, "both" if len(critical) == len(measures) else critical[0]
    known = [word for word in measures.values() if word]
    return AMBIENT if known and all(word == AMBIENT for word in known) else UNDECIDED, ""
