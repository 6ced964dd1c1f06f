"""What the geometry of a way costs: beside opening and summing each tensor in the same run, and for very many small states."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import thetascope as ts
from _measure import peak_memory, report

GB, MB = 1e9, 1e6


def recorded(folder: Path, model: nn.Module, states: int) -> Path:
    """A random walk, recorded."""
    torch.manual_seed(0)
    with ts.Recorder(folder / "run", model) as recorder, torch.no_grad():
        for step in range(1, states):
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.01)
            recorder.record(step=step)
    return folder / "run"


def summed(run: Path) -> None:
    """Open each tensor of each state and sum it in float64; states are checked when they are opened first, as always."""
    for state in ts.Trajectory(run):
        for name in state.specs:
            state[name].to(torch.float64).sum()


def measured(run: Path) -> None:
    """The geometry of the way."""
    ts.trajectory_geometry(ts.Trajectory(run), progress=False)


def cost(call: Callable[[Path], None], run: Path) -> tuple[float, float]:
    """Processor seconds and seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    call(run)
    return time.process_time() - cpu, time.perf_counter() - wall


def large(folder: Path, states: int, layers: int, rounds: int) -> dict[str, Any]:
    """Few states of a large model: the ratio to summing, round by round, and the memory."""
    run = recorded(folder, nn.Sequential(*(nn.Linear(1000, 1000) for _ in range(layers))), states)
    summed(run)  # the files are in the system's memory from now on
    times = [(cost(summed, run), cost(measured, run)) for _ in range(rounds)]
    with peak_memory() as peak:
        measured(run)
    ratios = [ours[0] / plain[0] for plain, ours in times]
    return {
        "states": states,
        "parameters": layers * 1_001_000,
        "summed_cpu_seconds": [plain[0] for plain, _ in times],
        "cpu_seconds": [ours[0] for _, ours in times],
        "seconds": [ours[1] for _, ours in times],
        "ratios": ratios,
        "extra_bytes": peak.extra,
    }


def many(folder: Path, states: int) -> dict[str, Any]:
    """Very many states of a small model."""
    run = recorded(folder, nn.Sequential(nn.Linear(20, 40), nn.Tanh(), nn.Linear(40, 4)), states)
    cpu, wall = cost(measured, run)
    with peak_memory() as peak:
        measured(run)
    return {"states": states, "parameters": 1004, "cpu_seconds": cpu, "seconds": wall, "extra_bytes": peak.extra}


def main() -> None:
    """Print all, as text and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", type=int, default=200)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--many", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = large(Path(folder), arguments.states, arguments.layers, arguments.rounds)
    ratios = ", ".join(f"{ratio:.2f}" for ratio in found["ratios"])
    print(
        f"{found['states']} states of {found['parameters']:,} parameters: {ratios} times the "
        f"processor time of opening and summing each tensor in float64, {found['extra_bytes'] / GB:.2f} GB beyond what was held before"
    )
    with tempfile.TemporaryDirectory() as folder:
        small = many(Path(folder), arguments.many)
    print(f"{small['states']:,} states of {small['parameters']:,} parameters: {small['seconds']:.0f} s, {small['extra_bytes'] / MB:.0f} MB")
    report("trajectory_geometry", {"large": found, "many": small})


if __name__ == "__main__":
    main()
