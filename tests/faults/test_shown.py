"""What is shown: control sequences, lone surrogates and formulas from strangers' files, terminals of any locale, items that are broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import thetascope as ts
from tests.cli.project import SPEC, record_run
from tests.faults.test_named_code import SCRIPT
from thetascope.errors import ThetascopeError
from thetascope.progress import say
from thetascope.shown import encoded, shown
from thetascope.testing.models import case

ACTING = {
    "escape": "\x1b]0;owned\x07\x1b[2J",
    "C1": "\x9b2J\x85",
    "return": "good\r\x08bad",
    "direction": "\u202egnp.exe\u2066",
    "line separator": "a\u2028b",
    "surrogate": "x\ud800y\udcff",
}
ACTS = {*map(chr, [*range(32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])} - {"\t", "\n"}


def harmless(text: str) -> bool:
    """Whether a terminal only shows it, and a file can hold it."""
    return not set(text) & ACTS and text.encode().decode() == text


@cache
def layers() -> xr.Dataset:
    """A finished result, a line a layer."""
    linear = case("linear")
    objective, trajectory = ts.Objective(linear.model(), linear.data()), ts.Trajectory.from_states(linear.states(3))
    return ts.interpolate(objective, trajectory, level="layer", alphas=3, progress=False).data


def stored(path: Path, label: str | None = None, **attrs: Any) -> Path:
    """That result with another name of its first layer, and other attributes."""
    data = layers()
    names = [str(name) for name in data["layer"].values]
    return ts.Result(data.assign_coords(layer=[names[0] if label is None else label, *names[1:]]).assign_attrs(attrs)).save(path)


# --- control sequences ------------------------------------------------------------------------------------


@pytest.mark.promise("strangers: shown")
@pytest.mark.parametrize("name", ACTING)
def test_errors_warnings_and_reprs_are_text(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    text = ACTING[name]
    kinds: list[type[ThetascopeError]] = [ThetascopeError, *ThetascopeError.__subclasses__()]
    for kind in kinds:
        error = kind(f'"{text}" is off')
        assert harmless(str(error))
        assert harmless("".join(traceback.format_exception(error)))
        assert harmless(repr(error))
    loaded = ts.load_result(stored(tmp_path / "r", label=text, title=text, loss_name=text))
    assert loaded.data["layer"].values[0] == text, "what is stored stays as it is"
    for said in (repr(loaded), loaded._repr_html_()):
        assert harmless(said)
        assert "alpha 3" in said
    say(f"[bold]{text}[/bold]")
    said = capfd.readouterr().err
    assert harmless(said)
    assert said.startswith("[bold]")


@pytest.mark.promise("strangers: shown")
def test_what_harms_nobody_is_shown_as_it_is() -> None:
    for text in ("é漢字 → α = 0.5\n\ttab", "layer.0.weight", "שלום \u200f", "👩\u200d🔬"):
        assert shown(text) == text
        assert str(ThetascopeError(text)) == text
        assert encoded(text) == text.encode()


@pytest.mark.promise("strangers: shown")
def test_a_message_of_any_length_is_read() -> None:
    told = str(ThetascopeError(f'"{"x" * 10**7}" is no name; choose another'))
    assert len(told) < 10_000
    assert told.endswith("is no name; choose another")


def command(folder: Path, *arguments: str, encoding: str = "utf-8", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a process of its own."""
    told = {**os.environ, "PYTHONIOENCODING": encoding, "MPLBACKEND": "agg", **environment}
    line = [sys.executable, "-c", SCRIPT, *arguments]
    return subprocess.run(line, cwd=folder, env=told, capture_output=True, check=False, timeout=200)


@pytest.mark.promise("strangers: shown")
@pytest.mark.parametrize("debug", [False, True])
def test_a_command_prints_text(tmp_path: Path, debug: bool) -> None:
    torch.save({ACTING["escape"]: 1}, tmp_path / "a.pt")
    (tmp_path / "mine.py").write_text(SPEC)
    done = command(tmp_path, "interpolate", "a.pt", "--objective", "mine.py:objective", *(["--debug"] if debug else []))
    assert done.returncode == 1
    assert b"holds no state dict" in done.stderr
    assert harmless((done.stdout + done.stderr).decode())


@pytest.mark.slow
@pytest.mark.promise("strangers: shown")
def test_names_of_folders_are_shown_as_text(tmp_path: Path) -> None:
    run = tmp_path / "run\x1b[2J"
    record_run(run)
    (tmp_path / "mine.py").write_text(SPEC)
    done = command(tmp_path, "interpolate", str(run), "--objective", "mine.py:objective", "--alphas", "3")
    assert done.returncode == 0
    assert harmless((done.stdout + done.stderr).decode())
    assert "[2J" in done.stdout.decode()
    assert harmless(command(tmp_path, "report", str(run)).stdout.decode())


# --- terminals of any locale ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.promise("strangers: shown")
@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp437", "utf-8"])
def test_a_terminal_of_few_letters_gets_replacements(tmp_path: Path, encoding: str) -> None:
    record_run(tmp_path / "run")
    (tmp_path / "mine.py").write_text(SPEC)
    done = command(tmp_path, "examine", "run", "interpolate", "--alphas", "5", "--objective", "mine.py:objective", encoding=encoding)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").is_file()
    said = done.stdout.decode(encoding)
    assert "interpolate" in said
    assert ("α" in said) == (encoding in ("utf-8", "cp437"))  # which has some Greek letters


@pytest.mark.promise("strangers: shown")
def test_a_reader_that_leaves_costs_neither_picture_nor_report(tmp_path: Path) -> None:
    record_run(tmp_path / "run")
    (tmp_path / "mine.py").write_text(SPEC)
    line = [sys.executable, "-m", "thetascope.cli", "examine", "run", "interpolate", "--alphas", "3", "--objective", "mine.py:objective"]
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.wait(200)
    assert (tmp_path / "run" / "report.html").is_file()
    assert (tmp_path / "run" / "figures" / "interpolate-alphas=3.png").is_file()


# --- lone surrogates and whatever else a file may hold ----------------------------------------------------


@pytest.mark.promise("strangers: shown")
@pytest.mark.parametrize("name", ACTING)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_every_output_is_written_whatever_names_hold(tmp_path: Path, name: str) -> None:
    text = ACTING[name]
    loaded = ts.load_result(stored(tmp_path / "r", label=text, title=text, axis_labels={text: text}))
    for suffix in (".png", ".svg", ".pdf", ".html", ".csv", ".npz"):
        assert loaded.export(tmp_path / f"a{suffix}").stat().st_size > 100
    table = (tmp_path / "a.csv").read_text(encoding="utf-8")
    assert harmless(table)
    assert str(layers()["layer"].values[1]) in table


def recorded(folder: Path) -> Path:
    """A run with a metric."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with ts.Recorder(folder, model) as recorder:
        for step in (1, 2):
            recorder.record(step=step, metrics={"train_loss": 1.0 / step})
    (folder / "results").mkdir()
    return folder


def article(page: str, name: str) -> str:
    """The part of the page that one result has."""
    return page.partition(f'<article id="a-{name}"')[2].partition("</article>")[0]


GOOD = "interpolate-level=layer-alphas=3"
ANY: dict[str, Any] = {
    "nothing": None,
    "huge": 10**400,
    "text": "x\ud800\x1b[2J</script>",
    "empty list": [],
    "nested": {"a": [{"b": [None, {"": -1}]}]},
    "number": -1.5,
    "list": ["a", 3, None],
    "deep": json.loads("[" * 300 + "]" * 300),
}


@pytest.mark.promise("strangers: shown")
@pytest.mark.parametrize("value", [n if n in ("huge", "text") else pytest.param(n, marks=pytest.mark.faults_long) for n in ANY])
def test_what_is_broken_costs_its_article_not_the_page(tmp_path: Path, value: str, counted: Callable[[int], None]) -> None:
    run = recorded(tmp_path / "run")
    good = stored(run / "results" / "a")
    alone = article(ts.write_report(run).read_text(encoding="utf-8"), GOOD)
    assert "cannot" not in alone
    attrs = ts.load_result(good).data.attrs
    made = 0
    for name in attrs:
        if name in ("thetascope_format", "units", "scored", "experiment"):  # without these it is no result
            continue
        try:
            stored(run / "results" / f"b{made}", **{name: ANY[value]})
        except (TypeError, ValueError, RecursionError):  # nor can it be stored
            continue
        made += 1
    assert made > 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        page = ts.write_report(run).read_text(encoding="utf-8")
    assert article(page, GOOD) == alone
    assert page.count("<article") >= made, "each has its article, if only to say what it lacks"
    counted(made)


@pytest.mark.promise("strangers: shown")
@pytest.mark.parametrize("name", [b"\xff\xfe", b"\x1b[2J", b"=1+1", b"<b>"])
def test_a_result_in_a_folder_of_any_name_is_reported(tmp_path: Path, name: bytes) -> None:
    run = recorded(tmp_path / "run")
    stored(run / "results" / "a")
    os.rename(stored(run / "results" / "b"), os.fsencode(run / "results") + b"/" + name)
    page = ts.write_report(run).read_text(encoding="utf-8")
    assert "cannot" not in article(page, GOOD)
    assert page.count("<article") == 3


@pytest.mark.promise("strangers: shown")
@pytest.mark.parametrize(
    "metrics", ['{"train_loss": 1e999}', '{"train_loss": 1' + "0" * 400 + "}", '{"x\\ud800": 1}', '{"a": 1, "=1+1": 2}']
)
def test_numbers_of_a_log_cost_its_article(tmp_path: Path, metrics: str) -> None:
    from thetascope.recording.log import line_of

    run = recorded(tmp_path / "run")
    stored(run / "results" / "a")
    alone = article(ts.write_report(run).read_text(encoding="utf-8"), GOOD)
    identity, log = json.loads((run / "run.json").read_text())["identity"], (run / "log.jsonl").read_bytes()
    event = {"event": "record", "ordinal": 3, "step": 3, "epoch": 1, "metrics": json.loads(metrics)}
    try:
        (run / "log.jsonl").write_bytes(log + line_of(event, identity, len(log)))
    except UnicodeEncodeError:
        pytest.skip("no log can hold it")
    assert article(ts.write_report(run).read_text(encoding="utf-8"), GOOD) == alone


# --- tables -----------------------------------------------------------------------------------------------

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "＝1+1"]


@pytest.mark.promise("strangers: shown")
@pytest.mark.parametrize("label", FORMULAS)
def test_a_spreadsheet_runs_no_cell(tmp_path: Path, label: str) -> None:
    import pandas as pd

    result = ts.load_result(stored(tmp_path / "r", label=label))
    table = pd.read_csv(result.export(tmp_path / "a.csv"))
    assert set(table["layer"]) == {f"'{shown(label)}", *map(str, layers()["layer"].values[1:])}
    assert np.array_equal(table["loss"], result.to_dataframe()["loss"], equal_nan=True)
    plain = pd.read_csv(result.export(tmp_path / "b.csv", verbatim=True))
    assert set(plain["layer"]) == {shown(label), *map(str, layers()["layer"].values[1:])}


@pytest.mark.promise("strangers: shown")
@pytest.mark.parametrize("label", ["-1.5", "conv1", "a=b", "+inf", "1-2"])
def test_texts_that_no_spreadsheet_runs_are_as_they_were(tmp_path: Path, label: str) -> None:
    result = ts.load_result(stored(tmp_path / "r", label=label))
    assert result.export(tmp_path / "a.csv").read_bytes() == result.export(tmp_path / "b.csv", verbatim=True).read_bytes()
