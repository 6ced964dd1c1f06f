"""What a watch takes of a core, at one record a second, beside how large the recording is."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch
from torch import nn

import thetascope as ts
from _measure import report


def share_of_a_core(width: int, before: int, seconds: float) -> dict[str, float]:
    """Of a watch over `seconds`, of a network of ``width²·2`` parameters that has `before` records, once it has looked at those."""
    model = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        with ts.Recorder(run, model, max_states=200) as recorder:
            for step in range(1, before + 1):
                recorder.record(step=step, metrics={"train_loss": 1 / step, "validation_loss": 1.1 / step})
            command = [sys.executable, "-m", "thetascope.cli", "watch", str(run)]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as watch:
                time.sleep(15)
                process = psutil.Process(watch.pid)
                begun, start = sum(process.cpu_times()[:2]), time.monotonic()
                step = before
                while time.monotonic() < start + seconds:
                    step += 1
                    with torch.no_grad():
                        for values in model.parameters():
                            values.add_(torch.randn_like(values), alpha=1e-3)
                    recorder.record(step=step, metrics={"train_loss": 1 / step, "validation_loss": 1.1 / step})
                    time.sleep(1)
                used, lasted = sum(process.cpu_times()[:2]) - begun, time.monotonic() - start
                memory = process.memory_info().rss
                watch.terminate()
        page = (run / "live.html").stat().st_size
    return {"parameters": 2 * width * (width + 1), "records": before, "share": used / lasted, "megabytes": memory / 1e6, "page_bytes": page}


def main() -> None:
    """Measure networks and recordings of several sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    found = [share_of_a_core(width, before, seconds) for width, before in ((200, 100), (200, 10_000), (2000, 100))]
    for one in found:
        print(
            f"{one['parameters']:,.0f} parameters, {one['records']:,.0f} records before: {100 * one['share']:.2f} % of a core, "
            f"{one['megabytes']:.0f} MB, a page of {one['page_bytes'] / 1e3:.0f} kB"
        )
    report("watching", {"runs": found})


if __name__ == "__main__":
    main()
