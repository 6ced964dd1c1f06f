"""Errors in what users bring: one line with the place and the way out; the traceback only with --debug."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.project import FILES, SPECIFIED
from thetascope.cli import main

pytestmark = pytest.mark.usefixtures("folder")

BROKEN = """
import thetascope as ts
from thetascope.testing.models import case

def objective():
    return {}["missing"]

def imports():
    import no_such_module

def wrong():
    chosen = case("linear")
    return ts.Objective(chosen.model(), chosen.data(), batch_size=0)

def fails_late():
    chosen = case("linear")
    def loss(outputs, targets):
        raise RuntimeError("sizes of tensors\\nmust match")
    return ts.Objective(chosen.model(), chosen.data(), loss)
"""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([*FILES, "--objective", "broken.py:objective"], 1, "broken.py line 6 raised KeyError: 'missing'; --debug shows"),
        ([*FILES, "--objective", "broken.py:imports"], 1, "broken.py line 9 raised ModuleNotFoundError: No module named 'no_such_module'"),
        ([*FILES, "--objective", "broken:imports"], 1, "broken line 9 raised ModuleNotFoundError"),
        ([*FILES, "--objective", "broken.py:wrong"], 1, "batch_size must be a whole number of at least 1. Got 0 instead."),
        ([*FILES, "interpolate", "--objective", "broken.py:fails_late"], 1, "sizes of tensors must match"),
        ([*FILES, "--objective", "syntax.py:objective"], 1, "syntax.py line 1 raised SyntaxError"),
        ([*FILES, "--objective", "no.such:objective"], 2, 'there is no module "no.such"; write "file.py:function" for a file'),
        ([*FILES, "nonsense", *SPECIFIED], 2, '"nonsense" is neither a file nor an experiment; the experiments are: trajectory_geometry, '),
        (["nowhere", *SPECIFIED], 1, '"nowhere" does not exist; a run directory is made by ts.Recorder'),
        (["mine.py", *SPECIFIED], 1, '"mine.py" is no file of torch.save or safetensors; save the model'),
        (["empty", *SPECIFIED], 1, '"empty" holds no checkpoint files; looked for folders of checkpoints'),
        (["e9.safetensors", *SPECIFIED], 1, '"e9.safetensors" does not exist'),
        (FILES, 2, "such as objective.py:objective; thetascope init writes one; thetascope examine --help"),
        ([*FILES, *SPECIFIED, "--alphas", "some"], 2, 'Invalid value for --alphas: unable to convert "some" into int'),
        ([*FILES, *SPECIFIED, "--alpha", "3"], 2, "Unknown option: --alpha. Did you mean --alphas?"),
    ],
)
def test_one_line_with_the_way_out(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str) -> None:
    Path("broken.py").write_text(BROKEN)
    Path("syntax.py").write_text("def objective(:")
    Path("empty").mkdir()
    assert main(["examine", *arguments]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.startswith("thetascope: ")
    assert said.err.count("\n") == 1


def test_debug_shows_where_the_user_s_code_failed() -> None:
    Path("broken.py").write_text(BROKEN)
    with pytest.raises(Exception, match="raised KeyError") as caught:
        main(["examine", *FILES, "--objective", "broken.py:objective", "--debug"])
    assert isinstance(caught.value.__cause__, KeyError)
