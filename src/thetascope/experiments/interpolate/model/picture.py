"""The path of the whole model: loss and metrics over α, beside what was measured at the recorded states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thetascope.drawing.captions import knots_note, scored_notes
from thetascope.drawing.moments import SHORT_SHARES, clock_of, moments_of
from thetascope.drawing.scales import least_range
from thetascope.drawing.spec import Line, Panel, Picture, Rule, even_epochs, stacked, unbounded
from thetascope.drawing.style import ORANGE, quantities, spread_of, wants_log
from thetascope.experiments.shared.barrier_words import barrier_note
from thetascope.experiments.shared.places import by_clock, place_of
from thetascope.experiments.shared.recorded import recorded_marks, recorded_of

if TYPE_CHECKING:
    import xarray as xr

COMMON_AXES = True
"""The curves of several objectives are drawn on the same axes."""


def picture(data: xr.Dataset, variable: str | None = None) -> Picture:
    """All variables below one another, or only `variable`; points that are missing or not finite stay so."""
    data, attrs = data.sortby("alpha"), data.attrs
    place, called = place_of(data)
    alphas, progress, epochs = (data[name].values for name in ("alpha", "progress", "epoch"))
    told = moments_of(data, ", epoch {}")
    joined = "" if clock_of(attrs) == "state" else "dot"  # states of no known order are joined by nothing
    panels: list[Panel] = []
    for name, label in quantities(attrs, variable).items():
        path, actual, recorded = data[name].values, data[f"actual_{name}"].values, recorded_of(data, name)
        measured = Line(
            x=place, y=actual, label="measured at recorded states", told=told, hover="%{y:.5g}", color=ORANGE, dash="", marker="diamond",
            size=5, level=3,
        )  # fmt: skip
        panels.append(
            Panel(
                name=name,
                marks=[
                    Line(x=alphas, y=path, label=f"{attrs['kind']} path", marker="circle", size=2, **spread_of(data, name)),
                    measured,
                    by_clock(progress, actual, told, dash=joined, **(spread_of(data, name, prefix="actual_") if joined else {})),
                    *recorded_marks(progress, recorded, told, marker="diamond", color=ORANGE),
                    unbounded(alphas, path, "path not finite", "x-thin"),
                    unbounded(progress, actual, "state not finite", "cross-thin"),
                    *(Rule(at=float(knot["alpha"])) for knot in attrs["knots"]),
                ],
                x_label=f"α; of measured states the {called} (by clock: {SHORT_SHARES[clock_of(attrs)]})",
                y_label=label,
                y_range=None if name == "loss" else least_range(path, actual, recorded),
                y_log=name == "loss" and wants_log(path, actual, recorded),
                hover="α = %{x:.3f}<br>%{y:.5g}",
                over_alpha=True,
                epochs=None if panels else even_epochs(progress, epochs),
            )
        )
    title = f"{attrs['kind'].capitalize()} path through the {'training' if joined else 'states'}"
    notes = ("; ".join(filter(None, (knots_note(attrs), barrier_note(attrs)))), *scored_notes(attrs))
    return Picture(title=title, notes=notes, parts=stacked(panels), width=6.4, height=1.1 + 0.35 * len(notes) + 2.5 * len(panels))
