from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import thetascope as ts
from thetascope.cli import main
from thetascope.errors import UsageError
from thetascope.experiments.catalog import CATALOG
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


def test_examine_runs_experiments_by_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["examine", "e0.safetensors", "e1.safetensors", "e2.safetensors", "roles", "line", "--objective", "mine.py:objective"]
    assert main([*arguments, "--alphas", "5", "--draws", "2"]) == 0
    said = capsys.readouterr()
    assert [Path(line).stem for line in said.out.splitlines() if line.endswith(".png")] == ["line", "roles"]
    assert ts.load_result("results/line").data.sizes["alpha"] == 5
    assert ts.load_result("results/roles").data.sizes["draw"] == 2
    assert Path("figures/roles.html").exists()
    assert said.out.splitlines()[-1] == "report.html"
    page = Path("report.html").read_text(encoding="utf-8")
    assert "thetascope examine CHECKPOINTS roles --objective mine.py:objective" in page
    assert "thetascope surface CHECKPOINTS --objective mine.py:objective" in page  # not run yet
    assert "thetascope study epochs CHECKPOINTS --training SPEC" in page


def test_examine_leaves_out_what_another_call_stored_and_goes_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["e0.safetensors", "e1.safetensors", "e2.safetensors"]
    arguments = ["examine", *files, "line", "quadratic", "--objective", "mine.py:objective"]
    assert main(["interpolate", *files, "--objective", "mine.py:objective", "--alphas", "3", "--out", "results/line"]) == 0
    capsys.readouterr()
    for further in (["--dry-run"], []):
        assert main([*arguments, "--alphas", "5", *further]) == 1
        said = capsys.readouterr()
        assert "1 of 2 experiments w" in said.err
        assert 'line: "results/line" holds the result of another call: settings.alphas was [0.0, 0.5, 1.0], now' in said.err
        assert "quadratic" in said.out
    assert said.out.splitlines()[-1] == "report.html"
    assert ts.load_result("results/line").data.sizes["alpha"] == 3
    assert ts.load_result("results/quadratic").data.sizes["alpha"] == 5


def test_a_report_of_a_folder_without_anything_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty").mkdir()
    assert main(["report", "empty"]) == 1
    assert '"empty" holds neither a recording (run.json) nor stored results (results/)' in capsys.readouterr().err
    assert not (folder / "empty" / "report.html").exists()


def test_an_unknown_command_is_named_without_a_list_of_some(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["foo"]) == 2
    assert capsys.readouterr().err == 'thetascope: Unknown command "foo"; thetascope --help shows what there is\n'


def test_examine_runs_everything_with_a_training(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.py").write_text(
        SPEC
        + """
import torch

def training():
    chosen = case("linear")
    return ts.Training(chosen.build, chosen.data(20), chosen.data(20), lambda p: torch.optim.SGD(p, lr=0.1), epochs=2, batch_size=5)
"""
    )
    arguments = ["examine", "e0.safetensors", "e1.safetensors", "e2.safetensors", "--objective", "mine.py:objective", "--all"]
    assert main([*arguments, "--training", "mine.py:training", "--alphas", "9", "--draws", "1", "--parameters", "1", "--repeats", "1"]) == 0
    found = [Path(line).stem for line in capsys.readouterr().out.splitlines() if line.endswith(".png")]
    assert found == [name for name, examination in CATALOG.items() if not examination.long]


def test_options_may_stand_in_a_toml_file(folder: Path) -> None:
    (folder / "thetascope.toml").write_text('[interpolate]\nobjective = "mine.py:objective"\nkind = "quadratic"\nalphas = [3]\n')
    assert main(["interpolate", "e0.safetensors", "e1.safetensors", "e2.safetensors"]) == 0
    assert ts.load_result("results/interpolate-quadratic-model").data.sizes["alpha"] == 3


@pytest.mark.parametrize(
    ("command", "place", "dim"),
    [
        (["compare", "--level", "parameter", "--parameters", "2", "--alphas", "9"], "compare-parameter", "parameter"),
        (["layers", "--draws", "1", "--layers", "0"], "layer-roles", "layer"),
        (["interpolate", "--level", "layer", "--alphas", "0", "1"], "interpolate-linear-layer", "layer"),
        (
            ["interpolate", "--level", "parameter", "--parameters", "0.bias[1]", "--alphas", "3"],
            "interpolate-linear-parameter",
            "parameter",
        ),
    ],
)
def test_each_experiment_has_its_command(folder: Path, command: list[str], place: str, dim: str) -> None:
    files = ["e0.safetensors", "e1.safetensors", "e2.safetensors"]
    assert main([command[0], *files, "--objective", "mine.py:objective", *command[1:]]) == 0
    assert dim in ts.load_result(f"results/{place}").data.dims
    assert Path(f"figures/{place}.png").exists()


def test_studies_have_a_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "test-size", "e0.safetensors", "--objective", "mine.py:objective", "--sizes", "3", "10", "--repeats", "4"]) == 0
    assert ts.load_result("results/study-test-size").data.sizes["size"] == 2
    assert main(["study", "epochs"]) == 2
    assert "--training" in capsys.readouterr().err
    assert main(["study", "test-size"]) == 2
    assert "--objective" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["examine", "line", "--objective", "mine.py:objective"], "name a run directory"),
        (
            ["examine", "e0.safetensors", "e1.safetensors", "line", "--all", "--objective", "mine.py:objective"],
            "--all runs every experiment",
        ),
        (["examine", "e0.safetensors", "e1.safetensors", "epochs", "--objective", "mine.py:objective"], "--training SPEC"),
    ],
)
def test_examine_s_own_errors(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


FILES = [f"e{i}.safetensors" for i in range(3)]
SPECIFIED = ["--objective", "mine.py:objective"]


def test_surfaces_take_every_option(folder: Path) -> None:
    grid = ["--x", "-1", "1", "3", "--y", "-0.5", "0.5", "2"]
    assert (
        main(["surface", *FILES, *SPECIFIED, *grid, "--normalize", "layer", "--orthogonal", "--seed", "3", "--export", "s.vti", "s.csv"])
        == 0
    )
    data = ts.load_result("results/surface-random").data
    assert data["loss"].shape == (2, 3)
    directions = data.attrs["directions"]
    assert (directions["normalize"], directions["orthogonal"], directions["seed"]) == ("layer", True, 3)
    assert Path("s.vti").exists()
    assert Path("s.csv").exists()
    assert main(["surface", *FILES, *SPECIFIED, *grid, "--through", "0", "1"]) == 0
    assert ts.load_result("results/surface-through-0-1").data.attrs["directions"]["kind"] == "states"
    assert main(["surface", *FILES, *SPECIFIED, *grid, "--center", "1", "--out", "centered"]) == 0
    assert "e1" in str(ts.load_result("centered").data.attrs["center"]["label"])
    with (folder / "mine.py").open("a") as file:
        file.write('\ndef pair():\n    import torch\n    return {"0.bias": torch.ones(5)}, {"2.bias": torch.ones(3)}\n')
    assert main(["surface", *FILES, *SPECIFIED, *grid, "--directions", "mine.py:pair"]) == 0
    assert ts.load_result("results/surface-own").data.attrs["directions"]["kind"] == "own"


def test_an_unknown_step_says_what_was_recorded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["surface", *FILES, *SPECIFIED, "--center", "9"]) == 2
    assert "no state was recorded at step 9; there are: 0, 1, 2" in capsys.readouterr().err


def test_the_plane_of_a_training_and_of_several(folder: Path) -> None:
    assert main(["plane", *FILES, *SPECIFIED, "--x", "4", "--y", "3", "--margin", "0.1", "--export", "way.vtp"]) == 0
    data = ts.load_result("results/plane").data
    assert data["loss"].shape == (3, 4)
    assert data.sizes["state"] == 3
    assert Path("way.vtp").exists()


def test_a_picture_is_named_by_its_result(folder: Path) -> None:
    files = ["e0.safetensors", "e1.safetensors", "e2.safetensors", "--objective", "mine.py:objective", "--alphas", "3"]
    assert main(["interpolate", *files]) == main(["interpolate", *files, "--out", "results/another"]) == 0
    assert sorted(path.name for path in (folder / "figures").glob("*.png")) == ["another.png", "interpolate-linear-model.png"]
