"""How long `thetascope --help` takes, beside starting Python and importing torch: the command must not load it."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from statistics import median

COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "thetascope --help": [sys.executable, "-m", "thetascope.cli", "--help"],
    "import torch": [sys.executable, "-c", "import torch"],
}


def main(repeats: int = 9) -> None:
    """Time the commands in turn, and print medians and ratios."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(repeats):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: median(times) for name, times in seconds.items()}
    for name, value in medians.items():
        print(f"{name:<18} {value:.3f} s, {value / medians['python']:.1f} times starting Python")
    print(json.dumps({"benchmark": "startup", "medians": medians, "machine": {"platform": platform.platform()}}))


if __name__ == "__main__":
    main()
