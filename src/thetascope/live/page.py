"""The page of a training that runs: it renews itself, opens from disk, and needs nothing besides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from thetascope.arrays import Floats
from thetascope.files import write_atomically
from thetascope.live.charts import line_chart, number, way_chart
from thetascope.live.measuring import Measured
from thetascope.live.watcher import View
from thetascope.safe_paths import check_below
from thetascope.shown import encoded, shown

FILE = "live.html"

MOST_LAYERS = 40
"""So many rows the table of layers shows at once; the rest are folded."""

MARKED = 6
"""So many layers have a colour: those that have moved farthest."""

RENEW = "setTimeout(() => location.reload(), {milliseconds});"


def write_page(home: Path, view: View, every: float) -> Path:
    """Write ``RUN/live.html``; an older one is replaced, whole or not at all.

    Args:
        home: the run directory.
        view: what is shown.
        every: seconds after which the page loads itself anew; not once nobody records any more.
    """
    path = home / FILE
    check_below(home, path)
    content = encoded(page_of(view, every))

    def write(partial: Path) -> None:
        partial.write_bytes(content)

    write_atomically(path, write)
    return path


def page_of(view: View, every: float) -> str:
    """The page as HTML."""
    name = escape(shown(view.name))
    renews = "" if view.is_over else f"<script>{RENEW.format(milliseconds=round(every * 1000))}</script>"
    when = f"Written at {datetime.now().astimezone():%H:%M:%S}."
    told = when if view.is_over else f"{when} The page renews itself every {every:.0f} s."
    problem = f'<p class="note">{escape(shown(view.problem))}</p>' if view.problem else ""
    alarms = "".join(f"<li>{escape(shown(told))}</li>" for told in view.alarms)
    listed = f'<ul class="alarms" aria-label="Alarms">{alarms}</ul>' if alarms else '<p class="note">No alarm.</p>'
    charts = "".join(_charts(view)) or '<p class="note">Nothing is measured yet.</p>'
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{name}, live</title><style>{_style()}</style></head><body><main><h1>{name}</h1>"
        f'<p class="status">{escape(shown(view.status))} {told}</p>{problem}{listed}<div class="charts">{charts}</div>'
        f"{_layers(view.measured)}</main>{renews}</body></html>"
    )


def _style() -> str:
    return files("thetascope.live").joinpath("assets", "live.css").read_text(encoding="utf-8")


def _charts(view: View) -> list[str]:
    measured = view.measured
    steps = np.array([float(one.record.step) for one in measured])
    charts = []
    if len(measured) > 1:
        first, second = (f"{100 * share:.0f}%" for share in view.shares)
        charts.append(
            way_chart(
                view.way,
                [one.record.step for one in measured],
                title="The path of the weights, in its plane",
                x_label=f"principal component 1 ({first} of the variance)",
                y_label=f"principal component 2 ({second})",
            )
        )
    if view.line is not None:
        title = f"Loss along the straight line from the first state to step {view.line.step:,}, on {view.line.samples:,} samples"
        charts.append(
            line_chart({"loss": (view.line.alphas, view.line.losses)}, x_label="α: 0 is the first state, 1 the newest", title=title)
        )
    for kind, curves in _by_kind(view.metrics).items():
        charts.append(line_chart(curves, x_label="step", title=kind if len(curves) > 1 else next(iter(curves)).replace("_", " ")))
    if len(measured) > 1:
        away = {layer: (steps, np.array([one.distance[layer] for one in measured])) for layer in measured[-1].distance}
        farthest = sorted(away, key=lambda layer: -np.nan_to_num(away[layer][1][-1]))[:MARKED]
        names = {layer: shown(layer) for layer in away}
        charts.append(
            line_chart(
                {names[layer]: curve for layer, curve in away.items()},
                x_label="step",
                title="Distance of each layer from its start / its norm there",
                marked=[names[layer] for layer in farthest],
            )
        )
        charts.append(
            line_chart({"length": (steps, _of(measured, "step"))}, x_label="step", title="Distance moved per optimizer step", log=True)
        )
        charts.append(line_chart({"cosine": (steps, _of(measured, "turn"))}, x_label="step", title="Cosine between successive moves"))
    return charts


def _by_kind(metrics: Mapping[str, tuple[Floats, Floats]]) -> dict[str, dict[str, tuple[Floats, Floats]]]:
    """Metrics whose names end alike, as train_loss and validation_loss do, stand in one chart."""
    kinds: dict[str, dict[str, tuple[Floats, Floats]]] = {}
    for name, curve in metrics.items():
        kinds.setdefault(shown(name.rpartition("_")[2]), {})[shown(name)] = curve
    return kinds


def _of(measured: Sequence[Measured], name: str) -> Floats:
    return np.array([getattr(one, name) for one in measured], np.float64)


def _layers(measured: Sequence[Measured]) -> str:
    if not measured:
        return ""
    newest = measured[-1]
    rows = [
        f"<tr><td>{escape(shown(layer))}</td><td>{_cell(distance)}</td><td>{_cell(newest.moved.get(layer, math.nan))}</td></tr>"
        for layer, distance in newest.distance.items()
    ]
    head = "<thead><tr><th>layer</th><th>distance from its start</th><th>newest move</th></tr></thead>"
    shown_rows, folded = rows[:MOST_LAYERS], rows[MOST_LAYERS:]
    table = f'<div class="wide"><table>{head}<tbody>{"".join(shown_rows)}</tbody></table></div>'
    if folded:
        more = f"<table>{head}<tbody>{''.join(folded)}</tbody></table>"
        table += f'<details><summary>{len(folded)} more layers</summary><div class="wide">{more}</div></details>'
    return f'<h2>Layers</h2><p class="note">In units of each layer’s norm in the first state.</p>{table}'


def _cell(value: float) -> str:
    return "–" if math.isnan(value) else number(value)
