"""Reading checkpoints that other programs wrote, without running anything that stands in them.

Pickled files go through torch's weights-only unpickler and nothing else. What it refuses is named, together
with the option that admits it.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thetascope.errors import CheckpointError
from thetascope.recording.safetensors_files import SafetensorsSource
from thetascope.state import ParameterSpace, TensorSource, TensorSpec

PICKLED = (".pt", ".pth", ".ckpt", ".bin", ".tar")
SUFFIXES = (".safetensors", *PICKLED)
WRAPPER_KEYS = ("state_dict", "model", "model_state_dict", "net")
PREFIXES = ("module.", "_orig_mod.", "model.")

_NUMPY_SCALAR_PARTS = ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_RUNS_CODE = {
    "builtins",
    "os",
    "posix",
    "nt",
    "subprocess",
    "sys",
    "importlib",
    "runpy",
    "pickle",
    "shutil",
    "socket",
    "code",
    "pty",
}

_DAMAGE = (RuntimeError, EOFError, ValueError, KeyError, OSError, AttributeError, TypeError, IndexError)
"""What torch.load raises on files that are damaged, whatever way."""


class PickledSource:
    """The state dict inside one pickled checkpoint, read anew each time so that no state stays in memory."""

    def __init__(self, path: Path, *, key: str | None, prefix: str | None, allow: Sequence[str | type]) -> None:
        self.path, self._key, self._prefix, self._allow = path, key, prefix, tuple(allow)
        self.specs: Mapping[str, TensorSpec] = {n: TensorSpec.of(t) for n, t in self._load().items()}

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Read the tensors `names` to the CPU."""
        tensors = self._load()
        absent = [name for name in names if name not in tensors]
        if absent:
            raise CheckpointError(f'"{self.path}" changed since it was opened: it now lacks {", ".join(absent)}')
        return {name: tensors[name].detach().clone() for name in names}

    def _load(self) -> dict[str, Tensor]:
        found = _state_dict_in(load_weights_only(self.path, self._allow), self._key, self.path)
        return _without_prefix(found, self._prefix, self.path)


def open_checkpoint(path: Path, *, key: str | None, prefix: str | None, allow: Sequence[str | type]) -> TensorSource:
    """The tensors of a checkpoint file.

    Raises:
        CheckpointError: the file is missing, damaged, of an unknown kind, holds no state dict, or holds something
            that weights-only loading refuses.
    """
    if not path.is_file():
        raise CheckpointError(f'"{path}" does not exist or is no file')
    if path.suffix == ".safetensors":
        source = SafetensorsSource(path)
        if prefix is None:
            _ = source.specs  # a damaged header shows now, not in the middle of an examination
            return source
        names = {name.removeprefix(prefix): name for name in source.specs if name.startswith(prefix)}
        return _Prefixed(source, _some(names, prefix, path, source.specs))
    if path.suffix in PICKLED:
        return PickledSource(path, key=key, prefix=prefix, allow=allow)
    raise CheckpointError(f'"{path}" ends in "{path.suffix}"; expected a checkpoint file: {", ".join(SUFFIXES)}')


class _Prefixed:
    def __init__(self, source: SafetensorsSource, names: Mapping[str, str]) -> None:
        self._source, self._names = source, dict(names)
        self.specs: Mapping[str, TensorSpec] = {new: source.specs[old] for new, old in self._names.items()}

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        found = self._source.read([self._names[name] for name in names])
        return {name: found[self._names[name]] for name in names}


def load_weights_only(path: Path, allow: Sequence[str | type] = ()) -> Any:
    """Load a pickled checkpoint with torch's weights-only unpickler; tensors are mapped, not read, where possible.

    Raises:
        CheckpointError: as `open_checkpoint`.
    """
    try:
        with _allowed(allow), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error), allow)) from error
    except _DAMAGE as error:
        if "TorchScript" in str(error):
            message = f'"{path}" is a TorchScript archive, which holds code; save the state dict with torch.save(model.state_dict(), path)'
        else:
            reason = str(error).splitlines()[0][:200] if str(error) else repr(error)
            message = f'"{path}" is no whole checkpoint of torch.save ({reason}); restore it from a copy'
        raise CheckpointError(message) from error


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _refusal(path: Path, message: str, allow: Sequence[str | type]) -> str:
    """Name what was refused: everything at once where the file's format tells it."""
    try:
        refused = set(torch.serialization.get_unsafe_globals_in_checkpoint(path)) - {_name_of(entry) for entry in allow}
    except (ValueError, RuntimeError, UnpicklingError):  # the old format cannot be listed
        refused = set()
    if not refused:
        match = re.search(r"GLOBAL ([\w.]+)", message)
        if match is None:
            reason = message.rsplit("WeightsUnpickler error:", maxsplit=1)[-1].strip().splitlines()[0][:200]
            return f'"{path}" was refused by weights-only loading ({reason}); it holds more than tensors and plain values'
        refused = {match.group(1)}
    names = ", ".join(f'"{name}"' for name in sorted(refused))
    return (
        f'"{path}" was refused, nothing in it was run: besides tensors it holds {names}. If the file comes from someone '
        f"you trust and these are plain data classes, admit them with  allow=[{names}]"
    )


def _name_of(entry: str | type) -> str:
    return entry if isinstance(entry, str) else f"{entry.__module__}.{entry.__qualname__}"


def _allowed(allow: Sequence[str | type]) -> AbstractContextManager[object]:
    """Admit the named classes for one load."""
    if isinstance(allow, str):
        raise CheckpointError(f'allow must be a list of class names, got the string "{allow}": write ["{allow}"]')
    admitted: list[Any] = []
    for entry in allow:
        name = _name_of(entry)
        if name in _NUMPY_SCALAR_PARTS:
            admitted.extend(_numpy_scalars())
        else:
            admitted.append((_class_named(name) if isinstance(entry, str) else entry, name))
    return torch.serialization.safe_globals(admitted)


def _numpy_scalars() -> list[Any]:
    """All that a pickled numpy number is made of, under its names in numpy 1 and 2."""
    scalar = np._core.multiarray.scalar
    dtypes = {type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["AllFloat"] + "?"}
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [*((scalar, name) for name in names), (np.dtype, "numpy.dtype"), *dtypes]


def _class_named(name: str) -> type:
    module_name, _, attribute = name.rpartition(".")
    if module_name.split(".")[0] in _RUNS_CODE:
        raise CheckpointError(f'allow names "{name}", which can run programs; thetascope never admits it')
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise CheckpointError(f'allow names "{name}", which cannot be imported ({error}); write it as "module.Class"') from error
    if not isinstance(found, type):
        raise CheckpointError(f'allow names "{name}", which is a {type(found).__name__}, not a class; only classes can be admitted')
    return found


def _state_dict_in(content: Any, key: str | None, path: Path) -> Mapping[str, Tensor]:
    """The mapping of names to tensors in what a checkpoint holds."""
    keys = ", ".join(f'"{k}"' for k in list(content)[:12]) if isinstance(content, Mapping) else f"a {type(content).__name__}"
    if key is not None:
        if not isinstance(content, Mapping) or key not in content:
            raise CheckpointError(f'"{path}" has nothing under key="{key}"; it holds: {keys}')
        candidates: Iterable[Any] = [content[key]]
    elif isinstance(content, Mapping):
        candidates = [content, *(content[k] for k in WRAPPER_KEYS if k in content)]
    else:
        candidates = []
    for candidate in candidates:
        if isinstance(candidate, Mapping):
            tensors = {str(n): t for n, t in candidate.items() if isinstance(t, Tensor)}
            extra = [n for n in candidate if not isinstance(candidate[n], Tensor) and not str(n).endswith("_extra_state")]
            if tensors and not extra:
                return tensors
    raise CheckpointError(
        f'"{path}" holds no state dict at its top or under {", ".join(WRAPPER_KEYS)}; it holds: {keys}. Say where it lies with key=…'
    )


def _without_prefix(tensors: Mapping[str, Tensor], prefix: str | None, path: Path) -> dict[str, Tensor]:
    if prefix is None:
        return dict(tensors)
    names = {name.removeprefix(prefix): name for name in tensors if name.startswith(prefix)}
    return {new: tensors[old] for new, old in _some(names, prefix, path, tensors).items()}


def _some(names: dict[str, str], prefix: str, path: Path, present: Iterable[str]) -> dict[str, str]:
    if not names:
        raise CheckpointError(f'no name in "{path}" starts with prefix="{prefix}"; there are: {", ".join(list(present)[:12])}')
    return names


def fitted_names(specs: Mapping[str, TensorSpec], space: ParameterSpace) -> dict[str, str]:
    """Map each name, wrappers' prefixes left out where that makes it fit `space` better, to the present one."""
    present = list(specs)
    ways: list[tuple[str, ...]] = [()]
    for prefix in PREFIXES:
        ways += [(*way, prefix) for way in ways]
    best, least = {name: name for name in present}, space.compare(specs).count
    for way in sorted(ways, key=len):
        mapping = {_stripped(name, way): name for name in present}
        differences = space.compare({new: specs[old] for new, old in mapping.items()}).count
        if len(mapping) == len(present) and differences < least:
            best, least = mapping, differences
    return best


def _stripped(name: str, prefixes: Sequence[str]) -> str:
    if "_orig_mod." in prefixes:  # torch.compile on a submodule puts it in the middle
        name = name.replace("_orig_mod.", "")
    for _ in prefixes:  # wrappers may be nested either way round
        for prefix in prefixes:
            name = name.removeprefix(prefix)
    return name
