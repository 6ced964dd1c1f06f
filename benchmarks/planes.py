"""What planes and lines cost in memory: principal components of a long training of a large model, a surface and a line of larger ones."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

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
            f"{surfaces[-1]['extra_copies']:.2f} copies of the model besides the model (center, two directions, one point: 4)"
        )
    lines = []
    for samples in (2, 1000):
        with tempfile.TemporaryDirectory() as folder:
            lines.append(line(Path(folder), arguments.line_parameters, 9, samples))
        print(
            f"line of 9 points, {lines[-1]['parameters']:,.0f} parameters, {'tuned' if lines[-1]['tuned'] else 'not tuned'}: "
            f"{lines[-1]['extra_copies']:.2f} copies of the model besides the model (two states, one point: 3)"
        )
    report("planes", {"principal_components": found, "surfaces": surfaces, "lines": lines})


if __name__ == "__main__":
    main()
