"""Surfaces within a tolerance of 0.01 on planes of many seeds, each against its full grid: how far off they are, and what they say."""

from __future__ import annotations

import thetascope as ts
from _measure import peak_memory, report
from _mnist import objective, parser, subject

TOLERANCE = 0.01


def main() -> None:
    """Print each seed's errors, and for how many the true one is under the reported one, as text and JSON."""
    options = parser(__doc__)
    options.set_defaults(images=1000)
    options.add_argument("--seeds", type=int, default=20)
    options.add_argument("--grid", type=int, default=31)
    arguments = options.parse_args()
    axis, seeds, peaks = (-1.0, 1.0, arguments.grid), [], {}
    with subject(arguments) as (inputs, labels, run):
        trajectory, scored = ts.Trajectory(run), objective(inputs, labels)
        for side in (11, arguments.grid):
            with peak_memory() as peak:
                ts.surface(objective(inputs, labels), trajectory, x=(-1.0, 1.0, side), y=(-1.0, 1.0, side), progress=False)
            peaks[side**2] = peak.extra
        for seed in range(arguments.seeds):
            full = ts.surface(scored, trajectory, x=axis, y=axis, seed=seed, progress=False).data["loss"]
            scored.cache.points.clear()
            found = ts.surface(scored, trajectory, x=axis, y=axis, seed=seed, tolerance=TOLERANCE, progress=False)
            scored.cache.points.clear()
            told, true = found.data.attrs["estimate"], float((abs(found.data["loss"] - full) / full).max())
            seeds.append({"seed": seed, "evaluated": told["evaluated"], "reported": told["error"], "true": true})
            print(f"seed {seed}: {told['evaluated']} of {full.size} cells, reported {told['error']:.4f}, true {true:.4f}", flush=True)
    held = sum(s["true"] <= s["reported"] for s in seeds)
    under = sum(s["true"] < 2 * TOLERANCE for s in seeds)
    print(f"true error under the reported one for {held} of {len(seeds)} seeds, under {2 * TOLERANCE} for {under}")
    print("beyond the start, every cell scored: " + ", ".join(f"{size / 1e6:.0f} MB for {n} points" for n, size in peaks.items()))
    report("tolerance", {"images": len(inputs), "grid": arguments.grid, "seeds": seeds, "under_reported": held, "extra_bytes": peaks})


if __name__ == "__main__":
    main()
