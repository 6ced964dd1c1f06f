"""What every single parameter of a model takes for values on its way through the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike

from thetascope.arrays import Floats
from thetascope.drawing.captions import knots_at
from thetascope.errors import GeometryError, TrajectoryError
from thetascope.experiments.framework.call_options import Layers
from thetascope.experiments.parameter_atlas.single_parameters import Piece
from thetascope.experiments.shared.training_path import TrainingPath, midpoints
from thetascope.geometry.paths import lagrange_weights
from thetascope.scoring.objective import Objective
from thetascope.trajectory import Trajectory

Mode = Literal["tabulated", "exact"]
MOST_VALUES = 2 * 10**8
"""A larger table of parameters and α is refused: it would not fit into memory."""

OTHER = {"linear": "quadratic", "quadratic": "linear"}


def both_paths(objective: Objective, trajectory: Trajectory, kind: str) -> dict[str, TrainingPath]:
    """The path that is asked for; and the other where there are the states for it."""
    asked = TrainingPath(objective, trajectory, kind)  # type: ignore[arg-type]
    try:
        other = TrainingPath(objective, trajectory, OTHER[kind])  # type: ignore[arg-type]
    except TrajectoryError:
        return {kind: asked}
    return {kind: asked, OTHER[kind]: other}


@dataclass(frozen=True)
class SinglePaths:
    """What is asked for: the parameters in their order, and what each takes for values."""

    objective: Objective
    paths: Mapping[str, TrainingPath]
    kind: str
    mode: Mode
    alphas: Floats
    selection: Layers

    def __post_init__(self) -> None:
        values = self.count * len(self.alphas)
        if values > MOST_VALUES:
            raise GeometryError(
                f"{self.count:,} parameters at {len(self.alphas)} values of α are {values:,} values, over the {MOST_VALUES:,} that are "
                "kept in memory; name fewer layers with layers=, or fewer alphas"
            )

    @property
    def path(self) -> TrainingPath:
        """The path that is asked for."""
        return self.paths[self.kind]

    @property
    def state(self) -> Any:
        """The final state, which is edited."""
        return self.path.states[-1]

    @cached_property
    def owners(self) -> dict[str, str]:
        """The tensors whose parameters are examined, each with its layer; complex values lie on no line of real ones."""
        space = self.objective.space
        layers = [layer for group in self.path.groups(self.selection).values() for layer in group]
        found = {n: layer.name for layer in layers for n in layer.parameters if space.tensors[n].floating}
        return {n: owner for n, owner in found.items() if not space.tensors[n].dtype.startswith("complex")}

    @cached_property
    def starts(self) -> dict[str, int]:
        """Where among all parameters each tensor's begin."""
        starts, total = {}, 0
        for name in self.owners:
            starts[name] = total
            total += self.state.specs[name].size
        return starts

    @property
    def count(self) -> int:
        """How many parameters."""
        return sum(self.state.specs[name].size for name in self.owners)

    @cached_property
    def labels(self) -> list[str]:
        """Their names, such as "fc1.weight[3,7]"."""
        found = []
        for name in self.owners:
            shape = self.state.specs[name].shape
            indices = product(*(range(n) for n in shape))
            found += [f"{name}[{','.join(map(str, index))}]" if index else name for index in indices]
        return found

    def rows(self, piece: Piece) -> slice:
        """Where among all parameters those of a piece lie."""
        start = self.starts[piece.tensor] + piece.start
        return slice(start, start + len(piece))

    def knots(self, piece: Piece) -> Floats:
        """First, middle and last value of each parameter ``[p, 3]``; without a middle state the middle is nan."""
        quadratic = self.paths.get("quadratic")
        states = self.path.states if quadratic is None else quadratic.states
        read = [s.piece(piece.tensor, piece.start, piece.stop).double().cpu().numpy() for s in states]
        return np.stack(read if len(read) == 3 else [read[0], np.full_like(read[0], np.nan), read[1]], axis=1)

    def deltas(self, piece: Piece, kind: str) -> Floats:
        """By how much each value differs from the final one ``[p, A]``, once rounded to the dtype of the evaluation; 0 at α = 1."""
        path, dtype = self.paths[kind], self.objective.model.target_dtype(piece.tensor)
        weights, knots = lagrange_weights(path.at, self.alphas), self.knots(piece)[:, :: 4 - len(path.states)]
        values = sum(np.where(w == 0, 0.0, w * np.where(w == 0, 0.0, knots[:, b : b + 1])) for b, w in enumerate(weights.T))
        rounded, final = (torch.from_numpy(np.ascontiguousarray(v)).to(dtype).double().numpy() for v in (values, knots[:, -1:]))
        return np.asarray(rounded - final)

    @property
    def kinds(self) -> list[str]:
        """The paths there are; the one that is asked for comes first."""
        return list(self.paths)

    @property
    def variables(self) -> dict[str, str]:
        """What each path's change is called."""
        return {kind: "loss_change" if kind == self.kind else f"{kind}_change" for kind in self.kinds}

    def constants(self) -> dict[str, tuple[tuple[str, ...], ArrayLike]]:
        """What needs no scoring."""
        knots = np.concatenate([self.knots(Piece(name, 0, self.state.specs[name].size)) for name in self.owners])
        layer = np.repeat(list(self.owners.values()), [self.state.specs[name].size for name in self.owners])
        return {
            "distance": (("parameter",), np.abs(knots[:, 2] - knots[:, 0])),
            "midpoint": (("parameter",), midpoints(knots)),
            "layer": (("parameter",), layer),
        }

    def attrs(self) -> dict[str, Any]:
        """What the result says of itself besides its numbers."""
        alphas, path = self.alphas, self.path
        reach = f"α from {alphas.min():.3g} to {alphas.max():.3g}".replace("-", "−")
        return {
            **path.attrs(),
            "mode": self.mode,
            "tensors": {name: list(self.state.specs[name].shape) for name in self.owners},
            "subtitle": f"the rest stays final; {knots_at(path.knots())}; {reach}",
        }
