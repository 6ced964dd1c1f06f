"""What results found: keys, types and some values of all experiments, and the headline as a sentence."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import thetascope as ts
from tests.experiments.framework.test_pictures import KINDS, made
from thetascope.experiments.framework.catalog import entries
from thetascope.experiments.framework.facts import Fact, extreme, largest
from thetascope.experiments.framework.findings import words_for
from thetascope.results.status import MISSING
from thetascope.testing.models import case

TAKEN = ("states", "picture", "table", "headline", "report", "step")
"""What trackers log beside findings."""


@pytest.fixture(scope="module")
def results() -> dict[str, ts.Result]:
    return made()


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def result(request: pytest.FixtureRequest, results: dict[str, ts.Result]) -> ts.Result:
    return results[request.param.name]


def facts_of(result: ts.Result) -> tuple[Fact, ...]:
    words = words_for(result.data)
    assert words is not None
    return words.findings


def test_the_keys_are_those_that_are_documented_and_values_have_their_types(result: ts.Result) -> None:
    facts, found = {fact.stem: fact for fact in facts_of(result)}, result.findings
    assert len(facts) == len(facts_of(result)) > 3
    for key, value in found.items():
        fact = facts[key.partition("/")[0]]
        assert ("/" in key) == ("/" in fact.key), key
        assert type(value) is fact.kind, key
    assert sum(fact.stem in {key.partition("/")[0] for key in found} for fact in facts.values()) > len(facts) / 2


def test_keys_are_stable_words_and_none_is_the_folder_of_others(result: ts.Result) -> None:
    for fact in facts_of(result):
        assert re.fullmatch(r"[a-z][a-z0-9_]*(/<\w+>)?", fact.key)
        assert fact.stem not in TAKEN
        assert fact.meaning
        assert not fact.meaning.endswith(".")
        assert fact.meaning[0].islower() or fact.meaning[0].isdigit()


def test_the_headline_is_a_sentence_with_numbers(result: ts.Result) -> None:
    told = result.headline
    assert told[0] == told[0].upper()
    assert told.endswith(".")
    assert not told.endswith("..")
    assert re.search(r"\d", told)
    assert "  " not in told


def test_an_unfinished_result_says_so_and_finds_what_it_can(result: ts.Result) -> None:
    data = result.data.copy(deep=True)
    for name in [str(name) for name in data.data_vars if str(name).endswith("status")]:
        data[name].values[...] = MISSING
    unfinished = ts.Result(data)
    if result.status_counts()["evaluated"] + result.status_counts()["estimated"]:
        assert unfinished.headline.startswith("This result is not finished: ")
    assert unfinished.findings.keys() <= result.findings.keys()


DERIVED = {
    "layer_rewind": ("finished", "resolved", "barrier_to_end"),
    "layer_roles": ("role", "share", "share_accuracy", "excess", "excess_se", "critical_in"),
    "parameter_atlas": ("impact",),
}
AT_THE_END = ("barrier", "gaps", "crossings", "pattern_shares", "noise_floor", "recommendation", "reference", "gain", "chosen", "best")


def test_what_follows_at_the_end_is_left_out_before(result: ts.Result) -> None:
    attrs = {name: value for name, value in result.data.attrs.items() if not str(name).startswith(AT_THE_END)}
    data = result.data.drop_vars(DERIVED.get(result.experiment, ())).copy()
    data.attrs = attrs
    found = ts.Result(data).findings.keys()
    assert found <= result.findings.keys()
    assert len(found) < len(result.findings) or not (DERIVED.get(result.experiment) or len(attrs) < len(result.data.attrs) - 1)


def test_numbers_are_those_of_the_data(results: dict[str, ts.Result]) -> None:
    line, way = results["interpolate model"], results["trajectory_geometry model"]
    data = line.data
    found = line.findings
    losses, alphas = data["loss"].values, data["alpha"].values
    assert found["lowest_loss"] == losses.min()
    assert found["lowest_at"] == alphas[losses.argmin()]
    assert found["excess_max"] == data["excess"].values.max()
    assert (found["initial_loss"], found["final_loss"]) == (data["actual_loss"].values[0], data["actual_loss"].values[-1])
    assert found["final_metric/accuracy"] == data["actual_accuracy"].values[-1]
    assert (found["barrier"], found["has_barrier"]) == (data.attrs["barrier"], data.attrs["has_barrier"])
    walked = way.findings
    assert walked["length"] == pytest.approx(way.data["step_length"].values[1:].sum())
    assert walked["displacement"] == way.data["from_start"].values[-1]
    assert walked["straightness"] == pytest.approx(1 / float(walked["tortuosity"]))
    assert walked["turning"] == pytest.approx(np.nanmean(way.data["turning"].values))
    assert sum(float(value) for key, value in walked.items() if key.startswith("squared_share/")) == pytest.approx(1)
    roles = results["layer_roles"]
    assert sum(int(roles.findings[f"{role}_layers"]) for role in ("critical", "ambient", "undecided")) == roles.data.sizes["layer"]
    assert math.isnan(float(roles.findings["share/out"]))  # there is no gain: kept as it is
    rewound = results["layer_rewind"]
    finished, progress = rewound.data["finished"].values, rewound.data["progress"].values
    for layer, state in zip(rewound.data["layer"].values, finished, strict=True):
        assert rewound.findings[f"finished_progress/{layer}"] == progress[state]
    assert not any(key.startswith("finished_step/") for key in rewound.findings)  # no step is known
    average = results["checkpoint_average"]
    assert average.findings["gain"] == pytest.approx(float(average.findings["last_loss"]) - float(average.findings["chosen_loss"]))
    assert average.findings["best_window"] == 2
    surface = results["surface"]
    assert surface.findings["share_within_twice"] == (surface.data["loss"].values <= 2 * float(surface.findings["center_loss"])).mean()
    at = surface.data["loss"].sel(x=surface.findings["lowest_x"], y=surface.findings["lowest_y"], method="nearest")
    assert float(at) == surface.findings["lowest_loss"] == surface.data["loss"].values.min()
    plane = results["trajectory_plane"]
    assert plane.findings["explained_variance"] == plane.data["explained_variance_ratio"].values[:2].sum()
    atlas = results["parameter_atlas"].findings
    assert sum(float(value) for key, value in atlas.items() if key.startswith("pattern_share/")) == pytest.approx(1)
    layers = results["interpolate layer"]
    assert layers.findings["most_costly_loss"] == layers.data["loss"].values[:, 0].max()
    compared = results["compare_paths model"]
    assert compared.findings["line_factor_by_place"] == pytest.approx(10 ** compared.data.attrs["gaps"]["linear_by_place"])
    epochs = results["study_epochs"]
    assert (epochs.findings["recommendation"], epochs.findings["lowest_loss"]) == (0, epochs.data["loss"].values.min())
    assert epochs.data["step"].values.tolist() == [0, 2, 4]
    assert "recommendation" not in results["study_train_size"].findings  # undecided


def test_steps_of_states_are_whole_numbers_where_they_are_known() -> None:
    linear = case("linear")
    objective = ts.Objective(linear.model(), linear.data())
    trajectory = ts.Trajectory.from_states(linear.states(3), steps=[0, 7, 19])
    found = ts.layer_rewind(objective, trajectory, progress=False).findings
    steps = [value for key, value in found.items() if key.startswith("finished_step/")]
    assert steps
    assert all(type(step) is int and step in (0, 7, 19) for step in steps)
    assert found["connected_step"] in (0, 7, 19)


def test_several_objectives_have_their_labels_in_front() -> None:
    linear = case("linear")
    objectives = {"train": ts.Objective(linear.model(), linear.data(9)), "test": ts.Objective(linear.model(), linear.data(5))}
    both = ts.interpolate(objectives, ts.Trajectory.from_states(linear.states(3)), alphas=3, progress=False)
    alone = {label: both.one(label).findings for label in objectives}
    assert alone["train"] != alone["test"]
    assert both.findings == {f"{label}/{key}": value for label, found in alone.items() for key, value in found.items()}
    assert both.headline.startswith("On train data: along the straight line ")
    assert ". On test data: " in both.headline


def test_what_no_experiment_made_has_its_title_and_no_findings() -> None:
    data = xr.Dataset(attrs={"experiment": "none such", "title": "something else"})
    assert ts.Result(data).headline == "Something else."
    assert ts.Result(data).findings == {}


def test_every_call_of_examine_has_findings() -> None:
    assert [key for key, call in entries().items() if not call.words.findings] == []


def test_nothing_finite_has_no_largest() -> None:
    assert largest([math.nan, math.inf]) is None
    assert largest([math.nan, 2.0, 3.0, -math.inf]) == 3.0
    assert extreme([[math.nan, 2.0], [1.0, 3.0]], -1) == 2


def _given(value: Any, data: xr.Dataset) -> Any:
    return value


def test_values_that_are_not_known_are_left_out() -> None:
    data: Any = xr.Dataset()
    unknown: list[tuple[type[int] | type[float] | type[str], Any]] = [(int, math.nan), (float, None), (str, ""), (bool, None)]
    for kind, value in unknown:
        assert Fact("key", kind, "a value", partial(_given, value)).of(data) == {}
    assert math.isnan(float(Fact("key", float, "a value", lambda _: math.nan).of(data)["key"]))
    assert Fact("key/<layer>", float, "a value", lambda _: None).of(data) == {}
    assert Fact("key/<layer>", int, "a value", lambda _: {"a": 1.0, "b": math.nan}).of(data) == {"key/a": 1}


def test_no_torch_is_loaded(tmp_path: Path, results: dict[str, ts.Result]) -> None:
    path = results["layer_rewind"].save(tmp_path / "stored")
    code = (
        "import sys, thetascope as ts\n"
        f"found = ts.load_result({str(path)!r})\n"
        "assert found.findings and found.headline\n"
        "assert not {'torch', 'plotly', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
