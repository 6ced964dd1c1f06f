"""What the headers of a stored result may say: what the tool itself writes, checked before a byte of any value is unpacked.

zarr knows many ways to store an array, some of which make gigabytes of a few bytes (codecs one after another, chunks larger than
their array, texts without an end). A result has one: a regular grid of chunks, little-endian, packed once by Zstandard, with a checksum.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thetascope.files import file_name
from thetascope.results.seal import CHECK
from thetascope.results.status import named

LARGEST_HEADER = 2**26
"""So many bytes long may the attributes of a result be."""

SPARE_BYTES, LARGEST_RATIO = 2**24, 1000
"""A result may take so much memory, and so many times its files' size: real ones compress by ten."""

SPARE_CHUNKS, CHUNKS_A_FILE = 1000, 2
"""It may have so many chunks, and so many a file: every chunk is written, and few are ever lost."""

_SIZES = {
    "bool": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8,
    "float16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16,
}  # fmt: skip
_FILLS: Sequence[object] = ("", "NaN", "0.0", 0, 0.0, False, [0.0, 0.0], ["NaN", "NaN"])
_KEYS = {
    "shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs", "attributes", "dimension_names", "zarr_format",
    "node_type", "storage_transformers",
}  # fmt: skip
_MOST_DIMENSIONS, _CHECKSUM = 16, 4
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class Stored:
    """An array as its header describes it.

    `item` is how many bytes a value has, 0 of texts of any length; `checksum` how many bytes of one stand behind a chunk.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    item: int
    dims: tuple[str | None, ...]
    checksum: int = 0

    @property
    def chunks(self) -> int:
        """How many there are."""
        return math.prod(-(-size // step) for size, step in zip(self.shape, self.chunk, strict=True))

    @property
    def promised(self) -> int:
        """How many bytes it takes to hold it; of texts at least."""
        return max(math.prod(self.shape), math.prod(self.chunk)) * (self.item or 8)


def header(content: bytes) -> dict[str, Any]:
    """What a ``zarr.json`` says.

    Raises:
        ValueError: it is no JSON, or no mapping of what is expected.
    """
    found = json.loads(content.decode())
    if not isinstance(found, dict) or found.get("zarr_format") != 3:
        raise ValueError("a header that no version of thetascope writes")
    return found


def group(said: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a result, of its header.

    Raises:
        ValueError: it says something else too.
    """
    attributes = said.get("attributes")
    if said["node_type"] != "group" or said.keys() - {"attributes", "zarr_format", "node_type"} or not isinstance(attributes, dict):
        raise ValueError("a header that no version of thetascope writes")
    return attributes


def array(said: Mapping[str, Any]) -> Stored:
    """What the header of an array says.

    Raises:
        ValueError: it is stored in another way than thetascope's; or KeyError, TypeError.
    """
    shape, grid = _sizes(said["shape"]), said["chunk_grid"]
    chunk, (data_type, item) = _sizes(grid["configuration"]["chunk_shape"]), _type(said["data_type"])
    names = said.get("dimension_names") or [None] * len(shape)
    _expect("node type", said["node_type"] == "array" and not said.keys() - _KEYS and not said.get("storage_transformers"))
    _expect("chunk grid", grid["name"] == "regular" and len(chunk) == len(shape) and 0 not in chunk)
    _expect("chunk keys", said["chunk_key_encoding"] == {"name": "default", "configuration": {"separator": "/"}})
    _expect("fill value", any(type(fill) is type(said["fill_value"]) and fill == said["fill_value"] for fill in _FILLS))
    _expect("codecs", _are_ours(said["codecs"], data_type))
    _expect("dimension names", len(names) == len(shape) and all(name is None or isinstance(name, str) for name in names))
    return Stored(shape, chunk, item, tuple(names), _CHECKSUM if said["codecs"][-1]["name"] == "crc32c" else 0)


def check_layout(arrays: Mapping[str, Stored], attributes: Mapping[str, Any], files: Mapping[str, int]) -> None:
    """Whether the chunks are those of the layout, and all of it no more than its files can hold.

    Raises:
        ValueError: it is not; or KeyError, TypeError, AttributeError.
    """
    held, promised = sum(files.values()), sum(own.promised for own in arrays.values())
    if promised > SPARE_BYTES + LARGEST_RATIO * held:
        raise ValueError(f"it promises {promised:,} bytes and holds {held:,}: it is damaged, or made to fill the memory")
    chunks = sum(own.chunks for own in arrays.values())
    if chunks > SPARE_CHUNKS + CHUNKS_A_FILE * len(files):
        raise ValueError(f"it promises {chunks:,} chunks and holds {len(files):,} files: it is damaged, or made to take forever")
    for name, own in arrays.items():
        for step, size, laid_out in zip(own.chunk, own.shape, _laid_out(name, own, arrays, attributes), strict=True):
            _expect(f'chunks of "{name}"', step in (laid_out, min(laid_out, max(size, 1))))


def _laid_out(name: str, own: Stored, arrays: Mapping[str, Stored], attributes: Mapping[str, Any]) -> tuple[int, ...]:
    """The chunks that the layout asks for; of what it does not name those that are there, none larger than the array."""
    statuses = {prefix: arrays[file].dims for prefix in attributes["units"] if (file := named(prefix, "status")) in arrays}
    scored = {file_name(named(prefix, each)) for prefix in statuses for each in (*attributes["scored"], "status", CHECK)}
    asked = chunks_of(name, own.dims, own.shape, statuses, attributes) if name in scored else None
    return asked or tuple(min(step, max(size, 1)) for step, size in zip(own.chunk, own.shape, strict=True))


def chunks_of(
    name: str, dims: tuple[Any, ...], shape: tuple[int, ...], statuses: Mapping[str, tuple[Any, ...]], attributes: Mapping[Any, Any]
) -> tuple[int, ...] | None:
    """A chunk a unit, so that no two units share one; None for a variable of no block.

    Args:
        name: of the variable.
        dims: its dimensions.
        shape: its shape.
        statuses: the dimensions of each block's status, by its prefix.
        attributes: of the result; ``units`` and ``unit_rows`` say what is stored at once.
    """
    chunk = None
    for prefix, unit in attributes.get("units", {}).items():
        if statuses.get(prefix) == dims and name.startswith(prefix):
            outer = [1 for _ in dims[:-1]]
            outer[-1:] = [min(attributes.get("unit_rows", {}).get(prefix, 1), shape[-2])] if outer else []
            chunk = (*outer, unit)
    return chunk


def check_chunk(content: bytes, own: Stored) -> None:
    """Whether a chunk unpacks to what its array says, as its frame tells before it is unpacked.

    Raises:
        ValueError: it does not.
    """
    there = unpacked_size(content)
    count = math.prod(own.chunk)
    if own.item:
        _expect("size of a chunk", there == count * own.item)
        return
    _expect("size of a chunk", there is not None and there <= SPARE_BYTES + LARGEST_RATIO * len(content))
    from numcodecs.zstd import decompress  # type: ignore[import-untyped]

    _expect("number of texts in a chunk", int.from_bytes(bytes(decompress(content[: len(content) - own.checksum]))[:4], "little") == count)


def unpacked_size(frame: bytes) -> int | None:
    """How many bytes a frame of Zstandard unpacks to, as its first bytes say (RFC 8878, 3.1.1.1); None where they do not."""
    if len(frame) < 6 or frame[:4] != _ZSTANDARD:
        return None
    kind = frame[4]
    is_single = kind >> 5 & 1
    length = (is_single, 2, 4, 8)[kind >> 6]
    start = 6 - is_single + (0, 1, 2, 4)[kind & 3]
    if not length or len(frame) < start + length:
        return None
    return int.from_bytes(frame[start : start + length], "little") + (256 if length == 2 else 0)


def _sizes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or len(values) > _MOST_DIMENSIONS or not all(type(v) is int and 0 <= v < 2**48 for v in values):
        raise ValueError(f"{str(values)[:80]} where a shape stands")
    return tuple(values)


def _type(said: Any) -> tuple[str, int]:
    """Texts or numbers, and how many bytes one takes."""
    if said == "string":
        return "vlen-utf8", 0
    if isinstance(said, str) and said in _SIZES:
        return "bytes", _SIZES[said]
    length = said["configuration"]["length_bytes"] if isinstance(said, dict) and said.get("name") == "fixed_length_utf32" else None
    if type(length) is not int or not 0 < length < 2**31 or length % 4:
        raise ValueError(f"{str(said)[:80]} where a type of values stands")
    return "bytes", length


def _are_ours(codecs: Any, first: str) -> bool:
    """Values as bytes, packed once, and a checksum."""
    if not isinstance(codecs, list) or not all(isinstance(codec, dict) for codec in codecs):
        return False
    is_little = codecs[0].get("configuration", {}).get("endian", "little") == "little" if codecs else False
    return is_little and [codec.get("name") for codec in codecs] in ([first, "zstd"], [first, "zstd", "crc32c"])


def _expect(what: str, fits: bool) -> None:
    if not fits:
        raise ValueError(f"{what} that no version of thetascope writes")
