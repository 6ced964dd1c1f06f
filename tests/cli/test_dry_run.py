from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_commands import FILES, SPECIFIED, folder  # noqa: F401 (a fixture)
from thetascope.cli import main
from thetascope.cli.printing import size

TRAINING = """
import torch

def training():
    chosen = case("linear")
    return ts.Training(chosen.build, chosen.data(20), chosen.data(20), lambda p: torch.optim.SGD(p, lr=0.1), epochs=2, batch_size=5)
"""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["interpolate", *FILES, *SPECIFIED, "--alphas", "5"], "8 points on 10 samples"),
        (["compare", *FILES, *SPECIFIED, "--alphas", "5"], "13 points"),
        (["layers", *FILES, *SPECIFIED, "--draws", "2"], "8 points"),
        (["surface", *FILES, *SPECIFIED, "--x", "-1", "1", "3", "--y", "-1", "1", "2"], "6 points"),
        (["surface", *FILES, *SPECIFIED, "--tolerance", "0.01"], "65 to 2,601 points"),
        (["plane", *FILES, *SPECIFIED, "--x", "3", "--y", "3"], "15 points"),
        (["study", "test-size", "e0.safetensors", *SPECIFIED], "1 point on 10 samples"),
        (["study", "epochs", "--training", "mine.py:training"], "8 optimizer steps"),
        (["study", "train-size", "--training", "mine.py:training", "--sizes", "5", "20", "--repeats", "1"], "10 optimizer steps"),
    ],
)
def test_it_says_what_would_be_done_and_writes_nothing(
    folder: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    with (folder / "mine.py").open("a") as file:
        file.write(TRAINING)
    before = sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    assert main([*arguments, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("dry run: ")
    assert told in said
    for line in ("  engine   ", "  time     ", "  result   "):
        assert line in said
    assert ("  time     about " in said) is ("--tolerance" not in arguments)
    assert ("  memory   " in said) is ("training" not in " ".join(arguments))
    assert sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts) == before


def test_examine_lists_every_experiment(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    with (folder / "mine.py").open("a") as file:
        file.write(TRAINING)
    small = ["--alphas", "5", "--parameters", "1", "--draws", "1", "--grid", "5"]
    assert main(["examine", *FILES, *SPECIFIED, *small, "--training", "mine.py:training", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "In all" in said
    assert not (folder / "results").exists()
    assert main(["examine", *FILES, *SPECIFIED, *small, "line"]) == 0
    capsys.readouterr()
    assert main(["examine", *FILES, *SPECIFIED, *small, "line", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "nothing" in said
    assert "Everything is stored" in said


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "0 B"), (512, "512 B"), (1000, "1.0 KiB"), (20_000, "20 KiB"), (5 * 1024**2, "5.0 MiB"), (3 * 1024**3, "3.0 GiB")],
)
def test_bytes_as_a_person_says_them(count: int, told: str) -> None:
    assert size(count) == told
