"""`thetascope examine RUN` on MNIST: every experiment but the atlas and the studies that train."""

from __future__ import annotations

import tempfile
from pathlib import Path

import thetascope as ts
from _measure import peak_memory, report, timed
from _mnist import objective, parser, subject
from thetascope.allocator import keep_freed_memory
from thetascope.experiments.framework.catalog import chosen_entries
from thetascope.experiments.framework.examine import Subject, examine


def main() -> None:
    """Print the time of each and of all, as text and JSON."""
    arguments = parser(__doc__).parse_args()
    keep_freed_memory()  # as the command does
    each: dict[str, float] = {}
    with subject(arguments) as (inputs, labels, run), tempfile.TemporaryDirectory() as folder, peak_memory() as peak:
        examined = Subject(objective(inputs, labels), ts.Trajectory(run), Path(folder))
        for entry in chosen_entries([], with_training=False):
            each[entry.key], _ = timed(examine, examined, [entry])
    for name, taken in each.items():
        print(f"{name}: {taken:.1f} s")
    print(f"all: {sum(each.values()):.0f} s, {peak.extra / 1e6:.0f} MB beyond the start")
    report("examine", {"seconds": each, "all": sum(each.values()), "extra_bytes": peak.extra})


if __name__ == "__main__":
    main()
