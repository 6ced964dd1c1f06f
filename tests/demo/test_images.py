from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from thetascope.demo import images
from thetascope.demo.images import MNIST_FILES, load_digits, load_mnist
from thetascope.errors import DataError

COUNTS = dict(zip(MNIST_FILES, (6, 6, 4, 4), strict=True))


def write(folder: Path, *, zipped: bool = False) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for name, count in COUNTS.items():
        if "images" in name:
            content = struct.pack(">IIII", 0x803, count, 28, 28) + rng.integers(0, 256, (count, 28, 28), np.uint8).tobytes()
        else:
            content = struct.pack(">II", 0x801, count) + rng.integers(0, 10, count, np.uint8).tobytes()
        (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(content) if zipped else content)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MNIST_FILES", COUNTS)


def test_digits_split_each_class() -> None:
    digits = load_digits()
    assert digits.train_images.shape[1:] == digits.test_images.shape[1:] == (1, 32, 32)
    assert len(digits.train_labels) + len(digits.test_labels) == 1797
    share = torch.bincount(digits.test_labels) / torch.bincount(torch.cat([digits.train_labels, digits.test_labels]))
    assert ((share > 0.195) & (share < 0.21)).all()
    assert torch.equal(load_digits().test_images, digits.test_images)


@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_reads_gzipped_or_not(tmp_path: Path, zipped: bool) -> None:
    write(tmp_path, zipped=zipped)
    found = load_mnist(tmp_path)
    assert found.train_images.shape == (6, 1, 32, 32)
    assert found.test_labels.shape == (4,)
    assert found.test_labels.dtype == torch.int64


def damage(folder: Path, kind: str) -> None:
    name, labels = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
    content = (folder / name).read_bytes()
    match kind:
        case "missing":
            (folder / name).unlink()
        case "truncated":
            (folder / name).write_bytes(content[:-1])
        case "oversized":
            (folder / name).write_bytes(content + b"x")
        case "within its header":
            (folder / name).write_bytes(content[:9])
        case "empty":
            (folder / name).write_bytes(b"")
        case "mislabelled":
            (folder / labels).write_bytes(content)
        case "promises":
            (folder / name).write_bytes(struct.pack(">IIII", 0x803, 4, 2**31, 2**31) + content[16:])
        case "other count":
            (folder / name).write_bytes(struct.pack(">IIII", 0x803, 5, 28, 28) + content[16:])
        case "label 200":
            (folder / labels).write_bytes(struct.pack(">II", 0x801, 4) + bytes([1, 2, 200, 3]))
        case "torn gzip":
            (folder / name).unlink()
            (folder / (name + ".gz")).write_bytes(gzip.compress(content)[:-20])
        case "other type":
            (folder / name).write_bytes(b"\0\0\x0d\x03" + content[4:])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "lacks t10k-images-idx3-ubyte"),
        ("truncated", "ends after 3,135 of 3,136 values"),
        ("oversized", "goes on after the 3,136 values"),
        ("within its header", "ends within its header"),
        ("empty", "is no IDX file: it starts with nothing"),
        ("mislabelled", "in 3 dimensions; expected unsigned bytes .8. in 1. Is it mislabelled"),
        ("promises", "promises 4 × 2147483648 × 2147483648 values; expected 4 images of 28 × 28"),
        ("other count", "promises 5 × 28 × 28 values; expected 4"),
        ("label 200", "holds the label 200; expected 0 to 9"),
        ("torn gzip", "no whole gzip file"),
        ("other type", "holds type 13"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, kind: str, message: str) -> None:
    write(tmp_path)
    damage(tmp_path, kind)
    with pytest.raises(DataError, match=message):
        load_mnist(tmp_path)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        load_mnist(tmp_path / "nothing")
