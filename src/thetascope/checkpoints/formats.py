"""The kinds of checkpoints that are read, in one list, and opening one: another kind is a module with its `Format`, named here."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from thetascope.checkpoints.adapters import ADAPTERS, Overlaid, on_base
from thetascope.checkpoints.deepspeed import DEEPSPEED
from thetascope.checkpoints.distributed import DISTRIBUTED
from thetascope.checkpoints.hugging_face import HUGGING_FACE
from thetascope.checkpoints.opened import Format, How, Opened, listed
from thetascope.checkpoints.pickled import PICKLED
from thetascope.checkpoints.safetensors_alone import SAFETENSORS
from thetascope.checkpoints.shards import SHARDS
from thetascope.errors import CheckpointError
from thetascope.state import State, TensorSource, TensorSpec
from thetascope.state.names import wrapped_names
from thetascope.state.states import Renamed

FORMATS: tuple[Format, ...] = (ADAPTERS, DISTRIBUTED, HUGGING_FACE, DEEPSPEED, SHARDS, SAFETENSORS, PICKLED)
"""The first that recognises a file or folder opens it."""

RUN_FILE = "run.json"
_OTHERS = {
    b"\x89HDF": "an HDF5 file (Keras)", b"GGUF": "a GGUF file (llama.cpp), whose weights are mostly quantised", b"\x93NUM": "a NumPy array",
    b"\x08\x07\x12\x07": "an ONNX model", b"\x08\x08\x12\x07": "an ONNX model",
}  # fmt: skip
"""What files of other programs begin with."""


def format_of(path: Path) -> Format | None:
    """The kind of a file or folder, by its content."""
    try:
        return next((kind for kind in FORMATS if kind.recognises(path)), None)
    except (OSError, ValueError):
        return None


def open_checkpoint(path: Path, how: How) -> Opened:
    """One state that lies in a file, in several, or in a folder.

    Raises:
        CheckpointError: it is missing, damaged, of an unknown kind, holds no state dict, is a part of a state, does not fit its base, or
            holds something that weights-only loading refuses.
    """
    kind = format_of(path)
    if kind is None:
        raise CheckpointError(_unknown(path))
    opened = kind.open(path, how)
    if not opened.source.specs:
        raise CheckpointError(f'"{path}" holds no tensors; expected the state dict of a model')
    source = _chosen(opened.source, how, path)
    return _replaced(opened, _complete(_replaced(opened, source), how.base))


def _replaced(opened: Opened, source: TensorSource) -> Opened:
    return Opened(opened.path, source, opened.kind, opened.files, opened.own, opened.metrics, opened.adapter)


def _unknown(path: Path) -> str:
    """Why nothing is read there."""
    if path.is_dir():
        if (path / RUN_FILE).is_file():
            return f'"{path}" is a run directory; open it with ts.Trajectory("{path}")'
        return f'"{path}" is a folder that holds no single checkpoint; pass it alone, for all states in it, or name the files'
    if not path.is_file():
        return f'"{path}" does not exist or is no file'
    with path.open("rb") as file:
        head = file.read(4)
    other = _OTHERS.get(head, "no file of torch.save or safetensors")
    return f'"{path}" is {other}; save the model\'s state dict with torch.save(model.state_dict(), path) or as safetensors'


def _chosen(source: TensorSource, how: How, path: Path) -> TensorSource:
    """What the prefix chooses, without what is ignored."""
    names = {name: name for name in source.specs}
    if how.prefix is not None:
        names = {name.removeprefix(how.prefix): name for name in names if name.startswith(how.prefix)}
        if not names:
            raise CheckpointError(f'no name in "{path}" starts with prefix="{how.prefix}"; there are: {", ".join(list(source.specs)[:12])}')
    kept = {new: old for new, old in names.items() if not any(fnmatchcase(new, glob) or fnmatchcase(old, glob) for glob in how.ignore)}
    if not kept:
        raise CheckpointError(f'"{path}" holds nothing but what is ignored: {listed(how.ignore)} leave no tensor')
    return source if len(kept) == len(source.specs) and how.prefix is None else Renamed(source, kept, {})


def _complete(opened: Opened, base: TensorSource | None) -> TensorSource:
    """An adapter on its base; of a file that holds a part of the base's tensors the rest from there; all else as it is."""
    if opened.adapter is not None:
        if base is None:
            of = opened.adapter.get("base_model_name_or_path")
            raise CheckpointError(
                f'"{opened.path}" is a PEFT adapter, which holds what is added to its base model{f" ({str(of)[:80]})" if of else ""}. '
                "Name that with base=: its folder, its file, or its state dict"
            )
        return on_base(opened, base)
    if base is None or not opened.source.specs.keys() ^ base.specs.keys():
        return opened.source
    names = wrapped_names(opened.source.specs, base.specs)
    strange = [name for name, old in names.items() if not _same(opened.source.specs[old], base.specs.get(name))]
    if strange:
        raise CheckpointError(f'"{opened.path}" holds what base= does not, or in other shapes: {listed(strange)}. Pass its own base')
    return Overlaid(Renamed(opened.source, names, {}), base)


def _same(one: TensorSpec, other: TensorSpec | None) -> bool:
    return other is not None and (one.shape, one.floating) == (other.shape, other.floating)


class _OfState:
    """A state's tensors, checked as it checks them."""

    def __init__(self, state: State) -> None:
        self.specs: Mapping[str, TensorSpec] = state.specs
        self.read, self.piece = state.tensors, state.piece


def base_of(base: object, allow: tuple[str | type, ...]) -> TensorSource | None:
    """The tensors of a base: of a file or folder, or in memory.

    Raises:
        CheckpointError: it is neither, or cannot be read.
    """
    if base is None:
        return None
    if isinstance(base, str | Path):
        return open_checkpoint(Path(base), How(allow=allow)).source
    if callable(getattr(base, "state_dict", None)):
        base = base.state_dict()  # type: ignore[attr-defined]
    if isinstance(base, Mapping):
        return _OfState(State.of(base, label="base"))
    raise CheckpointError(f"base is a file, a folder, or a state dict. Got {type(base).__name__} instead.")
