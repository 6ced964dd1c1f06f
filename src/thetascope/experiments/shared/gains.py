"""What a training gained in loss: the unit that costs and barriers are told in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Gain:
    """Of a training in loss: ``min(initial loss, chance) − final loss``, since a fresh network may have any loss.

    Attributes:
        value: nan where the final loss is not finite.
        source: "initial" or "chance": what it is counted from.
        start: the loss there.
        chance: what is scored without looking at inputs, by the loss and "accuracy", where that is known.
    """

    value: float
    source: str
    start: float
    chance: Mapping[str, float]

    @property
    def positive(self) -> bool:
        """Whether there is something that shares can be told of."""
        return math.isfinite(self.value) and self.value > 0

    @property
    def attrs(self) -> dict[str, Any]:
        """What a result says of it."""
        return {"gain": self.value, "gain_from": self.source, **{f"chance_{name}": value for name, value in self.chance.items()}}

    def missing(self, final: float) -> str:
        """Why there is none."""
        of = "the chance loss is" if self.source == "chance" else "the loss was"
        return f"the training gained nothing that shares could be told of: {of} {self.start:.6g} and became {final:.6g}"


def gain_in_loss(initial: float, final: float, chance: Mapping[str, float]) -> Gain:
    """What a training gained that began and ended with these losses."""
    start = min(initial, chance.get("loss", math.inf))
    known = math.isfinite(final) and not math.isnan(start)
    return Gain(start - final if known else math.nan, "chance" if start < initial else "initial", start, chance)
