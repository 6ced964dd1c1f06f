"""Files that strangers made: nothing in them is run, nothing is written elsewhere, memory is bounded, markup is text."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import struct
import subprocess
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import thetascope as ts
from tests.faults.steps import tree
from tests.recording.tiny import filled
from thetascope.demo.images import load_mnist
from thetascope.errors import CheckpointError, ObjectiveError, ResultError, ThetascopeError
from thetascope.results.stored import FORMAT
from thetascope.testing.models import case

FAR = 2**40
"""As many bytes as no machine has here."""


# --- nothing runs -----------------------------------------------------------------------------------------


class Call:
    """Pickles to a call."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


CALLS: dict[str, Callable[[Path], Any]] = {
    "os.system": lambda trap: Call(os.system, f"touch {trap}"),
    "eval": lambda trap: Call(eval, f"open({str(trap)!r}, 'w')"),
    "exec": lambda trap: Call(exec, f"open({str(trap)!r}, 'w')"),
    "subprocess": lambda trap: Call(subprocess.Popen, ["touch", str(trap)]),
    "open": lambda trap: Call(io.FileIO, str(trap), "w"),
    "Path.touch": lambda trap: Call(Path.touch, trap),
    "importlib": lambda _trap: Call(__import__, "antigravity"),
    "torch.load": lambda trap: Call(torch.load, str(trap)),
    "torch.save": lambda trap: Call(torch.save, 1, str(trap)),
    "numpy.save": lambda trap: Call(np.save, str(trap), 1),
    "numpy.load": lambda trap: Call(np.load, str(trap), None, True),
    "torch.hub": lambda _trap: Call(torch.hub.load, "a/b", "c"),
}


@pytest.mark.promise("strangers: nothing runs")
@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("where", ["value", "key", "top"])
@pytest.mark.parametrize("call", CALLS)
def test_pickles_that_call(tmp_path: Path, call: str, where: str, old: bool) -> None:
    trap = tmp_path / "trap"
    made = CALLS[call](trap)
    content: Any = {"value": {"w": torch.zeros(2), "x": made}, "key": {"w": torch.zeros(2), ("k", made): 1}, "top": made}[where]
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not old)
    with pytest.raises(CheckpointError, match=r"refused, nothing in it was run: besides tensors it holds"):
        ts.Trajectory.from_files([tmp_path / "a.pt"])
    assert not trap.exists()


@pytest.mark.promise("strangers: nothing runs")
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin"])
def test_a_bare_pickle_under_any_name(tmp_path: Path, suffix: str) -> None:
    trap = tmp_path / "trap"
    (tmp_path / f"a{suffix}").write_bytes(pickle.dumps(CALLS["os.system"](trap)))
    with pytest.raises(CheckpointError):
        ts.Trajectory.from_files([tmp_path / f"a{suffix}"])
    assert not trap.exists()


@pytest.mark.promise("strangers: nothing runs")
def test_an_array_of_objects_in_a_result_is_not_unpickled(tmp_path: Path) -> None:
    """zarr 2 kept objects as pickles; a group of that format inside a result is not opened."""
    trap = tmp_path / "trap"
    place = saved(tmp_path / "r")
    array = place / "pickled"
    array.mkdir()
    (array / ".zarray").write_text(json.dumps({
        "zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "compressor": None, "fill_value": None, "order": "C",
        "filters": [{"id": "pickle", "protocol": 5}],
    }))  # fmt: skip
    (array / ".zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": ["n"]}))
    (array / "0").write_bytes(pickle.dumps(CALLS["os.system"](trap)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ts.load_result(place)
        (place / "zarr.json").rename(place / ".zgroup")
        with pytest.raises(ResultError):
            ts.load_result(place)
    assert not trap.exists()


# --- memory -----------------------------------------------------------------------------------------------


def zip_bomb(path: Path) -> None:
    torch.save({"w": torch.zeros(3)}, path)
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content + bytes(2**28) if name.endswith("data/0") else content)


def expanded(path: Path) -> None:
    torch.save({"w": torch.zeros(1).expand(2**20, 2**16)}, path)


def promising_storage(path: Path) -> None:
    """A storage that says it holds far more than it does, in the format of old."""
    torch.save({"w": torch.zeros(77777)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    number = pickle.dumps(77777, protocol=2)[2:-1]
    assert content.count(number) > 0
    path.write_bytes(content.replace(number, b"\x8a\x06" + (2**42).to_bytes(6, "little")))


def lying_header(shape: list[int], offsets: list[int], length: int | None = None) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}).encode()
        path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + bytes(8))

    return make


def huge_meta(path: Path) -> None:
    torch.save({"w": torch.empty(2**40, device="meta")}, path)


def huge_sparse(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.save({"w": torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.long), torch.ones(1), (2**30, 2**30))}, path)


BOMBS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a deflated zip": ("a.pt", zip_bomb),
    "one value expanded": ("a.pt", expanded),
    "a storage that promises": ("a.pt", promising_storage),
    "a tensor without values": ("a.pt", huge_meta),
    "a sparse tensor": ("a.pt", huge_sparse),
    "a shape that lies": ("a.safetensors", lying_header([2**40], [0, 8])),
    "offsets that lie": ("a.safetensors", lying_header([2**40], [0, 2**42])),
    "a header that promises": ("a.safetensors", lying_header([2], [0, 8], length=2**62)),
    "offsets backwards": ("a.safetensors", lying_header([2], [8, 0])),
    "a shape that overflows": ("a.safetensors", lying_header([2**33, 2**33], [0, 8])),
}


@pytest.mark.promise("strangers: memory")
@pytest.mark.parametrize("bomb", BOMBS)
def test_checkpoints_that_promise_more_than_they_hold(tmp_path: Path, bomb: str) -> None:
    name, make = BOMBS[bomb]
    make(tmp_path / name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=f'"{tmp_path / name}"'):
        ts.Trajectory.from_files([tmp_path / name])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes"


@pytest.mark.promise("strangers: memory")
@pytest.mark.parametrize("shape", [[2**23], [2**40]])
def test_a_result_that_promises_more_than_it_holds(tmp_path: Path, shape: list[int]) -> None:
    place = saved(tmp_path / "r")
    for name in ("loss", "status", "check", "alpha"):
        header = json.loads((place / name / "zarr.json").read_text())
        header["shape"] = header["chunk_grid"]["configuration"]["chunk_shape"] = shape
        (place / name / "zarr.json").write_text(json.dumps(header))
    with pytest.raises(ResultError, match=r"promises [\d,]+ bytes and holds"):
        ts.load_result(place)


@pytest.mark.promise("strangers: memory")
def test_images_that_promise_more_than_they_hold(tmp_path: Path) -> None:
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (tmp_path / name).write_bytes(struct.pack(">IIII", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1))
    with pytest.raises(ThetascopeError, match="promises"):
        load_mnist(tmp_path)


# --- paths ------------------------------------------------------------------------------------------------

REFUSED = ["../x", "..", ".hidden", "nul\0", "line\nbreak", "", " ", "zarr.json", "status", "check", "_x", "x" * 81]
KEPT = ["/tmp/x", "/" * 70, "a/b", "a/../../x", "a\\b", "top-5%", "50%2F", "</script><script>alert(1)</script>"]


@pytest.mark.promise("strangers: paths")
@pytest.mark.parametrize("name", REFUSED, ids=[repr(n)[:20] for n in REFUSED])
def test_a_metric_s_name_that_no_file_may_have_is_refused(tmp_path: Path, name: str) -> None:
    linear = case("linear")
    model, (inputs, targets) = linear.model(), linear.data()
    with pytest.raises(ObjectiveError, match=r"may not be called|a metric's name is"):
        ts.Objective(model, (inputs, targets), metrics={name: "accuracy"})
    objective = ts.Objective.from_step(
        model, [(inputs, targets)], lambda m, b: {"loss": nn.functional.cross_entropy(m(b[0]), b[1], reduction="none"), name: b[1]}
    )
    with pytest.raises(ObjectiveError, match=r"may not|a metric's name is"):
        ts.interpolate(objective, ts.Trajectory.from_states(linear.states(2)), alphas=3, out=tmp_path / "in" / "r", progress=False)
    assert not tree(tmp_path)


@pytest.mark.promise("written outside")
@pytest.mark.promise("strangers: paths")
@pytest.mark.parametrize("name", KEPT, ids=[repr(n)[:20] for n in KEPT])
def test_a_metric_s_name_leads_nowhere(tmp_path: Path, name: str) -> None:
    linear = case("linear")
    objective = ts.Objective(linear.model(), linear.data(), metrics={name: "accuracy"})
    home = tmp_path / "in"
    result = ts.interpolate(objective, ts.Trajectory.from_states(linear.states(2)), alphas=3, out=home / "r", progress=False)
    for path in (home / "r", result.save(home / "copy")):
        again = ts.load_result(path)
        assert again.data[name].values.tolist() == result.data[name].values.tolist()
        assert len(list(path.iterdir())) == len({*again.data.variables, "check", "actual_check", "zarr.json"})  # a folder a variable
    result.export(home / "r.npz")
    with zipfile.ZipFile(home / "r.npz") as archive:
        assert not [entry for entry in archive.namelist() if set(entry) & set("/\\")]
    assert sorted(path.name for path in home.iterdir()) == ["copy", "r", "r.npz"]
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.promise("strangers: paths")
@pytest.mark.parametrize("metric", ["actual_loss", "actual_status"])
def test_two_variables_of_one_name_are_an_error(metric: str) -> None:
    linear = case("linear")
    objective = ts.Objective(linear.model(), linear.data(), metrics={metric: "accuracy"})
    with pytest.raises(ResultError, match=f'two variables of this result would be called "{metric}"'):
        ts.interpolate(objective, ts.Trajectory.from_states(linear.states(2)), alphas=3, progress=False)


@pytest.mark.promise("written outside")
@pytest.mark.promise("strangers: paths")
@pytest.mark.parametrize("file", ["../../secret.safetensors", "/etc/passwd", "00000001.safetensors/../../x", ""])
def test_a_log_that_names_other_files(tmp_path: Path, file: str) -> None:
    from thetascope.recording.log import event_of, line_of

    run = tmp_path / "run"
    with ts.Recorder(run, filled(0)):
        pass
    identity, lines, place, altered = json.loads((run / "run.json").read_text())["identity"], (run / "log.jsonl").read_bytes(), 0, b""
    for line in lines.splitlines():
        event = {k: v for k, v in event_of(line, identity, place).items() if k != "check"}
        place += len(line) + 1
        altered += line_of(event | ({"file": file} if "file" in event else {}), identity, len(altered))
    (run / "log.jsonl").write_bytes(altered)
    with pytest.raises(ThetascopeError, match=r"line 2 of .* is damaged"):
        ts.Trajectory(run)


@pytest.mark.promise("written outside")
@pytest.mark.promise("strangers: paths")
@pytest.mark.parametrize("name", ["log.jsonl", "states"])
def test_a_run_whose_parts_lie_elsewhere_is_not_written_to(tmp_path: Path, name: str) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    with ts.Recorder(run, filled(0)) as recorder:
        recorder.record(step=1)
    (run / name).rename(elsewhere)
    (run / name).symlink_to(elsewhere)
    if elsewhere.is_dir():
        (elsewhere / "00000009.safetensors").write_bytes(b"precious")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ThetascopeError, match="is a link that leads out of"):
        ts.Trajectory(run)[0].tensors()
    with pytest.raises(ThetascopeError, match="is a symbolic link, so what is recorded would land elsewhere"):
        ts.Recorder(run, filled(0)).__enter__()
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.promise("written outside")
@pytest.mark.promise("strangers: paths")
@pytest.mark.parametrize("name", ["loss", "loss/c", "loss/c/0", "zarr.json"])
def test_a_result_whose_parts_lie_elsewhere_is_not_written_to(tmp_path: Path, name: str) -> None:
    linear = case("linear")
    objective, trajectory = ts.Objective(linear.model(), linear.data()), ts.Trajectory.from_states(linear.states(2))
    ts.interpolate(objective, trajectory, alphas=3, out=tmp_path / "r", progress=False)
    (tmp_path / "r" / name).rename(tmp_path / "elsewhere")
    (tmp_path / "r" / name).symlink_to(tmp_path / "elsewhere")
    before = tree(tmp_path)
    with pytest.raises(ResultError, match="is a symbolic link, so what is stored there would land elsewhere"):
        ts.interpolate(objective, trajectory, alphas=3, out=tmp_path / "r", progress=False)
    assert tree(tmp_path) == before


# --- markup -----------------------------------------------------------------------------------------------

MARKUP = [
    *("<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "$\\frac{1}{$"),
    *("{{7*7}}", "%s%n", "\u202eevil", "é漢字", "&amp;"),
]


@pytest.mark.promise("strangers: markup")
@pytest.mark.parametrize("label", MARKUP)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_labels_are_text_in_every_output(tmp_path: Path, label: str) -> None:
    linear = case("linear")
    objective = ts.Objective(linear.model(), linear.data())
    trajectory = ts.Trajectory.from_states(linear.states(3))
    groups = {label: ["0"], "rest": ["2"]}
    result = ts.interpolate(objective, trajectory, level="layer", layers=groups, alphas=3, out=tmp_path / "r", progress=False)
    loaded = ts.load_result(tmp_path / "r")
    assert loaded.data["layer"].values.tolist() == [label, "rest"]
    loaded.data.attrs["title"] = label
    shown = loaded._repr_html_()
    assert "<script" not in shown
    assert shown.count("<img") == shown.count('<img style="max-width:100%" alt=') == 1  # the picture, and none of the label's making
    page = loaded.export(tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    for name in ("a.png", "a.svg", "a.csv", "a.npz"):
        assert loaded.export(tmp_path / name).stat().st_size > 100
    svg = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "<script" not in svg
    assert result.experiment == "interpolate"


# --- helpers ----------------------------------------------------------------------------------------------


def saved(path: Path) -> Path:
    variables = {"loss": ("alpha", [1.0, 2.0]), "status": ("alpha", np.ones(2, np.int8))}
    attrs = {"experiment": "interpolate", "level": "model", "thetascope_format": FORMAT, "units": {"": 2}, "scored": ["loss"]}
    return ts.Result(xr.Dataset(variables, coords={"alpha": [0.0, 1.0]}, attrs=attrs)).save(path)
