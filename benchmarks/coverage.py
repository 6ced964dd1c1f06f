"""How often two standard errors around the loss, and around its paired difference from the final state's, hold the value of all data.

The loss of every sample is scored once at points of a training's straight line; then samples are drawn many times, and their means and
errors are summed up as results sum them. No finite-population factor: the question is what the errors say of new data.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch

import thetascope as ts
from _measure import report
from thetascope.demo.network import LeNet
from thetascope.demo.run import load
from thetascope.demo.training import lenet_training
from thetascope.scoring.scores import Column, Reference, Sums

ALPHAS = (0.0, 0.25, 0.5, 0.75, 0.9)
SIZES = {"digits": (20, 40), "mnist": (100, 300, 1000)}


def losses(objective: ts.Objective, trajectory: ts.Trajectory) -> list[torch.Tensor]:
    """Of each sample, at the points and at the end."""
    first, last = dict(trajectory[0]), dict(trajectory[-1])
    found = []
    with objective.model.running():
        for alpha in (*ALPHAS, 1.0):
            state = {name: torch.lerp(first[name], last[name], alpha) for name in last}
            parts = [objective.model.evaluate(state, batch)["loss"].values for batch in objective.batches]
            found.append(torch.cat(parts))
    return found


def covered(values: list[torch.Tensor], count: int, draws: int) -> dict[str, list[float]]:
    """By kind: for each point the share of draws whose two-error interval holds the value of all data."""
    *points, end = values
    generator, hits = np.random.default_rng(0), {"loss": np.zeros(len(points) + 1), "excess": np.zeros(len(points))}
    for _ in range(draws):
        some = torch.from_numpy(generator.choice(len(end), count, replace=False))
        ones = torch.ones(count, dtype=torch.float64)
        reference = Reference({"loss": (end[some], ones, True)}, {})
        for k, whole in enumerate(values):
            sums = Sums(spread=True, reference=reference)
            sums.add({"loss": Column(whole[some], ones)})
            found = sums.means()
            hits["loss"][k] += abs(found["loss"] - float(whole.mean())) <= 2 * found["loss_standard_error"]
            if k < len(points):
                hits["excess"][k] += abs(found["excess"] - float((whole - end).mean())) <= 2 * found["excess_se"]
    return {kind: (own / draws).round(3).tolist() for kind, own in hits.items()}


def main() -> None:
    """Print the shares, as text and JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data-dir", type=Path, default=os.environ.get("THETASCOPE_MNIST"), help="MNIST's folder")
    options.add_argument("--run", type=Path, help="a recorded training of the thesis's network on MNIST")
    options.add_argument("--draws", type=int, default=200)
    arguments, found = options.parse_args(), {}
    images, recipe = load("digits", None)
    training = lenet_training(images, recipe, 0)
    model = training.model()
    first = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    training.train(model)
    digits = ts.Trajectory.from_states([first, dict(model.state_dict())])
    subjects = {"digits": (training.objective(training.model()), digits)}
    if arguments.data_dir and arguments.run:
        mnist, _ = load("mnist", Path(arguments.data_dir))
        subjects["mnist"] = (ts.Objective(LeNet(), (mnist.test_images, mnist.test_labels), "nll"), ts.Trajectory(arguments.run))
    for name, (objective, trajectory) in subjects.items():
        values = losses(objective, trajectory)
        top = values[-1].topk(max(1, len(values[-1]) // 100)).values.sum() / values[-1].sum()
        print(f"{name}: {len(values[-1])} samples, the top 1 % carry {100 * float(top):.0f} % of the final loss")
        for size in SIZES[name]:
            found[f"{name}-{size}"] = shares = covered(values, size, arguments.draws)
            print(f"  {size} drawn: loss at α = {(*ALPHAS, 1.0)}: {shares['loss']}; excess: {shares['excess']}")
    report("coverage", found)


if __name__ == "__main__":
    main()
