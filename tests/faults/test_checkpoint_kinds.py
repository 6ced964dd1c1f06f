"""Checkpoints of several files that strangers made: nothing in them is run, no path leads out of their folder, memory is bounded."""

from __future__ import annotations

import json
import os
import pickle
import resource
import struct
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import thetascope as ts
from tests.faults.test_bounds import refused_cheaply
from tests.faults.test_strangers import CALLS, zip_bomb
from tests.recording.tiny import assert_same
from thetascope.checkpoints.weights_only import load_bytes
from thetascope.errors import CheckpointError, TrajectoryError

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled", "ignore:.*TypedStorage is deprecated")

TENSORS = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}


def refused(path: Path, **options: Any) -> str:
    """Why a checkpoint is refused, within bounds of memory and of the message's length."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((CheckpointError, TrajectoryError)) as caught:
        _ = [dict(state) for state in ts.Trajectory.from_files(path, **options)]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes"
    assert len(str(caught.value)) < 2000
    return str(caught.value)


# --- indices ----------------------------------------------------------------------------------------------

OUTSIDE = ["../secret.safetensors", "/etc/passwd", "..", ".", "", "a/b.safetensors", "a\\b.safetensors", "nul\0", 3, None, ["x"]]


@pytest.mark.promise("strangers: paths")
@pytest.mark.parametrize("name", OUTSIDE, ids=repr)
def test_an_index_that_points_outside_its_folder(tmp_path: Path, name: Any) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    save_file(TENSORS, tmp_path / "secret.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": name}}))
    if isinstance(name, list):
        with pytest.raises((CheckpointError, TypeError)):
            ts.Trajectory.from_files(index)
        return
    message = refused(index)
    assert "which is no file of its own folder; nothing else is read" in message


@pytest.mark.promise("strangers: paths")
@pytest.mark.parametrize("kind", ["index", "folder", "weights", "adapter", "trainer_state", "deepspeed"])
def test_links_that_lead_out_of_a_folder(tmp_path: Path, kind: str) -> None:
    folder, secret = tmp_path / "in" / "checkpoint-1", tmp_path / "secret.safetensors"
    folder.mkdir(parents=True)
    save_file(TENSORS, secret)
    if kind == "index":
        (folder / "part.safetensors").symlink_to(secret)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": "part.safetensors"}}))
    elif kind == "folder":
        (folder / "e1.safetensors").symlink_to(secret)
    elif kind == "weights":
        (folder / "model.safetensors").symlink_to(secret)
    elif kind == "adapter":
        (folder / "adapter_config.json").write_text("{}")
        (folder / "adapter_model.safetensors").symlink_to(secret)
    elif kind == "trainer_state":
        save_file(TENSORS, folder / "model.safetensors")
        (tmp_path / "state.json").write_text('{"global_step": 3}')
        (folder / "trainer_state.json").symlink_to(tmp_path / "state.json")
    else:
        (folder / "latest").write_text("../../x")
        message = refused(folder)
        assert "is no file of its own folder" in message or "holds no checkpoint files" in message
        return
    assert "is a link that leads out of its folder" in refused(folder)


@pytest.mark.promise("strangers: paths")
def test_links_of_the_hub_s_cache_are_followed(tmp_path: Path) -> None:
    """There all files of a snapshot are links to blobs beside the snapshots."""
    snapshot, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
    for folder in (snapshot, blobs):
        folder.mkdir(parents=True)
    save_file(TENSORS, blobs / "0123")
    (snapshot / "model.safetensors").symlink_to(Path("../../blobs/0123"))
    assert float(ts.Trajectory.from_files(snapshot)[0]["b"][0]) == 1


@pytest.mark.promise("strangers: memory")
def test_an_index_of_very_many_files(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {f"w{i}": f"{i}.safetensors" for i in range(20_000)}}))
    assert "names 20,000 files; at most 10,000 are opened" in refused(index)


@pytest.mark.promise("strangers: memory")
@pytest.mark.parametrize("content", ["[" * 100_000, '{"weight_map": {"w": 1e999}}', "{", "\x00", '{"a":' * 100_000], ids=lambda c: c[:8])
@pytest.mark.parametrize("name", ["model.safetensors.index.json", "trainer_state.json", "adapter_config.json"])
def test_json_that_is_none(tmp_path: Path, name: str, content: str) -> None:
    if name == "adapter_config.json":
        save_file(TENSORS, tmp_path / "adapter_model.safetensors")
    elif name == "trainer_state.json":
        save_file(TENSORS, tmp_path / "model.safetensors")
    (tmp_path / name).write_text(content)
    if name == "trainer_state.json" and content.startswith('{"weight'):
        assert ts.Trajectory.from_files(tmp_path).steps is None
    else:
        refused(tmp_path, base=TENSORS)


@pytest.mark.promise("hangs")
@pytest.mark.promise("strangers: memory")
def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "device.pt").symlink_to("/dev/zero")
    for name in ("pipe.pt", "device.pt"):
        assert "does not exist or is no file" in refused(tmp_path / name)


# --- torch.distributed.checkpoint -------------------------------------------------------------------------


def saved(folder: Path) -> Path:
    dcp: Any = import_module("torch.distributed.checkpoint")
    dcp.save(dict(TENSORS), checkpoint_id=folder, no_dist=True)
    return folder


def alter(folder: Path, change: Callable[[Any], None]) -> None:
    """Change the metadata of a folder, as torch's own objects."""
    with (folder / ".metadata").open("rb") as file:
        metadata = pickle.load(file)
    change(metadata)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


def _info(metadata: Any, name: str = "w") -> Any:
    return next(info for index, info in metadata.storage_data.items() if index.fqn == name)


def larger(metadata: Any) -> None:
    said = metadata.state_dict_metadata["w"]
    said.size = said.chunks[0].sizes = torch.Size([2**20, 2**20])


def larger_whole(metadata: Any) -> None:
    metadata.state_dict_metadata["w"].size = torch.Size([2**20, 2**20])


def another_shape(metadata: Any) -> None:
    said = metadata.state_dict_metadata["w"]
    said.size = said.chunks[0].sizes = torch.Size([3, 2])


def beyond(metadata: Any) -> None:
    _info(metadata).length = 2**40


def backwards(metadata: Any) -> None:
    _info(metadata).offset = -5


def elsewhere(metadata: Any) -> None:
    _info(metadata).relative_path = "../secret.distcp"


def absolute(metadata: Any) -> None:
    _info(metadata).relative_path = "/etc/passwd"


def nowhere(metadata: Any) -> None:
    metadata.storage_data.clear()


def part_outside(metadata: Any) -> None:
    metadata.state_dict_metadata["w"].chunks[0].offsets = torch.Size([0, 1])


def twice(metadata: Any) -> None:
    said = metadata.state_dict_metadata["w"]
    said.chunks = said.chunks * 2


def by_an_extension(metadata: Any) -> None:
    _info(metadata).transform_descriptors = ["zstd"]


def many_of_the_same(metadata: Any) -> None:
    """A million tensors of the same few bytes would fill the memory."""
    said, (index, info) = metadata.state_dict_metadata["w"], next((i, s) for i, s in metadata.storage_data.items() if i.fqn == "w")
    for k in range(10_000):
        metadata.state_dict_metadata[f"w{k}"] = said
        metadata.storage_data[type(index)(f"w{k}", index.offset)] = info
    said.size = said.chunks[0].sizes = torch.Size([info.length // 4])
    said.chunks[0].offsets = torch.Size([0])


def not_of_numbers(metadata: Any) -> None:
    metadata.state_dict_metadata["w"].size = ("a", None)


def another_name(metadata: Any) -> None:
    metadata.planner_data = {"w": ("model", "x" * 10**6), "b": ("model",)}


LIES: dict[str, tuple[Callable[[Any], None], str]] = {
    f.__name__: (f, what)
    for f, what in [
        (larger, "is larger than the"),
        (larger_whole, "do not make it whole"),
        (another_shape, "does not hold what"),
        (beyond, "lies beyond that"),
        (backwards, "a size that is no whole number"),
        (elsewhere, "is no file of its own folder"),
        (absolute, "is no file of its own folder"),
        (nowhere, "or nowhere"),
        (part_outside, "lies outside it"),
        (twice, "do not make it whole"),
        (by_an_extension, "is compressed by an extension"),
        (not_of_numbers, "a size that is no whole number"),
        (another_name, "holds no metadata of torch.distributed.checkpoint"),
    ]
}


@pytest.mark.promise("memory a byte")
@pytest.mark.promise("strangers: memory")
@pytest.mark.parametrize("lie", LIES)
def test_metadata_that_lie(tmp_path: Path, lie: str) -> None:
    folder = saved(tmp_path / "a")
    change, what = LIES[lie]
    alter(folder, change)
    assert what in refused(folder)


@pytest.mark.promise("strangers: memory")
def test_many_tensors_of_the_same_bytes(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a")
    alter(folder, many_of_the_same)
    refused(folder)


@pytest.mark.promise("strangers: nothing runs")
@pytest.mark.parametrize("call", CALLS)
def test_metadata_that_call(tmp_path: Path, call: str) -> None:
    folder, trap = saved(tmp_path / "a"), tmp_path / "trap"
    for content in (CALLS[call](trap), {"state_dict_metadata": CALLS[call](trap)}):
        (folder / ".metadata").write_bytes(pickle.dumps(content))
        assert "was refused, nothing in it was run: it holds" in refused(folder)
    assert not trap.exists()


def nested_pairs() -> bytes:
    """A key of pairs within pairs: its hash takes 2 to the power of 60 steps."""
    key: Any = ()
    for _ in range(60):
        key = (key, key)
    content = pickle.dumps(key, protocol=4)
    return content[:2] + b"}" + content[2:-1] + b"K\x01s."


RAW: dict[str, bytes] = {
    "nested pairs": nested_pairs(),
    "a memo far away": b"\x80\x04}r\xff\xff\xff\x7f.",
    "a long text": b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"x.",
    "a large bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",
    "deep lists": b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "an attribute of a class": b"\x80\x04ctorch\nSize\nN}X\x08\x00\x00\x00__code__K\x01s\x86b.",
    "an old class": b"\x80\x02(iposix\nsystem\n.",
    "a persistent object": b"\x80\x02K\x01Q.",
    "nothing": b"",
    "no pickle": b"\x00" * 100,
}


@pytest.mark.promise("hangs")
@pytest.mark.promise("memory a byte")
@pytest.mark.promise("strangers: memory")
@pytest.mark.parametrize("name", RAW)
def test_metadata_that_are_none(tmp_path: Path, name: str) -> None:
    folder = saved(tmp_path / "a")
    (folder / ".metadata").write_bytes(RAW[name])
    refused(folder)


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def copies_of_a_list(path: Path) -> None:
    """Sixty thousand sizes of sixty thousand numbers each, made of one list."""
    again = b"h\x02h\x01\x85R" * 60_000
    path.write_bytes(b"\x80\x04](](" + b"K\x01" * 60_000 + b"eq\x01ctorch\nSize\nq\x02h\x01\x85R" + again + b"e.")


def copies_of_a_state(path: Path) -> None:
    """Ten thousand records of one mapping of sixty thousand names."""
    state = b"}(" + b"".join(_text(str(k)) + b"N" for k in range(60_000)) + b"uq\x01"
    path.write_bytes(b"\x80\x04](" + state + b"ctorch.distributed.x\nA\nq\x02" + b"h\x02)\x81h\x01b" * 10_000 + b"e.")


def a_place_of_pairs(path: Path) -> None:
    """Where a tensor lies in what was saved is told by a pair of a pair of a pair, forty times, put there once the place was weighed."""
    pairs = b"N\x85" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(11, 51))
    said = _text("planner_data") + b"}q\x01s" + _text("state_dict_metadata") + b"}" + _text("w") + b"Nss" + _text("storage_data") + b"}s"
    after = b"h\x01" + _text("w") + pairs + b"\x85s"
    path.write_bytes(b"\x80\x04ctorch.distributed.x\nMetadata\n)\x81}" + said + b"bq\x02" + after + b"h\x02.")


def _say_again(metadata: Any, said: Any) -> None:
    index, info = next((i, s) for i, s in metadata.storage_data.items() if i.fqn == "w")
    names = [f"w{k}" for k in range(10_000)]
    metadata.state_dict_metadata = dict.fromkeys(names, said)
    metadata.storage_data = {type(index)(name, index.offset): info for name in names}


def _shared(change: Callable[[Any], None]) -> Callable[[Path], None]:
    """What is said of one tensor is changed, and said of ten thousand."""

    def write(path: Path) -> None:
        def share(metadata: Any) -> None:
            said = metadata.state_dict_metadata["w"]
            change(said)
            _say_again(metadata, said)

        alter(path.parent, share)

    return write


def _of_many_parts(said: Any) -> None:
    said.size = said.chunks[0].sizes = torch.Size([0, 3])
    said.chunks = said.chunks * 20_000


def _of_many_sizes(said: Any) -> None:
    said.size = [0] * 60_000
    said.chunks = []


def one_long_name(path: Path) -> None:
    def share(metadata: Any) -> None:
        long = "x" * 2_000_000
        metadata.planner_data = {f"w{k}": (f"m{k}", long) for k in range(10_000)}
        _say_again(metadata, metadata.state_dict_metadata["w"])

    alter(path.parent, share)


COSTLY: dict[str, Callable[[Path], None]] = {
    "copies of a list": copies_of_a_list,
    "copies of a state": copies_of_a_state,
    "a place of pairs of pairs": a_place_of_pairs,
    "one list of parts for many tensors": _shared(_of_many_parts),
    "one list of sizes for many tensors": _shared(_of_many_sizes),
    "one long name for many tensors": one_long_name,
}


@pytest.mark.slow
@pytest.mark.promise("hangs")
@pytest.mark.promise("memory a byte")
@pytest.mark.parametrize("kind", COSTLY)
def test_metadata_that_make_more_than_they_hold(tmp_path: Path, kind: str) -> None:
    folder = saved(tmp_path / "a")
    COSTLY[kind](folder / ".metadata")
    assert (folder / ".metadata").stat().st_size < 3_000_000
    assert ".metadata" in refused_cheaply(folder)


@pytest.mark.promise("strangers: memory")
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_metadata_of_many_tensors_are_read(tmp_path: Path, protocol: int) -> None:
    """As torch writes them, also nested, of many names, and by each protocol of Python's."""
    dcp: Any = import_module("torch.distributed.checkpoint")
    model = {**{f"layer{k}.weight": torch.full((2, 3), float(k)) for k in range(300)}, "long" * 200: torch.ones(1)}
    content = {
        "model": model,
        "optimizer": {"state": {"step": torch.tensor(3.0)}},
        "step": 7,
        "bytes": b"x" * 300,
    }
    dcp.save(content, checkpoint_id=tmp_path / "a", no_dist=True)
    with (tmp_path / "a" / ".metadata").open("rb") as file:
        metadata = pickle.load(file)
    (tmp_path / "a" / ".metadata").write_bytes(pickle.dumps(metadata, protocol))
    trajectory = ts.Trajectory.from_files(tmp_path / "a", key="model")
    assert trajectory.steps == [7]
    assert_same(trajectory[0], model)


@pytest.mark.promise("strangers: memory")
def test_a_part_that_unpacks_to_more_than_it_is(tmp_path: Path) -> None:
    zip_bomb(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="unpacks to"):
        load_bytes((tmp_path / "a.pt").read_bytes(), tmp_path / "a.pt")


# --- single files -----------------------------------------------------------------------------------------


@pytest.mark.promise("strangers: memory")
def test_a_second_archive_within_does_not_lift_the_check_of_sizes(tmp_path: Path) -> None:
    zip_bomb(tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt", "a") as archive:
        archive.writestr("other/constants.pkl", b"")
    assert "TorchScript" in refused(tmp_path / "a.pt")


@pytest.mark.promise("strangers: memory")
@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
def test_a_bytearray_of_a_number_is_not_made(tmp_path: Path, old: bool) -> None:
    class Large:
        def __reduce__(self) -> Any:
            return bytearray, (2**30,)

    torch.save({"w": torch.zeros(2), "x": Large()}, tmp_path / "a.pt", _use_new_zipfile_serialization=not old)
    assert '"builtins.bytearray"' in refused(tmp_path / "a.pt")


@pytest.mark.promise("strangers: memory")
def test_a_key_of_nested_pairs_makes_no_endless_message(tmp_path: Path) -> None:
    key: Any = "x"
    for _ in range(18):
        key = (key, key)
    torch.save({"a": 1, key: 2}, tmp_path / "a.pt")
    assert "a tuple" in refused(tmp_path / "a.pt")


@pytest.mark.promise("strangers: memory")
def test_a_table_of_metrics_that_is_none(tmp_path: Path) -> None:
    trajectory = ts.Trajectory.from_states([TENSORS], steps=[1])
    for content in (
        b"step,a\n1," + b"x" * 10**6,
        b"\xff\xfe",
        b"",
        b"step\n" + b"9" * 5000 + b"\n",
    ):
        (tmp_path / "metrics.csv").write_bytes(content)
        with pytest.raises((CheckpointError, TrajectoryError)):
            trajectory.with_metrics(tmp_path / "metrics.csv")
