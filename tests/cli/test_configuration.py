from __future__ import annotations

import re
from pathlib import Path

import pytest

import thetascope as ts
from tests.cli.project import FILES
from thetascope.cli import app, main

pytestmark = pytest.mark.usefixtures("folder")


def test_what_stands_before_the_tables_goes_to_every_command() -> None:
    Path("thetascope.toml").write_text('objective = "mine.py:objective"\nengine = "eager"\nprogress = false\n[layer-roles]\ndraws = 2\n')
    assert main(["layer-roles", *FILES]) == 0
    data = ts.load_result("results/layer_roles-draws=2").data
    assert (data.sizes["draw"], data.attrs["engine"]["reason"]) == (2, "asked for")
    assert main(["examine", *FILES, "interpolate", "layer_roles", "--alphas", "3"]) == 0
    assert {ts.load_result(f"results/{name}").data.attrs["engine"]["reason"] for name in ("interpolate-alphas=3", "layer_roles")} == {
        "asked for"
    }
    assert main(["init", "new"]) == 0  # what a command lacks is passed over


def test_the_command_line_wins_over_its_table_and_that_over_the_rest() -> None:
    Path("thetascope.toml").write_text(
        'objective = "mine.py:number"\nseed = 1\n[layer-roles]\nobjective = "mine.py:objective"\nseed = 2\ndraws = 3\n'
    )
    assert main(["layer-roles", *FILES, "--draws", "1"]) == 0
    data = ts.load_result("results/layer_roles-draws=1-seed=2").data
    assert (data.sizes["draw"], data.attrs["seed"]) == (1, 2)


def test_another_file_is_named() -> None:
    Path("deep").mkdir()
    Path("deep/own.toml").write_text('objective = "mine.py:objective"\n[interpolate]\nalphas = [0.0, 0.5, 1.0]\n')
    Path("thetascope.toml").write_text("not read = [")
    assert main(["interpolate", *FILES, "--config", "deep/own.toml"]) == 0
    (stored,) = Path("results").iterdir()
    assert ts.load_result(stored).data["alpha"].values.tolist() == [0, 0.5, 1]
    assert main(["--config=deep/own.toml", "interpolate", *FILES, "--out", "again"]) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("alphas = [", "is no valid TOML"),
        ('objectiv = "mine.py:objective"', 'no option "objectiv"; did you mean "objective"?'),
        ("[interpolat]\nalphas = [3]", 'no table "interpolat"; did you mean "interpolate"?'),
        ("[interpolate]\ndraws = 3", 'no [interpolate] option "draws"; there are: '),
        ('[interpolate]\nRUN = ["runs/mine"]', 'no [interpolate] option "RUN"; there are: objective, kind'),
        ("[everything]\nall = true", 'no table "everything"; there are: '),
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


def test_where_no_table_is_close_all_commands_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("thetascope.toml").write_text("[everything]\nall = true")
    assert main(["interpolate", *FILES]) == 2
    named = capsys.readouterr().err.strip().split("there are: ")[1].split(", ")
    assert sorted(named) == sorted(name for name in app if not name.startswith("-"))


@pytest.mark.parametrize("old", ["compare", "layers", "atlas", "plane", "study"])
def test_a_table_of_the_first_version_is_told_its_name_of_now(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("thetascope.toml").write_text(f"[{old}]\nengine = 'eager'\n")
    assert main(["interpolate", *FILES]) == 2
    told = capsys.readouterr().err
    assert f'"{old}" is called ' in told
    assert all(name in app for name in re.split(", | or ", told.split("is called ")[1].removesuffix(" now\n").replace(chr(34), "")))


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["interpolate", *FILES, "--config", "no.toml"]) == 2
    assert '"no.toml" does not exist; thetascope init writes one' in capsys.readouterr().err


def test_a_wrong_value_in_the_file_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    Path("thetascope.toml").write_text('objective = "mine.py:objective"\n[layer-roles]\ndraws = "many"\n')
    assert main(["layer-roles", *FILES]) == 2
    assert "draws" in capsys.readouterr().err


def test_one_command_s_file_does_not_stay_for_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    Path("thetascope.toml").write_text('objective = "mine.py:objective"\n')
    assert main(["layer-roles", *FILES, "--draws", "1"]) == 0
    Path("thetascope.toml").unlink()
    assert main(["layer-roles", *FILES, "--draws", "1"]) == 2
    assert "thetascope init writes one" in capsys.readouterr().err
