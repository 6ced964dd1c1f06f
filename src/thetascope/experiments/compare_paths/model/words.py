"""What is said of two paths against what was measured."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thetascope.drawing.moments import SHORT_SHARES, clock_of
from thetascope.experiments.framework.phrases import listed, plural, step_of
from thetascope.experiments.framework.tables import Table, table
from thetascope.experiments.framework.words import Words, samples_of, scoring_of, tails_of
from thetascope.experiments.shared.recorded import recorded_sentences


def _headline(data: xr.Dataset) -> str:
    gaps = data.attrs["gaps"]
    return (
        f"mean |log10| gap to what was measured: linear {gaps['linear']:.2f}, quadratic {gaps['quadratic']:.2f} ({gaps['states']} states)"
    )


def _how(data: xr.Dataset) -> str:
    attrs = data.attrs
    return (
        f"The losses on the straight line and on the parabola through the states of {listed([step_of(knot) for knot in attrs['knots']])} "
        f"were scored at {data.sizes['alpha']} values of α, and those of the "
        f"{plural(data.sizes['state'], 'recorded state')} "
        f"in the same way, all on {samples_of(data)}. A gap is the mean of |log₁₀ (path / measured)| over the recorded "
        f"states through which neither path passes.{scoring_of(data)}"
    )


def _shows(data: xr.Dataset) -> list[str]:
    attrs = data.attrs
    told = []
    gaps = attrs["gaps"]
    if np.isfinite([gaps["linear"], gaps["quadratic"]]).all():
        told.append(
            f"Over {plural(gaps['states'], 'state')} the straight line's loss is off by a factor of {10 ** gaps['linear']:.3g} on average, "
            f"the parabola's by a factor of {10 ** gaps['quadratic']:.3g}."
        )
    for kind, crossings in attrs["crossings"].items():
        free = [f"α = {crossing['alpha']:.3f}" for crossing in crossings if not crossing["by_construction"]]
        told.append(f"The {kind} path crosses what was measured {f'at {listed(free)}' if free else 'nowhere'} inside (0, 1)"
                    f"{', besides where it must' if len(free) < len(crossings) else ''}.")  # fmt: skip
    return told + recorded_sentences(data, "actual_loss") + tails_of(data)


def _table(data: xr.Dataset) -> Table:
    order = np.argsort(data["alpha"].values)
    at = data["progress"].values
    paths = [np.interp(at, data["alpha"].values[order], data[f"{kind}_loss"].values[order]) for kind in ("linear", "quadratic")]
    clock = clock_of(data.attrs)
    first = data["state"].values if clock == "state" else data[clock].values
    rows = zip(first, at, data["actual_loss"].values, *paths, strict=True)
    titles = (clock, SHORT_SHARES[clock], "measured loss", "linear path there", "quadratic path there")
    return table("Measured losses beside the two paths at the same share of the way", titles, rows)


WORDS = Words(
    chapter="way",
    asks="Which path is closer to what happened?",
    headline=_headline,
    how=_how,
    shows=_shows,
    does_not_show="All three curves share the first value, the line meets the last state and the parabola the middle one by construction."
    " A smaller gap of the parabola partly restates that it has a knot more; that is why states at knots are left out.",
    table=_table,
)
