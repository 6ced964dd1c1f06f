"""The page on adding a picture really adds one: its one function is drawn by matplotlib and by plotly."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.patches import Polygon

import thetascope as ts
from thetascope.drawing.with_matplotlib import figure_of
from thetascope.drawing.with_plotly import page_of
from thetascope.testing.models import case

PAGE = Path(__file__).parents[1] / "docs" / "adding-a-picture.md"
CODE = next(re.finditer(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)).group(1)


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    chosen = case("linear")
    objective = ts.Objective(chosen.model(), chosen.data(20))
    return ts.layer_roles(objective, ts.Trajectory.from_states(chosen.states(2)), draws=6, progress=False).data


@pytest.fixture(scope="module")
def violins() -> Any:
    names: dict[str, Any] = {}
    exec(CODE, names)
    return names["violins"]


def test_it_takes_one_short_function() -> None:
    assert CODE.count("def ") == 1
    assert len(CODE.partition("def ")[2].splitlines()) < 40
    assert "matplotlib" not in CODE
    assert "plotly" not in CODE


@pytest.mark.parametrize("variable", ["loss", "accuracy"])
def test_both_draw_the_same_violins_with_every_draw(data: xr.Dataset, violins: Any, variable: str) -> None:
    picture = violins(data, variable)
    (ax,), page = figure_of(picture).axes, page_of(picture)
    outlines = [np.asarray(patch.get_xy())[:-1] for patch in ax.patches if isinstance(patch, Polygon)]
    areas = [trace for trace in page.data if trace.fill]
    spread = np.ptp(data[f"rerandom_{variable}"].values, axis=1) > 0
    assert len(outlines) == len(areas) == spread.sum() > 0
    for outline, area in zip(outlines, areas, strict=True):
        np.testing.assert_allclose(outline, np.stack([area.x, area.y], axis=1))
    assert [area.meta["layer"] for area in areas] == data["layer"].values[spread].tolist()
    dots = np.concatenate([trace.y for trace in page.data if trace.mode == "markers"])
    assert sorted(dots) == sorted(data[f"rerandom_{variable}"].values.ravel())
    assert [text.get_text() for text in ax.get_xticklabels()] == list(page.layout.xaxis.ticktext) == data["layer"].values.tolist()
    listed = [thing.name for thing in (*page.data, *page.layout.shapes) if thing.showlegend]
    assert sorted(listed) == sorted(text.get_text() for text in figure_of(picture).legends[0].get_texts())
    assert set(listed) == {"density of the draws", "one draw", "final state"}


def test_the_page_s_code_is_as_strict_as_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "violins.py"
    file.write_text(CODE, encoding="utf-8")
    for tool in (["ruff", "check", "--ignore", "I,D100", "--config"], ["ruff", "format", "--check", "--config"]):
        config = PAGE.parents[1] / "pyproject.toml" if "check" in tool[:2] else PAGE.parent / "ruff.toml"
        done = subprocess.run([sys.executable, "-m", *tool, str(config), str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
