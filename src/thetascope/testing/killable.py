"""An examination that can be killed and counted, run in a process of its own.

``python -m thetascope.testing.killable OUT COUNTS [ALPHAS]`` scores a line on made data and appends a byte to
COUNTS for each pass of the model over the data, so that a test knows how often what was scored.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

import thetascope as ts
from thetascope.scoring import runner
from thetascope.testing.models import case

SLEEP = 0.004
"""Seconds that a point takes at least, so that there is something to interrupt."""


def examine(out: Path, counts: Path, alphas: int = 41) -> ts.Result:
    """Score the line between two states, noting each pass in `counts`."""
    chosen = case("linear")

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        with counts.open("ab") as file:
            file.write(b".")
        time.sleep(SLEEP)
        return F.cross_entropy(outputs, targets, reduction="none")

    torch.set_num_threads(1)
    objective = ts.Objective(chosen.model(), chosen.data(), loss=loss)
    trajectory = ts.Trajectory.from_states(chosen.states(3))
    # a few points a unit, so that a kill falls between and within units; put back, because tests call this in their own process too
    with mock.patch.object(runner, "UNIT_SECONDS", 2.5 * SLEEP):
        # the oracle, of which each pass is one point, so that passes can be counted
        return ts.interpolate(objective, trajectory, alphas=alphas, out=out, engine="eager", progress=False)


def main() -> None:
    """Run it; the process ends without waiting for anything."""
    examine(Path(sys.argv[1]), Path(sys.argv[2]))
    os._exit(0)


if __name__ == "__main__":
    main()
