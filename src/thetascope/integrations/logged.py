"""What of results is logged: findings at the training's last step, and curves at the steps of the recorded states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thetascope.experiments.framework.facts import Value
from thetascope.experiments.framework.findings import findings_of, headline_of, words_for
from thetascope.experiments.framework.tables import Table
from thetascope.results.labelled import labels_of, only
from thetascope.results.result import Result
from thetascope.results.showing import showable

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

STATES = "states"
"""Between a result's name and those of its curves."""

_ERRORS = ("standard_error", "_se", "excess")
"""How variables end that are errors, or differences from the last value of another curve."""


@dataclass(frozen=True)
class StateCurve:
    """A variable along recorded states.

    Attributes:
        name: of the variable, behind the label of its objective or before that of its layer, where there are several.
        steps: of the training, ``[T]``; the states' numbers where steps are not known.
        values: ``[T]``.
    """

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Logged:
    """All of one result that is logged; `step` is the training's last one, None where the result knows none."""

    result: Result
    headline: str
    findings: Mapping[str, Value]
    curves: tuple[StateCurve, ...]
    table: Table | None
    figure: Figure | None
    step: int | None


def logged(result: Result) -> Logged:
    """What is logged of a finished result."""
    data = showable(result.data)
    words = words_for(data)
    table = None if words is None or words.table is None else words.table(data)
    figure: Any = None if words is None else result.plot()
    return Logged(Result(data, result.path), headline_of(data), findings_of(data), tuple(curves_of(data)), table, figure, last_step(data))


def curves_of(data: xr.Dataset) -> Iterator[StateCurve]:
    """What lies along recorded states: all numbers over these alone, and those by layer that the experiment names.

    A value that is not finite is one where it was scored so; others, such as the angle of a first step, are not there.
    """
    for label in labels_of(data):
        yield from (StateCurve(f"{label}/{curve.name}", curve.steps, curve.values) for curve in curves_of(only(data, label)))
    words, along = words_for(data), _along(data)
    if labels_of(data) or words is None or along is None:
        return
    for name in map(str, data.data_vars):
        variable = data[name]
        if variable.dtype.kind == "f" and variable.dims == (along,) and name not in ("step", "epoch", "progress"):
            if not name.endswith(_ERRORS):
                yield from _by_training(data, name, variable.values, along)
        elif name in words.curves and variable.dims == ("layer", along):
            for layer, values in zip(data["layer"].values.astype(str), variable.values, strict=True):
                yield from _by_training(data, f"{name}/{layer}", values, along)


def _along(data: xr.Dataset) -> str | None:
    """The dimension of the recorded states."""
    if "step" in data.variables and data["step"].ndim == 1:
        return str(data["step"].dims[0])
    return "state" if "state" in data.dims else None


def _steps(data: xr.Dataset, along: str) -> Any:
    """Of each recorded state; their numbers where not all steps are known."""
    if "step" in data.variables and np.isfinite(np.asarray(data["step"].values, np.float64)).all():
        return data["step"].values.astype(np.int64)
    return np.arange(data.sizes[along])


def _by_training(data: xr.Dataset, name: str, values: Any, along: str) -> Iterator[StateCurve]:
    """A curve for each training whose states lie one after the other."""
    steps, kept = _steps(data, along), np.isfinite(values) | _is_scored(data, name)
    which = data["training"].values if "training" in data and data["training"].dims == (along,) else np.zeros(len(steps), np.int64)
    several = len(set(which.tolist())) > 1
    for training in dict.fromkeys(which.tolist()):
        chosen = kept & (which == training)
        called = f"{name}/{_called(data, training)}" if several else name
        if chosen.any():
            yield StateCurve(called, tuple(steps[chosen].tolist()), tuple(np.asarray(values, np.float64)[chosen].tolist()))


def _called(data: xr.Dataset, training: int) -> str:
    """A training's label."""
    labels = [str(each.get("label")) for each in data.attrs.get("trainings", ())]
    return f"{training}-{labels[training]}" if training < len(labels) else str(training)


def _is_scored(data: xr.Dataset, name: str) -> bool:
    """Whether a variable is the loss or a metric at states."""
    plain = name.partition("/")[0].removesuffix("_recorded")
    return any(plain == scored or plain.endswith(f"_{scored}") for scored in data.attrs.get("scored", ()))


def last_step(data: xr.Dataset) -> int | None:
    """The last step of the training that a result is of; None where it does not say."""
    attrs = data.attrs
    known = np.asarray(data["step"].values, np.float64).ravel() if "step" in data.variables else np.empty(0)
    places = [*attrs.get("knots", ()), attrs.get("reference"), attrs.get("center"), *attrs.get("states", ())]
    said = [place.get("step") for place in places if isinstance(place, Mapping)]
    steps = [float(step) for step in [*known.tolist(), *said] if isinstance(step, int | float) and np.isfinite(step)]
    return int(max(steps)) if steps else None


def report_of(run: Path) -> Path | None:
    """The report that lies in a run directory."""
    report = run / "report.html"
    return report if report.is_file() else None
