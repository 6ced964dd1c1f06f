"""Folders of torch.distributed.checkpoint (DCP): read without a process group, a tensor at a time.

torch's own reader unpickles ``.metadata`` with all that stands in it. Here classes that it names become plain records, so that nothing
is built or called, and what the metadata say is checked against the files before anything is read.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thetascope.checkpoints.contents import EPOCH_KEYS, LARGEST_RATIO, SPARE_BYTES, STEP_KEYS, moment_in, state_dict_in
from thetascope.checkpoints.opcodes import SPARE, WEIGHT_A_BYTE, TooMuch, check_all
from thetascope.checkpoints.open_files import OPEN_FILES, check_file
from thetascope.checkpoints.opened import Format, How, Moment, Opened, inside, listed, shortened
from thetascope.checkpoints.weights_only import load_bytes, load_weights_only
from thetascope.errors import CheckpointError
from thetascope.state import TensorSpec

METADATA, LIGHTNING = ".metadata", "meta.pt"
LARGEST_METADATA, LARGEST_NUMBER = 2**28, 2**20
"""So many bytes of metadata are read, and so many of an entry that is no tensor."""
MOST_SIZES, MOST_PARTS = 64, 2**15
"""So many dimensions a tensor has, and so many parts, of which each is compared with each."""

_DAMAGE = (
    *(pickle.UnpicklingError, EOFError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError),
    *(AssertionError, MemoryError, OSError),
)


class _Record:
    """What stands in the place of an object in the metadata: its attributes, or the values that it was made of."""

    def __init__(self, *values: Any) -> None:
        self.__dict__["values"] = values

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {"values": state})


def _stand_ins() -> dict[tuple[str, str], Callable[..., Any]]:
    """What may be called while metadata are read: made anew each time, because a pickle may write to what it names."""
    found: dict[tuple[str, str], Callable[..., Any]] = {
        ("torch", "Size"): lambda *sizes: tuple(sizes[0]) if sizes else (),
        ("torch.serialization", "_get_layout"): lambda name: name,
        ("collections", "OrderedDict"): lambda: {},
    }
    for kind in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"):
        for module in ("pathlib", "pathlib._local"):
            found[module, kind] = lambda *_: None
    return found


_UNPICKLER: Any = pickle._Unpickler  # in Python, so that what it may do can be narrowed
_LEFT_OUT = (
    *(pickle.INST, pickle.OBJ, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID, pickle.BINPERSID, pickle.NEWOBJ_EX),
    *(pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET),
    *(pickle.INT, pickle.LONG, pickle.FLOAT, pickle.STRING, pickle.UNICODE, pickle.DICT),
)


class _MetadataUnpickler(_UNPICKLER):  # type: ignore[misc]
    """Builds records, numbers, texts, lists and mappings."""

    dispatch = {code: load for code, load in _UNPICKLER.dispatch.items() if bytes([code]) not in _LEFT_OUT}  # noqa: RUF012

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self._known = _stand_ins()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._known:
            dtype = getattr(torch, name, None) if module == "torch" else None
            if isinstance(dtype, torch.dtype):
                return dtype
            if not module.startswith("torch.distributed."):
                raise CheckpointError(f'it holds "{shortened(f"{module}.{name}")}", which no metadata of torch.distributed.checkpoint hold')
            self._known[module, name] = type(name.rpartition(".")[2], (_Record,), {})
        return self._known[module, name]

    def _set(self, items: Sequence[Any]) -> None:
        target = self.stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int | _Record):  # the hash of nested pairs may take for ever
                raise ValueError("a key that is no text")
            target[key] = value

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def load_setitems(self) -> None:
        self._set(self.pop_mark())

    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems


@dataclass(frozen=True)
class _Part:
    """A block of a tensor, and where its bytes lie."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: Path
    start: int
    length: int


@dataclass(frozen=True)
class _Entry:
    spec: TensorSpec
    parts: tuple[_Part, ...]


class DistributedSource:
    """The state dict in a folder of torch.distributed.checkpoint."""

    def __init__(self, folder: Path, key: str | None) -> None:
        self.path, self._metadata = folder, folder / METADATA
        self._names = _read_metadata(folder)
        self.files = len({part.file for entry in self._names.entries.values() for part in entry.parts})
        found, at = state_dict_in(self._names.tree, key, folder), {id(leaf): name for name, leaf in self._names.leaves.items()}
        self._stored = {name: at[id(leaf)] for name, leaf in found.items()}
        self.specs: Mapping[str, TensorSpec] = {name: self._names.entries[full].spec for name, full in self._stored.items()}

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Copies of the tensors `names`, put together from their parts."""
        return {name: self._tensor(self._stored[name]).clone() for name in names}

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        """Some values of one tensor; the tensor is read whole."""
        return self._tensor(self._stored[name]).reshape(-1)[start:stop].clone()

    @property
    def moment(self) -> Moment:
        """When it was written, as numbers in it say, or Lightning's ``meta.pt`` beside it."""
        numbers = {name: self._number(part) for name, part in self._names.numbers.items()}
        found, beside = moment_in(numbers), self.path / LIGHTNING
        return found.completed(moment_in(load_weights_only(beside))) if beside.is_file() and found == Moment() else found

    def _number(self, part: _Part) -> Any:
        return load_bytes(_bytes_of(part), part.file) if part.length <= LARGEST_NUMBER else None

    def _tensor(self, name: str) -> Tensor:
        tensor: Tensor = OPEN_FILES.content(self._metadata, name, lambda: self._put_together(name))
        return tensor

    def _put_together(self, name: str) -> tuple[Tensor, int]:
        entry = self._names.entries[name]
        whole = torch.empty(entry.spec.shape, dtype=getattr(torch, entry.spec.dtype))
        for part in entry.parts:
            found = load_bytes(_bytes_of(part), part.file)
            if not isinstance(found, Tensor) or tuple(found.shape) != part.sizes or found.dtype != whole.dtype:
                raise CheckpointError(f'"{part.file}" does not hold what "{self._metadata}" says of {listed([name])}; restore both')
            where = tuple(slice(offset, offset + size) for offset, size in zip(part.offsets, part.sizes, strict=True))
            whole[where] = found
        return whole, whole.numel() * whole.element_size()


@dataclass(frozen=True)
class _Saved:
    """What the metadata say: tensors by their full names, the nested mapping that was saved, and entries that may be numbers."""

    entries: Mapping[str, _Entry]
    tree: Mapping[str, Any]
    leaves: Mapping[str, Tensor]
    numbers: Mapping[str, _Part]


def _read_metadata(folder: Path) -> _Saved:
    """Read and check ``.metadata``.

    Raises:
        CheckpointError: it is damaged, names files outside the folder, or promises more than these hold.
    """
    path = folder / METADATA
    size = check_file(path).st_size
    if size > LARGEST_METADATA:
        raise CheckpointError(f'"{path}" is {size:,} bytes long; at most {LARGEST_METADATA:,} of metadata are read')
    try:
        content = path.read_bytes()
        check_all(content)
        metadata = _MetadataUnpickler(io.BytesIO(content)).load()
        return _checked(folder, metadata, size)
    except (CheckpointError, TooMuch) as error:
        raise CheckpointError(f'"{path}" was refused, nothing in it was run: {error}') from error
    except _DAMAGE as error:
        raise CheckpointError(
            f'"{path}" holds no metadata of torch.distributed.checkpoint ({shortened(repr(error))}); restore it'
        ) from error


def _check_bounds(metadata: Any, places: Mapping[Any, tuple[Any, ...]], size: int) -> None:
    """Whether what the metadata name again and again, once it is read, is in proportion to their length.

    Raises:
        CheckpointError: it is more.
    """
    parts = [len(said.chunks) for said in metadata.state_dict_metadata.values() if hasattr(said, "chunks")]
    if sum(parts) > size or max(parts, default=0) > MOST_PARTS:  # each part is written with its own sizes
        raise CheckpointError(f"it says of {sum(parts):,} parts in {size:,} bytes; restore it")
    most = SPARE + WEIGHT_A_BYTE * size
    deep = sum(map(len, places.values())) > most
    if not deep and not all(isinstance(part, str | int) for place in places.values() for part in place):
        raise ValueError("a place that is no text")
    if deep or sum(len(part) for place in places.values() for part in place if isinstance(part, str)) > most:
        raise CheckpointError(f"its names are much longer than its {size:,} bytes; restore it")


def _checked(folder: Path, metadata: Any, size: int) -> _Saved:
    stored: dict[tuple[str, tuple[int, ...] | None], Any] = {}
    for index, info in metadata.storage_data.items():
        offset = getattr(index, "offset", None)
        stored[index.fqn, None if offset is None else _sizes(offset)] = info
    planned = metadata.planner_data if isinstance(metadata.planner_data, dict) else {}
    places = {name: planned.get(name, (name,)) for name in metadata.state_dict_metadata}
    _check_bounds(metadata, places, size)
    sizes: dict[Path, int] = {}
    entries, leaves, numbers, tree = dict[str, _Entry](), dict[str, Tensor](), dict[str, _Part](), dict[str, Any]()
    for name, said in metadata.state_dict_metadata.items():
        place = tuple(str(part) for part in places[name])
        leaf: Tensor | None = None
        if hasattr(said, "chunks"):
            entries[name] = entry = _entry(name, said, stored, folder, sizes)
            leaves[name] = leaf = torch.empty(entry.spec.shape, dtype=getattr(torch, entry.spec.dtype), device="meta")
        elif place[-1] in (*STEP_KEYS, *EPOCH_KEYS) and len(place) <= 2 and (name, None) in stored:
            numbers[place[-1]] = _part(name, (), (), stored[name, None], folder, sizes)
        _put(tree, place, leaf)
    promised = sum(leaf.numel() * leaf.element_size() for leaf in leaves.values())
    if promised > LARGEST_RATIO * sum(sizes.values()) + SPARE_BYTES:
        raise CheckpointError(f"it promises tensors of {promised:,} bytes, and the files hold {sum(sizes.values()):,}; restore them")
    return _Saved(entries, tree, leaves, numbers)


def _put(tree: dict[str, Any], place: Sequence[str], leaf: Tensor | None) -> None:
    for name in place[:-1]:
        tree = tree.setdefault(name, {})
    if not isinstance(tree, dict) or place[-1] in tree:
        raise ValueError("two entries in one place")
    tree[place[-1]] = leaf


def _entry(name: str, said: Any, stored: Mapping[Any, Any], folder: Path, sizes: dict[Path, int]) -> _Entry:
    shape, properties = _sizes(said.size), said.properties
    dtype = properties.dtype if hasattr(properties, "dtype") else properties.values[0]
    if not isinstance(dtype, torch.dtype):
        raise ValueError("a tensor without a dtype")
    parts = []
    for chunk in said.chunks:
        offsets, lengths = _sizes(chunk.offsets), _sizes(chunk.sizes)
        beyond = any(offset + length > whole for offset, length, whole in zip(offsets, lengths, shape, strict=True))
        info = stored.get((name, offsets), stored.get((name, None)))
        if beyond or info is None:
            raise CheckpointError(f"a part of {listed([name])} lies outside it, or nowhere; restore it")
        part = _part(name, offsets, lengths, info, folder, sizes)
        if math.prod(lengths) * dtype.itemsize > part.length:
            raise CheckpointError(f"a part of {listed([name])} is larger than the {part.length:,} bytes that hold it; restore it")
        parts.append(part)
    if not _covers(parts, shape):
        raise CheckpointError(f"the parts of {listed([name])} do not make it whole; restore it")
    return _Entry(TensorSpec(shape, str(dtype).removeprefix("torch.")), tuple(parts))


def _part(name: str, offsets: tuple[int, ...], lengths: tuple[int, ...], info: Any, folder: Path, sizes: dict[Path, int]) -> _Part:
    if getattr(info, "transform_descriptors", None):
        raise CheckpointError(f"{listed([name])} is compressed by an extension; save it again without")
    file = inside(folder, info.relative_path, folder / METADATA)
    if file not in sizes:
        sizes[file] = check_file(file).st_size
    start, length = _sizes((info.offset, info.length))
    if start + length > sizes[file]:
        raise CheckpointError(f'"{file.name}" is {sizes[file]:,} bytes long, and {listed([name])} lies beyond that; restore it')
    return _Part(offsets, lengths, file, start, length)


def _sizes(values: Any) -> tuple[int, ...]:
    """Whole numbers of at least 0."""
    if len(values) > MOST_SIZES:
        raise ValueError("more sizes than a tensor has")
    found = tuple(values)
    if not all(type(value) is int and 0 <= value < 2**62 for value in found):
        raise ValueError("a size that is no whole number")
    return found


def _covers(parts: Sequence[_Part], shape: tuple[int, ...]) -> bool:
    """Whether the parts hold every value once: as many as there are, and no two overlap."""
    if sum(math.prod(part.sizes) for part in parts) != math.prod(shape):
        return False
    filled = [part for part in parts if math.prod(part.sizes)]
    if len(filled) <= 1 or not shape:
        return True
    low = np.array([part.offsets for part in filled])
    high = low + np.array([part.sizes for part in filled])
    return all(np.count_nonzero(((low < high[i]) & (high > low[i])).all(axis=1)) == 1 for i in range(len(filled)))


def _bytes_of(part: _Part) -> bytes:
    with part.file.open("rb") as file:
        file.seek(part.start)
        return file.read(part.length)


def _opened(path: Path, how: How) -> Opened:
    source = DistributedSource(path, how.key)
    return Opened(path, source, "torch.distributed.checkpoint", files=source.files, own=source.moment)


DISTRIBUTED = Format("a folder of torch.distributed.checkpoint", lambda path: (path / METADATA).is_file(), _opened)
