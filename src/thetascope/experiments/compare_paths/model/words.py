"""What is said of two paths against what was measured."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thetascope.drawing.moments import SHORT_SHARES, clock_of
from thetascope.experiments.framework.facts import SAMPLES, Fact, Read, at_place, attribute
from thetascope.experiments.framework.phrases import listed, number, percent, plural, step_of
from thetascope.experiments.framework.tables import Table, table
from thetascope.experiments.framework.words import Words, samples_of, scoring_of, tails_of
from thetascope.experiments.shared.places import most_off, way_sentences
from thetascope.experiments.shared.recorded import recorded_sentences

PLACED, TIMED = ("linear_by_place", "quadratic_by_place"), ("linear", "quadratic")
MUCH = 0.5
"""Of what a gap by clock is, which is called most of it."""


def _factors(data: xr.Dataset, names: tuple[str, str]) -> tuple[str, str]:
    """By which factor the line and the parabola miss the measured loss."""
    gaps = data.attrs["gaps"]
    line, curve = (number(float(f"{10 ** gaps[name]:.3g}")) for name in names)
    return line, curve


def _known(data: xr.Dataset, names: tuple[str, str]) -> bool:
    return bool(np.isfinite([data.attrs["gaps"][name] for name in names]).all())


def _headline(data: xr.Dataset) -> str:
    count = plural(data.attrs["gaps"]["states"], "state")
    if not _known(data, PLACED):
        return f"no gap is known: it takes states that are knots of neither path, and losses above 0 (there are {count})"
    line, curve = _factors(data, PLACED)
    told = f"where the training was, the straight line misses its loss by a factor of {line} on average, the parabola by {curve} ({count})"
    return f"{told}; after the same share of steps by {' and '.join(_factors(data, TIMED))}" if _known(data, TIMED) else told


def _how(data: xr.Dataset) -> str:
    attrs = data.attrs
    return (
        f"The losses on the straight line and on the parabola through the states of {listed([step_of(knot) for knot in attrs['knots']])} "
        f"were scored at {data.sizes['alpha']} values of α, and those of the "
        f"{plural(data.sizes['state'], 'recorded state')} "
        f"in the same way, all on {samples_of(data)}. Each state is compared with both paths by place (the line at its share of the way, "
        "the parabola where it is nearest to the state, both scored there) and by clock (where α is its share of the steps). A gap is the "
        f"mean of |log₁₀ (path / measured)| over the recorded states through which neither path passes.{scoring_of(data)}"
    )


def _shows(data: xr.Dataset) -> list[str]:
    attrs = data.attrs
    told = [*_gaps(data), *way_sentences(data)]
    for kind, crossings in attrs["crossings"].items():
        free = [f"α = {crossing['alpha']:.3f}" for crossing in crossings if not crossing["by_construction"]]
        told.append(f"By clock the {kind} path crosses what was measured {f'at {listed(free)}' if free else 'nowhere'} inside (0, 1)"
                    f"{', besides where it must' if len(free) < len(crossings) else ''}.")  # fmt: skip
    return told + recorded_sentences(data, "actual_loss") + tails_of(data)


def _gaps(data: xr.Dataset) -> list[str]:
    """The gaps by place and by clock, and what of the second is the first."""
    gaps, told = data.attrs["gaps"], []
    if _known(data, PLACED):
        line, curve = _factors(data, PLACED)
        told.append(
            f"By place the straight line's loss is off by a factor of {line} on average over {plural(gaps['states'], 'state')}, the "
            f"parabola's by a factor of {curve}.{_worst(data)}"
        )
    if not _known(data, TIMED):
        return told
    line, curve = _factors(data, TIMED)
    told.append(f"By clock, after the same share of steps, the line is off by a factor of {line} and the parabola by {curve}.")
    if not _known(data, PLACED):
        return told
    if gaps["linear"] > 0 and gaps["linear_by_place"] < MUCH * gaps["linear"]:
        told.append("So most of what separates the line from the training by clock is pace, not path.")
    gains = [gaps[line] - gaps[curve] for line, curve in (TIMED, PLACED)]
    if gains[0] > np.log10(1.1):
        rest = "by place the two are alike" if abs(gains[1]) < np.log10(1.05) else f"by place it is {_better(gains[1])}"
        told.append(f"By clock the parabola is {_better(gains[0])} than the line; {rest}.")
    return told


def _worst(data: xr.Dataset) -> str:
    """Where the line is farthest off: most states lie near its ends, where it cannot be far off."""
    knots = [knot["state"] for knot in data.attrs["knots"]]
    free = ~np.isin(data["state"].values, knots) & np.isfinite(data["share"].values)
    factors = np.abs(np.log10(data["linear_by_place_loss"].values / data["actual_loss"].values))
    at = int(np.argmax(np.where(free, factors, -1.0)))
    share = float(data["share"].values[at])
    place = {name: data[name].values[at] for name in ("step", "epoch", "state")}
    factor = number(float(f"{10 ** factors[at]:.3g}"))
    return f" The line is farthest off at {step_of(place)}, {percent(share)} of the way: by a factor of {factor}."


def _better(gain: float) -> str:
    """How much nearer the parabola is."""
    return f"{number(float(f'{10 ** abs(gain):.3g}'))} times {'nearer' if gain > 0 else 'farther off'}"


def _table(data: xr.Dataset) -> Table:
    order = np.argsort(data["alpha"].values)
    at = data["progress"].values
    timed = [np.interp(at, data["alpha"].values[order], data[f"{kind}_loss"].values[order]) for kind in ("linear", "quadratic")]
    placed = [data[f"{kind}_by_place_loss"].values for kind in ("linear", "quadratic")]
    places = (data["share"].values, data["nearest"].values)
    clock = clock_of(data.attrs)
    first = data["state"].values if clock == "state" else data[clock].values
    rows = zip(first, data["actual_loss"].values, places[0], placed[0], places[1], placed[1], at, *timed, strict=True)
    titles = (
        clock, "measured loss", "share of the way", "line there", "nearest α of the parabola", "parabola there",
        SHORT_SHARES[clock], "line at that α", "parabola at that α",
    )  # fmt: skip
    return table("Measured losses beside the two paths, by place and by clock", titles, rows)


def _factor(name: str) -> Read:
    """Reads a gap as the factor by which a path's loss is off on average."""

    def read(data: xr.Dataset) -> float | None:
        gap = data.attrs.get("gaps", {}).get(name)
        return None if gap is None else float(10**gap)

    return read


def _crossings(kind: str) -> Read:
    """Reads how often a path crosses what was measured, but where it must."""

    def read(data: xr.Dataset) -> int | None:
        found = data.attrs.get("crossings", {}).get(kind)
        return None if found is None else sum(not crossing["by_construction"] for crossing in found)

    return read


FINDINGS = (
    Fact("line_factor_by_place", float, "by which factor the line's loss is off on average, at each state's place", _factor(PLACED[0])),
    Fact("parabola_factor_by_place", float, "the same of the parabola", _factor(PLACED[1])),
    Fact("line_factor_by_clock", float, "by which factor the line's loss is off after the same share of steps", _factor(TIMED[0])),
    Fact("parabola_factor_by_clock", float, "the same of the parabola", _factor(TIMED[1])),
    Fact("compared_states", int, "over how many states these are means", attribute("gaps", "states")),
    Fact("line_crossings", int, "how often the line's loss crosses the measured one by clock", _crossings("linear")),
    Fact("parabola_crossings", int, "the same of the parabola, but where it must", _crossings("quadratic")),
    Fact("initial_loss", float, "the loss of the first state", at_place("actual_loss", 0)),
    Fact("final_loss", float, "the loss of the last state", at_place("actual_loss", -1)),
    Fact("distance", float, "how far the paths' ends lie apart in parameter space", attribute("distance")),
    Fact("off_line_max", float, "how far the training left the straight line, in lengths of the line", most_off),
    SAMPLES,
)
WORDS = Words(
    findings=FINDINGS,
    chapter="way",
    asks="Which path is closer to what happened?",
    headline=_headline,
    how=_how,
    shows=_shows,
    does_not_show="How far a path is by clock tells how evenly the training went, not where: a training along the very line has a gap by "
    "clock wherever it is faster or slower than even. By place states often crowd near the end, where both paths must agree with them; "
    "there the mean over states says less than the one that is farthest off. All three curves share the first value, the line meets the "
    "last state and the parabola the middle one by construction. A smaller gap of the parabola partly restates that it has a knot more; "
    "that is why states at knots are left out.",
    table=_table,
)
