"""Exports, read back by the programs that they are for: vtk, pandas, numpy."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import thetascope as ts
from tests.full_disk import full_disk
from thetascope.errors import ResultError
from thetascope.exports import FORMATS
from thetascope.results.store import Block, Layout, Store
from thetascope.testing.models import case

HOSTILE = "<img src=x onerror=alert(1)>"
QUOTED = 'a"b & c'
NAMES = ("loss", HOSTILE, QUOTED)
X, Y = np.array([-1.0, -0.5, 0.0, 0.5]), np.array([0.1, 0.4, 0.7])
GRID = 0.1 + np.arange(12.0).reshape(3, 4) ** 3
ATTRS = {"title": "made", "axis_labels": {"x": "PC 1", "y": "PC 2"}, "versions": {"thetascope": "0.0"}, "samples_scored": 7}


def surface(x: Any = X, y: Any = Y, values: Any = GRID) -> ts.Result:
    """A finished grid; `a"b & c` is its mirror image."""
    shape = (len(y), len(x))
    layout = Layout([Block("", ("y", "x"), shape, NAMES, shape[1])], {"x": x, "y": y}, attrs={"experiment": "surface", **ATTRS})
    store = Store.create(None, layout)
    for j, row in enumerate(np.asarray(values)):
        store.write("", j * shape[1], {"loss": row, HOSTILE: 2 * row, QUOTED: row[::-1]})
    return store.close()


def plane(owner: tuple[int, ...] = (0, 0, 0, 1, 1)) -> ts.Result:
    """A grid and the ways of trainings, of which the state 3 is not scored."""
    count = len(owner)
    at, along = ("state",), np.arange(float(count))
    layout = Layout(
        [Block("path_", at, (count,), NAMES, 1), Block("plane_", at, (count,), NAMES, 1), Block("", ("y", "x"), (3, 4), NAMES, 4)],
        {"x": X, "y": Y, "state": np.arange(count), "component": [1, 2]},
        constants={
            "path_x": (at, along**2),
            "path_y": (at, -along),
            "step": (at, 10 * np.arange(count)),
            "training": (at, np.array(owner)),
            "label": (at, [f"e{i}" for i in range(count)]),
            "explained_variance_ratio": (("component",), [0.9, 0.1]),
        },
        attrs={"experiment": "trajectory_plane", **ATTRS},
    )
    store = Store.create(None, layout)
    for i in (i for i in range(count) if i != 3):
        store.write("path_", i, {name: [i + 0.5 + k] for k, name in enumerate(NAMES)})
    for j, row in enumerate(GRID):
        store.write("", 4 * j, dict.fromkeys(NAMES, row))
    return store.close()


@pytest.fixture(scope="module")
def path_result() -> ts.Result:
    chosen = case("linear")
    trajectory = ts.Trajectory.from_states(chosen.states(4), steps=[0, 10, 20, 30], epochs=[0, 1, 2, 3])
    return ts.interpolate(ts.Objective(chosen.model(), chosen.data(20)), trajectory, alphas=5, progress=False)


def read_vtk(path: Path) -> Any:
    vtk = pytest.importorskip("vtk")
    kind = "ImageData" if path.suffix == ".vti" else "PolyData"
    reader, complaints = getattr(vtk, f"vtkXML{kind}Reader")(), []
    for source in (reader, vtk.vtkOutputWindow.GetInstance()):
        source.AddObserver("ErrorEvent", lambda *_: complaints.append("error"))
        source.AddObserver("WarningEvent", lambda *_: complaints.append("warning"))
    reader.SetFileName(str(path))
    assert reader.CanReadFile(str(path))
    reader.Update()
    assert not complaints
    return reader.GetOutput()


def arrays_of(data: Any) -> dict[str, np.ndarray[Any, Any]]:
    numpy_support = pytest.importorskip("vtk.util.numpy_support")
    found = [data.GetPointData().GetAbstractArray(i) for i in range(data.GetPointData().GetNumberOfArrays())]
    return {array.GetName(): numpy_support.vtk_to_numpy(array) for array in found}


def cells_of(data: Any) -> list[tuple[int, list[int]]]:
    """Each cell's dimension (0 a vertex, 1 a line) and its points."""
    found = []
    for i in range(data.GetNumberOfCells()):
        cell = data.GetCell(i)  # the same object each time
        found.append((cell.GetCellDimension(), [cell.GetPointId(k) for k in range(cell.GetNumberOfPoints())]))
    return found


# --- .vti -------------------------------------------------------------------------------------------------


def test_vtk_reads_the_grid_where_it_lies(tmp_path: Path) -> None:
    data = read_vtk(surface().export(tmp_path / "a.vti"))
    assert data.GetDimensions() == (4, 3, 1)
    assert data.GetOrigin() == (-1.0, 0.1, 0.0)
    assert data.GetSpacing() == (0.5, pytest.approx(0.3, rel=1e-15), 1.0)
    arrays = arrays_of(data)
    assert list(arrays) == [*NAMES, "status"]
    for j in range(3):
        for i in range(4):
            assert arrays["loss"][i + 4 * j] == GRID[j, i]
            assert arrays[QUOTED][i + 4 * j] == GRID[j, 3 - i]
            assert data.GetPoint(i + 4 * j) == pytest.approx((X[i], Y[j], 0.0))
    assert arrays["loss"].dtype == np.float64
    assert arrays["status"].dtype == np.int8
    assert data.GetPointData().GetScalars().GetName() == "loss"


def test_vtk_reads_what_is_not_finite(tmp_path: Path) -> None:
    values = GRID.copy()
    values[0, 1], values[1, 2], values[2, 0] = np.nan, np.inf, -np.inf
    arrays = arrays_of(read_vtk(surface(values=values).export(tmp_path / "a.vti")))
    np.testing.assert_array_equal(arrays["loss"], values.ravel())
    assert arrays["status"].reshape(3, 4)[0].tolist() == [1, 2, 2, 1]  # the mirrored variable is NaN one further on


def test_vtk_reads_where_it_comes_from(tmp_path: Path) -> None:
    for path, result in ((tmp_path / "a.vti", surface()), (tmp_path / "a.vtp", plane())):
        said = read_vtk(result.export(path)).GetFieldData().GetAbstractArray("provenance")
        assert said.GetNumberOfValues() == 1
        lines = said.GetValue(0).splitlines()
        assert lines[0] == f"experiment: {result.experiment}"
        assert {"title: made", "x axis: PC 1", "y axis: PC 2", "thetascope version: 0.0", "samples scored: 7"} <= set(lines)


@pytest.mark.parametrize(("nx", "ny"), [(4, 1), (1, 3)])
def test_vtk_reads_a_single_row_or_column(tmp_path: Path, nx: int, ny: int) -> None:
    data = read_vtk(surface(X[:nx], Y[:ny], GRID[:ny, :nx]).export(tmp_path / "a.vti"))
    assert data.GetDimensions() == (nx, ny, 1)
    assert data.GetOrigin() == (-1.0, 0.1, 0.0)
    assert data.GetSpacing()[0 if nx == 1 else 1] == 1.0
    np.testing.assert_array_equal(arrays_of(data)["loss"], GRID[:ny, :nx].ravel())


def test_the_order_of_stored_dimensions_is_of_no_account(tmp_path: Path) -> None:
    turned = ts.Result(surface().data.transpose("x", "y"))
    assert turned.export(tmp_path / "a.vti").read_bytes() == surface().export(tmp_path / "b.vti").read_bytes()


def test_real_results_are_read_by_vtk(tmp_path: Path) -> None:
    chosen = case("linear")
    objective = ts.Objective(chosen.model(), chosen.data(20))
    trajectory = ts.Trajectory.from_states(chosen.states(4), steps=[0, 10, 20, 30], epochs=[0, 1, 2, 3])
    for result in (
        ts.surface(objective, trajectory, x=(-1, 1, 5), y=(0, 1, 3), progress=False),
        ts.trajectory_plane(objective, trajectory, x=5, y=3, progress=False),
    ):
        data = read_vtk(result.export(tmp_path / "a.vti"))
        for name in ("loss", "accuracy", "status"):
            np.testing.assert_array_equal(arrays_of(data)[name].reshape(3, 5), result.data[name].values)
        np.testing.assert_allclose(data.GetBounds()[:4], [*result.data["x"].values[[0, -1]], *result.data["y"].values[[0, -1]]], rtol=1e-12)
    data = read_vtk(result.export(tmp_path / "a.vtp"))
    assert cells_of(data) == [(1, [0, 1, 2, 3])]
    for name in ("path_loss", "plane_accuracy", "off_plane", "distance", "step", "epoch", "progress", "training", "path_status"):
        np.testing.assert_array_equal(arrays_of(data)[name], result.data[name].values)


def test_a_grid_is_well_formed_xml_that_holds_the_numbers(tmp_path: Path) -> None:
    """What vtk reads, read by hand."""
    values = GRID.copy()
    values[1, 2] = np.nan
    root = ElementTree.parse(surface(values=values).export(tmp_path / "a.vti")).getroot()
    assert root.attrib == {"type": "ImageData", "version": "1.0", "byte_order": "LittleEndian", "header_type": "UInt64"}
    found = {array.attrib["Name"]: array for array in root.findall("ImageData/Piece/PointData/DataArray")}
    assert list(found) == [*NAMES, "status"]
    content = base64.b64decode(str(found["loss"].text))
    assert int.from_bytes(content[:8], "little") == len(content) - 8
    np.testing.assert_array_equal(np.frombuffer(content[8:], "<f8"), values.ravel())


def test_names_that_no_xml_may_hold_are_made_fit(tmp_path: Path) -> None:
    result = ts.Result(surface().data.rename({HOSTILE: "a\x00\x1bb\ud800", QUOTED: "line\n\ttwo"}))
    assert list(arrays_of(read_vtk(result.export(tmp_path / "a.vti")))) == ["loss", "a\ufffd\ufffdb\ufffd", "line\n\ttwo", "status"]


def test_an_uneven_grid_is_refused(tmp_path: Path) -> None:
    for x in ([0.0, 0.1, 0.5, 1.0], [1.0, 0.5, 0.0, -0.5]):
        with pytest.raises(ResultError, match="x rises in even steps"):
            surface(x=np.array(x)).export(tmp_path / "a.vti")
    finest = 1e6 + np.spacing(1e6) * np.array([0, 2, 4, 7])
    surface(x=finest).export(tmp_path / "a.vti")  # uneven only because floats end there


# --- .vtp -------------------------------------------------------------------------------------------------


def test_vtk_reads_a_line_for_each_training(tmp_path: Path) -> None:
    result = plane()
    data = read_vtk(result.export(tmp_path / "a.vtp"))
    assert [data.GetPoint(i) for i in range(5)] == [(0, 0, 0), (1, -1, 0), (4, -2, 0), (9, -3, 0), (16, -4, 0)]
    assert cells_of(data) == [(1, [0, 1, 2]), (1, [3, 4])]
    arrays = arrays_of(data)
    per_state = {str(n) for n, v in result.data.data_vars.items() if v.dims == ("state",)} - {"label"}
    assert set(arrays) == per_state
    for name in per_state:
        np.testing.assert_array_equal(arrays[name], result.data[name].values)
    assert np.isnan(arrays["path_loss"][3])
    assert arrays["training"].dtype == np.int64
    assert data.GetPointData().GetScalars().GetName() == "path_loss"


def test_states_of_trainings_may_alternate_and_one_may_stand_alone(tmp_path: Path) -> None:
    data = read_vtk(plane(owner=(4, 2, 4, 7, 2)).export(tmp_path / "a.vtp"))
    assert cells_of(data) == [(0, [3]), (1, [0, 2]), (1, [1, 4])]


def test_the_grid_beside_a_way_is_exported_too(tmp_path: Path) -> None:
    assert list(arrays_of(read_vtk(plane().export(tmp_path / "a.vti")))) == [*NAMES, "status"]


# --- .csv and .npz ----------------------------------------------------------------------------------------


def test_pandas_reads_the_table_bit_for_bit(tmp_path: Path) -> None:
    values = GRID / 3
    values[0, 1], values[1, 2], values[2, 0] = np.nan, np.inf, -np.inf
    path = surface(values=values).export(tmp_path / "ü.csv")
    table = pd.read_csv(path)
    assert table.columns.tolist() == ["y", "x", *NAMES, "status"]
    np.testing.assert_array_equal(table["loss"], values.ravel())
    np.testing.assert_array_equal(table["y"], np.repeat(Y, 4))
    first, second = path.read_text(encoding="utf-8").splitlines()[:2]
    assert first == f'y,x,loss,{HOSTILE},"a""b & c",status'
    assert second.split(",")[2:4] == [repr(0.1 / 3), repr(0.2 / 3)]
    assert ",nan," in path.read_text(encoding="utf-8")


def test_numpy_reads_the_arrays_without_pickle(tmp_path: Path) -> None:
    result = plane()
    result.data.attrs["numbers"] = {"one": np.float64(0.1), "many": np.arange(3)}
    # as they come back from disk, and under names that numpy.savez trips over
    data = result.data.assign_coords(state=np.array(["a", "bc", "ü", "d", "e"], dtype=object)).rename({HOSTILE: "file", QUOTED: "a/b"})
    with np.load(ts.Result(data).export(tmp_path / "a.npz"), allow_pickle=False) as stored:
        slashed = {str(name): str(name).replace("/", "%2F") for name in data.variables}  # an entry with a slash would unpack into a folder
        assert set(stored) == {*slashed.values(), "attrs", "dims"}
        for name in data.data_vars:
            np.testing.assert_array_equal(stored[slashed[str(name)]], data[name].values)
        assert stored["state"].dtype.kind == "U"
        assert stored["state"].tolist() == ["a", "bc", "ü", "d", "e"]
        assert stored["status"].dtype == np.int8
        attrs, dims = json.loads(str(stored["attrs"])), json.loads(str(stored["dims"]))
    assert attrs["experiment"] == "trajectory_plane"
    assert attrs["numbers"] == {"one": 0.1, "many": [0, 1, 2]}
    assert dims["loss"] == ["y", "x"]
    assert dims["path_x"] == dims["state"] == ["state"]


@pytest.mark.parametrize("dtype", [object, np.dtypes.StringDType(), "U2"])
def test_labels_of_any_kind_are_stored_as_text(tmp_path: Path, dtype: Any) -> None:
    result = plane()
    labels = result.data["label"].values.astype(dtype)
    data = result.data.assign(label=("state", labels))
    assert data["label"].dtype == labels.dtype
    with np.load(ts.Result(data).export(tmp_path / "a.npz"), allow_pickle=False) as stored:
        assert stored["label"].dtype.kind == "U"
        assert stored["label"].tolist() == ["e0", "e1", "e2", "e3", "e4"]


def test_a_variable_called_like_numpy_s_notes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match='"attrs"'):
        ts.Result(surface().data.rename({HOSTILE: "attrs"})).export(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_tables_and_arrays_hold_any_result(path_result: ts.Result, tmp_path: Path, suffix: str) -> None:
    path = path_result.export(tmp_path / f"a{suffix}")
    if suffix == ".csv":
        table = pd.read_csv(path)
        assert set(table["dims"]) == {", ".join(map(str, v.dims)) for v in path_result.data.data_vars.values()}
        np.testing.assert_array_equal(table.loc[table["dims"] == "alpha", "loss"], path_result.data["loss"].values)
    else:
        with np.load(path, allow_pickle=False) as stored:
            np.testing.assert_array_equal(stored["actual_loss"], path_result.data["actual_loss"].values)


# --- figures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".HTML", b"<!doctype html")])
def test_figures_are_drawn(path_result: ts.Result, tmp_path: Path, suffix: str, start: bytes) -> None:
    path = path_result.export(tmp_path / f"a{suffix}")
    assert path.read_bytes().lstrip().lower().startswith(start.lower())
    assert [file.name for file in tmp_path.iterdir()] == [f"a{suffix}"]


def test_a_picture_of_one_variable(path_result: ts.Result, tmp_path: Path) -> None:
    import matplotlib as mpl

    with mpl.rc_context({"svg.fonttype": "none"}):
        text = path_result.export(tmp_path / "a.svg", variable="accuracy").read_text(encoding="utf-8")
        assert ">accuracy<" in text
        assert "cross-entropy" not in text
        assert "cross-entropy" in path_result.export(tmp_path / "a.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_animations_are_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    def save_animation(data: xr.Dataset, path: Path, *, variable: str = "loss") -> Path:
        assert path.suffix == suffix
        path.write_text(f"{data.attrs['experiment']} {variable}")
        return path

    monkeypatch.setitem(sys.modules, "thetascope.experiments.trajectory_plane.animation", SimpleNamespace(save_animation=save_animation))
    assert plane().export(tmp_path / f"a{suffix}").read_text() == "trajectory_plane loss"
    assert plane().export(tmp_path / f"a{suffix}", variable=QUOTED).read_text() == f"trajectory_plane {QUOTED}"
    with pytest.raises(ResultError, match='only a result of "trajectory_plane" can be animated; got one of "surface"'):
        surface().export(tmp_path / f"b{suffix}")


@pytest.mark.slow
def test_a_real_animation_is_written(tmp_path: Path) -> None:
    chosen = case("linear")
    trajectory = ts.Trajectory.from_states(chosen.states(4), steps=[0, 10, 20, 30], epochs=[0, 1, 2, 3])
    result = ts.trajectory_plane(ts.Objective(chosen.model(), chosen.data(20)), trajectory, x=4, y=3, progress=False)
    assert result.export(tmp_path / "a.gif").read_bytes().startswith(b"GIF8")


def test_a_page_of_one_variable(path_result: ts.Result, tmp_path: Path) -> None:
    page = path_result.export(tmp_path / "a.html", variable="accuracy").read_text(encoding="utf-8")
    assert '"text":"accuracy"' in page
    assert "cross-entropy" not in page.split("Plotly.newPlot")[-1]


# --- choosing ---------------------------------------------------------------------------------------------


def test_one_variable_is_chosen(tmp_path: Path) -> None:
    table = pd.read_csv(surface().export(tmp_path / "a.csv", variable=HOSTILE))
    assert table.columns.tolist() == ["y", "x", HOSTILE, "status"]
    scalars = read_vtk(surface().export(tmp_path / "a.vti", variable=HOSTILE)).GetPointData().GetScalars()
    assert scalars.GetName() == HOSTILE
    with np.load(plane().export(tmp_path / "a.npz", variable=QUOTED)) as stored:
        assert {QUOTED, f"path_{QUOTED}", f"plane_{QUOTED}", "path_status", "path_x"} <= set(stored)
        assert not {"loss", "path_loss", "plane_loss", HOSTILE} & set(stored)


def test_the_standard_error_goes_with_its_loss(tmp_path: Path) -> None:
    chosen = case("linear")
    sampled = ts.Objective(chosen.model(), chosen.data(20), samples=15)
    result = ts.interpolate(sampled, ts.Trajectory.from_states(chosen.states(2)), alphas=3, progress=False)
    columns = set(pd.read_csv(result.export(tmp_path / "a.csv", variable="loss")).columns)
    assert {"loss", "loss_standard_error"} <= columns
    assert "accuracy" not in columns


@pytest.mark.parametrize("suffix", [".vti", ".vtp", ".csv", ".npz", ".png"])
def test_an_unknown_variable_says_what_there_is(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ResultError, match='"recall"; there are: loss, <img'):
        plane().export(tmp_path / f"a{suffix}", variable="recall")


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.nc"])
def test_an_unknown_format_says_what_there_is(tmp_path: Path, name: str) -> None:
    with pytest.raises(ResultError) as caught:
        surface().export(tmp_path / "new" / name)
    assert all(suffix in str(caught.value) for suffix in FORMATS)
    assert not list(tmp_path.iterdir())


def test_a_result_that_does_not_fit_says_what_does(path_result: ts.Result, tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r'\.vti file holds a grid over y and x.* "interpolate" has none\. Choose \.csv or \.npz'):
        path_result.export(tmp_path / "a.vti")
    with pytest.raises(ResultError, match=r'\.vtp file holds the way of a training .* "surface" has none\. Choose \.vti, \.csv or \.npz'):
        surface().export(tmp_path / "a.vtp")
    assert not list(tmp_path.iterdir())


def test_numbers_without_coordinates_are_no_grid(tmp_path: Path) -> None:
    bare = ts.Result(xr.Dataset({"loss": (("y", "x"), GRID)}, attrs={"experiment": "made"}))
    with pytest.raises(ResultError, match="has none"):
        bare.export(tmp_path / "a.vti")


# --- the file ---------------------------------------------------------------------------------------------


def test_folders_are_made_and_files_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "a.csv"
    assert surface().export(str(path)) == path
    path.write_text("old")
    surface().export(path)
    assert path.read_text().startswith("y,x")
    assert os.listdir(path.parent) == ["a.csv"]


def test_a_folder_is_never_replaced(tmp_path: Path) -> None:
    surface().save(tmp_path / "stored.npz")
    with pytest.raises(ResultError, match="is a folder"):
        surface().export(tmp_path / "stored.npz")
    ts.load_result(tmp_path / "stored.npz")


@pytest.mark.parametrize("suffix", [".vti", ".vtp", ".csv", ".npz"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text("old")
    with full_disk(100), pytest.raises(OSError, match="large"):
        plane().export(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [path.name]


def test_a_figure_that_fails_half_way_leaves_the_old_file(path_result: ts.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save_figure(data: xr.Dataset, path: Path) -> Path:
        path.write_text("half")
        raise OSError("broken")

    (tmp_path / "a.png").write_text("old")
    monkeypatch.setattr("thetascope.experiments.framework.pictures.save_figure", save_figure)
    with pytest.raises(OSError, match="broken"):
        path_result.export(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_picture_takes_its_options_and_a_table_none(path_result: ts.Result, tmp_path: Path) -> None:
    drawn = path_result.export(tmp_path / "a.svg", title="mine", subtitle=False, size=(3.25, 4.0)).read_text(encoding="utf-8")
    assert ">mine</text>" in drawn
    assert 'width="234pt" height="288pt"' in drawn
    with pytest.raises(ResultError, match=r"title=: options of a picture \(.png .svg .pdf .html\); a .csv file takes none"):
        path_result.export(tmp_path / "a.csv", title="mine")
