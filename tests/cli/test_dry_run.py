from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.project import FILES, SPECIFIED, TRAINED
from thetascope.cli import main
from thetascope.cli.printing import size


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["interpolate", *FILES, *SPECIFIED, "--alphas", "5"], "8 points on 10 samples"),
        (["compare-paths", *FILES, *SPECIFIED, "--alphas", "5"], "13 points"),
        (["layer-roles", *FILES, *SPECIFIED, "--draws", "2"], "8 points"),
        (["layer-rewind", *FILES, *SPECIFIED], "18 points on 10 samples"),
        (["layer-rewind", *FILES, *SPECIFIED, "--no-barriers", "--states", "2"], "6 points"),
        (["checkpoint-average", *FILES, *SPECIFIED], "14 points on 5 samples"),
        (["checkpoint-average", *FILES, *SPECIFIED, "--greedy", "--windows", "2", "3"], "20 points"),
        (["surface", *FILES, *SPECIFIED, "--x", "-1", "1", "3", "--y", "-1", "1", "2"], "6 points"),
        (["surface", *FILES, *SPECIFIED, "--tolerance", "0.01"], "65 to 2,601 points"),
        (["trajectory-plane", *FILES, *SPECIFIED, "--x", "3", "--y", "3"], "15 points"),
        (["study-test-size", "e0.safetensors", *SPECIFIED], "1 point on 10 samples"),
        (["study-epochs", *TRAINED], "8 optimizer steps"),
        (["study-train-size", *TRAINED, "--sizes", "5", "20", "--repeats", "1"], "10 optimizer steps"),
    ],
)
def test_it_says_what_would_be_done_and_writes_nothing(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
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


def test_examine_lists_every_experiment(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--alphas", "5", "--parameters", "1", "--draws", "1", "--grid", "5"]
    assert main(["examine", *FILES, *SPECIFIED, *small, *TRAINED, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "In all" in said
    assert not (folder / "results").exists()
    assert main(["examine", *FILES, *SPECIFIED, *small, "interpolate"]) == 0
    capsys.readouterr()
    assert main(["examine", *FILES, *SPECIFIED, *small, "interpolate", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "nothing" in said
    assert "Everything is stored" in said


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "0 B"), (512, "512 B"), (1000, "1.0 KiB"), (20_000, "20 KiB"), (5 * 1024**2, "5.0 MiB"), (3 * 1024**3, "3.0 GiB")],
)
def test_bytes_as_a_person_says_them(count: int, told: str) -> None:
    assert size(count) == told
