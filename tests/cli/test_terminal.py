"""What stands in pipes and on terminals, where it differs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.project import FILES, SPECIFIED
from thetascope.cli import main
from thetascope.progress import progress_bar

pytestmark = pytest.mark.usefixtures("folder")
ANSI = "\x1b["


@pytest.mark.slow
@pytest.mark.parametrize("no_color", [None, "1"])
def test_pipes_hold_plain_lines(no_color: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    environment |= {} if no_color is None else {"NO_COLOR": no_color}
    command = [
        sys.executable,
        "-m",
        "thetascope.cli",
        "examine",
        *FILES,
        "interpolate",
        "layer_roles",
        *SPECIFIED,
        "--alphas",
        "5",
        "--draws",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0
    assert ANSI not in done.stdout + done.stderr
    assert "\r" not in done.stdout + done.stderr
    pictures = [f"{key}{suffix}" for key in ("interpolate-alphas=5", "layer_roles-draws=1") for suffix in (".png", ".html")]
    assert [Path(line).name for line in done.stdout.splitlines()[-5:]] == [*pictures, "report.html"]
    told = [line for line in done.stderr.splitlines() if "points to score" not in line]  # which is said where it takes long
    assert [line.split("?")[0] for line in told] == ["[1 of 2] Was the way straight", "[2 of 2] Which layers are critical, which ambient"]
    wrong = subprocess.run([*command[:3], "interpolat"], capture_output=True, text=True, check=False, env=environment)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert re.fullmatch(r'thetascope: Unknown command "interpolat"\..*\n', wrong.stderr)
    assert ANSI not in wrong.stderr


def on_a_terminal(arguments: list[str], environment: Mapping[str, str]) -> tuple[int, bytes]:
    """What a Python shows on a terminal, and how it ends."""
    import pty

    here, there = pty.openpty()
    child = subprocess.Popen([sys.executable, *arguments], stderr=there, stdout=there, env=dict(environment))
    os.close(there)
    seen = b""
    while True:
        try:
            part = os.read(here, 4096)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(here)
    return child.wait(), seen


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such terminals")
def test_a_terminal_is_told_each_finding_once_and_where_the_pictures_are() -> None:
    command = ["-m", "thetascope.cli", "examine", *FILES, "interpolate", "trajectory_geometry", *SPECIFIED, "--alphas", "5"]
    status, seen = on_a_terminal(command, {**os.environ, "COLUMNS": "60"})
    assert status == 0
    text = re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", seen.decode())
    said = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert said[0] == "loading torch …"
    assert [line[:8] for line in said[1:3]] == ["[1 of 2]", "[2 of 2]"]
    assert said[3:] == ["2 pictures, each as .png and .html: figures", "report.html"]


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such terminals")
@pytest.mark.parametrize(("variables", "colored"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_has_colours_unless_they_are_unwanted(variables: dict[str, str], colored: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"TERM": "xterm-256color", **variables}
    code = "from thetascope.progress import progress_bar\nwith progress_bar('x', 3, shown=True) as advance: advance(3)"
    status, seen = on_a_terminal(["-c", code], environment)
    assert status == 0
    assert b"3/3" in seen
    assert bool(re.search(rb"\x1b\[[0-9;]*[1-9][0-9;]*m", seen)) is colored


def test_a_bar_in_a_pipe_is_none_for_what_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("scoring", 3, shown=True) as advance:
        advance(1)
        advance(1, "a note")
        advance(1)
    assert capsys.readouterr() == ("", "")


def test_where_fewer_may_do_the_time_left_is_said_to_be_so_at_most(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with progress_bar("scoring", 100, shown=True, most=True) as advance:
        now += 31.0
        advance(10)
        advance(90, "the rest estimated")
    assert capsys.readouterr().err == "scoring: 10 of 100 in 31 s, at most 4 min 39 s left\n"


@pytest.mark.parametrize("shown", [True, False])
def test_a_pipe_is_told_now_and_then_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, shown: bool
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with progress_bar("scoring", 300, shown=shown) as advance:
        for _ in range(300):
            now += 0.5
            advance(1, "loss 0.5")
    said = capsys.readouterr().err.splitlines()
    assert said == ([f"scoring: {done} of 300 in {took}{left}  loss 0.5" for done, took, left in (
        (60, "30 s", ", 2 min left"), (120, "1 min", ", 1 min 30 s left"), (180, "1 min 30 s", ", 1 min left"),
        (240, "2 min", ", 30 s left"), (300, "2 min 30 s", ""),
    )] if shown else [])  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_summary_fits_and_names_stay_whole(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["examine", *FILES, "interpolate-quadratic-layer", "study_test_size", *SPECIFIED, "--alphas", "5"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= width
    assert "interpolate-quadratic-layer" in said
    assert ("question" in said) is (width >= 80)
    assert main(["examine", *FILES, *SPECIFIED, "--alphas", "5", "--grid", "5", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= width
    assert "interpolate-quadratic-layer" in said


def test_output_that_nobody_reads_any_more_is_no_error() -> None:
    command = f'"{sys.executable}" -m thetascope.cli --help; echo "code $?" >&2'
    done = subprocess.run(["sh", "-c", f"({command}) | true"], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
    assert "Errno" not in done.stderr
