"""What the states of a running training say of it: how far and how each layer moves. Each state is read once.

Of the states themselves three are held: the first, the newest, and the step between the newest two. The plane in which the training
moves is found from a sketch of each state: `SKETCH` sums of the differences from the first state, each with random signs (Achlioptas
2003). Distances and angles among sketches are those of the states within a few per cent; all else is computed from the states.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from thetascope.arrays import Floats
from thetascope.errors import ThetascopeError
from thetascope.recording.log import Record
from thetascope.recording.run_directory import RunDirectory

SKETCH = 1024
"""So many numbers stand for a state in the plane: distances are off by about √(2/1024), 4 %."""

MOST = 512
"""So many measured states are kept; of more every other one is let go."""


@dataclass(frozen=True)
class Measured:
    """One state.

    Attributes:
        record: what was recorded with it.
        distance: by layer, from the first state, in units of the layer's norm there; nan where that is 0.
        moved: by layer, from the state measured before, in the same units; empty for the first.
        step: the distance from the state measured before, over the optimizer steps between; nan for the first.
        turn: the cosine between this step and the one before; nan where there are not two.
        broken: the tensors that hold NaN or infinity.
        sketch: ``[SKETCH]``.
    """

    record: Record
    distance: Mapping[str, float]
    moved: Mapping[str, float]
    step: float
    turn: float
    broken: tuple[str, ...]
    sketch: Floats = field(repr=False)


class Measuring:
    """The states of a run, measured as they come.

    Args:
        run: the run directory.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._run, self._measured = run, dict[int, Measured]()
        self.layers = {layer.name: layer.parameters for layer in run.space.layers if layer.parameters}
        self._norms: dict[str, float] = {}
        self._first: dict[str, Tensor] = {}
        self._newest: dict[str, Tensor] = {}
        self._step: dict[str, Tensor] = {}
        self._signs: dict[str, Tensor] = {}
        self._last, self._at = -1, 0
        self.problem = ""

    @property
    def measured(self) -> list[Measured]:
        """What was measured, in order."""
        return list(self._measured.values())

    def left(self, records: Sequence[Record]) -> list[Record]:
        """The stored states that are newer than all that were measured. What was recorded anew since is forgotten before."""
        now = {record.ordinal: record.digest for record in records}
        stale = [ordinal for ordinal, one in self._measured.items() if now.get(ordinal) != one.record.digest]
        if stale:
            self._forget(min(stale))
        return [record for record in records if record.file is not None and record.ordinal > self._last]

    def _forget(self, ordinal: int) -> None:
        """Forget what was measured from there on; the next step is from a state that is gone, so its length is not known."""
        self._measured = {o: one for o, one in self._measured.items() if o < ordinal}
        self._last = max(self._measured, default=-1)
        self._newest, self._step = {}, {}
        if not self._measured:
            self._first = {}

    def measure(self, record: Record) -> bool:
        """Read the state of a record and compare it with those before. Returns whether it could be read: it may have been thinned away."""
        try:
            tensors = self._run.state(record).tensors([name for names in self.layers.values() for name in names])
        except (ThetascopeError, OSError) as error:
            self.problem, self._last = f"the state of step {record.step} could not be read: {error}", record.ordinal
            return False
        self.problem = ""
        state = {layer: _flat(tensors[name] for name in names) for layer, names in self.layers.items()}
        broken = tuple(name for name, tensor in tensors.items() if not bool(tensor.isfinite().all()))
        if not self._first:
            self._first, self._norms = state, {layer: _norm(values) for layer, values in state.items()}
        step = {layer: state[layer] - self._newest[layer] for layer in state} if self._newest else {}
        away = {layer: state[layer] - self._first[layer] for layer in state}
        self._measured[record.ordinal] = Measured(
            record,
            distance={layer: self._in_norms(layer, _norm(values)) for layer, values in away.items()},
            moved={layer: self._in_norms(layer, _norm(values)) for layer, values in step.items()},
            step=_length(step) / max(1, record.step - self._at) if step else math.nan,
            turn=_cosine(step, self._step),
            broken=broken,
            sketch=self._sketch(away),
        )
        self._newest, self._step, self._last, self._at = state, step, record.ordinal, record.step
        if len(self._measured) > MOST:
            self._thin()
        return True

    def _thin(self) -> None:
        """Let every other one go, but the first and the last."""
        kept = list(self._measured)
        self._measured = {o: self._measured[o] for o in sorted({*kept[::2], kept[-1]})}

    def _in_norms(self, layer: str, length: float) -> float:
        return length / self._norms[layer] if self._norms[layer] > 0 else math.nan

    def _sketch(self, away: Mapping[str, Tensor]) -> Floats:
        found = torch.zeros(SKETCH, dtype=torch.float64)
        for place, (layer, values) in enumerate(away.items()):
            if layer not in self._signs:
                generator = torch.Generator().manual_seed(place)
                self._signs[layer] = torch.randint(2, values.shape, generator=generator, dtype=torch.int8).mul_(2).sub_(1)
            signed = torch.nan_to_num(values * self._signs[layer], 0.0, 0.0, 0.0).double()
            padded = torch.nn.functional.pad(signed, (0, -len(signed) % SKETCH))
            found += padded.reshape(-1, SKETCH).sum(dim=0).roll(place * 101)  # so that small layers do not share their places
        return np.asarray(found.numpy())


def _flat(tensors: Iterator[Tensor]) -> Tensor:
    parts = [torch.view_as_real(t).reshape(-1) if t.is_complex() else t.reshape(-1) for t in tensors]
    return torch.cat([part.float() for part in parts])


def _norm(values: Tensor) -> float:
    return float(values.double().norm())


def _length(step: Mapping[str, Tensor]) -> float:
    return math.sqrt(sum(_norm(values) ** 2 for values in step.values())) if step else math.nan


def _cosine(step: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> float:
    lengths = _length(step) * _length(before)
    if not lengths > 0:
        return math.nan
    return sum(float(values.double() @ before[layer].double()) for layer, values in step.items()) / lengths


def plane_of(measured: Sequence[Measured]) -> tuple[Floats, Floats]:
    """The way in its plane: coordinates ``[T, 2]`` from the first state along the first two principal components, and which share of the
    variance each of these has ``[2]``; from sketches, so within a few per cent. Zeros where there are fewer than two states."""
    sketches = np.array([one.sketch for one in measured]).reshape(len(measured), -1)
    if len(measured) < 2:
        return np.zeros((len(measured), 2)), np.zeros(2)
    centered = sketches - sketches.mean(axis=0)
    values, vectors = np.linalg.eigh(centered @ centered.T)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    at = np.zeros((len(measured), 2))
    found = vectors[:, :2] * np.sqrt(values[:2])
    at[:, : found.shape[1]] = found
    at -= at[0]
    at *= np.where(at.sum(axis=0) < 0, -1.0, 1.0)  # the way goes to the right and upwards, whatever sign a vector has
    total = values.sum()
    return at, values[:2] / total if total > 0 else np.zeros(2)
