from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import thetascope as ts
from thetascope.errors import ResultError
from thetascope.results.status import STATUS_NAMES, status_counts
from thetascope.results.store import Block, Layout, Store

HOSTILE = "<img src=x onerror=alert(1)>"


def made() -> ts.Result:
    layout = Layout(
        [Block("", ("alpha",), (3,), ("loss", HOSTILE), 3), Block("actual_", ("state",), (2,), ("loss", HOSTILE), 2)],
        coords={"alpha": [0.0, 0.5, 1.0], "state": [0, 1]},
        attrs={"experiment": "made", "title": f"made {HOSTILE}", "samples_scored": 1234, "device": "cpu", "engine": {"name": "eager"}},
    )
    store = Store.create(None, layout)
    store.write("", 0, {"loss": [3.0, 1.0, 2.0], HOSTILE: [0.1, np.nan, 0.3]})
    return store.close()


def test_repr_tells_the_story() -> None:
    text = repr(made())
    assert "3 → 2, lowest 1 at alpha 0.5" in text
    assert "1,234 samples" in text
    assert "2 missing, 2 evaluated, 1 not finite" in text


def test_repr_leaves_out_what_is_plain() -> None:
    values = {"loss": (("state",), [3.0, 2.0, 1.0]), "epoch": (("state",), [0.0, 1.0, 2.0]), "progress": (("state",), [0.0, 0.5, 1.0])}
    lines = repr(ts.Result(xr.Dataset(values, coords={"state": [0, 1, 2]}, attrs={"experiment": "made"}))).splitlines()
    assert "  loss  3 → 1" in lines
    assert not any(line.split()[0] in ("epoch", "progress") for line in lines[1:])


def test_a_loaded_result_tells_the_same_story(tmp_path: Path) -> None:
    result = made()
    result.save(tmp_path / "r")
    assert repr(ts.load_result(tmp_path / "r")) == repr(result)
    names = [line.split()[0] for line in repr(result).splitlines()[2:5]]
    assert names == ["loss", HOSTILE.split(maxsplit=1)[0], "actual_loss"]


def test_html_shows_hostile_names_as_text() -> None:
    page = made()._repr_html_()
    assert "<img" not in page
    assert "&lt;img" in page


def test_dataframe_has_a_row_a_point() -> None:
    table = made().to_dataframe()
    assert len(table) == 5
    assert table.loc[table["dims"] == "alpha", "loss"].tolist() == [3.0, 1.0, 2.0]
    one = ts.Result(xr.Dataset({"loss": (("alpha",), [1.0, 2.0])}, coords={"alpha": [0.0, 1.0]}, attrs={"experiment": "made"}))
    assert one.to_dataframe().columns.tolist() == ["alpha", "loss"]


def test_an_experiment_without_a_figure_says_so() -> None:
    with pytest.raises(ResultError, match="interpolate"):
        made().plot()


def test_points_are_counted_by_their_status() -> None:
    assert status_counts(made().data) == {"missing": 2, "evaluated": 2, "not finite": 1, "estimated": 0}
    assert status_counts(xr.Dataset()) == dict.fromkeys(STATUS_NAMES.values(), 0)


def test_a_foreign_dataset_is_refused() -> None:
    with pytest.raises(ResultError, match="no experiment"):
        ts.Result(xr.Dataset())
