"""What recording costs: its share of a training's time, and the extra memory while a large model is written."""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import psutil
import torch
import torch.nn.functional as F
from torch import nn

import thetascope as ts
from thetascope.demo.images import load_digits
from thetascope.demo.network import LeNet


def training_share(repeats: int, images: int = 10_000) -> dict[str, float]:
    """Time inside the recorder as a share of a LeNet training that is recorded once an epoch of `images` images."""
    digits = load_digits()
    copies = -(-images // len(digits.train_labels))
    inputs = digits.train_images.repeat(copies, 1, 1, 1)[:images]
    targets = digits.train_labels.repeat(copies)[:images]
    shares = []
    for _ in range(repeats):
        model = LeNet()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        recording = 0.0
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            recorder = ts.Recorder(Path(folder) / "run", model)
            recorder.__enter__()
            recording += time.perf_counter() - start
            for epoch in range(1, 4):
                for part in torch.split(torch.randperm(images), 64):
                    optimizer.zero_grad()
                    F.nll_loss(model(inputs[part]), targets[part]).backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                before = time.perf_counter()
                recorder.record(step=epoch, epoch=epoch)
                recording += time.perf_counter() - before
            before = time.perf_counter()
            recorder.close()
            recording += time.perf_counter() - before
            shares.append(recording / (time.perf_counter() - start))
    return {"median_share": median(shares), "worst_share": max(shares)}


def extra_copies(parameters: int) -> dict[str, float]:
    """Peak memory while a model of so many parameters is recorded, in copies of the model."""
    side = round(parameters**0.5)
    model = nn.Sequential(nn.Linear(side, side, bias=False))
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    process = psutil.Process()
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            full = process.memory_full_info()
            peak = max(peak, full.uss)
            time.sleep(0.002)

    with tempfile.TemporaryDirectory() as folder:
        base = process.memory_full_info().uss
        watcher = threading.Thread(target=watch)
        watcher.start()
        with ts.Recorder(Path(folder) / "run", model) as recorder:
            for step in range(1, 4):
                recorder.record(step=step)
        done.set()
        watcher.join()
    return {"parameters": float(size // 4), "model_bytes": float(size), "extra_copies_at_peak": (peak - base) / size}


def main() -> None:
    """Print both, as text and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parameters", type=int, default=100_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    share = training_share(arguments.repeats)
    copies = extra_copies(arguments.parameters)
    shares = f"{share['median_share']:.2%} of the time (worst {share['worst_share']:.2%})"
    print(f"recording LeNet once an epoch of 10,000 images: {shares}")
    print(f"recording {copies['parameters']:,.0f} parameters: {copies['extra_copies_at_peak']:.2f} extra copies of the model at the peak")
    machine = {
        "platform": platform.platform(),
        "cores": psutil.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    print(json.dumps({"benchmark": "recorder", "training": share, "memory": copies, "machine": machine}))


if __name__ == "__main__":
    main()
