from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import thetascope as ts
from thetascope.errors import ResultError
from thetascope.results.store import Block, Layout, Store
from thetascope.results.stored import save

LAYOUT = Layout(
    [Block("", ("layer", "alpha"), (2, 5), ("loss", "accuracy"), unit=2), Block("actual_", ("state",), (3,), ("loss", "accuracy"), unit=3)],
    coords={"layer": ["conv1", "<b>fc1</b>"], "alpha": np.linspace(0, 1, 5), "state": [0, 1, 2]},
    constants={"distance": (("layer",), [1.0, 2.0])},
    attrs={"experiment": "made", "title": "made data", "nested": {"a": [1, None, 2.5]}},
)


def write_all(store: Store) -> None:
    for start in (0, 2, 5, 7):
        store.write("", start, {"loss": [start + 0.5, start + 1.5], "accuracy": [0.25, 0.5]})
    for start in (4, 9):
        store.write("", start, {"loss": [float(start)], "accuracy": [1.0]})
    store.write("actual_", 0, {"loss": [1.0, np.nan, np.inf], "accuracy": [0.0, 0.5, 1.0]})


@pytest.mark.parametrize("stored", [True, False])
def test_what_is_written_is_there(tmp_path: Path, stored: bool) -> None:
    store = Store.create(tmp_path / "r" if stored else None, LAYOUT)
    write_all(store)
    data = store.close().data
    assert data["loss"].values.tolist() == [[0.5, 1.5, 2.5, 3.5, 4.0], [5.5, 6.5, 7.5, 8.5, 9.0]]
    assert data["actual_status"].values.tolist() == [1, 2, 2]
    assert data.sel(layer="<b>fc1</b>")["distance"] == 2.0
    if stored:
        loaded = ts.load_result(tmp_path / "r").data
        assert loaded.drop_encoding().identical(data)


def test_an_unfinished_result_says_what_is_missing(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "r", LAYOUT)
    store.write("", 5, {"loss": [1.0, 2.0], "accuracy": [0.0, 0.0]})
    store.close()
    result = ts.load_result(tmp_path / "r")
    assert result.status_counts() == {"missing": 11, "evaluated": 2, "not finite": 0, "estimated": 0}
    again = Store.open(tmp_path / "r")
    assert np.flatnonzero(again.done("")).tolist() == [5, 6]
    assert again.values("", 6) == {"loss": 2.0, "accuracy": 0.0}
    again.close()


def test_a_variable_that_a_killed_process_had_just_begun_is_swept(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "r", LAYOUT)
    write_all(store)
    store.close()
    (tmp_path / "r" / "begun").mkdir()
    again = Store.open(tmp_path / "r")
    again.add({"derived": (("layer",), [1.0, 2.0])}, {"more": 1})  # xarray looks at all that is there
    again.close()
    assert not (tmp_path / "r" / "begun").exists()
    assert ts.load_result(tmp_path / "r").data["derived"].values.tolist() == [1.0, 2.0]


def test_a_value_that_was_lost_counts_as_missing(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "r", LAYOUT)
    write_all(store)
    store.close()
    (tmp_path / "r" / "loss" / "c" / "1" / "0").unlink()
    again = Store.open(tmp_path / "r")
    assert np.flatnonzero(~again.done("")).tolist() == [5, 6]
    again.close()


def test_a_flipped_bit_is_an_error(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "r", LAYOUT)
    write_all(store)
    store.close()
    chunk = tmp_path / "r" / "loss" / "c" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(ResultError, match="damaged"):
        ts.load_result(tmp_path / "r")


def test_half_written_files_are_swept(tmp_path: Path) -> None:
    Store.create(tmp_path / "r", LAYOUT).close()
    leftover = tmp_path / "r" / "loss" / "c" / "0" / f"0.{'1' * 32}.partial"
    leftover.parent.mkdir(parents=True, exist_ok=True)
    leftover.write_bytes(b"x")
    Store.open(tmp_path / "r").close()
    assert not leftover.exists()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "r", LAYOUT)
    code = f"from thetascope.results.store import Store; from pathlib import Path; Store.open(Path({str(tmp_path / 'r')!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another process is filling" in done.stderr
    store.close()
    subprocess.run([sys.executable, "-c", code], check=True)


def test_save_replaces_only_results(tmp_path: Path) -> None:
    store = Store.create(None, LAYOUT)
    write_all(store)
    result = store.close()
    assert result.save(tmp_path / "deep" / "r") == tmp_path / "deep" / "r"
    result.save(tmp_path / "deep" / "r")
    assert ts.load_result(tmp_path / "deep" / "r").data.drop_encoding().identical(result.data)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["r"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ResultError, match="no thetascope result"):
        save(result.data, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_foreign_things_are_named(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="does not exist"):
        ts.load_result(tmp_path / "nothing")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ResultError, match="no stored result"):
        ts.load_result(tmp_path / "folder")


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (1, "an earlier version wrote, and this one reads format 4: remove it and make the result anew (--fresh does both)"),
        (2, "an earlier version wrote, and this one reads format 4: remove it and make the result anew (--fresh does both)"),
        (3, "an earlier version wrote, and this one reads format 4: remove it and make the result anew (--fresh does both)"),
        (5, "has result format 5, and this version reads format 4: install a newer thetascope"),
        (None, "has result format None, which no version writes: it is no thetascope result, or it is damaged"),
        ("3", "has result format 3, which no version writes"),
        (True, "has result format True, which no version writes"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_what_another_version_wrote_is_one_error_that_says_what_to_do(tmp_path: Path, version: object, said: str, whole: bool) -> None:
    place = tmp_path / "line"
    Store.create(place, LAYOUT).close()
    header = json.loads((place / "zarr.json").read_text())
    header["attributes"]["thetascope_format"] = version
    if not whole:  # nothing else of it is looked at
        header["attributes"] = {"thetascope_format": version}
        header["zarr_format"] = 2
        shutil.rmtree(place / "loss")
    (place / "zarr.json").write_text(json.dumps(header))
    before = sorted(place.rglob("*"))
    for use in (ts.load_result, Store.open, lambda path: save(LAYOUT.empty(), path)):
        with pytest.raises(ResultError, match=re.escape(said)) as caught:
            use(place)
        assert str(caught.value).startswith(f'"{place}" has result format')
    assert sorted(place.rglob("*")) == before


def test_derived_variables_are_stored_too(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "r", LAYOUT)
    write_all(store)
    for _ in range(2):
        store.add({"role": (("layer",), ["critical", "ambient"])}, {"found": 3})
    store.close()
    loaded = ts.load_result(tmp_path / "r").data
    assert loaded["role"].values.tolist() == ["critical", "ambient"]
    assert loaded.attrs["found"] == 3
    assert loaded.attrs["title"] == "made data"
    assert loaded["loss"].values[1, 4] == 9.0
