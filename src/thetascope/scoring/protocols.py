"""What the oracle and the handling of memory need of an objective, so that the objective itself can be made of them."""

from __future__ import annotations

from typing import Literal, Protocol

from thetascope.scoring.batches import Batches
from thetascope.scoring.model import BoundModel
from thetascope.scoring.scores import Sums
from thetascope.scoring.statistics import Statistics

Buffers = Literal["auto", "path", "final", "recalibrate"]


class Scorable(Protocol):
    """A model and the data that it is scored on; an `Objective` is one.

    Attributes:
        model: what is scored.
        batches: the data.
        calibration: the data that buffers are estimated from.
        buffers: where floating buffers come from.
    """

    model: BoundModel
    batches: Batches
    calibration: Batches
    buffers: Buffers

    @property
    def fixed(self) -> bool:
        """Whether a batch is the sample, so that nothing regroups rows."""
        ...

    @property
    def statistics(self) -> Statistics:
        """The running statistics of the model."""
        ...

    @property
    def calibrates(self) -> bool:
        """Whether buffers are estimated at each point."""
        ...

    def new_sums(self) -> Sums:
        """What a backend sums a point's values up in."""
        ...
