"""What an objective remembers from one call to the next: scores of points, whether it is deterministic, how it is scored fast."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from thetascope.scoring.fast.captured import Captured
from thetascope.scoring.scores import Kept, Reference
from thetascope.scoring.statistics import Statistics

MOST_POINTS = 200_000
"""So many points are remembered at most: some 100 bytes each."""

LOSSES_BYTES = 2**26
"""So much memory the losses of samples may take."""


@dataclass(frozen=True)
class FirstPoint:
    """What scoring the first point showed: the names of its values, on how many samples, and how long it took."""

    names: tuple[str, ...]
    samples: int
    seconds: float


@dataclass
class Cache:
    """Kept with one objective in one dtype; nothing in it outlives the process.

    Attributes:
        points: by what makes a point and how it was scored: its values.
        first_points: by whether points are compared with a state, and the policy for buffers: what two passes over a point showed.
        measured: by whether points share layers: the backend and settings that were measured to be fast, and the reason.
        captured: the step as a graph, or why there is none.
        checked: by a backend and how it lays out and regroups rows: why it gives other values than the model, None where it does not.
        expected: by point: what the model gives there for two small batches.
        references: by state and policy for buffers: its losses, sample by sample.
        losses: by point and policy for buffers: the loss of every sample, where that was to be kept.
        spectral: whether the model normalises weights by their largest singular value.
        chance: what is scored without looking at inputs.
        statistics: the running statistics of the model.
        guarded: whether states arrive in the model, and values are what they are taken for; see `thetascope.scoring.guards`.
        uncut: whether a sample's value depends on the others of a single batch of all data, so that nothing regroups rows.
        fell_back: why the fast backend left points to the oracle, where it did.
    """

    points: dict[Hashable, dict[str, float]] = field(default_factory=dict)
    first_points: dict[Hashable, FirstPoint] = field(default_factory=dict)
    measured: dict[Hashable, Any] = field(default_factory=dict)
    captured: Captured | str | None = None
    checked: dict[Hashable, str | None] = field(default_factory=dict)
    expected: dict[Hashable, Any] = field(default_factory=dict)
    references: dict[Hashable, Reference] = field(default_factory=dict)
    losses: dict[Hashable, Kept] = field(default_factory=dict)
    spectral: bool | None = None
    chance: Mapping[str, float] | None = None
    statistics: Statistics | None = None
    guarded: bool = False
    uncut: bool = False
    fell_back: str | None = None

    def remember(self, key: Hashable, values: dict[str, float]) -> None:
        """Keep a point's values, if there is room."""
        if len(self.points) < MOST_POINTS:
            self.points[key] = values

    def keep_losses(self, key: Hashable, losses: Kept) -> None:
        """Keep the losses of a point's samples, if there is room."""
        size = sum(tensor.nbytes for tensor in losses[:2])
        if (len(self.losses) + 1) * size <= LOSSES_BYTES:
            self.losses[key] = losses
