"""The space that states live in: names, shapes, dtypes, ties, layers, groups."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]

from thetascope.errors import StateError
from thetascope.state.blocks import block_names, with_parents

Kind = Literal["parameter", "buffer", "unknown"]
ROOT_LAYER = "(root)"
"""The label of the layer made of the parameters that the model holds itself, outside any submodule."""
BLOCKS, TRAINABLE = "blocks", "trainable"
"""Words that choose layers."""


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
        """The differences as one clause, of many the first and their number: ``lacks "fc2.bias" [84] and has "fc2.b" [84]``."""
        parts = []
        if self.missing:
            parts.append(f"lacks {_some(self.missing)}")
        if self.unexpected:
            parts.append(f"has {_some(self.unexpected)}")
        if self.unequal:
            parts.append(_some(self.unequal, " and "))
        return " and ".join(parts)

    @property
    def guess(self) -> str:
        """What the differences look like; nothing where they look like nothing in particular."""
        if self.unequal or bool(self.missing) == bool(self.unexpected):
            return ""
        return (
            "Is it of a larger model of the same kind? "
            if self.unexpected
            else "Is it of a smaller model of the same kind, or a part of a state? "
        )


SHOWN = 8
"""So many differences of a kind are named."""


def _some(differences: Sequence[str], between: str = ", ") -> str:
    rest = len(differences) - SHOWN
    return between.join(differences) if rest <= 1 else f"{between.join(differences[:SHOWN])} and {rest} more"


@dataclass(frozen=True)
class ParameterSpace:
    """The names, shapes, kinds, ties, layers and blocks of a model's tensors.

    Tied tensors stand once, under the name that registers them first; `ties` maps each further name to it.
    Layers stand in the order of the first forward pass where one was watched, else of registration. `repeated` names the modules
    that are blocks of several layers; `blocks` has all blocks, with their layers.

    Example:
        >>> space = ts.ParameterSpace.of_model(model)
        >>> [layer.name for layer in space.layers], space.parameter_count
        (['conv1', 'conv2', 'fc1', 'fc2'], 9802)
    """

    tensors: Mapping[str, TensorSpec]
    ties: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    repeated: tuple[str, ...] = ()

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
        layers = _layers_of(model, tensors, call_order)
        return cls(tensors, ties, layers, block_names(model, [layer.name for layer in layers]))

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
    def floating_parameters(self) -> list[str]:
        """The parameters that can move."""
        return [name for name in self.parameters if self.tensors[name].floating]

    @property
    def floating_buffers(self) -> list[str]:
        """The persistent buffers that can move."""
        return [name for name in self.buffers if self.tensors[name].floating]

    @property
    def parameter_count(self) -> int:
        """How many single parameters there are, ties once."""
        return sum(self.tensors[name].size for name in self.parameters)

    @property
    def blocks(self) -> dict[str, tuple[Layer, ...]]:
        """The blocks in the order of their first layers, each with its layers.

        A block is what the model repeats: a child of a ModuleList or Sequential whose children, apart from those without parameters,
        are of one class or hold parameters of the same names. Where such containers lie within one another, the blocks are the
        children of the outermost, or, where its children are such containers themselves (the stages of a residual network), theirs.
        A layer that lies in none is a block by its own name, so that the blocks together hold every layer once; without any such
        container, or where its children are layers, blocks are layers.

        Example:
            >>> encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2), 2, enable_nested_tensor=False)
            >>> list(ts.ParameterSpace.of_model(nn.Sequential(nn.Embedding(9, 8), encoder)).blocks)
            ['0', '1.layers.0', '1.layers.1']
        """
        found: dict[str, tuple[Layer, ...]] = {}
        for layer in self.layers:
            block = self.block_of(layer.name)
            found[block] = (*found.get(block, ()), layer)
        return found

    def block_of(self, layer: str) -> str:
        """The label of the block that a layer lies in."""
        return next((module for module in with_parents(layer) if module in self.repeated), layer)

    def compare(self, other: Mapping[str, TensorSpec], optional: Collection[str] = ()) -> SpaceDifference:
        """List every way in which `other` differs from this space.

        Two floating dtypes are no difference (a half-precision checkpoint of the same model fits); a floating
        one where an integer is expected is. A name that this space knows as tied may be left out, and so may those in `optional`.
        """
        aliases = set(self.ties)
        groups: dict[str, set[str]] = {name: {name} for name in self.tensors}
        for alias, name in self.ties.items():
            groups[name].add(alias)
        missing = [n for n, names in groups.items() if n not in optional and not names & other.keys()]
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

    def groups(
        self, selection: Sequence[str] | Mapping[str, Sequence[str]] | None = None, frozen: Collection[str] | None = None
    ) -> dict[str, tuple[Layer, ...]]:
        """The layers that move together, by label.

        `selection` is a list of layer names or globs (a group a layer), a mapping of labels to lists of them, None for every layer,
        or a word: "blocks" for a group a block, "trainable" for each layer that holds a floating parameter not in `frozen`.

        Raises:
            StateError: a name or glob matches no layer, or one layer stands in two groups; "trainable" where all parameters are frozen,
                or without `frozen`.
        """
        if isinstance(selection, str) and selection in (BLOCKS, TRAINABLE):
            every = self._matching(["*"])
            return self.blocks if selection == BLOCKS else {layer.name: (layer,) for layer in self._trainable(every, frozen)}
        if isinstance(selection, str):
            raise StateError(
                f'layers must be a list of names or globs, got the string "{selection}": write ["{selection}"], or one of the words '
                f'"{BLOCKS}" and "{TRAINABLE}"'
            )
        for given in selection.values() if isinstance(selection, Mapping) else ():
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

    def _trainable(self, layers: Sequence[Layer], frozen: Collection[str] | None) -> list[Layer]:
        if frozen is None:
            raise StateError(f'"{TRAINABLE}" needs to know what is frozen, which a space does not tell: pass frozen=')
        found = [layer for layer in layers if any(self.tensors[name].floating and name not in frozen for name in layer.parameters)]
        if not found:
            raise StateError(f'layers="{TRAINABLE}" chooses no layer, for all parameters are frozen; name layers, or pass other states')
        return found

    def _matching(self, patterns: Sequence[str]) -> tuple[Layer, ...]:
        chosen: dict[str, Layer] = {}
        for pattern in patterns:
            found = [layer for layer in self.layers if layer.name == pattern or fnmatchcase(layer.name, pattern)]
            if not found:
                if not self.layers:
                    raise StateError("the model has no parameters, so it has no layers to move; score it, or pass another model")
                names = ", ".join(layer.name for layer in self.layers)
                raise StateError(f'no layer matches "{pattern}"; there are: {names}')
            chosen.update((layer.name, layer) for layer in found)
        return tuple(chosen.values())

    def to_json(self) -> dict[str, Any]:
        """This space as plain lists and mappings."""
        return {
            "tensors": {n: [list(s.shape), s.dtype, s.kind] for n, s in self.tensors.items()},
            "ties": dict(self.ties),
            "layers": [[y.name, y.type, list(y.parameters), list(y.buffers), y.called] for y in self.layers],
            "repeated": list(self.repeated),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ParameterSpace:
        """The space that `to_json` wrote; one without blocks, which earlier versions wrote, has its layers for blocks."""
        return cls(
            {n: TensorSpec(tuple(shape), dtype, kind) for n, (shape, dtype, kind) in content["tensors"].items()},
            dict(content["ties"]),
            tuple(Layer(n, t, tuple(p), tuple(b), called) for n, t, p, b, called in content["layers"]),
            tuple(content.get("repeated", ())),
        )


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor, Kind]]:
    """Every name under which `model` holds a parameter or a persistent buffer, repeated where tied."""
    for name, parameter in model.named_parameters(remove_duplicate=False):
        yield name, parameter, "parameter"
    for prefix, module in model.named_modules(remove_duplicate=False):
        for short, buffer in module._buffers.items():
            if buffer is not None and short not in module._non_persistent_buffers_set:
                yield f"{prefix}.{short}" if prefix else short, buffer, "buffer"


def owner_of(tensor_name: str) -> str:
    """The layer that owns a tensor; a parametrisation's tensors belong to the module it parametrises."""
    path = tensor_name.split(".")[:-1]
    if "parametrizations" in path:
        path = path[: path.index("parametrizations")]
    return ".".join(path)


def _layers_of(model: nn.Module, tensors: Mapping[str, TensorSpec], call_order: Sequence[str] | None) -> tuple[Layer, ...]:
    owned: dict[str, dict[str, list[str]]] = {}
    for name, spec in tensors.items():
        owned.setdefault(owner_of(name), {"parameter": [], "buffer": [], "unknown": []})[spec.kind].append(name)
    registered = [name for name, own in owned.items() if own["parameter"]]
    called = None if call_order is None else set(call_order)
    return tuple(
        Layer(
            name or ROOT_LAYER,
            _class_of(model.get_submodule(name)),
            tuple(owned[name]["parameter"]),
            tuple(owned[name]["buffer"]),
            None if called is None else name in called,
        )
        for name in _in_order(registered, call_order)
    )


def _class_of(module: nn.Module) -> str:
    """The name of a module's class; of one that is sharded (FSDP2), that it had before."""
    kinds = [kind.__name__ for kind in type(module).__mro__]
    return kinds[kinds.index("FSDPModule") + 1] if "FSDPModule" in kinds else kinds[0]


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
