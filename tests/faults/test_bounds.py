"""Small files that would cost much, files that are none, and links: refused at once, and each beside an honest twin that is read."""

from __future__ import annotations

import gzip
import json
import math
import os
import resource
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import thetascope as ts
from tests.faults.steps import tree
from tests.faults.test_strangers import saved
from tests.recording.tiny import assert_same, fill, filled, values
from thetascope.errors import CheckpointError, PlaceError, RecordingError, ResultError, ThetascopeError, TrajectoryError
from thetascope.experiments.framework.examine import Subject, examine
from thetascope.recording.log import line_of
from thetascope.results.metadata import unpacked_size
from thetascope.testing.models import case

MOST_BYTES, MOST_SECONDS = 200 * 2**20, 5.0


@contextmanager
def cheap() -> Iterator[None]:
    """What is done within costs little memory and little time."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_BYTES
    assert time.process_time() - start < MOST_SECONDS


def refused_cheaply(path: Path) -> str:
    """Why a checkpoint is refused, by a process of its own, which without a guard would fill the memory or take hours."""
    code = f"""
import resource, time
import tests.faults
import thetascope as ts
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
try:
    ts.Trajectory.from_files([{str(path)!r}])
except ts.ThetascopeError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.process_time() - start, error, sep="\\n")
"""
    limited = ["bash", "-c", 'ulimit -v 8000000; exec "$@"', "limited", sys.executable, "-c", code]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=60, check=True)
    kilobytes, seconds, message = done.stdout.split("\n", 2)
    assert int(kilobytes) * 1024 < MOST_BYTES
    assert float(seconds) < MOST_SECONDS
    return message


# --- results ----------------------------------------------------------------------------------------------


def _header(place: Path, change: Callable[[dict[str, Any]], None], array: str = "loss") -> None:
    file = place / array / "zarr.json"
    header = json.loads(file.read_text())
    change(header)
    file.write_text(json.dumps(header))


def gzipped_twice(place: Path) -> None:
    packed = {"name": "gzip", "configuration": {"level": 5}}
    _header(place, lambda header: header.update(codecs=[header["codecs"][0], packed, packed]))
    (place / "loss" / "c" / "0").write_bytes(gzip.compress(gzip.compress(bytes(2**29))))


def packed_larger(place: Path) -> None:
    """A chunk of the right codecs whose frame unpacks to far more than the chunk."""
    from numcodecs.zstd import compress  # type: ignore[import-untyped]

    (place / "alpha" / "c" / "0").write_bytes(compress(bytes(2**30), 1))


def many_chunks(place: Path) -> None:
    for name in ("loss", "status", "check", "alpha"):
        _header(place, lambda header: header.update(shape=[10**6]), name)
        _header(place, lambda header: header["chunk_grid"]["configuration"].update(chunk_shape=[1]), name)


def texts_for_sizes(place: Path) -> None:
    _header(place, lambda header: header.update(shape="2"))


def other_chunks(place: Path) -> None:
    """Points of one unit in two chunks."""
    _header(place, lambda header: header["chunk_grid"]["configuration"].update(chunk_shape=[1]))


def endless_texts(place: Path) -> None:
    from numcodecs.zstd import compress

    first = {"name": "vlen-utf8"}
    _header(place, lambda header: header.update(data_type="string", fill_value="", codecs=[first, header["codecs"][1]]), "alpha")
    (place / "alpha" / "c" / "0").write_bytes(compress(b"\xff\xff\xff\x7f", 1))


def _other(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        (place / "loss" / "c" / "0").unlink()
        make(place / "loss" / "c" / "0")

    return change


def _socket(path: Path) -> None:
    os.chdir(path.parent)  # its name is to be short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


def sparse(path: Path, size: int = 2**36) -> None:
    with path.open("wb") as file:
        file.truncate(size)


ODD_FILES: dict[str, Callable[[Path], object]] = {
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a pipe": os.mkfifo,
    "a socket": _socket,
    "a file of holes": sparse,
}
ODD_RESULTS: dict[str, Callable[[Path], None]] = {
    "gzipped twice": gzipped_twice,
    "a chunk that unpacks to more": packed_larger,
    "a million chunks": many_chunks,
    "texts for sizes": texts_for_sizes,
    "other chunks than the layout's": other_chunks,
    "texts without an end": endless_texts,
    **{name: _other(make) for name, make in ODD_FILES.items()},
}


@pytest.mark.promise("hangs")
@pytest.mark.promise("memory a byte")
@pytest.mark.promise("strangers: memory")
@pytest.mark.parametrize("kind", ODD_RESULTS)
def test_a_result_that_would_cost_much(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place, twin = saved(tmp_path / "r"), saved(tmp_path / "twin")
    ODD_RESULTS[kind](place)
    with cheap(), pytest.raises(ResultError):
        ts.load_result(place)
    assert ts.load_result(twin).data["loss"].values.tolist() == [1.0, 2.0]


@pytest.mark.promise("strangers: memory")
@pytest.mark.parametrize("dtype", ["float16", "float32", "int64", "uint8", "bool", "complex128", "U7", "object"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 300), (2, 3, 20_000)])
def test_what_users_store_is_read(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    made = np.arange(math.prod(shape)).reshape(shape) % 7
    if (dtype, shape) == ("object", (0,)):
        pytest.skip("texts that are none come back as numbers")
    column = np.array(made.astype(str), object) if dtype == "object" else made.astype(dtype)
    attrs = {"experiment": "made", "thetascope_format": 4, "units": {}, "scored": []}
    data = xr.Dataset({"x": (tuple("abc"[: len(shape)]), column)}, attrs=attrs)
    found = ts.load_result(ts.Result(data).save(tmp_path / "r")).data["x"].values
    assert found.shape == shape
    assert found.tolist() == column.tolist()


@pytest.mark.promise("strangers: memory")
@pytest.mark.parametrize("size", [0, 1, 255, 256, 300, 65_791, 65_792, 2**20])
def test_the_size_of_a_frame_is_known_before_it_is_unpacked(size: int) -> None:
    from numcodecs.zstd import compress

    assert unpacked_size(compress(bytes(size), 1)) == size
    assert unpacked_size(b"\x28\xb5\x2f\xfd") is None
    assert unpacked_size(compress(bytes(size), 1)[4:]) is None


# --- runs -------------------------------------------------------------------------------------------------


def recorded(path: Path, steps: int = 2) -> Path:
    model = filled(0)
    with ts.Recorder(path, model) as recorder:
        for step in range(1, steps + 1):
            fill(model, step)
            recorder.record(step=step, metrics={"m": step})
    return path


@pytest.mark.promise("hangs")
@pytest.mark.promise("memory a byte")
@pytest.mark.promise("strangers: memory")
@pytest.mark.parametrize("name", ["log.jsonl", "run.json", "states/00000001.safetensors"])
@pytest.mark.parametrize("kind", ODD_FILES)
def test_a_run_of_which_a_file_is_none(tmp_path: Path, kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run, twin = recorded(tmp_path / "run"), recorded(tmp_path / "twin")
    (run / name).unlink()
    ODD_FILES[kind](run / name)
    with cheap():
        with pytest.raises(ThetascopeError):
            [state.tensors() for state in ts.Trajectory(run)]
        assert ts.write_report(run).exists()
    assert_same(ts.Trajectory(twin)[-1], values(filled(2)))


@pytest.mark.promise("strangers: memory")
@pytest.mark.parametrize(
    "changed",
    [
        {"metrics": {"m": 10**400}}, {"metrics": {"m": "1"}}, {"metrics": [1]}, {"metrics": {"\ud800": 1}}, {"epoch": 10**400},
        {"step": 10**30}, {"step": "7"}, {"step": True}, {"ordinal": -1}, {"ordinal": 10**400}, {"epoch": "1"}, {"event": "x" * 2**25},
        {"event": 3}, {"event": "state", "file": "x", "bytes": 3, "digest": 7}, {"event": "drop", "ordinals": "12"},
        {"event": "rewind", "step": 0.5},
    ],
    ids=lambda changed: str(changed)[:40],
)  # fmt: skip
def test_values_that_no_recorder_logs(tmp_path: Path, changed: dict[str, Any]) -> None:
    run = recorded(tmp_path / "run")
    identity, log = json.loads((run / "run.json").read_text())["identity"], (run / "log.jsonl").read_bytes()
    event = {"event": "record", "ordinal": 3, "step": 3, "epoch": 10**30, "metrics": {"m": 1.5, "n": 1e999}}
    for said in (event, {**event, **changed}):
        text = json.dumps(said)
        line = line_of({"event": "?"}, identity, len(log)) if "\\ud800" in text else line_of(said, identity, len(log))
        if "\\ud800" in text:  # as an escape, which JSON admits
            import thetascope.recording.log as module

            content = text.encode()
            line = content[:-1] + b',"check":"' + module._check(content, identity, len(log)).encode() + b'"}\n'
        (run / "log.jsonl").write_bytes(log + line)
        if said is event:
            assert ts.Trajectory(run).steps == [0, 1, 2]
            continue
        with cheap(), pytest.raises(RecordingError, match=r"is damaged") as raised:
            ts.Trajectory(run)
        assert len(str(raised.value)) < 1000
        assert ts.write_report(run).exists()


@pytest.mark.promise("strangers: memory")
@pytest.mark.parametrize(
    "change",
    [
        lambda space: space["tensors"].update(x=["22", "float32", "parameter"]),
        lambda space: space["tensors"].update(x=[[2**62, 2**62], "float32", "parameter"]),
        lambda space: space["tensors"].update(x=[[2], "float32", "other"]),
        lambda space: space["layers"].append(["x", "Linear", ["no such"], [], None]),
        lambda space: space["layers"].append("abcde"),
        lambda space: space["ties"].update(x=3),
    ],
)
def test_a_header_that_no_recorder_writes(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    from thetascope.recording.log import check_of

    run = recorded(tmp_path / "run")
    header = json.loads((run / "run.json").read_text())
    change(header["space"])
    (run / "run.json").write_text(json.dumps(header | {"check": check_of(header)}))
    with cheap(), pytest.raises(RecordingError, match=r'run\.json" is damaged'):
        ts.Trajectory(run)
    assert "cannot be read" in ts.write_report(run).read_text(encoding="utf-8")


# --- checkpoints ------------------------------------------------------------------------------------------


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


DOUBLED = b"N\x85" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(1, 41))
"""A pair of a pair of a pair, forty times: 2**40 values, if they are counted."""

PICKLES = {
    "pairs of pairs as a key": b"}" + DOUBLED + b"K\x01s",
    "pairs of pairs in a set": b"cbuiltins\nset\n]" + DOUBLED + b"a\x85R",
    "hexadecimal of hexadecimal": b"c_codecs\nencode\n" * 24 + text("a" * 999) + text("latin1") + b"\x86R" + (text("hex") + b"\x86R") * 23,
    "copies of a list": b"](" + b"K\x01" * 50_000 + b"eq\x01cbuiltins\nset\nq\x02h\x01\x85R" + b"h\x02h\x01\x85R" * 50_000,
    "a storage of a size": b"ctorch\nFloatStorage\nJ\x00\x00\x00\x40\x85R",
    "a tensor of a size": b"ctorch\nTensor\nJ\x00\x00\x00\x40\x85\x81",
    "a bytearray of a size": b"cbuiltins\nbytearray\nJ\x00\x00\x00\x40\x85R",
}


def with_pickle(path: Path, pickle: bytes) -> None:
    torch.save({"w": torch.zeros(3)}, path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, b"\x80\x02" + pickle + b"." if name.endswith("data.pkl") else content)


@pytest.mark.slow
@pytest.mark.promise("hangs")
@pytest.mark.promise("memory a byte")
@pytest.mark.promise("strangers: memory")
@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("kind", PICKLES)
def test_a_pickle_that_makes_more_than_it_holds(tmp_path: Path, kind: str, old: bool) -> None:
    path = tmp_path / "a.pt"
    if old:
        torch.save(0, path, _use_new_zipfile_serialization=False)
        whole, number = path.read_bytes(), b"\x80\x02K\x00."
        assert whole.count(number) == 1
        path.write_bytes(whole.replace(number, b"\x80\x02" + PICKLES[kind] + b"."))
    else:
        with_pickle(path, PICKLES[kind])
    assert 'a.pt" was refused, nothing in it was run' in refused_cheaply(path)


@pytest.mark.promise("strangers: memory")
@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
def test_what_trainings_save_besides_is_read(tmp_path: Path, old: bool) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    content = {
        "state_dict": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "rng": torch.get_rng_state(),
        "bytes": bytes(range(256)) * 400, "shape": torch.Size([1, 2]), "set": {1, 2, (3, "x")}, "options": {(1, 2): [None, 1.5, 2**70]},
        "device": torch.device("cpu"), "dtype": torch.float16, "parameter": torch.nn.Parameter(torch.ones(2)),
        "ema": [model.state_dict()] * 9,
    }  # fmt: skip
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not old)
    trajectory = ts.Trajectory.from_files([tmp_path / "a.pt"], key="state_dict")
    assert_same(trajectory[0], model.state_dict())
    arrays = {"state_dict": model.state_dict(), "array": np.arange(10_000.0), "number": np.float64(3)}
    torch.save(arrays, tmp_path / "b.pt", _use_new_zipfile_serialization=not old)
    allow = ["numpy.ndarray", "numpy.dtype"]
    assert_same(ts.Trajectory.from_files([tmp_path / "b.pt"], key="state_dict", allow=allow)[0], model.state_dict())


@pytest.mark.promise("strangers: memory")
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_checkpoint_of_holes(tmp_path: Path, suffix: str) -> None:
    """One that was never written but says how long it is, beside one of which a copy left out pages of zeros."""
    from safetensors.torch import save_file

    for name, written in (("holes", 0), ("copied", 2**20)):
        path, tensors = tmp_path / f"{name}{suffix}", {"w": torch.zeros(2**23)}
        tensors["w"][:written] = 1
        torch.save(tensors, path) if suffix == ".pt" else save_file(tensors, path)
        content = path.read_bytes()
        with path.open("wb") as file:
            for start in range(0, len(content), 4096):
                page = content[start : start + 4096]
                file.seek(start)
                if page.strip(b"\0"):
                    file.write(page)
            file.truncate(len(content))
    assert ts.Trajectory.from_files([tmp_path / f"copied{suffix}"])[0]["w"].sum() == 2**20
    if (tmp_path / f"holes{suffix}").stat().st_blocks * 512 > 2**20:
        pytest.skip("this file system keeps no holes")
    with pytest.raises(CheckpointError, match="were ever written"):
        ts.Trajectory.from_files([tmp_path / f"holes{suffix}"])


# --- links ------------------------------------------------------------------------------------------------


@pytest.mark.promise("written outside")
@pytest.mark.promise("strangers: paths")
@pytest.mark.parametrize("name", ["results", "results/interpolate", "figures", "figures/interpolate.png", "report.html"])
def test_nothing_is_written_behind_a_link_in_a_run(tmp_path: Path, name: str) -> None:
    from thetascope.experiments.framework.catalog import chosen_entries

    linear = case("linear")
    objective, trajectory = ts.Objective(linear.model(), linear.data()), ts.Trajectory.from_states(linear.states(2))
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for place in (home / name).parent, elsewhere:
        place.mkdir(parents=True, exist_ok=True)
    (elsewhere / "precious").write_bytes(b"mine")
    target = elsewhere / "precious" if "." in name else elsewhere
    (home / name).symlink_to(target)
    subject = Subject(objective, trajectory, home, progress=False)

    def all_of_it() -> None:
        examine(subject, chosen_entries(["interpolate"], with_training=False))
        ts.write_report(home)

    with pytest.raises(PlaceError, match="is a symbolic link, so what belongs into"):
        all_of_it()
    assert tree(elsewhere) == {"precious"}
    assert (elsewhere / "precious").read_bytes() == b"mine"
    (home / name).unlink()
    all_of_it()
    assert (home / "report.html").exists()


@pytest.mark.promise("written outside")
@pytest.mark.promise("strangers: paths")
def test_a_log_that_became_a_link_is_not_appended_to(tmp_path: Path) -> None:
    with ts.Recorder(tmp_path / "run", filled(0)) as recorder:
        recorder.record(step=1)
        recorder._wait()
        (tmp_path / "run" / "log.jsonl").rename(tmp_path / "log")
        (tmp_path / "run" / "log.jsonl").symlink_to(tmp_path / "log")
        before = (tmp_path / "log").read_bytes()
        with pytest.raises(RecordingError, match="is no regular file"):
            recorder.record(step=2)
    assert (tmp_path / "log").read_bytes() == before


@pytest.mark.promise("any order")
@pytest.mark.parametrize("metric", ["top.partial", f"x.{'0' * 32}.partial"])
def test_a_metric_called_like_a_half_written_file(tmp_path: Path, metric: str) -> None:
    linear = case("linear")
    objective = ts.Objective(linear.model(), linear.data(), metrics={metric: "accuracy"})
    trajectory = ts.Trajectory.from_states(linear.states(2))
    first = ts.interpolate(objective, trajectory, alphas=3, out=tmp_path / "r", progress=False)
    again = ts.interpolate(objective, trajectory, alphas=3, out=tmp_path / "r", progress=False)
    assert again.data[metric].values.tobytes() == first.data[metric].values.tobytes()
    assert ts.load_result(tmp_path / "r").data[metric].values.tobytes() == first.data[metric].values.tobytes()


# --- readers beside a writer ------------------------------------------------------------------------------


@pytest.mark.promise("beside a writer")
@pytest.mark.filterwarnings("error")
def test_a_result_is_read_at_each_step_of_its_writer(tmp_path: Path, counted: Callable[[int], None]) -> None:
    """What is finished is there, and nothing is said of damage, wherever the writer is."""
    from tests.faults.steps import MAKING, REMOVING, watched
    from tests.results.test_store import LAYOUT
    from thetascope.results.store import Store

    place, reads = tmp_path / "r", 0
    store = Store.create(place, LAYOUT)

    def write() -> None:
        store.write("", 0, {"loss": [1.5, 2.5], "accuracy": [0.0, 1.0]})
        store.write_cells("", [7, 3], {"loss": [3.5, 4.5], "accuracy": [0.0, 1.0]})
        store.add({"best": (("layer",), [1.0, 2.0])}, {"note": "done"})

    def read(_event: str) -> None:
        nonlocal reads
        reads += 1
        result = ts.load_result(place)
        assert result.in_progress
        there = result.data["status"].values != 0
        assert (result.data["loss"].values[there] >= 1.5).all()
        assert np.isnan(result.data["loss"].values[~there]).all()

    with watched(place, MAKING | REMOVING, 0, read) as watch:
        watch.see = _at_every_step(watch.see, read)  # type: ignore[method-assign]
        write()
    store.close()
    assert reads > 20
    counted(reads)
    assert not ts.load_result(place).in_progress
    assert ts.load_result(place).data["loss"].values[0, :2].tolist() == [1.5, 2.5]
    assert "in progress" not in repr(ts.load_result(place))


@pytest.mark.promise("beside a writer")
def test_a_report_says_that_a_result_is_in_progress(tmp_path: Path) -> None:
    from thetascope.results.store import Store

    place, said = tmp_path / "results" / "r", "This result is in progress"
    data = ts.load_result(saved(tmp_path / "whole")).data
    data["status"][1] = 0
    ts.Result(data).save(place)
    store = Store.open(place)
    assert said in ts.write_report(tmp_path).read_text(encoding="utf-8")
    store.close()
    assert "This result is not finished" in ts.write_report(tmp_path).read_text(encoding="utf-8")
    assert said not in ts.write_report(tmp_path).read_text(encoding="utf-8")


@pytest.mark.promise("beside a writer")
@pytest.mark.filterwarnings("error")
def test_a_writer_goes_on_while_a_result_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each array that is read one more unit is written; each point that is there has the values that were written with it."""
    import zarr

    from tests.results.test_store import LAYOUT
    from thetascope.results.store import Store

    store = Store.create(tmp_path / "r", LAYOUT)
    left = [2, 5, 7]
    store.write("", 0, {"loss": [1.5, 2.5], "accuracy": [0.0, 1.0]})
    before: Any = zarr.Array.__getitem__

    def read(array: Any, where: Any) -> Any:
        content = before(array, where)
        if left and array.basename in ("accuracy", "check", "loss"):
            store.write("", left.pop(), {"loss": [1.5, 2.5], "accuracy": [0.0, 1.0]})
        return content

    monkeypatch.setattr(zarr.Array, "__getitem__", read)
    found = ts.load_result(tmp_path / "r").data
    assert not left
    assert found["loss"].values[0, :2].tolist() == [1.5, 2.5]
    assert (np.isnan(found["loss"].values) == (found["status"].values == 0)).all()
    store.close()
    assert (ts.load_result(tmp_path / "r").data["status"].values != 0).sum() == 8


def _at_every_step(see: Callable[..., None], act: Callable[[str], None]) -> Callable[..., None]:
    inside: list[str] = []

    def seen(event: str, arguments: tuple[Any, ...]) -> None:
        if not inside and str(arguments[0]).endswith((".partial", "zarr.json", "/c")):
            inside.append(event)
            act(event)
            inside.clear()

    return seen


@pytest.mark.promise("beside a writer")
def test_states_that_are_thinned_away_are_told_from_damage(tmp_path: Path) -> None:
    model = filled(0)
    with ts.Recorder(tmp_path / "run", model, max_states=4) as recorder:
        for step in (1, 2, 3):
            fill(model, step)
            recorder.record(step=step)
            recorder._wait()
        before = ts.Trajectory(tmp_path / "run")
        assert "which is being recorded into" in repr(before)
        for step in range(4, 12):
            fill(model, step)
            recorder.record(step=step)
            recorder._wait()
        assert_same(before[0], values(filled(0)))
        with pytest.raises(TrajectoryError, match=r"is being recorded into, and step 1 .* open it again"):
            before[1].tensors()
        for state in ts.Trajectory(tmp_path / "run"):
            assert_same(state, values(filled(state.step or 0)))
        assert "The recording goes on" in ts.write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "being recorded" not in repr(ts.Trajectory(tmp_path / "run"))
    last = ts.Trajectory(tmp_path / "run")[-1]
    next((tmp_path / "run" / "states").glob("*11.safetensors")).unlink()
    with pytest.raises(CheckpointError, match="is missing; restore it"):
        last.tensors()


@pytest.mark.promise("beside a writer")
def test_a_state_that_is_recorded_anew_is_told_from_damage(tmp_path: Path) -> None:
    model = filled(0)
    with ts.Recorder(tmp_path / "run", model) as recorder:
        for step in (1, 2):
            fill(model, step)
            recorder.record(step=step)
            recorder._wait()
        before = ts.Trajectory(tmp_path / "run")
        fill(model, 7)
        with pytest.warns(UserWarning, match="comes after step 2"):
            recorder.record(step=2)
        recorder._wait()
        with pytest.raises(TrajectoryError, match=r"is being recorded into, and step 2"):
            before[-1].tensors()
        assert_same(ts.Trajectory(tmp_path / "run")[-1], values(filled(7)))
