"""A surface of 51 × 51 on MNIST's test images: nnvis's loop, loss-landscapes and thetascope, the full grid and within a tolerance.

The peers take a quarter of an hour for a whole surface, so they score some of its points a round; their time is in proportion.
"""

from __future__ import annotations

import numpy as np

import thetascope as ts
from _measure import Ratio, peak_memory, report, timed
from _mnist import BATCH, objective, parser, subject
from _peers import loss_landscapes_plane, nnvis_scorer
from thetascope.demo.network import LeNet

SAMPLE, SIDE, PART = 16, 4, 8


def main() -> None:
    """Print the ratios, as text and JSON."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--grid", type=int, default=51)
    options.add_argument("--full", action="store_true", help="score the whole grid too, for the true error of the estimate (minutes)")
    arguments = options.parse_args()
    with subject(arguments) as (inputs, labels, run):
        trajectory = ts.Trajectory(run)
        last = trajectory[-1].tensors(list(trajectory[-1]))
        score, cells = nnvis_scorer(inputs, labels, BATCH), arguments.grid**2
        model = LeNet()
        model.load_state_dict(last)
        axis, part = (-1.0, 1.0, arguments.grid), (-1.0, 1.0, PART)
        times, generator = [], np.random.default_rng(0)
        for _ in range(arguments.rounds):
            states = [{k: v * float(factor) for k, v in last.items()} for factor in generator.uniform(0.5, 1.5, SAMPLE)]
            theirs, _ = timed(lambda states: [score(state) for state in states], states)
            landscapes, _ = timed(loss_landscapes_plane, model, inputs, labels, BATCH, SIDE)
            fresh = objective(inputs, labels)
            cold, found = timed(ts.surface, fresh, trajectory, x=axis, y=axis, tolerance=0.01, progress=False)
            fresh.cache.points.clear()
            warm, _ = timed(ts.surface, fresh, trajectory, x=axis, y=axis, tolerance=0.01, progress=False)
            fresh.cache.points.clear()
            full, _ = timed(ts.surface, fresh, trajectory, x=part, y=part, progress=False)
            times.append((theirs / SAMPLE * cells, landscapes / SIDE**2 * cells, cold, warm, full / PART**2 * cells))
        told, more = found.data.attrs["estimate"], {}
        with peak_memory() as peak:
            ts.surface(objective(inputs, labels), trajectory, x=axis, y=axis, tolerance=0.01, progress=False)
        if arguments.full:
            truth = ts.surface(objective(inputs, labels), trajectory, x=axis, y=axis).data["loss"]
            more["true_error"] = float((abs(found.data["loss"] - truth) / truth).max())
    figures = {
        "full grid": Ratio(tuple(t[0] / t[4] for t in times)),
        "tolerance, first call": Ratio(tuple(t[0] / t[2] for t in times)),
        "tolerance, warm": Ratio(tuple(t[0] / t[3] for t in times)),
        "tolerance, warm, against loss-landscapes": Ratio(tuple(t[1] / t[3] for t in times)),
    }
    print(f"{arguments.grid} × {arguments.grid}, {len(inputs):,} images; peers on {SAMPLE} points, the full grid on {PART**2}")
    for name, ratio in figures.items():
        print(f"{name}: {ratio}")
    print(f"with tolerance 0.01: {told['evaluated']} cells scored, reported error {told['error']:.4f}, true {more or 'not measured'}")
    print(f"{peak.extra / 1e6:.0f} MB beyond the start")
    report("surfaces", {**{n: r.rounds for n, r in figures.items()}, "estimate": told, "extra_bytes": peak.extra, **more})


if __name__ == "__main__":
    main()
