"""Scalar edits: one state in which one single parameter at a time takes other values."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from thetascope.arrays import Floats
from thetascope.errors import GeometryError
from thetascope.geometry.points import state_identity
from thetascope.state import ParameterSpace, State, TensorSpec


@dataclass(frozen=True, order=True)
class Parameter:
    """One single parameter: a tensor's name and an index into it. Written ``conv1.weight[0,0,1,1]``."""

    name: str
    index: tuple[int, ...]

    @property
    def label(self) -> str:
        """How it is written; a tensor without dimensions has no brackets."""
        return f"{self.name}[{','.join(map(str, self.index))}]" if self.index else self.name

    @classmethod
    def parse(cls, label: str, space: ParameterSpace) -> Parameter:
        """Read a label.

        Raises:
            GeometryError: it is not written so, or names no parameter of `space`.
        """
        match = re.fullmatch(r"(.+?)(?:\[([\d,\s-]*)\])?", label)
        name, inner = (match.group(1), match.group(2)) if match else (label, None)
        try:
            index = tuple(int(part) for part in inner.split(",")) if inner else ()
        except ValueError as error:
            raise GeometryError(f'a parameter is written like "conv1.weight[0,0,1,1]". Got "{label}" instead.') from error
        return cls(name, index).checked(space)

    def checked(self, space: ParameterSpace) -> Parameter:
        """Itself with indices from 0, or an error that says what there is.

        Raises:
            GeometryError: the tensor is unknown, does not move on a continuum, or the index lies outside it.
        """
        if self.name not in space.parameters:
            raise GeometryError(f'no parameter tensor "{self.name}"; there are: {", ".join(space.parameters)}')
        spec = space.tensors[self.name]
        if spec.dtype.startswith("complex"):
            raise GeometryError(f'"{self.name}" holds {spec.dtype}; a single complex value takes no one real value. Move its layer instead')
        if not spec.floating:
            raise GeometryError(f'"{self.name}" holds {spec.dtype}; only floating parameters lie on a path')
        if len(self.index) != len(spec.shape) or any(not -n <= i < n for i, n in zip(self.index, spec.shape, strict=True)):
            raise GeometryError(f'index {list(self.index)} lies outside "{self.name}" {list(spec.shape)}; indices count from 0')
        return Parameter(self.name, tuple(i % n for i, n in zip(self.index, spec.shape, strict=True)))


def chosen_parameters(
    chosen: Sequence[str] | Mapping[str, Sequence[Sequence[int]]] | int, space: ParameterSpace, layers: Sequence[str], seed: int = 0
) -> list[Parameter]:
    """The single parameters that a caller means.

    Args:
        chosen: labels, or ``{tensor name: [index tuple, …]}``, or how many to draw in each layer.
        space: the model's.
        layers: the names of the layers to draw in.
        seed: of the drawing.

    Raises:
        GeometryError: a label, name, index or count is off, or one parameter is named twice.
    """
    if isinstance(chosen, bool) or (isinstance(chosen, int) and chosen < 1):
        raise GeometryError(f"a number of parameters a layer must be at least 1. Got {chosen} instead.")
    if isinstance(chosen, int):
        by_name = {layer.name: layer.parameters for layer in space.layers}
        generator = np.random.default_rng(seed)
        drawn = [p for layer in layers for p in _drawn({n: space.tensors[n] for n in by_name[layer]}, chosen, generator)]
        if not drawn:
            raise GeometryError(
                f"there is no real parameter to draw in {', '.join(layers)}; a single complex value takes no one real value"
            )
        return drawn
    if isinstance(chosen, str):
        raise GeometryError(f'parameters must be a list of labels, got the string "{chosen}": write ["{chosen}"]')
    if isinstance(chosen, Mapping):
        found = [Parameter(name, tuple(map(int, index))).checked(space) for name, indices in chosen.items() for index in indices]
    else:
        found = [Parameter.parse(label, space) for label in chosen]
    if not found or len(set(found)) < len(found):
        raise GeometryError("parameters must name at least one parameter, and each only once")
    return found


def _drawn(tensors: Mapping[str, TensorSpec], count: int, generator: np.random.Generator) -> list[Parameter]:
    """Draw `count` of a layer's parameters without replacement, in the order in which they lie in it."""
    floating = {name: spec for name, spec in tensors.items() if spec.floating and not spec.dtype.startswith("complex")}
    sizes = [spec.size for spec in floating.values()]
    places = np.sort(generator.choice(sum(sizes), size=min(count, sum(sizes)), replace=False))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    found = []
    for place in places:
        which = int(np.searchsorted(starts, place, side="right")) - 1
        name = list(floating)[which]
        index = np.unravel_index(int(place - starts[which]), floating[name].shape)
        found.append(Parameter(name, tuple(map(int, index))))
    return found


@dataclass(frozen=True, eq=False)
class ScalarEdits:
    """E·A points: `state` with parameter e set to ``values[e, a]``, at flat index ``e · A + a``.

    Raises:
        GeometryError: the table's shape does not fit, or a value is not finite while it should be.
    """

    state: State
    parameters: tuple[Parameter, ...]
    values: Floats

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or len(self.values) != len(self.parameters):
            raise GeometryError(f"values must be [{len(self.parameters)} parameters, alphas]. Got {list(self.values.shape)} instead.")

    @property
    def basis(self) -> tuple[State, ...]:
        """The one state that is edited."""
        return (self.state,)

    def __len__(self) -> int:
        return self.values.size

    def uses(self, name: str) -> NDArray[np.int64]:
        """Every point needs the one state."""
        return np.array([len(self)])

    def needs(self, k: int, name: str) -> tuple[int, ...]:
        """The one state."""
        return (0,)

    def tensor(self, k: int, name: str, parts: Mapping[int, Tensor]) -> Tensor:
        """The state's own tensor, or a copy with the one value replaced."""
        edit, a = divmod(k, self.values.shape[1])
        parameter = self.parameters[edit]
        if parameter.name != name:
            return parts[0]
        changed = parts[0].clone()
        changed[parameter.index] = float(self.values[edit, a])
        return changed

    def signature(self, k: int, name: str) -> Hashable:
        """The point itself for the tensor that it edits; None for the rest."""
        return k if self.parameters[k // self.values.shape[1]].name == name else None

    def identity(self, k: int) -> Hashable | None:
        """The state, the parameter and its value; the state alone where it holds that value."""
        if self.is_stored(k):
            return state_identity(self.state)
        edit, a = divmod(k, self.values.shape[1])
        return ("edit", self.state.digest(), self.parameters[edit], float(self.values[edit, a]))

    def is_stored(self, k: int) -> bool:
        """Whether the value is the one that the state holds."""
        edit, a = divmod(k, self.values.shape[1])
        return bool(self.values[edit, a] == self._own_values[edit])

    @cached_property
    def _own_values(self) -> Floats:
        return parameter_values([self.state], self.parameters)[:, 0]

    def holding_buffers(self) -> ScalarEdits:
        """Buffers are the state's anyway."""
        return self

    def digest(self) -> str:
        """SHA-256 over the parameters and their values."""
        total = hashlib.sha256(np.ascontiguousarray(self.values).tobytes())
        total.update(repr([p.label for p in self.parameters]).encode())
        return total.hexdigest()


def parameter_values(states: Sequence[State], parameters: Sequence[Parameter]) -> Floats:
    """What each parameter is at each state, ``[E, B]`` in float64. Each tensor is read once a state."""
    values = np.empty((len(parameters), len(states)))
    for b, state in enumerate(states):
        tensors = state.tensors(sorted({p.name for p in parameters}))
        for e, parameter in enumerate(parameters):
            values[e, b] = float(tensors[parameter.name][parameter.index])
    return values


def path_values(weights: Floats, values: Floats) -> Floats:
    """``[E, A]``: the weights ``[A, B]`` over the values ``[E, B]``; a weight of exactly 0 leaves its state out."""
    terms = np.where(weights[None] == 0, 0.0, weights[None] * np.where(weights[None] == 0, 0.0, values[:, None, :]))
    return np.array([[math.fsum(term) if np.isfinite(term).all() else term.sum() for term in row] for row in terms])
