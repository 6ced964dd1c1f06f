"""What reading a state costs: a surface of ResNet-56 around a state in a file, against the same state in memory, in processor time."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

import thetascope as ts
from _measure import Ratio, report
from _networks import CifarResNet

BLOCKS = 9
"""Of each stage: 6 · 9 + 2 layers are 56."""


def main() -> None:
    """Print processor times and their ratios to that of the state in memory, round by round, as text and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--grid", type=int, default=3)
    parser.add_argument("--images", type=int, default=64)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = CifarResNet(BLOCKS).eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    data = (torch.randn(arguments.images, 3, 32, 32), torch.arange(arguments.images) % 10)
    axis = (-0.1, 0.1, arguments.grid)

    def surface(trajectory: Callable[[], ts.Trajectory]) -> float:
        objective = ts.Objective(CifarResNet(BLOCKS).eval(), data)  # of its own, so that nothing is known from the round before
        start = time.process_time()
        ts.surface(objective, trajectory(), x=axis, y=axis, progress=False)
        return time.process_time() - start

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        torch.save(state, home / "a.pt")
        torch.save({"state_dict": state, "epoch": 1}, home / "old.pt", _use_new_zipfile_serialization=False)
        save_file(state, home / "a.safetensors")
        files = {"torch.save": home / "a.pt", "torch.save before 1.6": home / "old.pt", "safetensors": home / "a.safetensors"}
        resnet = os.environ.get("THETASCOPE_RESNET")
        if resnet:
            files["the published checkpoint"] = next(Path(resnet).glob("resnet56*"))
        ways = {"memory": lambda: ts.Trajectory.from_states([state])}
        ways |= {name: lambda file=file: ts.Trajectory.from_files(file) for name, file in files.items()}  # type: ignore[misc]
        surface(ways["memory"])  # what is loaded and compiled once
        times = [{name: surface(way) for name, way in ways.items()} for _ in range(arguments.rounds)]
    ratios = {name: Ratio(tuple(of_round[name] / of_round["memory"] for of_round in times)) for name in files}
    memory = sorted(of_round["memory"] for of_round in times)[len(times) // 2]
    print(
        f"surface of {arguments.grid} × {arguments.grid}, ResNet-56, {arguments.images} images: {memory:.2f} s of processor time in memory"
    )
    for name, ratio in ratios.items():
        print(f"{name}: {ratio.median:.2f} times that ({min(ratio.rounds):.2f} to {max(ratio.rounds):.2f} in {len(times)} rounds)")
    report("checkpoints", {"memory_seconds": memory, **{name: ratio.rounds for name, ratio in ratios.items()}})


if __name__ == "__main__":
    main()
