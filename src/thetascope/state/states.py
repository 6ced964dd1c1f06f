"""States: named tensors of a model at one moment, wherever they lie."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from thetascope.errors import StateError, ThetascopeError
from thetascope.shown import shown
from thetascope.state.space import TensorSpec
from thetascope.state.written import write_safetensors

READ_AT_ONCE = 32
"""So many tensors of a state are read together: few enough to hold, many enough to open its file seldom."""


class TensorSource(Protocol):
    """Where a state's tensors come from: memory, a file, a seed."""

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """What there is to read."""
        ...

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Read the tensors `names`, on the CPU unless they are held elsewhere."""
        ...

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        """The values `start` to `stop` of one tensor in row-major order, ``[stop - start]``."""
        ...


def origin_of(source: TensorSource, name: str) -> Hashable:
    """Where a source takes a tensor from. Two tensors of one origin are the same, so that neither need be read to know it."""
    told: Callable[[str], Hashable] | None = getattr(source, "origin", None)
    return (id(source), name) if told is None else told(name)


class _Held:
    """Tensors in memory."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = dict(tensors)
        self.specs: Mapping[str, TensorSpec] = {n: TensorSpec.of(t) for n, t in self._tensors.items()}

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        return {name: self._tensors[name] for name in names}

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        return self._tensors[name].reshape(-1)[start:stop]


class Renamed:
    """Another source's tensors under other names; `names` maps each new name to the old one."""

    def __init__(self, source: TensorSource, names: Mapping[str, str], kinds: Mapping[str, TensorSpec]) -> None:
        self._source, self._names = source, dict(names)
        specs = source.specs
        self.specs: Mapping[str, TensorSpec] = {
            new: TensorSpec(specs[old].shape, specs[old].dtype, kinds[new].kind if new in kinds else specs[old].kind)
            for new, old in self._names.items()
        }

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Read the tensors of these new names."""
        found = self._source.read([self._names[name] for name in names])
        return {name: found[self._names[name]] for name in names}

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        """Some values of one tensor."""
        return self._source.piece(self._names[name], start, stop)

    def origin(self, name: str) -> Hashable:
        """As `origin_of`."""
        return origin_of(self._source, self._names[name])


class Completed:
    """Another source's tensors, and some that it lacks."""

    def __init__(self, source: TensorSource, more: Mapping[str, Tensor], order: Sequence[str], kinds: Mapping[str, TensorSpec]) -> None:
        self._source, self._more = source, _Held(more)
        both = {**source.specs, **{name: TensorSpec(s.shape, s.dtype, kinds[name].kind) for name, s in self._more.specs.items()}}
        self.specs: Mapping[str, TensorSpec] = {name: both[name] for name in order}

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Read the tensors `names`, each from where it lies."""
        own = [name for name in names if name not in self._more.specs]
        found = (self._source.read(own) if own else {}) | self._more.read([name for name in names if name in self._more.specs])
        return {name: found[name] for name in names}

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        """Some values of one tensor."""
        return (self._more if name in self._more.specs else self._source).piece(name, start, stop)

    def origin(self, name: str) -> Hashable:
        """As `origin_of`."""
        return origin_of(self._more if name in self._more.specs else self._source, name)


class State(Mapping[str, Tensor]):
    """Named tensors of a model at one moment of its training, read when they are asked for.

    A mapping of names to tensors. `step`, `epoch` and `metrics` are what was recorded with it, `label` how messages and figures
    call it, `run` the run directory that it was recorded in, `ends_run` whether it is the last there. Before values are handed
    out for the first time, a state that has an `expected_digest` or a `verify` is read whole and checked: a file that was
    altered is an error, not a wrong number. `recipe` identifies what the tensors are computed from whenever they are read; None where they
    are stored. `dropped` says whether a recording that goes on did that.

    Example:
        >>> state = ts.State.of(model.state_dict(), label="by hand")
        >>> state.label, state["fc2.bias"].shape
        ('by hand', torch.Size([10]))
    """

    def __init__(
        self,
        source: TensorSource,
        *,
        label: str = "state",
        step: int | None = None,
        epoch: float | None = None,
        metrics: Mapping[str, float] | None = None,
        expected_digest: str | None = None,
        verify: Callable[[], None] | None = None,
        run: Path | None = None,
        recipe: str | None = None,
        dropped: Callable[[], ThetascopeError | None] | None = None,
    ) -> None:
        self._source, self._dropped, self.recipe = source, dropped, recipe
        self._verify = verify or (self._check_digest if expected_digest is not None else None)
        self._digest: str | None = None
        self._expected_digest = expected_digest
        self.label, self.step, self.epoch, self.run = label, step, epoch, run
        self.ends_run = False
        self.metrics: Mapping[str, float] = dict(metrics or {})

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], *, label: str = "state", step: int | None = None, epoch: float | None = None) -> State:
        """A state of tensors in memory, which are kept, not copied.

        Raises:
            StateError: a value is not a tensor.
        """
        if isinstance(tensors, State):
            return tensors
        if not isinstance(tensors, Mapping):
            raise StateError(f"a state maps names to tensors. Got {type(tensors).__name__} instead. Pass model.state_dict()")
        for name, value in tensors.items():
            if not isinstance(value, Tensor):
                raise StateError(f'a state maps names to tensors; "{name}" is a {type(value).__name__}. Pass model.state_dict()')
        return cls(_Held({n: t.detach() for n, t in tensors.items()}), label=label, step=step, epoch=epoch)

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """Names, shapes, dtypes and kinds, without reading the values where the source can tell them."""
        return self._source.specs

    def tensors(self, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Read several tensors at once (all by default), opening what they lie in only once."""
        self._verified()
        return self._source.read(list(self.specs if names is None else names))

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        """The values `start` to `stop` of one tensor in row-major order, ``[stop - start]``, without reading the rest where possible."""
        self._verified()
        return self._source.piece(name, start, stop)

    def origin(self, name: str) -> Hashable:
        """Where a tensor is taken from: states share those of one origin, such as the base of adapters."""
        return origin_of(self._source, name)

    def renamed(self, names: Mapping[str, str], kinds: Mapping[str, TensorSpec] | None = None) -> State:
        """The same state under other names: `names` maps each new name to the old one; others are left out."""
        unchanged = names.keys() == self.specs.keys() and all(new == old for new, old in names.items())
        return State(
            Renamed(self._source, names, kinds or {}),
            label=self.label,
            step=self.step,
            epoch=self.epoch,
            metrics=self.metrics,
            expected_digest=self._expected_digest if unchanged else None,
            verify=self._verified,
            run=self.run,
            dropped=self._dropped,
        )

    def completed(self, more: Mapping[str, Tensor], order: Sequence[str], kinds: Mapping[str, TensorSpec]) -> State:
        """The same state with more tensors, of those kinds and in that order of names."""
        return State(
            Completed(self._source, more, order, kinds),
            label=self.label,
            step=self.step,
            epoch=self.epoch,
            metrics=self.metrics,
            verify=self._verified,
            run=self.run,
            dropped=self._dropped,
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the tensors to a safetensors file, whole or not at all; ``safetensors.torch.load_file`` reads it. A file there is replaced.

        Raises:
            RecordingError: safetensors files hold no such dtype.
            OSError: the file cannot be written.

        Example:
            >>> path = trajectory[-1].save("last.safetensors")
        """
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in self.tensors().items()}
        write_safetensors(Path(path), tensors, sweep=True)
        return Path(path)

    def digest(self) -> str:
        """SHA-256 over names, dtypes, shapes and bytes, whatever their order; of what is computed, its recipe.

        Raises:
            StateError: the values are not those that were recorded (the file was altered since).
        """
        if self._digest is None and self.recipe is not None:
            self._digest = self.recipe
        if self._digest is None:
            if self._expected_digest is None:
                self._verified()
            found = digest_of_source(self._source)
            if self._expected_digest not in (None, found):
                raise (self._dropped and self._dropped()) or StateError(
                    f"{self.label} does not hold what was recorded: its digest is {found[:12]}, "
                    f"recorded was {self._expected_digest[:12] if self._expected_digest else ''}. The file was altered; restore it"
                )
            self._digest = found
            self._verify = None
        return self._digest

    def _check_digest(self) -> None:
        self.digest()

    def _verified(self) -> None:
        """Check once that the values are those that were recorded."""
        if self._verify is not None:
            self._verify()
            self._verify = None

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.specs:
            raise KeyError(f'no tensor "{name}" in {self.label}; there are: {", ".join(self.specs)}')
        self._verified()
        return self._source.read([name])[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    def __contains__(self, name: object) -> bool:
        return name in self.specs

    def __reduce__(self) -> tuple[Callable[..., State], tuple[Any, ...]]:
        """Pickled, a state is its values: what it is read from may be on this machine only."""
        told = {"label": self.label, "step": self.step, "epoch": self.epoch, "metrics": dict(self.metrics), "run": self.run}
        tensors = {name: tensor.detach().cpu() for name, tensor in self.tensors().items()}
        return _unpickled, (tensors, dict(self.specs), self.digest(), self.ends_run, {**told, "recipe": self.recipe})

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other  # element-wise equality of tensors has no single truth value

    def __repr__(self) -> str:
        values = sum(spec.size for spec in self.specs.values())
        return shown(f"State({self.label}, step={self.step}, {len(self)} tensors, {values:,} values)")


def _unpickled(
    tensors: Mapping[str, Tensor], specs: Mapping[str, TensorSpec], digest: str, ends_run: bool, told: Mapping[str, Any]
) -> State:
    """A state of which all is known."""
    source = _Held(tensors)
    source.specs = specs
    state = State(source, **told)
    state._digest, state.ends_run = digest, ends_run
    return state


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The bytes of `tensor` in row-major order."""
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def digest_of_source(source: TensorSource) -> str:
    """As `digest_of`, with a few tensors in memory at a time."""
    total, names = hashlib.sha256(), sorted(source.specs)
    for start in range(0, len(names), READ_AT_ONCE):
        _add_digest(total, source.read(names[start : start + READ_AT_ONCE]))
    return total.hexdigest()


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of `tensors`, whatever their order."""
    total = hashlib.sha256()
    _add_digest(total, tensors)
    return total.hexdigest()


def _add_digest(total: hashlib._Hash, tensors: Mapping[str, Tensor]) -> None:
    for name in sorted(tensors):
        tensor = tensors[name]
        spec = TensorSpec.of(tensor)
        total.update(f"{name}\0{spec.dtype}\0{spec.shape}\0".encode())
        total.update(tensor_bytes(tensor))
