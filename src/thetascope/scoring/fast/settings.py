"""How a pass is computed: what was measured to be fast on this machine, or what the caller asks for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from thetascope.errors import ObjectiveError


@dataclass(frozen=True)
class Settings:
    """How the data and the weights go through a network.

    Attributes:
        rows: so many samples go through at once; None: a whole batch. Few enough that what flows between layers stays in the
            processor's cache.
        channels_last: whether images and the weights of convolutions are laid out with their channels last.
    """

    rows: int | None = None
    channels_last: bool = False

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def __str__(self) -> str:
        rows = "whole batches" if self.rows is None else f"{self.rows} samples at once"
        return f"{rows} with channels last" if self.channels_last else rows


def parsed(engine: str) -> tuple[str, Settings | None]:
    """The backend's name and the settings in ``"name:rows=200,channels_last=yes"``; None where it names none.

    Raises:
        ObjectiveError: it is not written so.
    """
    name, colon, options = engine.partition(":")
    if not colon:
        return name, None
    rows, channels_last = None, False
    for option in options.split(","):
        key, _, value = option.partition("=")
        if key == "rows" and value.isdigit() and int(value) > 0:
            rows = int(value)
        elif key == "channels_last" and value in ("yes", "no"):
            channels_last = value == "yes"
        else:
            raise ObjectiveError(f'engine options are rows=N and channels_last=yes|no, as in "graph:rows=200". Got "{option}" instead.')
    return name, Settings(rows, channels_last)
