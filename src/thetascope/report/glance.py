"""The run at a glance: its model, its recording, and what its results were scored on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thetascope.experiments.framework.phrases import listed, percent, plural, size_of, step_of
from thetascope.experiments.framework.tables import Cell, Table, cell, table
from thetascope.report.found import Found
from thetascope.report.run import Run


@dataclass(frozen=True)
class Glance:
    """Facts in the order in which they are shown, the model's table, and what could not be read."""

    facts: tuple[tuple[str, str], ...]
    model: Table | None
    notes: tuple[str, ...]


def glance_of(run: Run, found: Sequence[Found]) -> Glance:
    """What is known before any experiment."""
    facts: dict[str, str] = {}
    if run.is_recorded:
        facts["parameters"] = f"{run.parameter_count:,} in {plural(len(run.layers), 'layer')}"
        if run.buffer_count:
            facts["buffers"] = f"{run.buffer_count:,} values"
    if run.records:
        first, last = ({"step": record.step, "epoch": record.epoch} for record in (run.records[0], run.records[-1]))
        facts["training"] = f"{step_of(first)} to {step_of(last)}"
        facts["recorded"] = f"{plural(len(run.records), 'moment')}, {plural(len(run.stored), 'state')} kept ({size_of(run.bytes)})"
    facts |= _scored_on(found)
    broken = [one.name for one in found if one.result is None]
    unfinished = [one.name for one in found if one.missing]
    facts["results"] = ", ".join(
        [plural(len(found), "result")]
        + ([f"{len(unfinished)} not finished: {listed(unfinished)}"] if unfinished else [])
        + ([f"{len(broken)} cannot be read: {listed(broken)}"] if broken else [])
    )
    notes = [run.problem] if run.problem else []
    notes += ["The recording goes on: this is what it had come to."] if run.in_progress else []
    notes += [f"{alias} is tied to {name} and counted once." for alias, name in run.ties]
    return Glance(tuple(facts.items()), _model(run), tuple(notes))


def _scored_on(found: Sequence[Found]) -> dict[str, str]:
    """On what the results were scored, where they say so."""
    attrs = [one.result.data.attrs for one in found if one.result is not None]
    samples = sorted({count for each in attrs for count in _values(each.get("samples_scored")) if isinstance(count, int)}, reverse=True)
    trained = sorted({each["training_samples"] for each in attrs if isinstance(each.get("training_samples"), int)}, reverse=True)
    losses = list(dict.fromkeys(str(loss) for each in attrs for loss in _values(each.get("loss_name")) if loss))
    facts = {}
    if trained:
        facts["trained on"] = f"{listed([f'{count:,}' for count in trained])} samples"
    if samples:
        facts["scored on"] = f"{listed([f'{count:,}' for count in samples])} samples, loss {listed(losses)}"
    return facts


def _values(value: Any) -> list[Any]:
    """Of an attribute, also of one by label."""
    return list(value.values()) if isinstance(value, Mapping) else [value]


def _model(run: Run) -> Table | None:
    if not run.layers:
        return None
    total = max(run.parameter_count, 1)
    rows = [
        (row.name, row.type, row.shapes, row.parameters, Cell(percent(row.parameters / total), row.parameters / total))
        for row in run.layers
    ]
    made = table("The layers of the model", ("layer", "kind", "shapes", "parameters", "share"), rows, layer_at=0)
    sums = (cell("all"), cell(""), cell(""), cell(run.parameter_count), cell("100 %"))
    return Table(made.caption, made.titles, made.rows, sums, made.note)
