"""The atlas of all 81,194 parameters by 41 values of α on MNIST's test images, against brute force on parameters drawn at random."""

from __future__ import annotations

import numpy as np

import thetascope as ts
from _measure import peak_memory, report, timed
from _mnist import BATCH, objective, parser, subject
from _peers import nnvis_scorer

DAY = 86400


def main() -> None:
    """Print time, memory and errors, as text and JSON."""
    options = parser(__doc__)
    options.add_argument("--checked", type=int, default=200, help="so many parameters are scored by brute force too")
    arguments = options.parse_args()
    with subject(arguments) as (inputs, labels, run):
        trajectory = ts.Trajectory(run)
        last = trajectory[-1]
        with peak_memory() as peak:
            taken, result = timed(ts.parameter_atlas, objective(inputs, labels), trajectory)
        data, told = result.data, result.data.attrs["table_error"]
        print(f"tabulated: {taken:.0f} s, {peak.extra / 1e6:.0f} MB beyond the start; error told: {told}")
        score, state = nnvis_scorer(inputs, labels, BATCH), last.tensors(list(last))
        one = min(timed(score, state)[0] for _ in range(5))
        some, exact = timed(ts.interpolate, objective(inputs, labels), trajectory, level="parameter", parameters=2, progress=False)
        generator = np.random.default_rng(7)
        rows = np.sort(generator.choice(data.sizes["parameter"], arguments.checked, replace=False))
        names, alpha = data["parameter"].values[rows].tolist(), [float(data["alpha"][generator.integers(41)])]
        wide = objective(inputs, labels, dtype="float64")
        final = float(wide.score(last)["loss"])
        brute = (
            ts.interpolate(wide, trajectory, level="parameter", alphas=alpha, parameters=names, engine="eager").data["loss"].values[:, 0]
        )
        error = float(np.abs(data["loss_change"].sel(alpha=alpha[0]).values[rows] - (brute - final)).max() / final)
    points = data["loss_change"].size
    days, exact_days = one * points / DAY, some / exact.data["loss"].size * points / DAY
    print(f"{len(rows)} parameters at α = {alpha[0]:.2f} against full passes in double precision: off by at most {error:.1e} of the loss")
    print(f"nnvis's loop would take {days:.0f} days ({one:.2f} s a point); mode exact about {exact_days:.1f} days")
    figures = {
        "seconds": taken,
        "extra_bytes": peak.extra,
        "nnvis_days": days,
        "exact_days": exact_days,
        "table_error": told,
        "error": error,
    }
    report("atlas", figures)


if __name__ == "__main__":
    main()
