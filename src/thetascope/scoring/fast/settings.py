"""How a fast backend computes: what was measured to be fast on this machine, or what the caller asks for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from thetascope.errors import ObjectiveError


@dataclass(frozen=True)
class Settings:
    """Options of the fast backends; the oracle has none.

    Attributes:
        rows: so many samples go through the network at once (losses are still taken over whole batches); None: a whole
            batch. Few enough that what flows between layers stays in the processor's cache.
        channels_last: whether images are laid out with their channels last.
        blocked: whether they are laid out as oneDNN does from convolution to convolution, where that is the same.
        unfolded: whether the patches that the first convolution sees are laid out once for all points, where it has few channels.
    """

    rows: int | None = None
    channels_last: bool = False
    blocked: bool = False
    unfolded: bool = False

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def parsed(engine: str) -> tuple[str, Settings | None]:
    """The backend's name and the settings in ``"name:rows=200,channels_last=yes"``; None where it names none.

    Raises:
        ObjectiveError: it is not written so.
    """
    name, colon, options = engine.partition(":")
    if not colon:
        return name, None
    rows, flags = None, {"channels_last": False, "blocked": False, "unfolded": False}
    for option in options.split(","):
        key, _, value = option.partition("=")
        if key == "rows" and value.isdigit() and int(value) > 0:
            rows = int(value)
        elif key in flags and value in ("yes", "no"):
            flags[key] = value == "yes"
        else:
            raise ObjectiveError(
                "engine options are rows=N, channels_last=yes|no, blocked=yes|no and unfolded=yes|no, as in "
                f'"graph:rows=200". Got "{option}" instead.'
            )
    return name, Settings(rows, **flags)
