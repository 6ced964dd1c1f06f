"""The sections on paths of the whole model."""

from __future__ import annotations

from typing import Any

import numpy as np

from thetascope.report.sections.section import Section, metrics_of, nearest, samples_of
from thetascope.report.tables import Table, table
from thetascope.report.words import listed, number, percent, plural, step_of
from thetascope.results import Result

COMMAND = "thetascope interpolate RUN --objective SPEC"


def _of_model(attrs: Any, *, linear: bool) -> bool:
    found = attrs.get("experiment") == "interpolate" and attrs.get("level") == "model"
    return bool(found and (attrs.get("degree") == 1) == linear)


def _how(result: Result) -> str:
    attrs, count = result.data.attrs, result.data.sizes["alpha"]
    knots = attrs["knots"]
    if attrs["degree"] == 1:
        way = (
            f"the straight line Θ(α) = (1 − α) Θ₀ + α Θ₁ from the state of {step_of(knots[0])}, α = 0, "
            f"to that of {step_of(knots[-1])}, α = 1"
        )
    else:
        through = listed([f"{step_of(knot)} at α = {knot['alpha']:g}" for knot in knots])
        way = f"the polynomial of degree {attrs['degree']} that passes through the states of {through}"
    return (
        f"All weights together were moved along {way}, and the model was scored at {count} values of α on {samples_of(result)}. "
        "The recorded states were scored in the same way; each stands at its share of the training's steps."
    )


def _reads(result: Result) -> list[str]:
    data = result.data
    alphas, progress = data["alpha"].values, data["progress"].values
    half, state = nearest(alphas, 0.5), nearest(progress, 0.5)
    told = [
        f"At α = {alphas[half]:.2g} the path has a loss of {number(data['loss'][half])}; the training itself, after "
        f"{percent(float(progress[state]))} of its steps, had {number(data['actual_loss'][state])}."
    ]
    for name in metrics_of(result):
        values = data[name].values
        told.append(f"The {name.replace('_', ' ')} goes from {number(values[nearest(alphas, 0)])} to {number(values[nearest(alphas, 1)])}.")
    lowest, last = float(data["loss"].min()), float(data["loss"][nearest(alphas, 1)])
    if lowest < last * 0.99:
        told.append(f"The last state is not the lowest point on this path: {number(lowest)} is, against {number(last)}.")
    if "distance" in data.attrs:
        told.append(f"The two ends lie {number(data.attrs['distance'])} apart in parameter space.")
    if "loss_standard_error" in data:
        told.append(
            f"The loss has a standard error of up to {number(data['loss_standard_error'].max())}, because not all samples were used."
        )
    return told


def _how_compare(result: Result) -> str:
    attrs = result.data.attrs
    return (
        f"The losses on the straight line and on the parabola through the states of {listed([step_of(knot) for knot in attrs['knots']])} "
        f"were scored at {result.data.sizes['alpha']} values of α, and those of the "
        f"{plural(result.data.sizes['state'], 'recorded state')} as "
        f"they are, all on {samples_of(result)}. A gap is the mean of |log₁₀ (path / measured)| over the recorded states through which "
        "neither "
        "path passes."
    )


def _reads_compare(result: Result) -> list[str]:
    attrs = result.data.attrs
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
    return told


def _table_compare(result: Result) -> Table:
    data = result.data
    order = np.argsort(data["alpha"].values)
    at = data["progress"].values
    paths = [np.interp(at, data["alpha"].values[order], data[f"{kind}_loss"].values[order]) for kind in ("linear", "quadratic")]
    rows = zip(data["step"].values, at, data["actual_loss"].values, *paths, strict=True)
    titles = ("step", "share of steps", "measured loss", "linear path there", "quadratic path there")
    return table("Measured losses beside the two paths at the same share of the way", titles, rows)


SECTIONS = (
    Section(
        "line",
        "way",
        lambda attrs: _of_model(attrs, linear=True),
        _how,
        _reads,
        "The training did not go along this line. A loss that falls without a barrier proves little: it is found between unrelated states "
        "too (Tao, Li and Zhan, ICML 2024), and says neither that the loss is convex nor that the training was easy.",
        COMMAND,
        over_alpha=True,
    ),
    Section(
        "quadratic",
        "way",
        lambda attrs: _of_model(attrs, linear=False),
        _how,
        _reads,
        "The path meets the measured losses at its own states because it was laid through them. Between them it is one curve among many, "
        "and outside [0, 1] it runs away.",
        f"{COMMAND} --kind quadratic",
        over_alpha=True,
    ),
    Section(
        "compare",
        "way",
        lambda attrs: attrs.get("experiment") == "compare_paths" and attrs.get("level") == "model",
        _how_compare,
        _reads_compare,
        "All three curves share the first value, the line meets the last state and the parabola the middle one by construction. A "
        "smaller gap "
        "of the parabola partly restates that it has a knot more; that is why states at knots are left out.",
        "thetascope compare RUN --objective SPEC",
        table=_table_compare,
        over_alpha=True,
    ),
)
