"""Reading checkpoints that other programs wrote, without running anything that stands in them.

Pickled files go through torch's weights-only unpickler and nothing else. What it refuses is named, together
with the option that admits it.
"""

from __future__ import annotations

import importlib
import re
import struct
import sys
import warnings
import zipfile
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
from thetascope.state import TensorSource, TensorSpec
from thetascope.state.states import Renamed

PICKLED = (".pt", ".pth", ".ckpt", ".bin", ".tar")
SUFFIXES = (".safetensors", *PICKLED)
WRAPPER_KEYS = ("state_dict", "model", "model_state_dict", "net")

_NUMPY_PARTS = frozenset(
    {"numpy.dtype", "numpy.ndarray"}
    | {f"numpy.{core}.multiarray.{part}" for core in ("core", "_core") for part in ("scalar", "_reconstruct")}
)
"""What numpy's numbers and arrays are made of in a pickle; they are admitted together."""

_DATA_MODULES = frozenset({"argparse", "collections", "datetime", "decimal", "enum", "fractions", "pathlib", "types", "uuid"})
"""Of the standard library, the modules whose classes hold data and do nothing else when they are built."""

LARGEST_RATIO, SPARE_BYTES = 8, 2**24
"""A state may take so many times its file's size (tied tensors stand in it once), and so much more."""

_OF_PYTHON = sys.stdlib_module_names | {"__builtin__", "commands", "copy_reg"}  # the last ones are pickle's names for Python 2

_DAMAGE = (
    *(RuntimeError, EOFError, ValueError, LookupError, OSError, AttributeError, TypeError, AssertionError, struct.error),
    *(ArithmeticError, MemoryError, zipfile.BadZipFile),
)
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

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        """Some values of one tensor; the file is mapped, not read, where torch can."""
        return self._load()[name].detach().reshape(-1)[start:stop].clone()

    def _load(self) -> dict[str, Tensor]:
        found = _state_dict_in(load_weights_only(self.path, self._allow), self._key, self.path)
        _check_tensors(found, self.path)
        return _without_prefix(found, self._prefix, self.path)


def open_checkpoint(path: Path, *, key: str | None, prefix: str | None, allow: Sequence[str | type]) -> TensorSource:
    """The tensors of a checkpoint file.

    Raises:
        CheckpointError: the file is missing, damaged, of an unknown kind, holds no state dict, or holds something
            that weights-only loading refuses.
    """
    if isinstance(allow, str):
        raise CheckpointError(f'allow must be a list of class names, got the string "{allow}": write ["{allow}"]')
    if not path.is_file():
        raise CheckpointError(f'"{path}" does not exist or is no file')
    if path.suffix == ".safetensors":
        source = SafetensorsSource(path)
        if prefix is None:
            _ = source.specs  # a damaged header shows now, not in the middle of an examination
            return source
        names = {name.removeprefix(prefix): name for name in source.specs if name.startswith(prefix)}
        return Renamed(source, _some(names, prefix, path, source.specs), {})
    if path.suffix in PICKLED:
        return PickledSource(path, key=key, prefix=prefix, allow=allow)
    raise CheckpointError(f'"{path}" ends in "{path.suffix}"; expected a checkpoint file: {", ".join(SUFFIXES)}')


def load_weights_only(path: Path, allow: Sequence[str | type] = ()) -> Any:
    """Load a pickled checkpoint with torch's weights-only unpickler; tensors are mapped, not read, where possible.

    Raises:
        CheckpointError: as `open_checkpoint`.
    """
    try:
        if _is_zip(path):
            _check_zip(path)
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


def _check_zip(path: Path) -> None:
    """Whether the parts are stored as they are and side by side, as torch.save writes them: else a small file may fill the memory.

    Raises:
        CheckpointError: they are not.
    """
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if any(part.filename.endswith("/constants.pkl") for part in parts):
        return  # TorchScript, which torch refuses by name
    promised = sum(part.file_size for part in parts)
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts) or promised > path.stat().st_size:
        raise CheckpointError(
            f'"{path}" unpacks to {promised:,} bytes and is {path.stat().st_size:,} long; what torch.save writes is not compressed. '
            "Unpack it, and save the state dict again with torch.save(state_dict, path)"
        )


def _refusal(path: Path, message: str, allow: Sequence[str | type]) -> str:
    """Name what was refused: everything at once where the file's format tells it."""
    try:
        refused = set(torch.serialization.get_unsafe_globals_in_checkpoint(path)) - _admitted_names(allow)
    except (UnpicklingError, *_DAMAGE):  # the old format cannot be listed
        refused = set()
    if not refused:
        match = re.search(r"GLOBAL ([\w.]+)", message)
        if match is None:
            reason = message.rsplit("WeightsUnpickler error:", maxsplit=1)[-1].strip().splitlines()[0][:200]
            return (
                f'"{path}" is damaged, or holds more than tensors and plain values ({reason}); '
                "restore it from a copy, or save the state dict alone"
            )
        refused = {match.group(1)}
    names = ", ".join(f'"{name}"' for name in sorted(refused))
    what = f'"{path}" was refused, nothing in it was run: besides tensors it holds {names}'
    if not all(_holds_data(name.rpartition(".")[0] or "builtins") for name in refused):
        return (
            f"{what}. Not all of these are plain data, and what can run programs is never admitted: "
            "save the state dict alone, with torch.save(model.state_dict(), path), where the file was made"
        )
    return f"{what}. If the file comes from someone you trust and these are plain data classes, admit them with  allow=[{names}]"


def _name_of(entry: str | type) -> str:
    return entry if isinstance(entry, str) else f"{entry.__module__}.{entry.__qualname__}"


def _admitted_names(allow: Sequence[str | type]) -> set[str]:
    names = {_name_of(entry) for entry in allow}
    return names | _NUMPY_PARTS if names & _NUMPY_PARTS else names


def _allowed(allow: Sequence[str | type]) -> AbstractContextManager[object]:
    """Admit the named classes for one load."""
    admitted: list[Any] = []
    for entry in allow:
        if not isinstance(entry, str | type):
            raise CheckpointError(f"allow holds {entry!r}, which is no class; only classes can be admitted")
        name = _name_of(entry)
        if name in _NUMPY_PARTS:
            admitted.extend(_numpy_parts())
        else:
            admitted.append((_data_class(entry, name), name))
    return torch.serialization.safe_globals(admitted)


def _numpy_parts() -> list[Any]:
    """All that pickled numpy numbers and arrays are made of, under their names in numpy 1 and 2."""
    multiarray = np._core.multiarray
    dtypes = {type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["AllFloat"] + "?"}
    functions = [(getattr(multiarray, name.rpartition(".")[2]), name) for name in _NUMPY_PARTS if "multiarray" in name]
    return [*functions, (np.dtype, "numpy.dtype"), (np.ndarray, "numpy.ndarray"), *dtypes]


def _holds_data(module: str) -> bool:
    """Whether building a class of `module` is not known to do more than that."""
    root = module.partition(".")[0]
    return root not in _OF_PYTHON or root in _DATA_MODULES


def _data_class(entry: str | type, name: str) -> type:
    """The class to admit under `name`, which is not one that runs programs or touches files when it is built."""
    module_name, _, attribute = name.rpartition(".")
    found: object = entry
    if isinstance(entry, str) and _holds_data(module_name):
        try:
            found = getattr(importlib.import_module(module_name), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise CheckpointError(f'allow names "{name}", which cannot be imported ({error}); write it as "module.Class"') from error
        if not isinstance(found, type):
            raise CheckpointError(f'allow names "{name}", which is a {type(found).__name__}, not a class; only classes can be admitted')
    if not isinstance(found, type) or not _holds_data(module_name) or not _holds_data(found.__module__):
        raise CheckpointError(f'allow names "{name}", which can run programs or touch files; thetascope never admits it')
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


def _check_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Whether all tensors are dense and together not much larger than the file: one value may be expanded to any size.

    Raises:
        CheckpointError: they are not.
    """
    odd = [name for name, t in tensors.items() if t.layout != torch.strided or t.is_quantized or t.is_meta]
    if odd:
        raise CheckpointError(f'"{path}" holds tensors that are sparse, quantised or without values: {", ".join(odd)}. Save dense ones')
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if size > LARGEST_RATIO * path.stat().st_size + SPARE_BYTES:
        raise CheckpointError(
            f'"{path}" is {path.stat().st_size:,} bytes long and promises tensors of {size:,}: it was made to fill the memory, or saved '
            "with expanded tensors. Save contiguous ones"
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
