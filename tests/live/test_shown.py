"""The page, the terminal, the command, the recorder's own watcher: what they show, and that nothing ends them."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import thetascope as ts
from tests.live.runs import network, record
from thetascope.cli import main
from thetascope.errors import RecordingError
from thetascope.live.charts import line_chart, number, ticks
from thetascope.live.loop import watch
from thetascope.live.page import page_of
from thetascope.live.terminal import braille, rendered, sparkline
from thetascope.live.watcher import View, Watcher

METRICS = [{"train_loss": 2.0 / t, "validation_loss": 2.2 / t, "<script>alert(1)</script>": 1.0 * t} for t in range(1, 9)]


def view_of(run: Path) -> View:
    watcher = Watcher(run, None)
    watcher.update()
    return watcher.view()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    record(tmp_path / "run", 8, metrics=METRICS)
    return tmp_path / "run"


def wait_for(found: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_page_shows_the_way_the_layers_and_the_metrics(run: Path) -> None:
    page = page_of(view_of(run), 5.0)
    assert "Nobody records into it now; step 8 (epoch 8); 9 records, the states of 9 measured." in page
    for title in ("The path of the weights, in its plane", ">loss<", "Distance of each layer", "Distance moved per optimizer step"):
        assert title in page
    assert "No alarm." in page
    assert page.count("<tr>") == 3
    assert "<script>" not in page  # neither a stranger's nor its own: nobody records, so it does not renew itself
    assert len(page) < 60_000


def test_the_page_in_a_browser_renews_itself_and_asks_for_nothing(browser: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    record(run, 3)
    model = network()
    with ts.Recorder(run, model) as recorder:
        watch_once(run)
        context = browser.new_context(viewport={"width": 390, "height": 844})
        page = context.new_page()
        said, asked = list[str](), list[str]()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((run / "live.html").as_uri())
        assert "step 3" in page.inner_text("main")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        recorder.record(step=4, metrics={"train_loss": 0.5})
        recorder.amend({"validation_loss": 0.6})
        wait_for(lambda: ts.Trajectory(run)[-1].step == 4)
        watch_once(run)
        wait_for(lambda: "step 4" in page.inner_text("main"))
        page.wait_for_timeout(100)
        assert {url.partition(":")[0] for url in asked} == {"file"}
        assert not said
        context.close()


def watch_once(run: Path) -> None:
    watch(run, once=True, interval=0.5, tell=lambda line: None)


@pytest.mark.parametrize("width", [60, 120])
def test_the_terminal_s_view_fits(run: Path, width: int) -> None:
    from rich.console import Console

    shown_in = io.StringIO()
    console = Console(width=width, file=shown_in)
    console.print(rendered(view_of(run)))
    text = shown_in.getvalue()
    assert max(map(len, text.splitlines())) <= width
    for said in ("first", "second", "train_loss", "▁", "★", "Layers, in units of their norms at the start", "cosine with the move before"):
        assert said in text
    assert "\x1b" not in text


def test_small_drawings() -> None:
    assert sparkline(np.array([0.0, 1.0, np.nan, 0.5])) == "▁█ ▅"
    assert sparkline(np.array([np.nan])) == " "
    assert len(sparkline(np.arange(500.0))) == 24
    drawn = braille(np.array([[0.0, 0.0], [10.0, 0.0]]), (10, 4))
    assert (drawn[0], drawn[-1]) == ("o", "★")
    assert "\n" not in drawn
    assert braille(np.array([[0.0, 0.0], [0.0, 0.0]]), (4, 2)) == "★"
    assert ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert [number(v) for v in (-0.12345, 1234.5, float("nan"))] == ["−0.123", "1,234", "not finite"]
    chart = line_chart({"a": (np.arange(3.0), np.array([1.0, np.nan, 100.0]))}, x_label="step", title="<b>", log=True)
    assert "&lt;b&gt;" in chart
    assert ">10<" in chart
    assert line_chart({}, x_label="step", title="nothing").count("<svg") == 1


def test_the_command_looks_once(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(run), "--once", "--no-nice"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("step 8, train_loss 0.25, validation_loss 0.275, ")
    assert said[-1] == str(run / "live.html")
    assert (run / "live.html").is_file()


def test_what_cannot_be_watched_is_one_error(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(tmp_path / "nothing"), "--once", "--no-nice"]) == 1
    assert "is no folder; expected a run directory" in capsys.readouterr().err
    assert main(["watch", str(run), "--interval", "0", "--no-nice"]) == 2
    assert "--interval: seconds over 0. Got 0" in capsys.readouterr().err
    (run / "live.html").symlink_to(tmp_path / "elsewhere")
    assert main(["watch", str(run), "--once", "--no-nice"]) == 1
    assert "link" in capsys.readouterr().err
    assert not (tmp_path / "elsewhere").exists()


def test_the_line_so_far_is_that_of_the_objective(run: Path) -> None:
    inputs, targets = torch.randn(40, 4), torch.randint(3, (40,))
    objective = ts.Objective(network(), (inputs, targets))
    watcher = Watcher(run, None, objective)
    watcher.update()
    line = watcher.view().line
    assert line is not None
    assert (line.step, line.samples) == (8, 40)
    states = ts.Trajectory(run)
    for at, loss in ((0, line.losses[0]), (-1, line.losses[-1])):
        assert loss == pytest.approx(objective.score(states[at])["loss"], rel=1e-12)
    middle = {n: (states[0][n] + states[-1][n]) / 2 for n in states[0]}
    assert line.losses[list(line.alphas).index(0.5)] == pytest.approx(objective.score(middle)["loss"], rel=1e-6)
    assert "Loss along the straight line from the first state to step 8, on 40 samples" in page_of(watcher.view(), 1.0)


def test_the_same_scalars_go_to_tensorboard(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    watch(run, once=True, tell=lambda line: None, board=tmp_path / "board")
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert [event.step for event in events.Scalars("train_loss")] == list(range(1, 9))
    newest = view_of(run).measured[-1]
    assert events.Scalars("distance/first")[-1].value == pytest.approx(newest.distance["first"], rel=1e-5)
    assert events.Scalars("moved_per_step")[-1].value == pytest.approx(newest.step, rel=1e-5)


def test_a_recorder_s_own_watcher_ends_with_it(tmp_path: Path) -> None:
    model = network()
    with ts.Recorder(tmp_path / "run", model) as recorder:
        page = recorder.watch(0.2)
        assert recorder.watch() == page
        process = recorder._watching
        assert process is not None
        for step in range(1, 4):
            for values in model.parameters():
                values.data += 0.1
            recorder.record(step=step)
        wait_for(lambda: page.is_file() and "Recording; step 3" in page.read_text(encoding="utf-8"))
    wait_for(lambda: process.returncode is not None)
    assert process.returncode == 0
    text = page.read_text(encoding="utf-8")
    assert "Nobody records into it now; step 3" in text
    assert "location.reload" not in text
    with pytest.raises(RecordingError, match="not open"):
        recorder.watch()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupt_ends_a_watch_cleanly(run: Path) -> None:
    command = [sys.executable, "-m", "thetascope.cli", "watch", str(run), "--interval", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for((run / "live.html").is_file)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.splitlines()[-1] == str(run / "live.html")
    assert not err
    assert not [file for file in run.iterdir() if re.match(r"\.live", file.name)]
