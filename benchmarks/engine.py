"""Networks of several kinds against a plain loop: a line of the whole model, one layer at a time, short work.

The plain loop is what one would write: weights are interpolated and copied into the model, and the data go through in the number of rows
that is fastest for it. Its time a point is measured before and after each call; a call is timed from asking to the result, on an
objective that knows nothing yet. `--seconds` of plain loop are asked for at a time; what is longer is told by points.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

import thetascope as ts
from _measure import Ratio, report, timed
from _networks import NETWORKS, Network, State, states_of
from thetascope.scoring.fast.checked import CheckedBackend

ROWS = (16, 32, 50, 100, 250, 500)
LAYER_ALPHAS = tuple(np.linspace(0.0, 1.0, 11))
SAMPLES_OF_LAYERS = {"ResNet-56": 100, "experts": 2000}
"""Fewer samples where all layers would take half an hour."""


class PlainLoop:
    """Scores interpolated states one after the other, in the number of rows that is fastest."""

    def __init__(self, network: Network, data: Mapping[str, Tensor], first: State, last: State) -> None:
        self.network, self.data, self.first, self.last = network, data, first, last
        self.model = network.make().eval()
        self.held = self.model.state_dict()
        self.total = len(data["labels"])
        self.rows = self.total
        times = {}
        for rows in [rows for rows in ROWS if rows < self.total] + [self.total]:
            self.rows = rows
            times[rows] = min(timed(self.score, 0.3, None)[0] for _ in range(3))
        self.rows = min(times, key=lambda rows: times[rows])

    def score(self, alpha: float, layer: str | None) -> float:
        """The mean loss at a point."""
        with torch.no_grad():
            for name, tensor in self.held.items():
                moves = tensor.is_floating_point() and not name.endswith(("running_mean", "running_var"))
                moves = moves and (layer is None or name.rpartition(".")[0] == layer)
                tensor.copy_(self.first[name] + (self.last[name] - self.first[name]) * alpha if moves else self.last[name])
            losses = []
            for start in range(0, self.total, self.rows):
                batch = {name: value[start : start + self.rows] for name, value in self.data.items()}
                losses.append(self.network.step(self.model, batch))
            return float(torch.cat(losses).double().mean())

    def seconds(self, points: int = 3) -> float:
        """A point's, at its best."""
        return min(timed(self.score, 0.1 + 0.2 * k, None)[0] for k in range(points))


@dataclass
class Guards:
    """Seconds that the checks of the engines took."""

    seconds: float = 0.0


@contextmanager
def guards_timed() -> Iterator[Guards]:
    """Watch how long the guards take: whether two passes agree, and whether an engine gives what the model gives."""
    found = Guards()
    ready: Callable[..., bool] = CheckedBackend.ready

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                found.seconds += time.perf_counter() - start

        return call

    with mock.patch.object(CheckedBackend, "ready", watched(ready)):
        import thetascope.scoring.determinism as determinism

        with mock.patch.object(determinism, "_agree_on_few", watched(determinism._agree_on_few)):
            yield found


def measure(name: str, kind: str, seconds: float, rounds: int) -> dict[str, Any]:
    """One network, one kind of walk."""
    network = NETWORKS[name]
    samples = SAMPLES_OF_LAYERS.get(name, network.samples) if kind == "layers" else network.samples
    data, (first, last) = network.data(samples), states_of(network)
    plain = PlainLoop(network, data, first, last)
    each = plain.seconds()
    count = max(3, round((2.0 if kind == "short" else seconds) / each))
    trajectory = ts.Trajectory.from_states([first, last])
    call: dict[str, Any] = {"level": "model", "alphas": tuple(np.linspace(0.0, 1.0, count))}
    if kind == "layers":
        call = {"level": "layer", "alphas": LAYER_ALPHAS}
    ratios, guarded, engine, off = [], [], {}, 0.0
    for _ in range(rounds):
        objective = network.objective(data, buffers="final")
        before = plain.seconds()
        with guards_timed() as guards:
            took, result = timed(ts.interpolate, objective, trajectory, progress=False, **call)
        after = plain.seconds()
        losses = result.data["loss"]
        ratios.append((before + after) / 2 * losses.size / took)
        guarded.append((before + after) / 2 * losses.size / (took - guards.seconds))
        engine = result.data.attrs["engine"]
        alpha = float(result.data["alpha"][1])
        layer = None if kind != "layers" else str(result.data["layer"].values[len(result.data["layer"]) // 2])
        found = losses.sel(alpha=alpha) if layer is None else losses.sel(alpha=alpha, layer=layer)
        off = max(off, abs(float(found) / plain.score(alpha, layer) - 1))
    ratio = Ratio(tuple(guarded if kind == "short" else ratios))
    settings = engine["settings"] and {key: value for key, value in engine["settings"].items() if value}
    how = f"{engine['name']} {settings or ''}".strip()
    print(
        f"{name:20} {kind:7} {losses.size:5} points, plain {each * 1000:7.1f} ms at {plain.rows:3} rows: {ratio}; {how}; off {off:.1e}",
        flush=True,
    )
    return {
        "network": name,
        "kind": kind,
        "points": int(losses.size),
        "ratio": ratio.median,
        "rounds": ratio.rounds,
        "engine": engine,
        "off": off,
    }


def main() -> None:
    """Print the table, as text and JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--networks", nargs="*", default=list(NETWORKS))
    options.add_argument("--kinds", nargs="*", default=["whole", "short", "layers"], choices=["whole", "short", "layers"])
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--rounds", type=int, default=3)
    arguments = options.parse_args()
    rows = [measure(name, kind, arguments.seconds, arguments.rounds) for kind in arguments.kinds for name in arguments.networks]
    report("engine", {"table": rows})


if __name__ == "__main__":
    main()
