"""Names of layers and metrics are the user's: in the report they show as text, and nothing in them runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import thetascope as ts
from tests.report.pages import QUIET, Page, record
from thetascope.experiments.framework.catalog import experiments
from thetascope.report.embedding import safe_json
from thetascope.testing.models import case

TAG = "<img src=x onerror=alert(1)>"
END = "</script><script>alert(2)</script>"
HOSTILE = f"{TAG}{END}"
SIDE = (-1.0, 1.0, 3)
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "path": ("interpolate", {"alphas": 3}),
    "layers": ("interpolate", {"level": "layer", "alphas": 3}),
    "parameters": ("interpolate", {"level": "parameter", "alphas": 3, "parameters": 2}),
    "roles": ("layer_roles", {"draws": 1}),
    "surface": ("surface", {"x": SIDE, "y": SIDE}),
}
KEYS = {name: experiments()[experiment].of(**options).key for name, (experiment, options) in CALLS.items()}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a model whose layer, metrics and recorded values have hostile names."""
    model = nn.Sequential()
    model.add_module(HOSTILE, nn.Linear(4, 3))
    run = record(tmp_path_factory.mktemp("hostile") / "run", model, metrics=(f"{HOSTILE}_loss", HOSTILE))
    objective = ts.Objective(model, case("linear").data(12), metrics={HOSTILE: "accuracy"})
    trajectory = ts.Trajectory(run)
    results = [getattr(ts, experiment)(objective, trajectory, **options, **QUIET) for experiment, options in CALLS.values()]
    assert [result.data.attrs["key"] for result in results] == list(KEYS.values())
    return ts.write_report(run, results)


def test_no_name_becomes_an_element(hostile: Path) -> None:
    page = Page(hostile)
    assert not [attrs for tag, attrs in page.elements if tag == "img"]
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    assert not [text for _, text in page.scripts if text.strip() == "alert(2)"]
    assert set(page.figures()) == {"training", *KEYS.values()}


def test_names_show_as_text(hostile: Path) -> None:
    page = Page(hostile)
    assert f"{HOSTILE} Linear 3 × 4, 3 15 100 %" in page.text  # the model's table
    assert f"put back, {HOSTILE} costs most" in page.text
    choices = [attrs["value"] for tag, attrs in page.elements if tag == "option"]
    assert choices == ["", HOSTILE]
    rows = [attrs["data-layer"] for tag, attrs in page.elements if tag == "tr" and "data-layer" in attrs]
    assert set(rows) == {HOSTILE}


def test_nothing_breaks_out_of_the_data(hostile: Path) -> None:
    for attrs, text in Page(hostile).scripts:
        if attrs.get("type") == "application/json":
            assert "<" not in text
            assert "&" not in text


def test_pictures_show_names_as_text(hostile: Path) -> None:
    """What plotly reads as HTML holds entities; owners are compared with, and shown nowhere."""
    figures = Page(hostile).figures()
    layers = figures[KEYS["layers"]]["data"]
    assert layers[0]["meta"] == {"layer": HOSTILE}
    assert "&lt;img src=x onerror=alert(1)&gt;" in layers[0]["name"]
    assert all(TAG not in text for name in (KEYS["layers"], KEYS["parameters"], "training") for text in _shown(figures[name]))
    assert figures["training"]["data"][0]["name"].startswith("&lt;img")


def _shown(part: Any, key: str = "") -> list[str]:
    """All texts that plotly shows."""
    if isinstance(part, dict):
        return [text for name, inner in part.items() if name != "meta" for text in _shown(inner, name)]
    if isinstance(part, list):
        return [text for inner in part for text in _shown(inner, key)]
    return [part] if isinstance(part, str) else []


def test_results_in_notebooks_show_names_as_text() -> None:
    objective = ts.Objective(nn.Linear(4, 3), case("linear").data(5), metrics={HOSTILE: "accuracy"})
    states = [{"weight": torch.zeros(3, 4), "bias": torch.zeros(3)}, {"weight": torch.ones(3, 4), "bias": torch.ones(3)}]
    result = ts.interpolate(objective, ts.Trajectory.from_states(states), alphas=3, **QUIET)
    shown = result._repr_html_()
    assert shown.count("<img") == shown.count('<img style="max-width:100%" alt=') == 1  # the picture, and none of the name's making
    assert "<script" not in shown
    assert "&lt;img src=x onerror=alert(1)&gt;" in shown


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_safe_json_says_the_same(content: Any) -> None:
    text = safe_json(content)
    assert json.loads(text) == content
    assert not set(text) & set("<>&\u2028\u2029")


def test_safe_json_of_what_is_not_finite() -> None:
    assert safe_json({"a": [float("nan"), float("inf"), -float("inf"), 1.5]}) == '{"a":[null,null,null,1.5]}'
