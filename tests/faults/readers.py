"""Readers of bytes that may come from anywhere, each with bytes that it reads: what fuzzing starts from and what it checks.

Each reader returns what stands there or raises an error of ours; anything else that it raises is a fault.
"""

from __future__ import annotations

import gzip
import json
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import save

import thetascope as ts
from tests.recording.tiny import filled
from tests.results.test_store import LAYOUT
from thetascope.cli.application import app
from thetascope.cli.configuration import configuration
from thetascope.demo import images
from thetascope.errors import ThetascopeError
from thetascope.geometry.edits import Parameter
from thetascope.results.store import Store
from thetascope.scoring.fast.settings import parsed
from thetascope.state import ParameterSpace

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.int64)}


@dataclass(frozen=True)
class Reader:
    """Bytes that are read, and what must not fail on any others."""

    whole: bytes
    check: Callable[[bytes], None]


def our_error_or(work: Callable[[], Any]) -> Any:
    """What it returns, or None after an error of ours; any other error passes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return work()
    except ThetascopeError as error:
        assert str(error)
        return None


def _checkpoint(kind: str) -> Callable[[Path], Reader]:
    def made(folder: Path) -> Reader:
        path = folder / ("a.safetensors" if kind == "safetensors" else "a.pt")
        if kind == "safetensors":
            path.write_bytes(save(TENSORS))
        else:
            torch.save(TENSORS, path, _use_new_zipfile_serialization=kind == "zip")

        def check(content: bytes) -> None:
            path.write_bytes(content)
            our_error_or(lambda: dict(ts.Trajectory.from_files([path])[0]))

        return Reader(path.read_bytes(), check)

    return made


def _of_parts(name: str) -> Callable[[Path], Reader]:
    """A file that says what lies beside it: an index of shards, metadata of torch.distributed.checkpoint, an adapter's configuration."""

    def made(folder: Path) -> Reader:
        if name == ".metadata":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import_module("torch.distributed.checkpoint").save(dict(TENSORS), checkpoint_id=folder, no_dist=True)
        else:
            (folder / WEIGHTS[name]).write_bytes(save(TENSORS))
            (folder / name).write_text(json.dumps(SAID[name]))

        def check(content: bytes) -> None:
            (folder / name).write_bytes(content)
            our_error_or(lambda: dict(ts.Trajectory.from_files(folder, base=TENSORS)[0]))

        return Reader((folder / name).read_bytes(), check)

    return made


SAID: dict[str, Any] = {
    "model.safetensors.index.json": {"weight_map": {"a": "part.safetensors", "b": "part.safetensors"}},
    "adapter_config.json": {"peft_type": "LORA"},
    "trainer_state.json": {"global_step": 3, "epoch": 1.5, "log_history": [{"step": 3, "loss": 0.5}]},
}
WEIGHTS = {
    "model.safetensors.index.json": "part.safetensors",
    "adapter_config.json": "adapter_model.safetensors",
    "trainer_state.json": "model.safetensors",
}


def _run(name: str) -> Callable[[Path], Reader]:
    def made(folder: Path) -> Reader:
        with ts.Recorder(folder / "run", filled(0)) as recorder:
            recorder.record(step=1, metrics={"m": 1.0})
        path = folder / "run" / name

        def check(content: bytes) -> None:
            path.write_bytes(content)
            found = our_error_or(lambda: ts.Trajectory(folder / "run"))
            assert found is None or found.steps in ([0, 1], [0])

        return Reader(path.read_bytes(), check)

    return made


def _result(folder: Path) -> Reader:
    store = Store.create(folder / "result", LAYOUT)
    store.write("", 0, {"loss": [1.0, 2.0], "accuracy": [0.5, 0.5]})
    store.close()
    path = folder / "result" / "zarr.json"
    before = ts.load_result(folder / "result").data["loss"].values.tobytes()

    def check(content: bytes) -> None:
        path.write_bytes(content)
        found = our_error_or(lambda: ts.load_result(folder / "result"))
        assert found is None or found.data["loss"].values.tobytes() == before

    return Reader(path.read_bytes(), check)


def _images(*, zipped: bool) -> Callable[[Path], Reader]:
    def made(folder: Path) -> Reader:
        counts = dict.fromkeys(images.MNIST_FILES, 2)
        for name in counts:
            few = (0x803, 2, 28, 28) if "images" in name else (0x801, 2)
            (folder / name).write_bytes(struct.pack(f">{len(few)}I", *few) + bytes(2 * 28 * 28 if "images" in name else 2))
        path = folder / "t10k-images-idx3-ubyte"
        whole = path.read_bytes()

        def check(content: bytes) -> None:
            path.write_bytes(content)
            with mock.patch.object(images, "MNIST_FILES", counts):
                found = our_error_or(lambda: images.load_mnist(folder))
            assert found is None or found.test_images.shape == (2, 1, 32, 32)

        return Reader(gzip.compress(whole, mtime=0) if zipped else whole, check)

    return made


def _labels(folder: Path) -> Reader:
    space = ParameterSpace.of_model(torch.nn.Conv2d(1, 2, 3))

    def check(content: bytes) -> None:
        label = content.decode("utf-8", "replace")
        found = our_error_or(lambda: Parameter.parse(label, space))
        assert found is None or Parameter.parse(found.label, space) == found

    return Reader(b"weight[0,0,1,1]", check)


def _engine_options(folder: Path) -> Reader:
    def check(content: bytes) -> None:
        our_error_or(lambda: parsed(content.decode("utf-8", "replace")))

    return Reader(b"graph:rows=200,channels_last=yes", check)


def _options_file(folder: Path) -> Reader:
    path = folder / "thetascope.toml"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        our_error_or(lambda: configuration(app, path))

    return Reader(b'objective = "objective.py:objective"\n[surface]\nseed = 3\ntolerance = 0.01\n', check)


READERS: dict[str, Callable[[Path], Reader]] = {
    "safetensors": _checkpoint("safetensors"),
    "zipped checkpoint": _checkpoint("zip"),
    "legacy checkpoint": _checkpoint("legacy"),
    "index of shards": _of_parts("model.safetensors.index.json"),
    "metadata of parts": _of_parts(".metadata"),
    "adapter's configuration": _of_parts("adapter_config.json"),
    "trainer's state": _of_parts("trainer_state.json"),
    "log.jsonl": _run("log.jsonl"),
    "run.json": _run("run.json"),
    "zarr.json": _result,
    "IDX": _images(zipped=False),
    "zipped IDX": _images(zipped=True),
    "parameter label": _labels,
    "engine options": _engine_options,
    "options file": _options_file,
}
