"""What stands in a report."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import thetascope as ts
from tests.report.pages import QUIET, Page, network, record, sorted_export
from thetascope.cli import main
from thetascope.errors import RecordingError, ResultError
from thetascope.experiments.catalog import CATALOG, Examination
from thetascope.report import articles, page, pictures
from thetascope.report.provenance import certainty
from thetascope.report.sections import CHAPTERS, SECTIONS
from thetascope.testing.models import case


def test_every_experiment_stands_in_its_chapter_with_its_numbers(report: Path, examined: Path) -> None:
    found = Page(report)
    assert "Not run" not in found.text
    for name, examination in CATALOG.items():
        result = ts.load_result(examined / "results" / name)
        assert " ".join(examination.question.split()) in found.text
        assert examination.headline(result) in found.text, name
    chapters = [attrs["id"] for tag, attrs in found.elements if tag == "section"]
    assert chapters == ["glance", *CHAPTERS, "provenance"]
    assert set(found.figures()) == {"training", *CATALOG}
    assert "problem" not in [attrs.get("class") for tag, attrs in found.elements if tag == "p" and attrs.get("role")]


def test_the_model_s_table_counts_parameters(report: Path) -> None:
    text = Page(report).text
    assert "hidden Linear 5 × 4, 5 25 58 %" in text
    assert "out Linear 3 × 5, 3 18 42 %" in text
    assert "all 43 100 %" in text


def test_each_result_fits_one_section(examined: Path) -> None:
    for name in CATALOG:
        attrs = ts.load_result(examined / "results" / name).data.attrs
        assert [section.name for section in SECTIONS if section.fits(attrs)] == [name]
    assert {section.chapter for section in SECTIONS} <= set(CHAPTERS)
    assert len({section.name for section in SECTIONS}) == len(SECTIONS)


def test_words_are_made_from_the_numbers(examined: Path) -> None:
    for section in SECTIONS:
        if section.name in CATALOG:
            result = ts.load_result(examined / "results" / section.name)
            texts = [section.how(result), *section.reads(result), section.cannot]
            assert all(text.endswith(".") and "nan" not in text and "None" not in text and "  " not in text for text in texts), texts
            assert any(character.isdigit() for character in section.how(result))


def test_a_table_is_the_export(report: Path, examined: Path, tmp_path: Path) -> None:
    exported = sorted_export(examined / "results" / "layers", tmp_path / "layers.csv").decode()
    assert exported in Page(report).tables()


def test_a_run_without_results_says_what_runs_them(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = Page(ts.write_report(bare))
    assert "hidden Linear 2 × 2, 2 6 100 %" in found.text
    assert "No metrics were recorded." in found.text
    assert not found.figures()
    for name, examination in CATALOG.items():
        assert examination.question in found.text
        command = next((s.command for s in SECTIONS if s.name == name), f"thetascope examine RUN {name} --objective SPEC")
        assert command.replace("RUN", str(bare)) in found.text
        program, verb, *rest = shlex.split(command)
        assert program == "thetascope"
        assert main([verb, "--help"]) == 0
        options = capsys.readouterr().out
        assert all(option in options for option in rest if option.startswith("--")), command


def test_an_experiment_without_a_section_is_shown_too(bare: Path, examined: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = Examination("weather", "How is the weather?", lambda s, out: pytest.fail("not run here"), lambda r: f"fine over {r.title}")
    monkeypatch.setitem(CATALOG, "weather", new)
    assert f"thetascope examine {bare} weather --objective SPEC" in Page(ts.write_report(bare)).text
    result = ts.load_result(examined / "results" / "line")
    ts.Result(result.data.assign_attrs(experiment="weather", title="rain")).save(bare / "results" / "weather")
    text = Page(ts.write_report(bare)).text
    assert "What else was found?" in text
    assert "fine over rain" in text
    assert 'there is no figure for "weather model"' in text


def test_a_damaged_result_is_told_and_stops_nothing(bare: Path, examined: Path) -> None:
    results = with_results(bare, examined, "line", "roles", "layers") / "results"
    (results / "line" / "zarr.json").write_text("{")
    (results / "notes").mkdir()
    chunk = next(path for path in (results / "roles" / "reinit_loss" / "c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-3])
    found = Page(ts.write_report(bare))
    assert found.text.count("This result cannot be read") == 3
    assert f'"{results}/notes" is no stored result' in found.text
    assert "3 cannot be read: line, notes and roles" in found.text
    assert set(found.figures()) == {"layers"}
    assert "thetascope layers" not in found.text  # it was run


def with_results(bare: Path, examined: Path, *names: str) -> Path:
    """The bare run with some of the results."""
    for name in names:
        shutil.copytree(examined / "results" / name, bare / "results" / name)
    return bare


@pytest.mark.parametrize("name", list(CATALOG))
def test_an_unfinished_result_is_told_and_stops_nothing(name: str, examined: Path, bare: Path) -> None:
    """As a killed process leaves it: some points missing, nothing derived."""
    data = ts.load_result(examined / "results" / name).data
    derived = ("crossings", "gaps", "pattern_shares", "noise_floor", "undecided", "recommendation", "rule", "limit", "estimate")
    data.attrs = {key: value for key, value in data.attrs.items() if key not in derived}
    prefix = next(iter(data.attrs["units"]))
    for variable in data.data_vars:
        if str(variable).endswith("status"):
            data[variable].values.flat[0] = 0
    for scored in data.attrs["scored"]:
        data[prefix + scored].values.flat[0] = np.nan
    dropped = [v for v in ("share", "role", "pattern", "loss_median", "loss_spread") if v in data]
    place = bare / "results" / name
    missing = ts.Result(data.drop_vars(dropped)).status_counts()["missing"]
    ts.Result(data.drop_vars(dropped)).save(place)
    shutil.copytree(examined / "results" / "line", bare / "results" / "whole")
    found = Page(ts.write_report(bare))
    assert f"This result is not finished: {missing:,} of" in found.text
    assert f"1 not finished: {name}" in found.text
    training = " --training SPEC" if CATALOG[name].trains else ""
    assert f"thetascope examine {bare} {name} --objective SPEC{training} goes on from there" in found.text
    assert "whole" in found.figures()


def test_results_that_are_named_stand_beside_the_others(examined: Path, bare: Path) -> None:
    place = examined / "results" / "line"
    path = ts.write_report(bare, [place, str(place), ts.load_result(examined / "results" / "plane")])
    found = Page(path)
    assert path == bare / "report.html"
    assert set(found.figures()) == {"line", "plane"}
    assert "Made from states that this recording does not hold: line and plane" in found.text
    assert set(Page(ts.write_report(bare, ts.load_result(place))).figures()) == {"line"}
    with pytest.raises(ResultError, match="does not exist"):
        ts.write_report(bare, [examined / "results" / "lines"])


def test_two_results_of_a_kind_stand_one_after_the_other(bare: Path, examined: Path) -> None:
    with_results(bare, examined, "line")
    shutil.copytree(bare / "results" / "line", bare / "results" / "another-line")
    found = Page(ts.write_report(bare, ts.Result(ts.load_result(bare / "results" / "line").data)))
    assert list(found.figures()) == ["another-line", "line", "line-2"]
    assert f"--out {bare}/results/another-line" in found.text  # where it is gone on with


def test_other_data_are_told(bare: Path, examined: Path) -> None:
    with_results(bare, examined, "line")
    objective = ts.Objective(network(), case("linear").data(8))
    fewer = ts.interpolate(objective, ts.Trajectory(examined), alphas=3, **QUIET)
    assert "scored on 2 different data sets, or draws of samples" in Page(ts.write_report(bare, fewer)).text


def test_a_folder_of_results_needs_no_recording(bare: Path, examined: Path) -> None:
    with_results(bare, examined, "line")
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


def test_the_page_is_put_in_place_whole(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ts.write_report(bare).read_bytes()

    monkeypatch.setattr(page, "_page", lambda *_: 10_000 * "half of it " + "\ud800")  # a character that no file takes
    with pytest.raises(UnicodeEncodeError):
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
    assert set(Page(run / "report.html").figures()) == {"training", *CATALOG}


def test_a_page_stays_small_whatever_is_in_it(bare: Path, examined: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_results(bare, examined, "line", "plane", "surface")

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
    with_results(bare, examined, "parameters")
    monkeypatch.setattr(pictures, "MOST_ROWS", 30)
    result = ts.load_result(bare / "results" / "parameters")
    packed, note = pictures.table_for_download(result, "parameters")
    assert packed
    assert 'lacks accuracy, loss, status: too many rows. ts.load_result("…/parameters").export("parameters.csv")' in note
    monkeypatch.setattr(pictures, "MOST_ROWS", 1)
    assert pictures.table_for_download(result, "parameters")[0] == ""
    assert "too many rows" in Page(ts.write_report(bare)).text


def test_the_command_prints_the_path(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(bare)]) == 0
    assert capsys.readouterr().out.strip() == str(bare / "report.html")
    assert main(["report", str(bare), "--results", str(bare / "nowhere")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_what_fails_in_one_result_is_told(bare: Path, examined: Path) -> None:
    result = ts.load_result(examined / "results" / "compare")
    ts.Result(result.data.assign_attrs(gaps="many")).save(bare / "results" / "compare")
    found = Page(ts.write_report(bare))
    assert found.text.count("Part of this result cannot be shown: TypeError") == 1
    assert "compare" not in found.figures()


def test_an_atlas_of_parameters_has_its_words() -> None:
    section = next(section for section in SECTIONS if section.name == "atlas")
    values = {
        "loss_change": (("parameter", "alpha"), np.zeros((4, 3))),
        "impact": (("parameter",), [4.0, 1.0, 2.0, 1.0]),
        "distance": (("parameter",), [1.0, 2.0, 3.0, 4.0]),
        "layer": (("parameter",), ["a", "a", "b", "b"]),
    }
    coords = {"parameter": ["a[0]", "a[1]", "b[0]", "b[1]"], "alpha": [0.0, 0.5, 1.0]}
    result = ts.Result(xr.Dataset(values, coords, {"experiment": "parameter_atlas", "samples_scored": 10}))
    assert section.fits(result.data.attrs)
    assert section.how(result).startswith("Each of 4 parameters alone was set to 3 places")
    told = section.reads(result)
    assert told == [
        "The largest impacts are those of a[0] (4), b[0] (2) and a[1] (1).",
        "Half of all impact lies with 1 parameter, 25 % of them.",
    ]
    assert section.table is not None
    rows = [[cell.text for cell in row.cells] for row in section.table(result).rows]
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
    assert re.fullmatch(r"tables within [\d.e-]+ % of the final loss, on \d+ parameters", said[1])
    assert said[2] == "estimates of an error not measured"
