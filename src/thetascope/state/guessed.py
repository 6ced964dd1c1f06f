"""What a state's names tell where its model is not at hand: which tensors are parameters, their layers and their blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import nn

from thetascope.state.blocks import block_names
from thetascope.state.names import COUNTERS
from thetascope.state.space import ROOT_LAYER, Kind, Layer, ParameterSpace, TensorSpec, owner_of

BUFFERS = frozenset(
    {
        *("running_mean", "running_var"),  # norms
        *("_u", "_v"),  # the vectors of a parametrised spectral norm
        *("inv_freq", "original_inv_freq", "cos_cached", "sin_cached"),  # rotary embeddings
        *("token_type_ids", "relative_position_index", "masked_bias"),
        *COUNTERS,
    }
)
"""Last parts of the names of buffers in torch's modules and other well-known ones."""


def space_of_specs(specs: Mapping[str, TensorSpec]) -> ParameterSpace:
    """The space of a state by its names: kinds that are not known are guessed, layers are the names' parents, in their order.

    Blocks are found by the rule of `block_names`, where modules that are all numbered are taken for a container, and two modules for
    ones of a class where they hold tensors of the same names.
    """
    tensors = {name: replace(spec, kind=_kind_of(name, spec, specs)) for name, spec in specs.items()}
    owned: dict[str, tuple[list[str], list[str]]] = {}
    for name, spec in tensors.items():
        owned.setdefault(owner_of(name), ([], []))[spec.kind == "buffer"].append(name)
    layers = tuple(
        Layer(name or ROOT_LAYER, "", tuple(parameters), tuple(buffers)) for name, (parameters, buffers) in owned.items() if parameters
    )
    skeleton = _skeleton([name for name, spec in tensors.items() if spec.kind == "parameter"])
    return ParameterSpace(tensors, {}, layers, block_names(skeleton, [layer.name for layer in layers]))


def _kind_of(name: str, spec: TensorSpec, all_names: Iterable[str]) -> Kind:
    if spec.kind != "unknown":
        return spec.kind
    parent, _, last = name.rpartition(".")
    # the older spectral norm keeps weight_u and weight_v beside weight_orig
    normalised = last.endswith(("_u", "_v")) and f"{parent}.{last[:-2]}_orig".lstrip(".") in all_names
    return "buffer" if not spec.floating or last in BUFFERS or normalised else "parameter"


def _skeleton(names: Iterable[str]) -> nn.Module:
    """Modules with parameters of these names and nothing in them, for what looks at a model's shape alone."""
    below: dict[str, list[str]] = {}
    for name in names:
        first, dot, rest = name.partition(".")
        below.setdefault(first, []).append(rest) if dot else below.setdefault("", []).append(first)
    own = below.pop("", [])
    numbered = bool(below) and not own and all(map(str.isdecimal, below))
    # a class for each set of names: children of one class are alike
    module: nn.Module = type(" ".join(sorted(names)), (nn.Sequential if numbered else nn.Module,), {})()
    for name, parts in below.items():
        module._modules[name] = _skeleton(parts)  # past add_module, which refuses names that a module has already
    for name in own:
        module._parameters[name] = nn.Parameter()
    return module
