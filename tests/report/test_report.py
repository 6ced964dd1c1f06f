"""What stands in a report."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import thetascope as ts
import thetascope.experiments
from tests.full_disk import full_disk
from tests.report.pages import QUIET, SPECIFICATIONS, Page, call_of, key_of, network, record, sorted_export, specified
from thetascope.cli import main
from thetascope.errors import RecordingError, ResultError
from thetascope.experiments.framework.call_options import canonical
from thetascope.experiments.framework.catalog import declaration, entries, experiment_of
from thetascope.experiments.framework.declaration import Call, words_of
from thetascope.experiments.framework.words import CHAPTERS, Words
from thetascope.report import articles, page, pictures
from thetascope.report.provenance import certainty
from thetascope.testing.models import case


def load(run: Path, entry: str) -> ts.Result:
    """The result that a run has of an entry."""
    return ts.load_result(run / "results" / key_of(entry))


def words_for(result: ts.Result) -> Words:
    """What is said of a result."""
    experiment = experiment_of(result.data.attrs)
    assert experiment is not None
    return words_of(experiment, result.data.attrs)


def test_every_experiment_stands_in_its_chapter_with_its_numbers(report: Path, examined: Path) -> None:
    found = Page(report)
    assert "Not run" not in found.text
    for key, call in entries().items():
        assert " ".join(call.words.question.split()) in found.text
        assert call.words.headline(load(examined, key).data) in found.text, key
    chapters = [attrs["id"] for tag, attrs in found.elements if tag == "section"]
    assert chapters == ["glance", *CHAPTERS, "provenance"]
    assert set(found.figures()) == {"training", *map(key_of, entries())}
    assert "problem" not in [attrs.get("class") for tag, attrs in found.elements if tag == "p" and attrs.get("role")]


def test_articles_are_known_by_the_keys_of_their_results(report: Path) -> None:
    found = Page(report)
    articles = {attrs["id"] for tag, attrs in found.elements if tag == "article"}
    assert articles == {"a-training", *(f"a-{key_of(entry)}" for entry in entries())}


def test_the_model_s_table_counts_parameters(report: Path) -> None:
    text = Page(report).text
    assert "hidden Linear 5 × 4, 5 25 58 %" in text
    assert "out Linear 3 × 5, 3 18 42 %" in text
    assert "all 43 100 %" in text


def test_each_result_answers_the_question_of_one_entry(examined: Path) -> None:
    questions = {}
    for key, call in entries().items():
        attrs = load(examined, key).data.attrs
        assert attrs["key"] == key_of(key)
        experiment = experiment_of(attrs)
        assert experiment is call.experiment
        entry = experiment.entry_of(attrs)
        assert entry is not None
        assert Call(experiment, entry.options).key == key
        assert call.words.chapter in CHAPTERS
        questions[call.words.question] = key
    assert len(questions) == len(entries())


@pytest.mark.parametrize("entry", entries())
def test_words_are_made_from_the_numbers(entry: str, examined: Path) -> None:
    result = load(examined, entry)
    words = words_for(result)
    texts = [words.how(result.data), *words.shows(result.data), words.caveat]
    assert all(text.endswith(".") and "nan" not in text and "None" not in text and "  " not in text for text in texts), texts
    assert any(character.isdigit() for character in words.how(result.data))


def test_a_table_is_the_export(report: Path, examined: Path, tmp_path: Path) -> None:
    exported = sorted_export(examined / "results" / key_of("interpolate-layer"), tmp_path / "layers.csv").decode()
    assert exported in Page(report).tables()


def test_a_run_without_results_says_so(bare: Path) -> None:
    found = Page(ts.write_report(bare))
    assert "hidden Linear 2 × 2, 2 6 100 %" in found.text
    assert "No metrics were recorded." in found.text
    assert not found.figures()
    assert all(" ".join(call.words.question.split()) in found.text for call in entries().values())
    assert found.commands() == [call.command_line(str(bare)) for call in sorted(entries().values(), key=_chapter)]


def _chapter(call: Call) -> int:
    return list(CHAPTERS).index(call.words.chapter)


def planned(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, Path]:
    """What a command would do and where, as its dry run says it."""
    program, *arguments = shlex.split(specified(command))
    assert program == "thetascope"
    assert main([*arguments, "--dry-run"]) == 0, command
    told = dict(re.findall(r"^  (to do|result) +(.*)$", capsys.readouterr().out, re.MULTILINE))
    return told["to do"], Path(told["result"])


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder, with what the commands of a report leave open."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specs.py").write_text(SPECIFICATIONS)


@pytest.mark.usefixtures("specs")
def test_what_was_not_run_is_run_by_its_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run / "results")
    plans = [planned(command, capsys) for command in Page(ts.write_report(run)).commands()]
    assert all(todo != "nothing" for todo, _ in plans)
    assert {place for _, place in plans} == {run / "results" / key for key in entries()}


@pytest.mark.usefixtures("specs")
def test_what_was_run_is_made_again_by_its_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = run / "results" / "of-my-own"
    (run / "results" / key_of("interpolate-layer")).rename(elsewhere)
    plans = [planned(command, capsys) for command in Page(ts.write_report(run)).made_again_by()]
    assert {place for _, place in plans} == set((run / "results").iterdir())
    left = {place.name for todo, place in plans if not todo.startswith("nothing")}
    assert left <= {key_of("study_test_size")}  # whose one pass gives the values that everything else is drawn from


WEATHER = """
from __future__ import annotations

from thetascope.experiments.framework.declaration import Declaration, Entry

def weather(objective, trajectory, wind: float = 1.0, *, out=None, engine: str = "auto", progress: bool = True):
    "Ask for the weather."
    return EXPERIMENT.run(locals())

EXPERIMENT = Declaration(weather, entries=(Entry(85),), examples=("weather RUN --objective SPEC",))
"""
WEATHER_WORDS = """
from thetascope.experiments.framework.words import Words

WORDS = Words(
    chapter="walk",
    asks="How is the weather?",
    headline=lambda data: f"fine over {data.attrs['title']}",
    how=lambda data: "It was looked up 1 time.",
    shows=lambda data: ["The sun."],
    does_not_show="The moon.",
)
"""


@pytest.fixture
def weather(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An experiment in a folder of its own, and nothing anywhere else."""
    folder = tmp_path / "more" / "weather"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(WEATHER)
    (folder / "words.py").write_text(WEATHER_WORDS)
    monkeypatch.setattr(thetascope.experiments, "__path__", [*thetascope.experiments.__path__, str(tmp_path / "more")])
    yield
    declaration.cache_clear()
    for name in [name for name in sys.modules if name.startswith("thetascope.experiments.weather")]:
        del sys.modules[name]
    vars(thetascope.experiments).pop("weather", None)


@pytest.mark.usefixtures("weather")
def test_a_new_experiment_needs_nothing_but_its_folder(bare: Path, examined: Path) -> None:
    found = Page(ts.write_report(bare))
    assert "How is the weather?" in found.text
    assert f"thetascope weather {bare} --objective SPEC" in found.commands()
    data = (
        load(examined, "interpolate")
        .data.drop_attrs()
        .assign_attrs(
            {name: value for name, value in load(examined, "interpolate").data.attrs.items() if name != "level"}
            | {"experiment": "weather", "title": "rain", "key": "weather"}
        )
    )
    ts.Result(data).save(bare / "results" / "weather")
    found = Page(ts.write_report(bare))
    assert "fine over rain" in found.text
    assert 'there is no figure for "weather"' in found.text
    assert not [command for command in found.commands() if command.startswith("thetascope weather")]


def test_a_result_of_no_experiment_is_shown_too(bare: Path, examined: Path) -> None:
    result = load(examined, "interpolate")
    ts.Result(result.data.assign_attrs(experiment="weather", title="rain")).save(bare / "results" / "weather")
    text = Page(ts.write_report(bare)).text
    assert "What else was found?" in text
    assert "Rain" in text
    assert 'there is no figure for "weather model"' in text


def test_a_damaged_result_is_told_and_stops_nothing(bare: Path, examined: Path) -> None:
    results = with_results(bare, examined, "interpolate", "layer_roles", "interpolate-layer", "surface") / "results"
    line, roles, layers, surface = map(key_of, ("interpolate", "layer_roles", "interpolate-layer", "surface"))
    (results / line / "zarr.json").write_text("{")
    (results / "notes").mkdir()
    chunk = next(path for path in (results / roles / "reinit_loss" / "c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-3])
    header = json.loads((results / surface / "zarr.json").read_text())
    header["attributes"]["thetascope_format"] = 2
    (results / surface / "zarr.json").write_text(json.dumps(header))
    found = Page(ts.write_report(bare))
    assert found.text.count("This result cannot be read") == 4
    assert f'"{results}/notes" is no stored result' in found.text
    assert f'"{results}/{surface}" has result format 2, which an earlier version wrote, and this one reads format 4' in found.text
    assert f"4 cannot be read: {line}, {roles}, notes and {surface}" in found.text
    assert set(found.figures()) == {layers}
    questions = [call.words.question for key, call in entries().items() if key in ("interpolate", "layer_roles", "surface")]
    assert all(question in found.text for question in questions)
    asked = {shlex.split(command)[1] for command in found.commands()}
    assert not asked & {"layer-roles", "surface"}  # they were run; what came of it must be looked at
    assert entries()["interpolate-layer"].command_line(str(bare)) not in found.commands()


def with_results(bare: Path, examined: Path, *wanted: str) -> Path:
    """The bare run with the results of some entries."""
    for name in map(key_of, wanted):
        shutil.copytree(examined / "results" / name, bare / "results" / name)
    return bare


@pytest.mark.parametrize("entry", [key for key, call in entries().items() if call.experiment.scores])
def test_an_unfinished_result_is_told_and_stops_nothing(entry: str, examined: Path, bare: Path) -> None:
    """As a killed process leaves it: some points missing, nothing derived."""
    key, data = key_of(entry), load(examined, entry).data
    derived = ("crossings", "gaps", "pattern_shares", "noise_floor", "undecided", "recommendation", "rule", "limit", "estimate")
    data.attrs = {name: value for name, value in data.attrs.items() if name not in derived}
    prefix = next(iter(data.attrs["units"]))
    for variable in data.data_vars:
        if str(variable).endswith("status"):
            data[variable].values.flat[0] = 0
    for scored in data.attrs["scored"]:
        data[prefix + scored].values.flat[0] = np.nan
    dropped = [v for v in ("share", "role", "pattern", "loss_median", "loss_spread") if v in data]
    missing = ts.Result(data.drop_vars(dropped)).status_counts()["missing"]
    ts.Result(data.drop_vars(dropped)).save(bare / "results" / key)
    whole = "layer_roles" if entry == "interpolate" else "interpolate"
    with_results(bare, examined, whole)
    found = Page(ts.write_report(bare))
    assert f"This result is not finished: {missing:,} of" in found.text
    assert f"1 not finished: {key}" in found.text
    call = call_of(entry)
    stored = Call(call.experiment, {name: canonical(value) for name, value in call.options.items()})
    assert f"{stored.command_line(str(bare))} goes on from there" in found.text
    assert key_of(whole) in found.figures()


def test_results_that_are_named_stand_beside_the_others(examined: Path, bare: Path) -> None:
    line, plane = key_of("interpolate"), key_of("trajectory_plane")
    place = examined / "results" / line
    path = ts.write_report(bare, [place, str(place), load(examined, "trajectory_plane")])
    found = Page(path)
    assert path == bare / "report.html"
    assert set(found.figures()) == {line, plane}
    assert f"Made from states that this recording does not hold: {line} and {plane}" in found.text
    assert set(Page(ts.write_report(bare, ts.load_result(place))).figures()) == {line}
    with pytest.raises(ResultError, match="does not exist"):
        ts.write_report(bare, [examined / "results" / "lines"])


def test_two_results_of_a_kind_stand_one_after_the_other(bare: Path, examined: Path) -> None:
    with_results(bare, examined, "interpolate")
    key = key_of("interpolate")
    shutil.copytree(bare / "results" / key, bare / "results" / "another-line")
    found = Page(ts.write_report(bare, ts.Result(load(bare, "interpolate").data)))
    assert list(found.figures()) == [key, f"{key}-2", f"{key}-3"]
    assert f"--out {bare}/results/another-line" in found.text  # where it is gone on with


def test_other_data_are_told(bare: Path, examined: Path) -> None:
    with_results(bare, examined, "interpolate")
    objective = ts.Objective(network(), case("linear").data(8))
    fewer = ts.interpolate(objective, ts.Trajectory(examined), alphas=3, **QUIET)
    assert "scored on 2 different data sets, or draws of samples" in Page(ts.write_report(bare, fewer)).text


def test_a_folder_of_results_needs_no_recording(bare: Path, examined: Path) -> None:
    with_results(bare, examined, "interpolate")
    (bare / "run.json").unlink()
    text = Page(ts.write_report(bare)).text
    assert "This folder holds no recording" in text
    assert "Linear path through the training" in text
    (bare / "run.json").write_text('{"format": 1, "space": {"tensors": 3}}')
    assert "is damaged" in Page(ts.write_report(bare)).text
    with pytest.raises(RecordingError, match="is no folder"):
        ts.write_report(bare / "nowhere")


def test_ties_are_counted_once(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.second.weight = self.first.weight
            self.register_buffer("seen", torch.zeros(7))

    text = Page(ts.write_report(record(tmp_path / "tied", Tied()))).text
    assert "second.weight is tied to first.weight and counted once." in text
    assert "9 in 1 layer" in text
    assert "buffers 7 values" in text


def test_the_page_is_put_in_place_whole(bare: Path, examined: Path) -> None:
    before = ts.write_report(bare).read_bytes()
    with_results(bare, examined, "interpolate")
    with pytest.raises(OSError, match="File too large"), full_disk(len(before) // 2):
        ts.write_report(bare)
    assert (bare / "report.html").read_bytes() == before
    assert sorted(path.name for path in bare.iterdir() if "report" in path.name) == ["report.html"]


def test_only_its_own_scripts_may_run(report: Path) -> None:
    found = Page(report)
    policy = next(attrs["content"] or "" for tag, attrs in found.elements if attrs.get("http-equiv") == "Content-Security-Policy")
    run = [text for attrs, text in found.scripts if "type" not in attrs]
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in run}
    parts = dict(part.split(" ", 1) for part in policy.split("; "))
    assert set(parts["script-src"].split()) == hashes
    assert len(run) == len(page.SCRIPTS) + 1
    assert parts["default-src"] == "'none'"
    assert "unsafe-eval" not in policy
    # nothing is fetched: no element names a place outside the page
    named = [attrs[key] for _, attrs in found.elements for key in ("src", "href", "data", "action") if attrs.get(key)]
    assert all(place and place.startswith(("#", "data:")) for place in named), named


def test_everything_is_labelled(report: Path) -> None:
    found = Page(report)
    ids = [attrs["id"] for _, attrs in found.elements if attrs.get("id")]
    assert len(ids) == len(set(ids))
    labels = {attrs.get("for") for tag, attrs in found.elements if tag == "label"}
    for tag, attrs in found.elements:
        if tag in ("input", "select"):
            assert attrs["id"] in labels
        if tag in ("section", "article"):
            assert attrs["aria-labelledby"] in ids
        if attrs.get("class") == "plot":
            assert attrs["role"] == "img"
            assert attrs["aria-label"]
        if tag == "a" and (attrs.get("href") or "").startswith("#"):
            assert (attrs["href"] or "")[1:] in ids
    heads = [int(tag[1]) for tag, _ in found.elements if tag in ("h1", "h2", "h3")]
    assert heads[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(heads))


def test_no_torch_is_needed(run: Path) -> None:
    code = f"import sys; sys.modules['torch'] = None; import thetascope as ts; print(ts.write_report({str(run)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(run / "report.html")
    assert set(Page(run / "report.html").figures()) == {"training", *map(key_of, entries())}


@pytest.mark.slow
def test_a_page_stays_small_whatever_is_in_it(bare: Path, examined: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_results(bare, examined, "interpolate", "trajectory_plane", "surface")

    def images() -> dict[str, str]:
        found = Page(ts.write_report(bare))
        return {attrs["alt"] or "": attrs["src"] or "" for tag, attrs in found.elements if tag == "img"}

    assert not images()
    found = Page(bare / "report.html")
    sizes = sorted(len(text) for attrs, text in found.scripts if attrs.get("type") == "application/json")
    monkeypatch.setattr(articles, "LARGEST", sizes[0])  # of the line's picture
    assert [alt.split(".")[0] for alt in images()] == ["Loss surface", "The plane in which the training moved"]
    assert all(image.startswith("data:image/png;base64,") for image in images().values())
    assert "Too large to be interactive here" in Page(bare / "report.html").text
    monkeypatch.setattr(articles, "LARGEST", 10**9)
    monkeypatch.setattr(articles, "SMALL", 0)
    monkeypatch.setattr(articles, "LARGEST_TOTAL", 10)
    assert len(images()) == 3


def test_large_tables_are_left_out_and_named(bare: Path, examined: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_results(bare, examined, "interpolate-parameter")
    monkeypatch.setattr(pictures, "MOST_ROWS", 30)
    result, key = load(bare, "interpolate-parameter"), key_of("interpolate-parameter")
    packed, note = pictures.table_for_download(result, key)
    assert packed
    lacks = "accuracy, accuracy_excess_se, excess, excess_se, loss, loss_standard_error, status"
    assert f'lacks {lacks}: too many rows. ts.load_result("…/{key}").export("{key}.csv")' in note
    monkeypatch.setattr(pictures, "MOST_ROWS", 1)
    assert pictures.table_for_download(result, key)[0] == ""
    assert "too many rows" in Page(ts.write_report(bare)).text


def test_the_command_prints_the_path(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(bare)]) == 0
    assert capsys.readouterr().out.strip() == str(bare / "report.html")
    assert main(["report", str(bare), "--results", str(bare / "nowhere")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_what_fails_in_one_result_is_told(bare: Path, examined: Path) -> None:
    result, key = load(examined, "compare_paths"), key_of("compare_paths")
    ts.Result(result.data.assign_attrs(gaps="many")).save(bare / "results" / key)
    found = Page(ts.write_report(bare))
    assert found.text.count("Part of this result cannot be shown: TypeError") == 1
    assert key not in found.figures()


def test_an_atlas_of_parameters_has_its_words() -> None:
    values = {
        "loss_change": (("parameter", "alpha"), np.zeros((4, 3))),
        "impact": (("parameter",), [4.0, 1.0, 2.0, 1.0]),
        "distance": (("parameter",), [1.0, 2.0, 3.0, 4.0]),
        "layer": (("parameter",), ["a", "a", "b", "b"]),
    }
    coords = {"parameter": ["a[0]", "a[1]", "b[0]", "b[1]"], "alpha": [0.0, 0.5, 1.0]}
    result = ts.Result(xr.Dataset(values, coords, {"experiment": "parameter_atlas", "samples_scored": 10}))
    words = words_for(result)
    assert words.how(result.data).startswith("Each of 4 parameters alone was set to 3 places")
    told = words.shows(result.data)
    assert told == [
        "The largest impacts are those of a[0] (4), b[0] (2) and a[1] (1).",
        "Half of all impact lies with 1 parameter, 25 % of them.",
    ]
    assert words.table is not None
    rows = [[cell.text for cell in row.cells] for row in words.table(result.data).rows]
    assert rows == [["a", "2", "2.5", "4", "5", "1.5"], ["b", "2", "1.5", "2", "3", "3.5"]]


def test_what_is_known_of_the_errors_of_values_that_were_not_scored() -> None:
    model = network()
    states = [{name: scale * tensor for name, tensor in model.state_dict().items()} for scale in (0.4, 1.0)]
    objective, trajectory = ts.Objective(model, case("linear").data(20)), ts.Trajectory.from_states(states)
    exact = ts.parameter_atlas(objective, trajectory, alphas=5, mode="exact", **QUIET)
    tables = ts.parameter_atlas(objective, trajectory, alphas=5, **QUIET)
    unmeasured = ts.Result(tables.data.copy())
    unmeasured.data.attrs = {name: value for name, value in tables.data.attrs.items() if name != "table_error"}
    said = [str(row[-1]) for row in certainty([("exact", exact), ("tables", tables), ("unmeasured", unmeasured)])]
    assert said[0] == "exact over its samples"
    assert re.fullmatch(r"values read off by at most [\d.e-]+ % of the final loss at \d+ tested places of \d+ parameters", said[1])
    assert said[2] == "estimates of an error not measured"
