from __future__ import annotations

from pathlib import Path

import pytest

import thetascope as ts
from tests.cli.test_commands import FILES, folder  # noqa: F401 (a fixture)
from thetascope.cli import main

pytestmark = pytest.mark.usefixtures("folder")


def test_what_stands_before_the_tables_goes_to_every_command() -> None:
    Path("thetascope.toml").write_text('objective = "mine.py:objective"\nengine = "eager"\nprogress = false\n[layers]\ndraws = 2\n')
    assert main(["layers", *FILES]) == 0
    data = ts.load_result("results/layer-roles").data
    assert (data.sizes["draw"], data.attrs["engine"]["reason"]) == (2, "asked for")
    assert main(["examine", *FILES, "line", "roles", "--alphas", "3"]) == 0
    assert {ts.load_result(f"results/{name}").data.attrs["engine"]["reason"] for name in ("line", "roles")} == {"asked for"}
    assert main(["init", "new"]) == 0  # what a command lacks is passed over


def test_the_command_line_wins_over_its_table_and_that_over_the_rest() -> None:
    Path("thetascope.toml").write_text(
        'objective = "mine.py:number"\nseed = 1\n[layers]\nobjective = "mine.py:objective"\nseed = 2\ndraws = 3\n'
    )
    assert main(["layers", *FILES, "--draws", "1"]) == 0
    data = ts.load_result("results/layer-roles").data
    assert (data.sizes["draw"], data.attrs["seed"]) == (1, 2)


def test_another_file_is_named() -> None:
    Path("deep").mkdir()
    Path("deep/own.toml").write_text('objective = "mine.py:objective"\n[interpolate]\nalphas = [0.0, 0.5, 1.0]\n')
    Path("thetascope.toml").write_text("not read = [")
    assert main(["interpolate", *FILES, "--config", "deep/own.toml"]) == 0
    assert ts.load_result("results/interpolate-linear-model").data["alpha"].values.tolist() == [0, 0.5, 1]
    assert main(["--config=deep/own.toml", "interpolate", *FILES, "--out", "again"]) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("alphas = [", "is no valid TOML"),
        ('objectiv = "mine.py:objective"', 'no option "objectiv"; did you mean "objective"?'),
        ("[interpolat]\nalphas = [3]", 'no table "interpolat"; did you mean "interpolate"?'),
        ("[interpolate]\ndraws = 3", 'no [interpolate] option "draws"; there are: '),
        ('[interpolate]\nRUN = ["runs/mine"]', 'no [interpolate] option "RUN"; there are: objective, kind'),
        ("[everything]\nall = true", "there are: interpolate, "),
    ],
)
def test_what_no_command_has_is_one_line(capsys: pytest.CaptureFixture[str], content: str, message: str) -> None:
    Path("thetascope.toml").write_text(content)
    assert main(["interpolate", *FILES, "--objective", "mine.py:objective"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert main([]) == 0  # help is there all the same
    assert main(["interpolate", "--help"]) == 0


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["interpolate", *FILES, "--config", "no.toml"]) == 2
    assert '"no.toml" does not exist; thetascope init writes one' in capsys.readouterr().err


def test_a_wrong_value_in_the_file_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    Path("thetascope.toml").write_text('objective = "mine.py:objective"\n[layers]\ndraws = "many"\n')
    assert main(["layers", *FILES]) == 2
    assert "draws" in capsys.readouterr().err


def test_one_command_s_file_does_not_stay_for_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    Path("thetascope.toml").write_text('objective = "mine.py:objective"\n')
    assert main(["layers", *FILES, "--draws", "1"]) == 0
    Path("thetascope.toml").unlink()
    assert main(["layers", *FILES, "--draws", "1"]) == 2
    assert "thetascope init writes one" in capsys.readouterr().err
