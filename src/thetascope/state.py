"""States and the space they live in: named tensors, their layers, groups and ties."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]

from thetascope.errors import StateError

Kind = Literal["parameter", "buffer", "unknown"]
ROOT_LAYER = "(root)"
"""The label of the layer made of the parameters that the model holds itself, outside any submodule."""


@dataclass(frozen=True)
class TensorSpec:
    """What is known of a tensor without its values. `dtype` is torch's name for it, such as ``float32``."""

    shape: tuple[int, ...]
    dtype: str
    kind: Kind = "unknown"

    @classmethod
    def of(cls, tensor: Tensor, kind: Kind = "unknown") -> TensorSpec:
        """Describe `tensor`."""
        return cls(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), kind)

    @property
    def floating(self) -> bool:
        """Whether the values lie on a continuum, so that points between two states exist (complex too)."""
        return self.dtype.startswith(("float", "bfloat", "complex"))

    @property
    def size(self) -> int:
        """The number of values."""
        return torch.Size(self.shape).numel()


@dataclass(frozen=True)
class Layer:
    """A module that holds parameters of its own.

    `called` is whether a forward pass called the module itself; None where no pass was watched. A layer that
    is not called may still matter: a parent may use its tensors directly.
    """

    name: str
    type: str
    parameters: tuple[str, ...]
    buffers: tuple[str, ...] = ()
    called: bool | None = None


@dataclass(frozen=True)
class SpaceDifference:
    """Every difference between the names, shapes and kinds of dtype of two spaces."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    unequal: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.count > 0

    @property
    def count(self) -> int:
        """How many names differ."""
        return len(self.missing) + len(self.unexpected) + len(self.unequal)

    def describe(self) -> str:
        """All differences as one clause: ``lacks "fc2.bias" [84] and has "fc2.b" [84]``."""
        parts = []
        if self.missing:
            parts.append("lacks " + ", ".join(self.missing))
        if self.unexpected:
            parts.append("has " + ", ".join(self.unexpected))
        parts.extend(self.unequal)
        return " and ".join(parts)


@dataclass(frozen=True)
class ParameterSpace:
    """The names, shapes, kinds, ties and layers of a model's tensors.

    Tied tensors stand once, under the name that registers them first; `ties` maps each further name to it.
    Layers stand in the order of the first forward pass where one was watched, else of registration.
    """

    tensors: Mapping[str, TensorSpec]
    ties: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()

    @classmethod
    def of_model(cls, model: nn.Module, call_order: Sequence[str] | None = None) -> ParameterSpace:
        """Describe the parameters and the persistent buffers of `model`.

        `call_order` names the modules in the order in which a forward pass first called them.

        Raises:
            StateError: a parameter is not initialised yet (lazy modules before their first pass).
        """
        tensors: dict[str, TensorSpec] = {}
        ties: dict[str, str] = {}
        first: dict[int, str] = {}
        for name, tensor, kind in named_tensors(model):
            if isinstance(tensor, UninitializedTensorMixin):
                raise StateError(
                    f'"{name}" is not initialised yet, so it has no shape: run one batch through the model first, then pass it in'
                )
            if id(tensor) in first:
                ties[name] = first[id(tensor)]
            else:
                first[id(tensor)] = name
                tensors[name] = TensorSpec.of(tensor, kind)
        return cls(tensors, ties, _layers_of(model, tensors, call_order))

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> ParameterSpace:
        """Describe a plain state dict, which tells neither kinds nor ties nor layers."""
        return cls({name: TensorSpec.of(tensor) for name, tensor in tensors.items()})

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters, ties once."""
        return tuple(name for name, spec in self.tensors.items() if spec.kind == "parameter")

    @property
    def buffers(self) -> tuple[str, ...]:
        """The names of the persistent buffers."""
        return tuple(name for name, spec in self.tensors.items() if spec.kind == "buffer")

    @property
    def parameter_count(self) -> int:
        """How many single parameters there are, ties once."""
        return sum(self.tensors[name].size for name in self.parameters)

    def compare(self, other: Mapping[str, TensorSpec]) -> SpaceDifference:
        """List every way in which `other` differs from this space.

        Two floating dtypes are no difference (a half-precision checkpoint of the same model fits); a floating
        one where an integer is expected is. A name that this space knows as tied may be left out.
        """
        aliases = set(self.ties)
        groups: dict[str, set[str]] = {name: {name} for name in self.tensors}
        for alias, name in self.ties.items():
            groups[name].add(alias)
        missing = [n for n, names in groups.items() if not names & other.keys()]
        unexpected = [n for n in other if n not in self.tensors and n not in aliases]
        unequal = []
        for name, spec in other.items():
            mine = self.tensors.get(self.ties.get(name, name))
            if mine is not None and (mine.shape, mine.floating) != (spec.shape, spec.floating):
                unequal.append(f'has "{name}" as {spec.dtype} {list(spec.shape)} instead of {mine.dtype} {list(mine.shape)}')
        return SpaceDifference(
            tuple(f'"{n}" {list(self.tensors[n].shape)}' for n in missing),
            tuple(f'"{n}" {list(other[n].shape)}' for n in unexpected),
            tuple(unequal),
        )

    def groups(self, selection: Sequence[str] | Mapping[str, Sequence[str]] | None = None) -> dict[str, tuple[Layer, ...]]:
        """The layers that move together, by label.

        `selection` is a list of layer names or globs (a group a layer), a mapping of labels to lists of them,
        or None for every layer.

        Raises:
            StateError: a name or glob matches no layer, or one layer stands in two groups.
        """
        for given in [selection, *selection.values()] if isinstance(selection, Mapping) else [selection]:
            if isinstance(given, str):
                raise StateError(f'layers must be a list of names or globs, got the string "{given}": write ["{given}"]')
        if isinstance(selection, Mapping):
            grouped = {label: self._matching(patterns) for label, patterns in selection.items()}
            seen: dict[str, str] = {}
            for label, layers in grouped.items():
                for layer in layers:
                    if layer.name in seen:
                        raise StateError(
                            f'layer "{layer.name}" stands in the groups "{seen[layer.name]}" and "{label}"; it can move with one'
                        )
                    seen[layer.name] = label
            return grouped
        return {layer.name: (layer,) for layer in self._matching(["*"] if selection is None else selection)}

    def _matching(self, patterns: Sequence[str]) -> tuple[Layer, ...]:
        chosen: dict[str, Layer] = {}
        for pattern in patterns:
            found = [layer for layer in self.layers if layer.name == pattern or fnmatchcase(layer.name, pattern)]
            if not found:
                names = ", ".join(layer.name for layer in self.layers) or "none"
                raise StateError(f'no layer matches "{pattern}"; there are: {names}')
            chosen.update((layer.name, layer) for layer in found)
        return tuple(chosen.values())

    def to_json(self) -> dict[str, Any]:
        """This space as plain lists and mappings."""
        return {
            "tensors": {n: [list(s.shape), s.dtype, s.kind] for n, s in self.tensors.items()},
            "ties": dict(self.ties),
            "layers": [[y.name, y.type, list(y.parameters), list(y.buffers), y.called] for y in self.layers],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ParameterSpace:
        """The space that `to_json` wrote."""
        return cls(
            {n: TensorSpec(tuple(shape), dtype, kind) for n, (shape, dtype, kind) in content["tensors"].items()},
            dict(content["ties"]),
            tuple(Layer(n, t, tuple(p), tuple(b), called) for n, t, p, b, called in content["layers"]),
        )


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor, Kind]]:
    """Every name under which `model` holds a parameter or a persistent buffer, repeated where tied."""
    for name, parameter in model.named_parameters(remove_duplicate=False):
        yield name, parameter, "parameter"
    for prefix, module in model.named_modules(remove_duplicate=False):
        for short, buffer in module._buffers.items():
            if buffer is not None and short not in module._non_persistent_buffers_set:
                yield f"{prefix}.{short}" if prefix else short, buffer, "buffer"


def _owner(tensor_name: str) -> str:
    """The layer that owns a tensor; a parametrisation's tensors belong to the module it parametrises."""
    path = tensor_name.split(".")[:-1]
    if "parametrizations" in path:
        path = path[: path.index("parametrizations")]
    return ".".join(path)


def _layers_of(model: nn.Module, tensors: Mapping[str, TensorSpec], call_order: Sequence[str] | None) -> tuple[Layer, ...]:
    owned: dict[str, dict[str, list[str]]] = {}
    for name, spec in tensors.items():
        owned.setdefault(_owner(name), {"parameter": [], "buffer": [], "unknown": []})[spec.kind].append(name)
    registered = [name for name, own in owned.items() if own["parameter"]]
    called = None if call_order is None else set(call_order)
    return tuple(
        Layer(
            name or ROOT_LAYER,
            type(model.get_submodule(name)).__name__,
            tuple(owned[name]["parameter"]),
            tuple(owned[name]["buffer"]),
            None if called is None else name in called,
        )
        for name in _in_order(registered, call_order)
    )


def _in_order(registered: Sequence[str], call_order: Sequence[str] | None) -> list[str]:
    """Sort by first call; a name that was never called follows the one it was registered after."""
    if call_order is None:
        return list(registered)
    rank = {name: i for i, name in reversed(list(enumerate(call_order)))}
    position = -1
    keyed = []
    for i, name in enumerate(registered):
        position = rank.get(name, position)
        keyed.append((position, i, name))
    return [name for _, _, name in sorted(keyed)]


class TensorSource(Protocol):
    """Where a state's tensors come from: memory, a file, a seed."""

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """What there is to read."""
        ...

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Read the tensors `names`, on the CPU unless they are held elsewhere."""
        ...


class _Held:
    """Tensors in memory."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = dict(tensors)
        self.specs: Mapping[str, TensorSpec] = {n: TensorSpec.of(t) for n, t in self._tensors.items()}

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        return {name: self._tensors[name] for name in names}


class _Renamed:
    """Another source's tensors under other names; `names` maps each new name to the old one."""

    def __init__(self, source: TensorSource, names: Mapping[str, str], kinds: Mapping[str, TensorSpec]) -> None:
        self._source, self._names = source, dict(names)
        specs = source.specs
        self.specs: Mapping[str, TensorSpec] = {
            new: TensorSpec(specs[old].shape, specs[old].dtype, kinds[new].kind if new in kinds else specs[old].kind)
            for new, old in self._names.items()
        }

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        found = self._source.read([self._names[name] for name in names])
        return {name: found[self._names[name]] for name in names}


class State(Mapping[str, Tensor]):
    """Named tensors of a model at one moment of its training, read when they are asked for.

    A mapping of names to tensors. `step`, `epoch` and `metrics` are what was recorded with it, `label` how
    messages and figures call it.
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
    ) -> None:
        self._source = source
        self._digest: str | None = None
        self._expected_digest = expected_digest
        self.label, self.step, self.epoch = label, step, epoch
        self.metrics: Mapping[str, float] = dict(metrics or {})

    @classmethod
    def of(
        cls,
        tensors: Mapping[str, Tensor],
        *,
        label: str = "state",
        step: int | None = None,
        epoch: float | None = None,
    ) -> State:
        """A state of tensors in memory, which are kept, not copied.

        Raises:
            StateError: a value is not a tensor.
        """
        if isinstance(tensors, State):
            return tensors
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
        return self._source.read(list(self.specs if names is None else names))

    def renamed(self, names: Mapping[str, str], kinds: Mapping[str, TensorSpec] | None = None) -> State:
        """The same state under other names: `names` maps each new name to the old one; others are left out."""
        unchanged = names.keys() == self.specs.keys() and all(new == old for new, old in names.items())
        return State(
            _Renamed(self._source, names, kinds or {}),
            label=self.label,
            step=self.step,
            epoch=self.epoch,
            metrics=self.metrics,
            expected_digest=self._expected_digest if unchanged else None,
        )

    def digest(self) -> str:
        """SHA-256 over names, dtypes, shapes and bytes, whatever their order.

        Raises:
            StateError: the values are not those that were recorded (the file was altered since).
        """
        if self._digest is None:
            found = digest_of(self)
            if self._expected_digest not in (None, found):
                raise StateError(
                    f"{self.label} does not hold what was recorded: its digest is {found[:12]}, "
                    f"recorded was {self._expected_digest[:12] if self._expected_digest else ''}. The file was altered; restore it"
                )
            self._digest = found
        return self._digest

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.specs:
            raise KeyError(f'no tensor "{name}" in {self.label}; there are: {", ".join(self.specs)}')
        return self._source.read([name])[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    def __contains__(self, name: object) -> bool:
        return name in self.specs

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other  # element-wise equality of tensors has no single truth value

    def __repr__(self) -> str:
        values = sum(spec.size for spec in self.specs.values())
        return f"State({self.label}, step={self.step}, {len(self)} tensors, {values:,} values)"


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The bytes of `tensor` in row-major order."""
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of `tensors`, whatever their order."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        spec = TensorSpec.of(tensor)
        total.update(f"{name}\0{spec.dtype}\0{spec.shape}\0".encode())
        total.update(tensor_bytes(tensor))
    return total.hexdigest()


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DataParallel, DistributedDataParallel and torch.compile wrappers."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        else:
            inner = model.__dict__.get("_modules", {}).get("_orig_mod")
        if not isinstance(inner, nn.Module):
            return model
        model = inner
