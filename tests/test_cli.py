from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import thetascope as ts
from thetascope.cli import main
from thetascope.errors import UsageError
from thetascope.specification import provided
from thetascope.testing.models import case

SPEC = """
import thetascope as ts
from thetascope.testing.models import case

def objective():
    chosen = case("linear")
    return ts.Objective(chosen.model(), chosen.data())

def number():
    return 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three checkpoints and an objective file."""
    for i, state in enumerate(case("linear").states(3)):
        save_file(state, tmp_path / f"e{i}.safetensors")
        torch.save({"model": state, "epoch": i}, tmp_path / f"c{i}.pt")
    (tmp_path / "mine.py").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_interpolate_scores_checkpoint_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["interpolate", "e0.safetensors", "e1.safetensors", "e2.safetensors", "--objective", "mine.py:objective", "--alphas", "5"])
        == 0
    )
    said = capsys.readouterr().out
    assert "alpha 5, state 3" in said
    assert (folder / "figures" / "interpolate-linear-model.png").exists()
    assert ts.load_result("results/interpolate-linear-model").data["loss"].shape == (5,)


def test_every_option_reaches_the_api(folder: Path) -> None:
    arguments = ["interpolate", "c0.pt", "c1.pt", "c2.pt", "--objective", "mine.py:objective", "--kind", "quadratic", "--key", "model"]
    arguments += ["--alphas", "0", "0.5", "1.5", "--out", "here", "--figure", "there.html", "--engine", "eager", "--no-progress"]
    assert main(arguments) == 0
    result = ts.load_result("here")
    assert result.data["alpha"].values.tolist() == [0, 0.5, 1.5]
    assert result.data.attrs["kind"] == "quadratic"
    assert result.data.attrs["engine"]["reason"] == "asked for"
    assert "plotly" in Path("there.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["interpolate", "nothing", "--objective", "mine.py:objective"], 1, '"nothing" does not exist'),
        (["interpolate", "e0.safetensors", "--objective", "mine.py:objective"], 1, "needs 2 recorded states"),
        (["interpolate", "e0.safetensors", "e1.safetensors", "--objective", "mine.py:nothing"], 2, "there are: objective, number"),
        (["interpolate", "e0.safetensors", "e1.safetensors", "--objective", "mine.py:number"], 2, "must return a ts.Objective. Got int"),
        (["interpolate", "e0.safetensors", "e1.safetensors", "--objective", "mine.py"], 2, '"file.py:function" or "module:function"'),
        (["interpolate", "e0.safetensors", "e1.safetensors", "--objective", "other.py:f"], 2, '"other.py" does not exist'),
        (["interpolate", "e0.safetensors", "e1.safetensors", "--objective", "no.such.module:f"], 2, 'no module "no.such.module"'),
        (["interpolate", "e0.safetensors", "e1.safetensors", "--objective", "mine.py:objective", "--kind", "wild"], 1, "degree"),
    ],
)
def test_errors_are_one_line_with_the_way_out(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert main(arguments) == code
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert said.startswith("thetascope: ")


def test_debug_shows_the_traceback(folder: Path) -> None:
    with pytest.raises(UsageError):
        main(["interpolate", "e0.safetensors", "e1.safetensors", "--objective", "mine.py", "--debug"])


def test_wrong_use_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["interpolate"]) == 2
    assert main(["bogus"]) == 2
    capsys.readouterr()
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == ts.__version__


def test_ctrl_c_says_that_nothing_is_lost(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ts, "interpolate", stopped, raising=False)
    assert main(["interpolate", "e0.safetensors", "e1.safetensors", "--objective", "mine.py:objective"]) == 130
    assert "goes on from there" in capsys.readouterr().err


def test_a_module_on_the_path_provides_too(folder: Path) -> None:
    assert isinstance(provided("mine:objective", ts.Objective, "--objective"), ts.Objective)
