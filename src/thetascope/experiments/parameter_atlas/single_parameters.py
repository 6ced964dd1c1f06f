"""The change of the loss for many single parameters at once: tabulated where they are weights of a linear layer, else scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from thetascope.arrays import Floats
from thetascope.experiments.parameter_atlas.adaptive_curves import Curve
from thetascope.experiments.parameter_atlas.loss_tables import Tabulation, block_outputs
from thetascope.geometry.edits import Parameter, ScalarEdits
from thetascope.scoring.fast.choice import Engine
from thetascope.scoring.fast.graph import NotTraceableError, traced
from thetascope.scoring.fast.shared import GraphBackend
from thetascope.scoring.fast.single_edits import Routes
from thetascope.scoring.metrics import SupervisedStep
from thetascope.scoring.objective import Objective
from thetascope.scoring.runner import Request, Runner, Sink
from thetascope.state import State

PROJECTED_PLACES = 25
"""So many are counted on, for each such parameter, when the time is told before."""

PARAMETERS_AT_ONCE = 128
"""So many of these make a unit."""


@dataclass(frozen=True)
class Piece:
    """The parameters `start` to `stop` of a tensor, in its own order."""

    tensor: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Unit:
    """Parameters that are finished together. `outputs`: of the linear layer whose weights and biases they are; none where not tabulated."""

    pieces: tuple[Piece, ...]
    outputs: range = range(0)


@dataclass(frozen=True)
class Changes:
    """Changes of the loss ``[parameters, A]``, and which of them were read off a table or between scored places."""

    values: Floats
    is_read: NDArray[np.bool_]


class SingleParameters:
    """Scores edits of single parameters of one state. Call it within the model's `running`.

    Args:
        objective: what to score.
        state: bound to its model; what is edited.
        final_loss: its loss.
        engine: what scores that which is not tabulated.
        sink: for the runner; nothing is written to it.
        tabulate: whether to tabulate at all, and to read between nodes; else every value is scored.
    """

    def __init__(self, objective: Objective, state: State, final_loss: float, engine: Engine, sink: Sink, *, tabulate: bool) -> None:
        self._objective, self._state, self._final_loss, self._tabulate = objective, state, final_loss, tabulate
        self.runner = Runner(objective, sink, engine)
        self._tables: dict[str, Tabulation] = {}
        self._routes: Routes | None = None
        if tabulate and issubclass(engine.backend, GraphBackend):
            self._find_tables()

    def _find_tables(self) -> None:
        """The linear layers that can be tabulated, by the name of their weight."""
        model, (inputs, targets) = self._objective.model, self._objective.batches.first()
        try:
            routes = Routes(traced(model), model.tensors_of(self._state), model.guarded(inputs))
        except NotTraceableError:
            return
        step = model.step
        if not isinstance(step, SupervisedStep) or not isinstance(inputs, torch.Tensor):
            return
        for name in model.space.parameters:
            route = routes.of(name)
            if route is None or not route.site.is_linear or route.site.role != "weight" or not route.way.stackable:
                continue
            plain = routes.example[route.site.inputs].ndim == 2
            outputs = routes.example[routes.traced.output]
            if plain and step.losses(outputs, targets[: len(outputs)]).per_sample:
                self._tables[name] = Tabulation(self._objective, routes, route)
        self._routes = routes

    def units(self, tensors: Sequence[str]) -> list[Unit]:
        """How the parameters of `tensors` are gone through."""
        found: list[Unit] = []
        left = list(tensors)
        for name in tensors:
            if name not in left:
                continue
            if name in self._tables:
                bias = self._bias_of(name)
                bias = bias if bias in left else None
                found += self._tabulated_units(name, bias)
                left.remove(name)
                if bias is not None:
                    left.remove(bias)
        for name in left:
            size = self._state.specs[name].size
            found += [Unit((Piece(name, a, min(a + PARAMETERS_AT_ONCE, size)),)) for a in range(0, size, PARAMETERS_AT_ONCE)]
        return found

    def _bias_of(self, weight: str) -> str | None:
        assert self._routes is not None
        route = self._routes.of(weight)
        assert route is not None
        names = self._routes.traced.names(route.site.node)
        bias = names.get("bias")
        return bias if bias is not None and self._routes.of(bias) is not None else None

    def _tabulated_units(self, weight: str, bias: str | None) -> list[Unit]:
        outputs, inputs = self._state.specs[weight].shape
        step = block_outputs(inputs)
        found = []
        for a in range(0, outputs, step):
            b = min(a + step, outputs)
            biases = () if bias is None else (Piece(bias, a, b),)
            found.append(Unit((Piece(weight, a * inputs, b * inputs), *biases), range(a, b)))
        return found

    def is_tabulated(self, unit: Unit) -> bool:
        """Whether the unit's values are read off a table."""
        return len(unit.outputs) > 0

    def table_seconds(self, units: Sequence[Unit]) -> float:
        """How long the tables of these units will take."""
        shares = {
            unit.pieces[0].tensor: sum(len(u.outputs) for u in units if u.pieces[0].tensor == unit.pieces[0].tensor)
            for unit in units
            if self.is_tabulated(unit)
        }
        return sum(self._tables[name].seconds() * count / self._state.specs[name].shape[0] for name, count in shares.items())

    def changes(self, unit: Unit, deltas: Sequence[Floats]) -> list[Changes]:
        """The change of the loss, for each piece of the unit ``[parameters, A]``, where its values change by as much."""
        if not self.is_tabulated(unit):
            return [self._scored(piece, delta) for piece, delta in zip(unit.pieces, deltas, strict=True)]
        found = [Changes(change, np.ones(change.shape, bool)) for change in self._read(unit, deltas)]
        for piece, delta, change in zip(unit.pieces, deltas, found, strict=True):
            change.is_read[delta == 0] = False  # what does not change is known
            bad = np.flatnonzero(~np.isfinite(change.values).all(axis=1))
            for start in range(0, len(bad), PARAMETERS_AT_ONCE):  # what overflows at one place of a table spoils its neighbours
                some = bad[start : start + PARAMETERS_AT_ONCE]
                change.values[some], change.is_read[some] = self._each(piece, some, delta[some]), False
        return found

    def _read(self, unit: Unit, deltas: Sequence[Floats]) -> list[Floats]:
        """From a table of the block: its rows are outputs, its columns inputs; the bias is one column more."""
        table, count = self._tables[unit.pieces[0].tensor], len(unit.outputs)
        weights = deltas[0].reshape(count, -1, deltas[0].shape[-1])
        has_bias = len(deltas) > 1
        bias = deltas[1][:, None] if has_bias else np.zeros((count, 1, weights.shape[-1]))
        whole = np.concatenate([weights, bias], axis=1).transpose(1, 0, 2)
        found = table.curves(unit.outputs, np.abs(whole).max(axis=(1, 2))).at(whole).transpose(1, 0, 2)
        changes = [found[:, :-1].reshape(deltas[0].shape)]
        return [*changes, found[:, -1]] if has_bias else changes

    def _scored(self, piece: Piece, delta: Floats) -> Changes:
        """Parameters that no table serves."""
        members = np.arange(len(piece))
        if not self._tabulate:
            return Changes(self._each(piece, members, delta), np.zeros(delta.shape, bool))
        curves = [Curve(row, self._final_loss) for row in delta]
        while True:
            bending = np.array([k for k, curve in enumerate(curves) if len(curve.asks)], np.int64)
            if not len(bending):
                return Changes(np.stack([curve.values() for curve in curves]), np.stack([curve.is_read for curve in curves]))
            asks = [curves[k].asks for k in bending]
            at = np.zeros((len(asks), max(map(len, asks))))
            for row, ask in zip(at, asks, strict=True):
                row[: len(ask)] = ask
            for k, ask, changes in zip(bending, asks, self._each(piece, bending, at), strict=True):
                curves[k].tell(changes[: len(ask)])

    def _each(self, piece: Piece, members: NDArray[np.int64], delta: Floats) -> Floats:
        """Every value scored; a change of 0 changes nothing."""
        parameters = parameters_of(self._state, piece, members)
        flat = self._state.piece(piece.tensor, piece.start, piece.stop).double().cpu().numpy()[members]
        return self.scored(parameters, flat[:, None] + delta, delta != 0)

    def scored(self, parameters: Sequence[Parameter], values: Floats, wanted: NDArray[np.bool_]) -> Floats:
        """The change of the loss at the `wanted` ones of the ``values[E, A]``; 0 at the others."""
        edits = ScalarEdits(self._state, tuple(parameters), values)
        rows = np.flatnonzero(wanted).tolist()
        found = np.zeros(values.size)
        if rows:
            request = Request(edits, ("parameter", "alpha"), values.shape)
            found[rows] = np.asarray(self.runner.columns(request, rows)["loss"]) - self._final_loss
        return found.reshape(values.shape)


def parameters_of(state: State, piece: Piece, members: Sequence[int] | NDArray[np.int64]) -> list[Parameter]:
    """The single parameters at some places of a piece."""
    shape, places = state.specs[piece.tensor].shape, np.asarray(members) + piece.start
    return [Parameter(piece.tensor, tuple(map(int, np.unravel_index(int(place), shape)))) for place in places]


def measured_error(objective: Objective, state: State, engine: Engine, sink: Sink, sample: Sequence[tuple[Parameter, Any, Any]]) -> Floats:
    """The errors ``[E, A]`` of changes of the loss, against the same edits scored in double precision.

    Args:
        objective: what to score.
        state: what is edited, of the objective's model.
        engine: what scores.
        sink: for the runner.
        sample: parameters, each with the values ``[A]`` that it takes and the changes ``[A]`` that were found.
    """
    exact = objective.exact(state)
    values, found = (np.array([row[k] for row in sample], dtype=np.float64) for k in (1, 2))
    with exact.model.running():
        bound = exact.bind(state)
        final = float(exact.score(bound)["loss"])
        scorer = SingleParameters(exact, bound, final, engine, sink, tabulate=False)
        return found - scorer.scored([row[0] for row in sample], values, np.ones(values.shape, bool))
