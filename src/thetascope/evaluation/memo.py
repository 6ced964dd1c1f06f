"""What an objective remembers from one call to the next: scores of points, whether it is deterministic, how it is scored fast."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thetascope.evaluation.backends.settings import Settings

MOST_POINTS = 200_000
"""So many points are remembered at most: some 100 bytes each."""


@dataclass
class Memo:
    """Kept with one objective in one dtype; nothing in it outlives the process.

    Attributes:
        points: by what makes a point and how it was scored: its values.
        probe: what two passes over a point showed; they need not be made again.
        settings: what was measured to be fast.
        fell_back: why the fast backend left points to the oracle, where it did.
    """

    points: dict[Hashable, dict[str, float]] = field(default_factory=dict)
    probe: Any = None
    settings: Settings | None = None
    fell_back: str | None = None

    def remember(self, key: Hashable, values: dict[str, float]) -> None:
        """Keep a point's values, if there is room."""
        if len(self.points) < MOST_POINTS:
            self.points[key] = values
