"""One layer at a time, 5 layers by 41 values of α on MNIST's test images: nnvis's loop, a plain loop and thetascope, in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

import thetascope as ts
from _measure import Ratio, peak_memory, report, timed
from _mnist import BATCH, objective, parser, subject
from _peers import nnvis_scorer, plain_scorer
from thetascope.demo.network import LeNet

LAYERS, ALPHAS = ("conv1", "conv2", "fc1", "fc2", "fc3"), np.linspace(0.0, 1.0, 41)
POINTS = [(layer, float(alpha)) for layer in LAYERS for alpha in ALPHAS]
SAMPLE = 20


def loop(score: Callable[[Mapping[str, Tensor]], float], states: Sequence[Mapping[str, Tensor]]) -> list[float]:
    """Score one after the other."""
    return [score(state) for state in states]


def main() -> None:
    """Print the ratios, as text and JSON."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5)
    arguments = options.parse_args()
    with subject(arguments) as (inputs, labels, run):
        trajectory = ts.Trajectory(run)
        first, last = (trajectory[i].tensors(list(trajectory[0])) for i in (0, -1))
        score, plain = nnvis_scorer(inputs, labels, BATCH), plain_scorer(inputs, labels, BATCH, LeNet())
        generator, times, errors = np.random.default_rng(0), [], []
        call: dict[str, Any] = {"level": "layer", "alphas": ALPHAS, "progress": False}
        for _ in range(arguments.rounds):
            chosen = [POINTS[k] for k in generator.choice(len(POINTS), SAMPLE, replace=False)]
            states = [{n: first[n] + (last[n] - first[n]) * a if n.startswith(layer) else last[n] for n in last} for layer, a in chosen]
            theirs, found = timed(loop, score, states)
            own, _ = timed(loop, plain, states)
            fresh = objective(inputs, labels)
            cold, result = timed(ts.interpolate, fresh, trajectory, **call)
            fresh.cache.points.clear()  # its data are surveyed and its settings chosen, but no point is known
            warm, _ = timed(ts.interpolate, fresh, trajectory, **call)
            share = len(POINTS) / SAMPLE
            times.append((theirs * share, own * share, cold, warm))
            losses = result.data["loss"]
            errors += [abs(float(losses.sel(layer=name, alpha=a)) / value - 1) for (name, a), value in zip(chosen, found, strict=True)]
        with peak_memory() as peak:
            ts.interpolate(objective(inputs, labels), trajectory, **call)
    figures = {
        "first call": Ratio(tuple(theirs / cold for theirs, _, cold, _ in times)),
        "warm": Ratio(tuple(theirs / warm for theirs, _, _, warm in times)),
        "warm, against a plain loop": Ratio(tuple(own / warm for _, own, _, warm in times)),
    }
    print(f"{len(POINTS)} points, {len(inputs):,} images; nnvis and the plain loop on {SAMPLE} points a round, drawn anew each time")
    for name, ratio in figures.items():
        print(f"{name}: {ratio}")
    print(f"largest relative difference from nnvis's losses: {max(errors):.1e}; {peak.extra / 1e6:.0f} MB beyond the start")
    report("layers", {name: ratio.rounds for name, ratio in figures.items()} | {"error": max(errors), "extra_bytes": peak.extra})


if __name__ == "__main__":
    main()
