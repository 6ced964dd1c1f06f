"""The demo's images: scikit-learn's digits, which every installation has, and MNIST from a folder."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from thetascope.errors import DataError

MEAN, STD = 0.1307, 0.3081
"""Of MNIST's training pixels in [0, 1]."""

MNIST_FILES = {
    "train-images-idx3-ubyte": 60_000,
    "train-labels-idx1-ubyte": 60_000,
    "t10k-images-idx3-ubyte": 10_000,
    "t10k-labels-idx1-ubyte": 10_000,
}
_HELD_OUT = 5
"""Every fifth image of each digit is held out."""


@dataclass(frozen=True)
class Images:
    """Images ``[N, 1, 32, 32]``, normalised, and labels ``[N]`` of 0 to 9; for training and held out."""

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load_digits() -> Images:
    """scikit-learn's 1,797 digits of 8×8 pixels, enlarged to 32×32; every fifth of each class is held out."""
    from sklearn import datasets

    found = datasets.load_digits()
    images = _normalised(torch.from_numpy(found.images / 16.0))
    labels = torch.from_numpy(found.target.astype(np.int64))
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for digit in range(10):
        held_out[torch.nonzero(labels == digit)[::_HELD_OUT, 0]] = True
    return Images("digits", images[~held_out], labels[~held_out], images[held_out], labels[held_out])


def load_mnist(folder: str | Path) -> Images:
    """MNIST from the four IDX files in `folder`, gzipped or not, enlarged from 28×28 to 32×32.

    Raises:
        DataError: a file is missing, truncated, oversized, of other shape, or its labels are not 0 to 9.
    """
    parts = {name: _read_idx(_find(Path(folder), name), count) for name, count in MNIST_FILES.items()}
    arrays = list(parts.items())
    for name, array in arrays:
        wanted = (28, 28) if "images" in name else ()
        if array.shape[1:] != wanted:
            raise DataError(f'"{name}" holds items of shape {list(array.shape[1:])}; expected {list(wanted)}. Is it mislabelled?')
        if "labels" in name and array.max() > 9:
            raise DataError(f'"{name}" holds the label {array.max()}; expected 0 to 9')
    train_x, train_y, test_x, test_y = (torch.from_numpy(array) for _, array in arrays)
    return Images("MNIST", _normalised(train_x / 255.0), train_y.long(), _normalised(test_x / 255.0), test_y.long())


def _normalised(pixels: Tensor) -> Tensor:
    """Pixels ``[N, H, W]`` in [0, 1] as ``[N, 1, 32, 32]``, bilinearly enlarged, with MNIST's mean and spread removed."""
    enlarged = F.interpolate(pixels.float()[:, None], size=(32, 32), mode="bilinear", align_corners=False)
    return (enlarged - MEAN) / STD


def _find(folder: Path, name: str) -> Path:
    if not folder.is_dir():
        raise DataError(f'"{folder}" is no folder; --data-dir must name the one that holds MNIST\'s four IDX files')
    for candidate in (name, f"{name}.gz", name.replace("-idx", ".idx"), name.replace("-idx", ".idx") + ".gz"):
        if (folder / candidate).is_file():
            return folder / candidate
    raise DataError(f'"{folder}" lacks {name} (or {name}.gz); expected the four files {", ".join(MNIST_FILES)}, gzipped or not')


def _read_idx(path: Path, expected: int) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes: two zero bytes, type 8, the number of dimensions, big-endian sizes, the data."""
    try:
        with _opened(path) as file:
            return _parse_idx(file, path, expected)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f'"{path}" is no whole gzip file ({error}); fetch it again') from error


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if gzipped else path.open("rb")  # type: ignore[return-value]


def _parse_idx(file: BinaryIO, path: Path, expected: int) -> NDArray[np.uint8]:
    head = file.read(4)
    dims = 3 if "images" in path.name else 1
    if len(head) < 4 or head[:2] != b"\0\0":
        raise DataError(f'"{path}" is no IDX file: it starts with {head.hex() or "nothing"}; expected 0000080{dims}')
    if head[2] != 8 or head[3] != dims:
        raise DataError(f'"{path}" holds type {head[2]} in {head[3]} dimensions; expected unsigned bytes (8) in {dims}. Is it mislabelled?')
    sizes = file.read(4 * dims)
    if len(sizes) < 4 * dims:
        raise DataError(f'"{path}" ends within its header; fetch it again')
    shape = struct.unpack(f">{dims}I", sizes)
    if shape[0] != expected or max(shape[1:], default=1) > 28:  # before reading: a header may promise anything
        wanted = "images of 28 × 28" if dims == 3 else "labels"
        raise DataError(f'"{path}" promises {" × ".join(map(str, shape))} values; expected {expected:,} {wanted}')
    count = int(np.prod(shape))
    content = file.read(count + 1)
    if len(content) != count:
        what = (
            f"ends after {len(content):,} of {count:,} values"
            if len(content) < count
            else f"goes on after the {count:,} values that it promises"
        )
        raise DataError(f'"{path}" {what}; fetch it again')
    return np.frombuffer(content, np.uint8).reshape(shape).copy()
