"""`layer_rewind` without barriers: its cells against as many full passes of the same objective, in turn; on a LeNet and a ResNet-20.

A full pass scores a state that is in no memory, with the oracle. The figure is how many such passes all cells take.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import thetascope as ts
from _measure import report, timed
from _mnist import objective as mnist_objective
from _mnist import parser, subject
from _networks import NETWORKS
from thetascope.state import State

PASSES = 3
"""Full passes a round."""


def moved(states: Sequence[dict[str, Tensor]], count: int) -> list[dict[str, Tensor]]:
    """So many states near the last, that nobody has scored."""
    generator = torch.Generator().manual_seed(0)
    spread = {n: 1e-3 * torch.randn(t.shape, generator=generator) for n, t in states[-1].items() if t.is_floating_point()}
    return [{n: t + k * spread[n] if n in spread else t for n, t in states[-1].items()} for k in range(1, count + 1)]


def main() -> None:
    """Print how many full passes the cells take, as text and JSON."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=3)
    arguments = options.parse_args()
    figures: dict[str, Any] = {}
    with subject(arguments) as (inputs, labels, run):
        trajectory = ts.Trajectory(run)
        states = [trajectory[i].tensors(list(trajectory[0])) for i in range(len(trajectory))]
        first, last = states[0], states[-1]
        way = [{n: first[n] + (last[n] - first[n]) * k / 16 for n in last} for k in range(17)]
        figures["LeNet, 5 layers × 17 states"] = measured(
            lambda: mnist_objective(inputs, labels), ts.Trajectory.from_states(way), 85, arguments.rounds, {}
        )
    network = NETWORKS["ResNet-20"]
    torch.manual_seed(0)
    start, end = (network.make().state_dict() for _ in range(2))
    way = [{n: start[n] + (end[n] - start[n]) * k / 15 if end[n].is_floating_point() else end[n] for n in end} for k in range(16)]
    data = network.data(1000)
    figures["ResNet-20, blocks × 16 states"] = measured(
        lambda: network.objective(data, buffers="final"), ts.Trajectory.from_states(way), 0, arguments.rounds, {"layers": "blocks"}
    )
    report("rewinds", figures)


def measured(made: Any, trajectory: ts.Trajectory, cells: int, rounds: int, options: dict[str, Any]) -> dict[str, Any]:
    """The cells' time in full passes, round by round; an objective's first call looks at its data, and is not counted."""
    found = []
    states = [dict(trajectory[i]) for i in range(len(trajectory))]
    for _ in range(rounds):
        objective = made()
        result = ts.layer_rewind(objective, trajectory, barriers=False, progress=False, **options)
        cells = cells or result.data["loss"].size
        full, _ = timed(lambda: [objective.score(State.of(state)) for state in moved(states, PASSES)])
        objective.cache.points.clear()
        seconds, _ = timed(ts.layer_rewind, objective, trajectory, barriers=False, progress=False, **options)
        found.append(seconds / (full / PASSES))
    print(f"{cells} cells: {', '.join(f'{passes:.1f}' for passes in found)} full passes; {min(found) / cells:.2f} of as many at best")
    return {"cells": cells, "passes": found}


if __name__ == "__main__":
    main()
