"""What a GPU does, in one command of some minutes: `python benchmarks/gpu.py` (`--device cpu --small` tries every part without one).

Prints, one part after the other, and JSON at the end:
- contract: the contract of every backend, with objectives on the device, run by pytest; how many tests passed.
- points: LeNet on 10,000 images, points a second by backend, in units of 16, 64 and 256; a surface of 51 x 51, every cell.
- resnet: a ResNet-50 shape on synthetic uint8 images that stay on the device, as points a second: the plain loop in float32, with TF32, in
  bfloat16, each also with channels last, against a line of the whole model and one layer at a time.
- gpt2: a GPT-2 shape by a step, the same.
- bits: the losses of a line in two processes, which must be the same to the last bit where as many points are scored at once (how many
  is decided by time, and points that go together decide one another's last bits).
Each part gives its peak memory on the device.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import thetascope as ts
from _measure import report
from _networks import GptLike, causal, text
from thetascope.demo.network import LeNet
from thetascope.scoring.arithmetic import arithmetic_of

TESTS = Path(__file__).parent.parent / "tests" / "scoring" / "test_backends.py"
BITS = """
import sys, torch, thetascope as ts
import thetascope.scoring.runner
thetascope.scoring.runner.UNIT_SECONDS = 1e9  # all points at once
sys.path.insert(0, {folder!r})
import gpu
print(gpu.digest(gpu.lenet_line(torch.device({device!r}), 512, 16, "batched")))
"""


class Bottleneck(nn.Module):
    """Of ResNet-50."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        shapes = ((inputs, width, 1, 1), (width, width, 3, stride), (width, 4 * width, 1, 1))
        self.convs = nn.ModuleList(nn.Conv2d(i, o, k, s, k // 2, bias=False) for i, o, k, s in shapes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for _, o, _, _ in shapes)
        same = stride == 1 and inputs == 4 * width
        self.down = nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]``."""
        y = x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(y))
            y = torch.relu(y) if i < 2 else y
        return torch.relu(y + self.down(x))


class ResNet50(nn.Module):
    """The shape of ResNet-50, on uint8 images that it normalises itself."""

    def __init__(self, blocks: tuple[int, ...] = (3, 4, 6, 3), width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        parts, before = [], width
        for i, count in enumerate(blocks):
            for j in range(count):
                parts.append(Bottleneck(before, width * 2**i, 2 if i and not j else 1))
                before = 4 * width * 2**i
        self.blocks, self.fc = nn.Sequential(*parts), nn.Linear(before, 100)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images ``[N, 3, H, W]``, 0 to 255."""
        weight = self.fc.weight
        x = (x.to(weight.dtype) - 127.5) / 64
        logits: Tensor = self.fc(self.blocks(self.stem(x)).mean((2, 3)))
        return logits


def states(make: Callable[[], nn.Module]) -> list[dict[str, Tensor]]:
    """Two of the network, of weights drawn anew."""
    found = []
    for seed in range(2):
        torch.manual_seed(seed)
        found.append({name: value.detach().clone() for name, value in make().state_dict().items()})
    return found


def wait(device: torch.device) -> None:
    """Until the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(device: torch.device, call: Callable[[], Any]) -> tuple[float, Any]:
    """How long a call takes, with the device."""
    wait(device)
    start = time.perf_counter()
    found = call()
    wait(device)
    return time.perf_counter() - start, found


def peak(device: torch.device) -> int:
    """Bytes at the highest since the last time; 0 where torch does not count them."""
    if device.type != "cuda":
        return 0
    found = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return found


def lenet_line(device: torch.device, images: int, points: int, engine: str) -> Any:
    """The losses of a line of LeNet on digits of noise."""
    generator = torch.Generator().manual_seed(5)
    data = torch.randn(images, 1, 32, 32, generator=generator), torch.randint(10, (images,), generator=generator)
    objective = ts.Objective(LeNet(), data, "nll", device=device)
    trajectory = ts.Trajectory.from_states(states(LeNet))
    return ts.interpolate(objective, trajectory, alphas=tuple(np.linspace(0, 1, points)), engine=engine, progress=False).data["loss"].values


def digest(values: Any) -> str:
    """Of the bits."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def contract(device: torch.device, small: bool) -> dict[str, Any]:
    """The contract tests, with objectives on the device."""
    chosen = ["-k", "TestBatchedBackend and linear" if small else "not TestEagerBackend"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=short", "-p", "no:cacheprovider", str(TESTS), *chosen]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "THETASCOPE_DEVICE": str(device)}, check=False)
    told = ran.stdout[-2000:] if ran.returncode else ran.stdout.strip().splitlines()[-1]
    return {"passed": ran.returncode == 0, "says": told}


def points_of_lenet(device: torch.device, small: bool) -> dict[str, Any]:
    """Points a second by backend and number of points, and the exact surface."""
    images, found = 200 if small else 10_000, dict[str, Any]()
    for engine in ("eager", "graph", "batched"):
        for points in (16, 64, 256)[: 1 if small else 3]:
            lenet_line(device, images, 3, engine)
            took, _ = seconds(device, partial(lenet_line, device, images, points, engine))
            found[f"{engine}, {points} points"] = points / took
    trajectory = ts.Trajectory.from_states(states(LeNet))
    data = torch.randn(images, 1, 32, 32), torch.randint(10, (images,))
    objective, axis = ts.Objective(LeNet(), data, "nll", device=device), (-1.0, 1.0, 5 if small else 51)
    took, _ = seconds(device, lambda: ts.surface(objective, trajectory, x=axis, y=axis, progress=False))
    return {**found, "surface, cells a second": axis[2] ** 2 / took}


def plain_rates(device: torch.device, model: nn.Module, score: Callable[[nn.Module], Any], images: bool) -> dict[str, float]:
    """Points a second of a plain loop that copies weights and scores, in several precisions and layouts."""
    found, source = dict[str, float](), [{n: t.to(device) for n, t in state.items()} for state in states(lambda: model)]

    def loop(own: nn.Module, points: int = 3) -> None:
        with torch.no_grad():
            held = own.state_dict()
            for k in range(points):
                for name, tensor in held.items():
                    tensor.copy_(torch.lerp(source[0][name], source[1][name], 0.1 * k) if tensor.is_floating_point() else source[0][name])
                score(own)

    for name, dtype, tf32 in (("float32", torch.float32, False), ("TF32", torch.float32, True), ("bfloat16", torch.bfloat16, False)):
        for last in (False, True) if images else (False,):
            before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
            torch.set_float32_matmul_precision("high" if tf32 else "highest")
            torch.backends.cudnn.allow_tf32 = tf32
            own = model.to(device, dtype).eval()
            own = own.to(memory_format=torch.channels_last) if last else own  # type: ignore[call-overload]
            loop(own)
            took, _ = seconds(device, partial(loop, own))
            found[f"plain {name}{', channels last' if last else ''}"] = 3 / took
            model.to(torch.float32)
            torch.set_float32_matmul_precision(before[0])
            torch.backends.cudnn.allow_tf32 = before[1]
    return found


def walks(device: torch.device, objective: ts.Objective, make: Callable[[], nn.Module], points: int) -> dict[str, Any]:
    """A line of the whole model and of every eighth of the layers: points a second, warm, and the engine."""
    layers = [layer.name for layer in objective.space.layers]
    layers = layers[:: max(1, len(layers) // 8)]
    trajectory, found = ts.Trajectory.from_states(states(make)), dict[str, Any]()
    calls: dict[str, Mapping[str, Any]] = {"whole model": {"level": "model"}, "layers": {"level": "layer", "layers": layers}}
    for name, call in calls.items():
        result = ts.interpolate(objective, trajectory, alphas=5, progress=False, **call)
        objective.cache.points.clear()
        options: dict[str, Any] = {**call, "alphas": points, "progress": False}
        took, result = seconds(device, partial(ts.interpolate, objective, trajectory, **options))
        found[name], found[f"{name}, engine"] = result.data["loss"].size / took, result.data.attrs["engine"]
    return found


def resnet(device: torch.device, small: bool) -> dict[str, Any]:
    """ResNet-50's shape."""

    def make() -> nn.Module:
        return ResNet50((1, 1), 8) if small else ResNet50()

    count, size = (16, 32) if small else (512, 160)
    images = torch.randint(256, (count, 3, size, size), dtype=torch.uint8, device=device)
    labels = torch.randint(100, (count,), device=device)
    model = make()

    def score(own: nn.Module) -> float:
        dtype = next(own.parameters()).dtype
        parts = (nn.functional.cross_entropy(own(images[i : i + 128]).to(dtype), labels[i : i + 128]) for i in range(0, count, 128))
        return float(torch.stack(list(parts)).mean())

    found: dict[str, Any] = plain_rates(device, model, score, images=True)
    objective = ts.Objective(make(), (images, labels), metrics=(), device=device, batch_size=128, buffers="final")
    return found | walks(device, objective, make, 3 if small else 21)


def gpt2(device: torch.device, small: bool) -> dict[str, Any]:
    """GPT-2's shape: 12 blocks of 768, tied embeddings."""

    def make() -> nn.Module:
        return GptLike(1000, 32, 2, 64) if small else GptLike(1000, 768, 12, 256)

    held = {name: value.to(device) for name, value in text(8 if small else 128, 64 if small else 256).items()}
    model = make()
    found: dict[str, Any] = plain_rates(device, model, lambda own: float(causal(own, held).mean()), images=False)
    objective = ts.Objective.from_step(make(), [held], step=lambda own, batch: {"loss": causal(own, batch)}, device=device)
    return found | walks(device, objective, make, 3 if small else 21)


def bits(device: torch.device, small: bool) -> dict[str, Any]:
    """Whether two processes give the same bits."""
    code = BITS.format(folder=str(Path(__file__).parent), device=str(device))
    found = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() for _ in range(2)}
    return {"the same": len(found) == 1}


PARTS: Mapping[str, Callable[[torch.device, bool], dict[str, Any]]] = {
    "points": points_of_lenet, "resnet": resnet, "gpt2": gpt2, "bits": bits, "contract": contract
}  # fmt: skip


def main() -> None:
    """Run the parts, and print each as it is done."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--device", default="cuda")
    options.add_argument("--small", action="store_true", help="every part on a tiny scale: whether it runs")
    options.add_argument("--parts", nargs="*", default=list(PARTS), choices=list(PARTS))
    arguments = options.parse_args()
    device, found = torch.device(arguments.device), dict[str, Any]()
    for part in arguments.parts:
        peak(device)
        took, figures = seconds(device, partial(PARTS[part], device, arguments.small))
        found[part] = {**figures, "seconds": took, "peak_bytes": peak(device)}
        print(f"{part}: {found[part]}", flush=True)
    report("gpu", {**found, "arithmetic": arithmetic_of(device)})


if __name__ == "__main__":
    main()
