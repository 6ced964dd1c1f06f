"""Pictures that have not changed are not drawn again."""

from __future__ import annotations

from pathlib import Path

import pytest

import thetascope as ts
from tests.leftovers import leave
from thetascope.experiments.framework import pictures
from thetascope.testing.models import case


@pytest.fixture
def result() -> ts.Result:
    linear = case("linear")
    return ts.interpolate(
        ts.Objective(linear.model(), linear.data()), ts.Trajectory.from_states(linear.states(2)), alphas=3, progress=False
    )


@pytest.mark.parametrize("suffix", [".png", ".html"])
def test_a_picture_is_drawn_once(tmp_path: Path, result: ts.Result, suffix: str) -> None:
    path = tmp_path / f"line{suffix}"
    pictures.refresh_figure(result.data, path)
    first, seen = path.read_bytes(), path.stat()
    assert len(first) > 1000
    result.save(tmp_path / "r")
    pictures.refresh_figure(ts.load_result(tmp_path / "r").data, path)
    assert path.stat().st_mtime_ns == seen.st_mtime_ns, "the stored result has the same picture"


def test_what_a_killed_process_left_beside_a_whole_picture_is_swept(tmp_path: Path, result: ts.Result) -> None:
    path = pictures.refresh_figure(result.data, tmp_path / "line.png")
    seen = path.stat()
    leave(path)
    pictures.refresh_figure(result.data, path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mtime_ns == seen.st_mtime_ns


@pytest.mark.parametrize("suffix", [".png", ".html"])
@pytest.mark.parametrize("how", ["values", "title", "cut", "other", "link"])
def test_what_has_changed_is_drawn_anew(tmp_path: Path, result: ts.Result, suffix: str, how: str) -> None:
    path = tmp_path / f"line{suffix}"
    pictures.refresh_figure(result.data, path)
    before = path.read_bytes()
    data = result.data.copy(deep=True)
    if how == "values":
        data["loss"].values[0] += 1
    elif how == "title":
        data.attrs["title"] = "another"
    elif how == "cut":
        path.write_bytes(before[:-100])
    elif how == "other":
        path.write_bytes(b"something else")
    else:
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    pictures.refresh_figure(data, path)
    assert path.is_file()
    assert not path.is_symlink()
    assert (path.read_bytes() == before) == (how in ("cut", "other", "link") and suffix == ".png")
