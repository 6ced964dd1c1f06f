"""Loading what torch.save wrote without running anything that stands in it.

Pickled files go through torch's weights-only unpickler and nothing else. What it refuses is named, together
with the option that admits it, or with what to save instead.
"""

from __future__ import annotations

import importlib
import io
import mmap
import re
import struct
import sys
import warnings
import zipfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from thetascope.checkpoints.opcodes import TooMuch, check
from thetascope.checkpoints.opened import SHARDED, listed
from thetascope.errors import CheckpointError

_NUMPY_PARTS = frozenset(
    {"numpy.dtype", "numpy.ndarray"}
    | {f"numpy.{core}.multiarray.{part}" for core in ("core", "_core") for part in ("scalar", "_reconstruct")}
)
"""What numpy's numbers and arrays are made of in a pickle; they are admitted together."""

_DATA_MODULES = frozenset({"argparse", "collections", "datetime", "decimal", "enum", "fractions", "pathlib", "types", "uuid"})
"""Of the standard library, the modules whose classes hold data and do nothing else when they are built."""

_OF_PYTHON = sys.stdlib_module_names | {"__builtin__", "commands", "copy_reg"}  # the last ones are pickle's names for Python 2

_DAMAGE = (
    *(RuntimeError, EOFError, ValueError, LookupError, OSError, AttributeError, TypeError, AssertionError, struct.error),
    *(ArithmeticError, MemoryError, zipfile.BadZipFile),
)
"""What torch.load raises on files that are damaged, whatever way."""


ZIP = b"PK\x03\x04"
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""What files of torch.save begin with: those of today, and those before torch 1.6."""

INSTEAD = "where the file was made, save the state dict alone: torch.save(model.state_dict(), path)"
_EXPORTED = ("archive_format", "serialized_exported_program.json", "models/model.json")
_MODULE = (b"_parameters", b"_modules", b"_buffers")
"""What every pickled module holds."""


def is_zip(path: Path) -> bool:
    """Whether a file begins as those of torch.save do today, which can be mapped instead of being read."""
    with path.open("rb") as file:
        return file.read(4) == ZIP


def holds_pickle(path: Path) -> bool:
    """Whether torch.save wrote a file, today or before torch 1.6: other programs write zip archives too."""
    try:
        with path.open("rb") as file:
            head = file.read(len(LEGACY))
        if not head.startswith(ZIP):
            return head == LEGACY
        with zipfile.ZipFile(path) as archive:
            return any(part.filename.endswith("data.pkl") for part in archive.infolist())
    except _DAMAGE:
        return False


def load_weights_only(path: Path, allow: Sequence[str | type] = ()) -> Any:
    """Load a pickled checkpoint with torch's weights-only unpickler; tensors are mapped, not read, where possible.

    Raises:
        CheckpointError: the file is damaged, or holds something that weights-only loading refuses.
    """
    try:
        zipped = is_zip(path)
        if zipped:
            with zipfile.ZipFile(path) as archive:
                _check_zip(archive, path, path.stat().st_size)
        else:
            _check_pickle(_whole(path), path, _LEGACY_PICKLES)
        with _allowed(allow), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error), allow)) from error
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def load_bytes(content: bytes, path: Path) -> Any:
    """The same of a part of a file, as torch.save wrote it; `path` is what messages name.

    Raises:
        CheckpointError: as `load_weights_only`.
    """
    try:
        if not content.startswith(ZIP):
            raise CheckpointError(f'"{path}" holds a part that torch.save did not write; restore it from a copy')
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_zip(archive, path, len(content))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        reason = str(error).rsplit("WeightsUnpickler error:", maxsplit=1)[-1].strip().splitlines()[0][:200]
        raise CheckpointError(f'"{path}" was refused, nothing in it was run: it holds more than tensors ({reason})') from error
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: BaseException) -> CheckpointError:
    reason = str(error).splitlines()[0][:200] if str(error) else repr(error)[:200]
    return CheckpointError(f'"{path}" is no whole checkpoint of torch.save ({reason}); restore it from a copy')


def _check_zip(archive: zipfile.ZipFile, path: Path, size: int) -> None:
    """Whether the parts are stored as they are and side by side, as torch.save writes them: else a small file may fill the memory.

    Raises:
        CheckpointError: they are not, or the archive holds a program.
    """
    parts = archive.infolist()
    if any(part.filename.endswith("/constants.pkl") for part in parts):
        raise CheckpointError(f'"{path}" is a TorchScript archive, which holds code; {INSTEAD}')
    if any(part.filename.endswith(_EXPORTED) for part in parts):
        raise CheckpointError(f'"{path}" is an exported program (torch.export.save), not a state dict; {INSTEAD}')
    promised = sum(part.file_size for part in parts)
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts) or promised > size:
        raise CheckpointError(
            f'"{path}" unpacks to {promised:,} bytes and is {size:,} long; what torch.save writes is not compressed. '
            "Unpack it, and save the state dict again with torch.save(state_dict, path)"
        )
    for part in parts:
        if part.filename.endswith("data.pkl"):
            _check_pickle(archive.read(part), path)


def _check_pickle(pickle: bytes | mmap.mmap, path: Path, pickles: int = 1) -> None:
    """Whether a pickle makes no more than it holds.

    Raises:
        CheckpointError: it makes more.
    """
    if _has_bytearray(pickle):
        raise CheckpointError(_bytearray_refused(path))
    try:
        check(pickle, pickles)
    except TooMuch as error:
        raise CheckpointError(f'"{path}" was refused, nothing in it was run: {error}; {INSTEAD}') from error


_LEGACY_PICKLES = 5
"""Files of before torch 1.6 begin with so many: a number, the protocol, the system, what was saved, and the names of storages."""


def _has_bytearray(pickle: bytes | mmap.mmap) -> bool:
    """Whether a bytearray is made, which torch's unpickler would make as large as a number says."""
    return pickle.find(b"\nbytearray\n") >= 0


def _bytearray_refused(path: Path) -> str:
    return f'"{path}" was refused, nothing in it was run: besides tensors it holds "builtins.bytearray"; {INSTEAD}'


def _pickles(archive: zipfile.ZipFile) -> bytes:
    return b"".join(archive.read(part) for part in archive.infolist() if part.filename.endswith("data.pkl"))


def _whole(path: Path) -> bytes | mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


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
    what = f'"{path}" was refused, nothing in it was run: besides tensors it holds {listed(sorted(refused))}'
    if any(name.startswith("torch.distributed.") for name in refused):
        return f"{what}: it {SHARDED}"
    if any(name.startswith("torch.nn.") for name in refused) or _is_module(path):
        return f"{what}: a whole model, which needs its code to be built. {INSTEAD[0].upper()}{INSTEAD[1:]}"
    names = ", ".join(f'"{name}"' for name in sorted(refused))
    if not all(_holds_data(name.rpartition(".")[0] or "builtins") for name in refused):
        return f"{what}. Not all of these are plain data, and what can run programs is never admitted: {INSTEAD}"
    return f"{what}. If the file comes from someone you trust and these are plain data classes, admit them with  allow=[{names}]"


def _is_module(path: Path) -> bool:
    """Whether a refused file holds a pickled module."""
    try:
        if is_zip(path):
            with zipfile.ZipFile(path) as archive:
                pickle: bytes | mmap.mmap = _pickles(archive)
        else:
            pickle = _whole(path)
        return all(pickle.find(mark) >= 0 for mark in _MODULE)
    except _DAMAGE:
        return False


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
