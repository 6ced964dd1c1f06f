"""How texts and axes call a moment of a training: by its step and its epoch where they are known, else by the state's number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

SHORT_SHARES = {"step": "share of the steps", "epoch": "share of the epochs", "state": "states evenly"}
"""What lies between the first state and the last, by the clock that a result names."""


def clock_of(attrs: Mapping[str, Any]) -> str:
    """What the result's progress counts: "step", "epoch" or "state"."""
    return str(attrs.get("clock", "step"))


def is_known(value: Any) -> bool:
    """Whether a step or an epoch is a number."""
    return value is not None and math.isfinite(value)


def moment_of(place: Mapping[str, Any], between: str = " (epoch {})") -> str:
    """A recorded state, by its step and its epoch as far as they are known, else by its number.

    Args:
        place: with ``step``, ``epoch`` and ``state``, each of which may lack.
        between: how the epoch stands behind the step.
    """
    step, epoch = place.get("step"), place.get("epoch")
    if not is_known(step):
        return f"epoch {epoch:g}" if is_known(epoch) else f"state {int(place.get('state', 0))}"
    told = f"step {int(step or 0):,}"
    return told + between.format(f"{epoch:g}") if is_known(epoch) else told


def moments_of(data: Any, between: str = " (epoch {})") -> list[str]:
    """Each recorded state of a result over ``state``."""
    columns = {name: data[name].values for name in ("step", "epoch") if name in data.variables}
    columns["state"] = data["state"].values
    return [moment_of({name: values[i] for name, values in columns.items()}, between) for i in range(data.sizes["state"])]


def called_by(data: Any) -> tuple[str, Any]:
    """What recorded states of a result are called by, and these numbers ``[T]``: their epochs, else their steps, else which they are."""
    for name in ("epoch", "step"):
        if name in data.variables and all(map(is_known, data[name].values)):
            return name, data[name].values
    return "state", data["state"].values


def short_moment(data: Any, place: int) -> str:
    """A recorded state by its epoch, else by its step, else by its number."""
    name, numbers = called_by(data)
    return f"{name} {numbers[place]:g}" if name == "epoch" else f"{name} {int(numbers[place]):,}"


def from_to(data: Any) -> str:
    """The first and the last recorded state: ``steps 0 to 450``."""
    known = "step" in data.variables and all(map(is_known, data["step"].values))
    name, numbers = ("step", data["step"].values) if known else called_by(data)
    first, last = (f"{numbers[place]:g}" if name == "epoch" else f"{int(numbers[place]):,}" for place in (0, -1))
    return f"{name}s {first} to {last}"
