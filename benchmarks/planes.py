"""What planes and lines cost in memory: principal components of a long training of a large model, a surface and a line of larger ones."""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

import thetascope as ts
from _measure import peak_memory, report
from thetascope.geometry.directions import norm
from thetascope.geometry.pca import gram, principal_plane

GB = 1e9


class Wide(nn.Module):
    """As many parameters as asked for in square layers, of which a pass uses the first column only."""

    def __init__(self, parameters: int, layers: int) -> None:
        super().__init__()
        side = round((parameters / layers) ** 0.5)
        self.layers = nn.ModuleList(nn.Linear(side, side, bias=False) for _ in range(layers))

    def forward(self, inputs: Tensor) -> Tensor:
        """Something that depends on each layer and costs little."""
        total = torch.stack([parameter[:, 0] for parameter in self.parameters()]).sum(0)
        return inputs * total.square().mean()


def principal_components(folder: Path, states: int, parameters: int) -> dict[str, float]:
    """Record a walk, then find its plane and the two directions."""
    model = Wide(parameters, 1)
    with ts.Recorder(folder / "run", model) as recorder:
        for step in range(1, states):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter), alpha=0.01)
            recorder.record(step=step)
    count = sum(p.numel() for p in model.parameters())
    del model
    trajectory = ts.Trajectory(folder / "run")
    names = list(trajectory[0])
    start = time.perf_counter()
    with peak_memory() as peak:
        plane = principal_plane(gram(list(trajectory), names))
        directions = plane.directions(list(trajectory), names)
        lengths = [norm(direction) for direction in directions]
    assert all(abs(length - 1) < 1e-4 for length in lengths)
    return {"states": states, "parameters": count, "extra_bytes": peak.extra, "seconds": time.perf_counter() - start}


class Residual(nn.Module):
    """Linear layers in residual blocks: every parameter of it is used."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(blocks)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits."""
        for block in self.blocks:
            inputs = inputs + block(inputs)
        logits: Tensor = self.head(inputs)
        return logits


def in_bfloat16(folder: Path, width: int, blocks: int) -> dict[str, Any]:
    """A line of 3, a surface of 3×3 and the plane of three recorded states, of a network in bfloat16: memory, and preparing the surface.

    What streaming the basis costs at a point, against holding it, is told in passes over 1,000 rows, of which one is timed.
    """
    torch.manual_seed(0)
    model = Residual(width, blocks).to(torch.bfloat16)
    with ts.Recorder(folder / "large", model) as recorder, torch.no_grad():
        for step in (1, 2):
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.003)
            recorder.record(step=step)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    rows, few = torch.randn(1000, width).to(torch.bfloat16), 8
    trajectory = ts.Trajectory(folder / "large")
    calls: dict[str, Callable[[ts.Objective, ts.Trajectory], object]] = {
        "line": lambda objective, states: ts.interpolate(objective, states, alphas=3, progress=False),
        "surface": lambda objective, states: ts.surface(objective, states, x=(-1, 1, 3), y=(-1, 1, 3), progress=False),
        "plane": lambda objective, states: ts.trajectory_plane(objective, states, x=3, y=3, progress=False),
    }
    small = Residual(8, 1).to(torch.bfloat16)
    shifted = [{name: tensor + torch.randn_like(tensor) for name, tensor in small.state_dict().items()} for _ in range(3)]
    for call in calls.values():  # what is imported and made once is no part of what a large model takes
        call(ts.Objective(small, (rows[:few, :8], torch.arange(few))), ts.Trajectory.from_states(shifted))
    found: dict[str, Any] = {"parameters": size / 2}
    start = time.process_time()
    with torch.no_grad():
        model(rows)
    found["pass_cpu_seconds"] = time.process_time() - start
    for name, call in calls.items():
        objective, start = ts.Objective(model, (rows[:few], torch.arange(few))), time.process_time()
        with peak_memory() as peak:
            call(objective, trajectory)
        found[name] = {"extra_copies": peak.extra / size, "cpu_seconds": time.process_time() - start}
    with mock.patch("thetascope.scoring.point_tensors.LARGE", math.inf), peak_memory() as peak:
        start = time.process_time()
        calls["surface"](ts.Objective(model, (rows[:few], torch.arange(few))), trajectory)
        found["surface, basis held"] = {"cpu_seconds": time.process_time() - start}
    found["surface, basis held"]["extra_copies"] = peak.extra / size
    lost = found["surface"]["cpu_seconds"] - found["surface, basis held"]["cpu_seconds"]
    found["lost_passes_a_point"] = lost / 9 / found["pass_cpu_seconds"]
    return found


def surface(folder: Path, parameters: int, points: int) -> dict[str, float]:
    """Score a small surface around one recorded state of a large model; the model itself is there before."""
    model = Wide(parameters, 10)
    with ts.Recorder(folder / "large", model) as recorder:
        recorder.record(step=1)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    objective = ts.Objective(model, (torch.ones(2, 3), torch.zeros(2, 3)), "mse")
    trajectory = ts.Trajectory(folder / "large")
    with peak_memory() as peak:
        ts.surface(objective, trajectory, x=(-1, 1, points), y=(-1, 1, points), progress=False)
    return {"parameters": size / 4, "points": points**2, "extra_bytes": peak.extra, "extra_copies": peak.extra / size}


def line(folder: Path, parameters: int, points: int, samples: int) -> dict[str, float]:
    """Score the line between two recorded states of a large model, on so many samples that it is tuned, or on few."""
    model = Wide(parameters, 10)
    with ts.Recorder(folder / f"line-{samples}", model) as recorder, torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
        recorder.record(step=1)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    objective = ts.Objective(model, (torch.ones(samples, 3), torch.zeros(samples, 3)), "mse")
    trajectory = ts.Trajectory(folder / f"line-{samples}")
    with peak_memory() as peak:
        result = ts.interpolate(objective, trajectory, alphas=points, progress=False)
    tuned = "measured" in result.data.attrs["engine"]["reason"]
    return {"parameters": size / 4, "points": points, "tuned": tuned, "extra_bytes": peak.extra, "extra_copies": peak.extra / size}


def main() -> None:
    """Print all, as text and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", type=int, default=200)
    parser.add_argument("--parameters", type=int, default=10_000_000)
    parser.add_argument("--surface-parameters", type=int, default=100_000_000)
    parser.add_argument("--line-parameters", type=int, default=75_000_000)
    parser.add_argument("--blocks", type=int, default=34, help="of two square layers of 2,048 each, in bfloat16")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = principal_components(Path(folder), arguments.states, arguments.parameters)
    print(
        f"principal components of {found['states']} states of {found['parameters']:,.0f} parameters from a run directory: "
        f"{found['extra_bytes'] / GB:.2f} GB beyond what was held before, {found['seconds']:.0f} s"
    )
    surfaces = []
    for points in (3, 5):
        with tempfile.TemporaryDirectory() as folder:
            surfaces.append(surface(Path(folder), arguments.surface_parameters, points))
        print(
            f"surface of {surfaces[-1]['points']} points, {surfaces[-1]['parameters']:,.0f} parameters: "
            f"{surfaces[-1]['extra_copies']:.2f} copies of the model besides the model (two directions, one point: 3)"
        )
    lines = []
    for samples in (2, 1000):
        with tempfile.TemporaryDirectory() as folder:
            lines.append(line(Path(folder), arguments.line_parameters, 9, samples))
        print(
            f"line of 9 points, {lines[-1]['parameters']:,.0f} parameters, {'tuned' if lines[-1]['tuned'] else 'not tuned'}: "
            f"{lines[-1]['extra_copies']:.2f} copies of the model besides the model (one point: 1)"
        )
    with tempfile.TemporaryDirectory() as folder:
        large = in_bfloat16(Path(folder), 2048, arguments.blocks)
    copies = ", ".join(f"{name} {figures['extra_copies']:.2f}" for name, figures in large.items() if isinstance(figures, dict))
    print(
        f"{large['parameters']:,.0f} parameters in bfloat16, recorded: copies besides the model: {copies}; streaming the surface's basis "
        f"takes at each point the processor time of {large['lost_passes_a_point']:.2f} passes over 1,000 rows"
    )
    report("planes", {"principal_components": found, "surfaces": surfaces, "lines": lines, "bfloat16": large})


if __name__ == "__main__":
    main()
