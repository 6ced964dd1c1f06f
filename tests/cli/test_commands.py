from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import thetascope as ts
from tests.cli.project import FILES, SPECIFIED, TRAINED, record_run
from thetascope.cli import app, main
from thetascope.cli.reports import names_of
from thetascope.errors import UsageError
from thetascope.experiments.framework.catalog import RENAMED, entries, experiments
from thetascope.specification import provided

pytestmark = pytest.mark.usefixtures("folder")
OLD_COMMANDS = {
    "compare": '"compare-paths"',
    "layers": '"layer-roles"',
    "atlas": '"parameter-atlas"',
    "plane": '"trajectory-plane"',
    "study": '"study-epochs" or "study-train-size" or "study-test-size"',
}
OLD_ENTRIES = {
    "line": "interpolate",
    "quadratic": "interpolate-quadratic",
    "compare": "compare_paths",
    "layers": "interpolate-layer",
    "layers-quadratic": "interpolate-quadratic-layer",
    "roles": "layer_roles",
    "parameters": "interpolate-parameter",
    "patterns": "compare_paths-parameter",
    "atlas": "parameter_atlas",
    "plane": "trajectory_plane",
    "test-size": "study_test_size",
    "epochs": "study_epochs",
    "train-size": "study_train_size",
}


def test_interpolate_scores_checkpoint_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["interpolate", *FILES, *SPECIFIED, "--alphas", "5"]) == 0
    said = capsys.readouterr().out
    assert "alpha 5, state 3" in said
    assert (folder / "figures" / "interpolate-alphas=5.png").exists()
    assert ts.load_result("results/interpolate-alphas=5").data["loss"].shape == (5,)


def test_pictures_look_as_the_options_say(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    looks = ["--title", "A line of mine", "--no-subtitle", "--size", "3.25", "--vmin", "0.5", "--figure", "line.svg"]
    assert main(["interpolate", *FILES, *SPECIFIED, "--alphas", "3", *looks, "--export", "a.csv", "a.html"]) == 0
    drawn = Path("line.svg").read_text(encoding="utf-8")
    assert ">A line of mine</text>" in drawn
    assert 'width="234pt"' in drawn
    assert Path("a.csv").exists()
    assert "A line of mine" in Path("a.html").read_text(encoding="utf-8")
    assert main(["interpolate", *FILES, *SPECIFIED, "--alphas", "4", "--cmap", "virids"]) == 1
    assert 'matplotlib knows no colour map "virids"' in capsys.readouterr().err
    assert not Path("results/interpolate-alphas=4").exists()  # told before anything is scored


def test_every_option_reaches_the_function(folder: Path) -> None:
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
        (["interpolate", "nothing", *SPECIFIED], 1, '"nothing" does not exist'),
        (["interpolate", FILES[0], *SPECIFIED], 1, "needs 2 recorded states"),
        (["interpolate", *FILES, "--objective", "mine.py:nothing"], 2, "there are: objective, training, number"),
        (["interpolate", *FILES, "--objective", "mine.py:number"], 2, "must return a ts.Objective. Got int"),
        (["interpolate", *FILES, "--objective", "mine.py"], 2, '"file.py:function" or "module:function"'),
        (["interpolate", *FILES, "--objective", "other.py:f"], 2, '"other.py" does not exist'),
        (["interpolate", *FILES, "--objective", "no.such.module:f"], 2, 'no module "no.such.module"'),
        (["interpolate", *FILES, *SPECIFIED, "--kind", "wild"], 2, "Invalid value for --kind"),
        (["interpolate", *FILES, *SPECIFIED, "--kind", "0"], 1, "degree"),
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
        main(["interpolate", *FILES, "--objective", "mine.py", "--debug"])


def test_wrong_use_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["interpolate"]) == 2
    assert main(["bogus"]) == 2
    capsys.readouterr()
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == ts.__version__


IMPATIENT = """
from pathlib import Path

def impatient():
    chosen = case("linear")
    def loss(outputs, targets):
        with Path("passes").open("a") as file:
            file.write(".")
        if Path("stop").exists() and Path("passes").stat().st_size > 16:  # guards and checks make eleven
            raise KeyboardInterrupt
        return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
    return ts.Objective(chosen.model(), chosen.data(), loss)
"""


def test_after_ctrl_c_the_same_command_goes_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (folder / "mine.py").open("a") as file:
        file.write(IMPATIENT)
    command = ["interpolate", *FILES, "--objective", "mine.py:impatient", "--engine", "eager"]
    (folder / "stop").touch()
    assert main(command) == 130
    assert "goes on from there" in capsys.readouterr().err
    assert ts.load_result("results/interpolate").status_counts()["missing"] > 0
    (folder / "stop").unlink()
    assert main(command) == 0
    assert ts.load_result("results/interpolate").status_counts()["missing"] == 0


def test_a_module_on_the_path_provides_too(folder: Path) -> None:
    assert isinstance(provided("mine:objective", ts.Objective, "--objective"), ts.Objective)


def test_examine_runs_experiments_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["examine", *FILES, "layer_roles", "interpolate", *SPECIFIED]
    assert main([*arguments, "--alphas", "5", "--draws", "2"]) == 0
    said = capsys.readouterr()
    assert [Path(line).stem for line in said.out.splitlines() if line.endswith(".png")] == ["interpolate-alphas=5", "layer_roles-draws=2"]
    assert ts.load_result("results/interpolate-alphas=5").data.sizes["alpha"] == 5
    assert ts.load_result("results/layer_roles-draws=2").data.sizes["draw"] == 2
    assert Path("figures/layer_roles-draws=2.html").exists()
    assert said.out.splitlines()[-1] == "report.html"
    page = Path("report.html").read_text(encoding="utf-8")
    assert "thetascope layer-roles CHECKPOINTS --objective mine.py:objective --draws 2" in page
    assert "thetascope surface CHECKPOINTS --objective mine.py:objective" in page  # not run yet


def test_examine_leaves_out_what_another_call_stored_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["examine", *FILES, "interpolate", "interpolate-quadratic", *SPECIFIED]
    assert main(["interpolate", *FILES, *SPECIFIED, "--alphas", "3", "--out", "results/interpolate-alphas=5"]) == 0
    capsys.readouterr()
    for further in (["--dry-run"], []):
        assert main([*arguments, "--alphas", "5", *further]) == 1
        said = capsys.readouterr()
        assert "1 of 2 experiments w" in said.err
        place = '"results/interpolate-alphas=5" holds the result of another call: settings.alphas was [0.0, 0.5, 1.0], now'
        assert f"interpolate: {place}" in said.err
        assert "interpolate-quadratic" in said.out
    assert said.out.splitlines()[-1] == "report.html"
    assert ts.load_result("results/interpolate-alphas=5").data.sizes["alpha"] == 3
    assert ts.load_result("results/interpolate-quadratic-alphas=5").data.sizes["alpha"] == 5


def test_examine_leaves_out_what_the_engine_does_not_score(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["examine", *FILES, "study_test_size", "interpolate", *SPECIFIED, "--engine", "graph", "--alphas", "3"]
    for further in (["--dry-run"], []):
        assert main([*arguments, *further]) == 1
        assert 'study_test_size: engine must be "auto" or "eager" here' in capsys.readouterr().err
    assert ts.load_result("results/interpolate-alphas=3").status_counts()["missing"] == 0
    assert Path("report.html").exists()


def test_several_runs_have_a_report_each(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        record_run(folder / name)
    assert main(["report", "a", "b"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["a/report.html", "b/report.html"]
    assert Path("b/report.html").exists()
    assert main(["report", "a", "b", "--results", "x"]) == 2
    assert "--results go into one report" in capsys.readouterr().err
    assert main(["compare", "a", "b"]) == 2
    assert "results of several runs are compared by thetascope panels RESULT RESULT" in capsys.readouterr().err


def test_a_report_of_a_folder_without_anything_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty").mkdir()
    assert main(["report", "empty"]) == 1
    assert '"empty" holds neither a recording (run.json) nor stored results (results/)' in capsys.readouterr().err
    assert not (folder / "empty" / "report.html").exists()


def test_an_unknown_command_is_named_without_a_list_of_some(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["foo"]) == 2
    assert capsys.readouterr().err == 'thetascope: Unknown command "foo"; thetascope --help shows what there is\n'


@pytest.mark.slow
def test_examine_runs_everything_with_a_training(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["examine", *FILES, *SPECIFIED, *TRAINED, "--all"]
    assert main([*arguments, "--alphas", "9", "--draws", "1", "--parameters", "1", "--repeats", "1", "--grid", "5"]) == 0
    found = [Path(line).stem for line in capsys.readouterr().out.splitlines() if line.endswith(".png")]
    results = {Path(place).name: ts.load_result(place) for place in Path("results").iterdir()}
    assert set(found) == set(results)
    asked = [key for key, call in entries().items() if key != "parameter_atlas"]  # by name only
    assert [ts.load_result(f"results/{name}").data.attrs["experiment"] for name in found] == [
        entries()[key].experiment.name for key in asked
    ]
    assert results["trajectory_plane-x=5-y=5-tolerance=0.01"].data["loss"].shape == (5, 5)


def test_options_may_stand_in_a_toml_file(folder: Path) -> None:
    (folder / "thetascope.toml").write_text('[interpolate]\nobjective = "mine.py:objective"\nkind = "quadratic"\nalphas = [3]\n')
    assert main(["interpolate", *FILES]) == 0
    assert ts.load_result("results/interpolate-quadratic-alphas=3").data.sizes["alpha"] == 3


@pytest.mark.parametrize(
    ("command", "options", "dim"),
    [
        (
            ["compare-paths", "--level", "parameter", "--parameters", "2", "--alphas", "9"],
            {"level": "parameter", "parameters": 2, "alphas": 9},
            "parameter",
        ),
        (["layer-roles", "--draws", "1", "--layers", "0"], {"draws": 1, "layers": ["0"]}, "layer"),
        (["layer-roles", "--draws", "1", "--layers", "blocks"], {"draws": 1, "layers": "blocks"}, "layer"),
        (["parameter-atlas", "--alphas", "3", "--layers", "trainable"], {"alphas": 3, "layers": "trainable"}, "parameter"),
        (["interpolate", "--level", "layer", "--alphas", "0", "1"], {"level": "layer", "alphas": [0, 1]}, "layer"),
        (
            ["interpolate", "--level", "parameter", "--parameters", "0.bias[1]", "--alphas", "3"],
            {"level": "parameter", "parameters": ["0.bias[1]"], "alphas": 3},
            "parameter",
        ),
        (["parameter-atlas", "--kind", "quadratic", "--alphas", "3"], {"kind": "quadratic", "alphas": 3}, "parameter"),
    ],
)
def test_the_result_of_a_command_lies_by_its_key(command: list[str], options: dict[str, object], dim: str) -> None:
    assert main([command[0], *FILES, *SPECIFIED, *command[1:]]) == 0
    key = experiments()[command[0].replace("-", "_")].of(**options).key
    result = ts.load_result(f"results/{key}")
    assert dim in result.data.dims
    assert result.data.attrs["key"] == key
    assert Path(f"figures/{key}.png").exists()


def test_studies_have_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study-test-size", "e0.safetensors", *SPECIFIED, "--sizes", "3", "10", "--repeats", "4"]) == 0
    key = experiments()["study_test_size"].of(sizes=[3, 10], repeats=4).key
    assert ts.load_result(f"results/{key}").data.sizes["size"] == 2
    assert main(["study-epochs"]) == 2
    assert "--training" in capsys.readouterr().err
    assert main(["study-test-size", "e0.safetensors"]) == 2
    assert "--objective" in capsys.readouterr().err


def test_a_training_again_is_stored_in_the_run_that_is_named() -> None:
    Path("runs").mkdir()
    assert main(["study-epochs", "runs", *TRAINED, "--epochs", "1"]) == 0
    assert main(["study-epochs", *TRAINED, "--epochs", "1"]) == 0
    for home in (Path("runs"), Path()):
        assert ts.load_result(home / "results" / "study_epochs-epochs=1").data.sizes["epochs"] == 2
        assert (home / "figures" / "study_epochs-epochs=1.png").exists()


@pytest.mark.parametrize("old", OLD_COMMANDS)
def test_a_command_of_the_first_version_is_told_its_name_of_now(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([old, *FILES, *SPECIFIED]) == 2
    other = "; results of several runs are compared by thetascope panels RESULT RESULT …" if old == "compare" else ""
    assert capsys.readouterr() == ("", f'thetascope: "{old}" is called {OLD_COMMANDS[old]} now{other}\n')
    assert not Path("results").exists()


@pytest.mark.parametrize("old", OLD_ENTRIES)
def test_an_experiment_of_the_first_version_is_told_its_name_of_now(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert OLD_ENTRIES[old] in entries()
    assert main(["examine", *FILES, "surface", old, *SPECIFIED]) == 2
    assert capsys.readouterr() == ("", f'thetascope: "{old}" is called "{OLD_ENTRIES[old]}" now\n')
    assert not Path("results").exists()


def test_all_old_names_are_tried_here() -> None:
    assert RENAMED == OLD_ENTRIES
    assert set(OLD_COMMANDS) & set(app) == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["examine", "interpolate", *SPECIFIED], "name a run directory"),
        (
            ["examine", *FILES, "interpolate", "--all", *SPECIFIED],
            "--all runs every experiment",
        ),
        (["examine", *FILES, "study_epochs", *SPECIFIED], "--training SPEC"),
    ],
)
def test_examine_s_own_errors(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


GRID = ["--x", "-1", "1", "3", "--y", "-0.5", "0.5", "2"]
GRIDDED: dict[str, Any] = {"x": (-1, 1, 3), "y": (-0.5, 0.5, 2)}


def test_surfaces_take_every_option() -> None:
    options = ["--normalize", "layer", "--orthogonal", "--seed", "3"]
    assert main(["surface", *FILES, *SPECIFIED, *GRID, *options, "--export", "s.vti", "s.csv"]) == 0
    key = experiments()["surface"].of(**GRIDDED, normalize="layer", orthogonal=True, seed=3).key
    data = ts.load_result(f"results/{key}").data
    assert data["loss"].shape == (2, 3)
    directions = data.attrs["directions"]
    assert (directions["normalize"], directions["orthogonal"], directions["seed"]) == ("layer", True, 3)
    assert Path("s.vti").exists()
    assert Path("s.csv").exists()


def test_a_surface_through_recorded_states() -> None:
    states = ts.Trajectory.from_files(FILES)
    assert main(["surface", *FILES, *SPECIFIED, *GRID, "--steps", "0", "1", "2", "--through", "0", "1"]) == 0
    key = experiments()["surface"].of(**GRIDDED, through=[states[0], states[1]]).key
    assert ts.load_result(f"results/{key}").data.attrs["directions"]["kind"] == "states"


def test_a_surface_along_directions_of_one_s_own(folder: Path) -> None:
    with (folder / "mine.py").open("a") as file:
        file.write('\ndef pair():\n    return {"0.bias": torch.ones(5)}, {"2.bias": torch.ones(3)}\n')
    assert main(["surface", *FILES, *SPECIFIED, *GRID, "--directions", "mine.py:pair"]) == 0
    own = ({"0.bias": torch.ones(5)}, {"2.bias": torch.ones(3)})
    key = experiments()["surface"].of(**GRIDDED, directions=own).key
    assert ts.load_result(f"results/{key}").data.attrs["directions"]["kind"] == "own"


def test_layers_are_drawn_by_an_initialisation_of_one_s_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (folder / "mine.py").open("a") as file:
        file.write('\ndef fresh():\n    return case("linear").build()\n\ndef in_place(module):\n')
        file.write('    if hasattr(module, "weight"):\n        torch.nn.init.normal_(module.weight)\n')
    for name, drawn_from in (("fresh", "init"), ("in_place", "init and reset_parameters")):
        assert main(["layer-roles", *FILES, *SPECIFIED, "--draws", "2", "--init", f"mine.py:{name}"]) == 0
        data = ts.load_result(f"results/layer_roles-draws=2-init={name}").data
        assert data["drawn_from"].values.tolist() == [drawn_from] * 2
    call = experiments()["layer_roles"].of(init=main)
    assert "--init FILE.py:main" in call.command_line("RUN")
    capsys.readouterr()
    assert main(["layer-roles", *FILES, *SPECIFIED, "--init", "mine.py:nothing"]) != 0
    assert '--init: "mine.py" has no function "nothing"' in capsys.readouterr().err
    assert main(["layer-roles", *FILES, *SPECIFIED, "--init", "mine"]) != 0
    assert '--init must be "file.py:function"' in capsys.readouterr().err


def test_a_surface_around_another_state_has_its_own_place() -> None:
    call = ["surface", *FILES, "--steps", "0", "1", "2", *SPECIFIED, *GRID]
    assert main(call) == main([*call, "--center", "1"]) == 0
    around = {path.name: str(ts.load_result(path).data.attrs["center"]["label"]) for path in Path("results").iterdir()}
    last = experiments()["surface"].of(**GRIDDED).key
    assert around.keys() == {last, f"{last}-center=1"}
    assert "e2" in around[last]
    assert "e1" in around[f"{last}-center=1"]


def test_an_unknown_step_says_what_was_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["surface", *FILES, "--steps", "0", "1", "2", *SPECIFIED, "--center", "9"]) == 2
    assert "no state was recorded at step 9; there are: 0, 1, 2" in capsys.readouterr().err
    assert main(["surface", *FILES, *SPECIFIED, "--center", "9"]) == 2
    assert "the steps of these states are not known; give them with --steps" in capsys.readouterr().err


def test_the_plane_of_a_training_and_of_several() -> None:
    for name in "ab":
        record_run(Path(name))
    grid = ["--x", "4", "--y", "3"]
    assert main(["trajectory-plane", "a", *SPECIFIED, *grid, "--margin", "0.1", "--export", "way.vtp"]) == 0
    data = ts.load_result("a/results/trajectory_plane-x=4-y=3-margin=0.1").data
    assert data["loss"].shape == (3, 4)
    assert data.sizes["state"] == 3
    assert Path("way.vtp").exists()
    assert main(["trajectory-plane", "a", "--also", "b", *SPECIFIED, *grid]) == 0
    (together,) = (path for path in Path("a/results").iterdir() if "also=" in path.name)
    assert set(ts.load_result(together).data["training"].values.tolist()) == {0, 1}


def test_a_picture_is_named_by_its_result(folder: Path) -> None:
    line = ["interpolate", *FILES, *SPECIFIED, "--alphas", "3"]
    assert main(line) == main([*line, "--out", "results/another"]) == 0
    assert sorted(path.name for path in (folder / "figures").glob("*.png")) == ["another.png", "interpolate-alphas=3.png"]


def test_several_results_in_one_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a/net", "b/net", "c"):
        record_run(Path(name))
        assert main(["interpolate", name, *SPECIFIED, "--alphas", "3"]) == 0
    assert main(["surface", "c", *SPECIFIED, "--x", "-1", "1", "3", "--y", "-1", "1", "3"]) == 0
    lines = [f"{name}/results/interpolate-alphas=3" for name in ("a/net", "b/net", "c")]
    capsys.readouterr()
    assert main(["panels", *lines]) == 0
    assert capsys.readouterr().out.splitlines() == ["panels.png"]
    assert Path("panels.png").read_bytes().startswith(b"\x89PNG")
    assert main(["panels", *lines, "--out", "new/all.svg", "--variable", "loss"]) == 0
    assert Path("new/all.svg").read_text(encoding="utf-8").startswith("<?xml")
    surface = str(next(Path("c/results").glob("surface*")))
    assert main(["panels", surface, surface, "--labels", "one", "<b>", "--kind", "3d", "--out", "two.html"]) == 0
    assert "scene2" in Path("two.html").read_text(encoding="utf-8")
    for wrong, message in (
        ([*lines, "--labels", "one", "two"], "3 results need as many labels, each another. Got one, two"),
        ([*lines, "--labels", "one", "one", "two"], "each another"),
        ([*lines, "--out", "all.gif"], '"all.gif" ends in no known format; there are: .png, .pdf, .svg, .html'),
    ):
        assert main(["panels", *wrong]) == 2
        assert message in capsys.readouterr().err
    assert main(["panels", lines[0], surface]) == 1
    assert "of one experiment and level" in capsys.readouterr().err
    assert main(["panels", "nowhere"]) == 1


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/results/surface", "b/results/surface"], ["a", "b"]),
        (["x/net/results/surface", "y/net/results/surface"], ["x/net", "y/net"]),
        (["a/results/surface", "a/results/surface-seed=1"], ["surface", "surface-seed=1"]),
        (["a/results/surface", "b/results/surface", "a/results/surface-seed=1"], ["a/surface", "b/surface", "surface-seed=1"]),
        (["results20", "results56"], ["results20", "results56"]),
        (["a/results/surface"], ["surface"]),
    ],
)
def test_results_are_called_by_their_runs_or_by_their_calls(paths: list[str], names: list[str]) -> None:
    assert names_of(list(map(Path, paths))) == names


BOTH = ["--objective", "train=mine.py:objective", "--objective", "test=mine.py:other"]
OTHER = """
def other():
    chosen = case("linear")
    return ts.Objective(chosen.model(), chosen.data(7))
"""


@pytest.fixture
def with_other(folder: Path) -> None:
    with (folder / "mine.py").open("a") as file:
        file.write(OTHER)


@pytest.mark.usefixtures("with_other")
class TestSeveralObjectives:
    def test_are_given_by_label(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["interpolate", *FILES, *BOTH, "--alphas", "3"]) == 0
        result = ts.load_result(next(Path("results").iterdir()))
        assert result.data["loss"].dims == ("data", "alpha")
        assert result.data["data"].values.tolist() == ["train", "test"]
        assert result.data.attrs["specification"] == {"train": "mine.py:objective", "test": "mine.py:other"}
        assert "loss, test" in capsys.readouterr().out
        assert len(list(Path("figures").glob("interpolate*.png"))) == 1

    def test_of_a_dry_run_are_all_told(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["interpolate", *FILES, *BOTH, "--dry-run"]) == 0
        out = capsys.readouterr().out
        assert "train and test data" in out
        assert "7 test samples" in out

    @pytest.mark.slow
    def test_are_examined_but_for_what_takes_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["examine", *FILES, *BOTH, "--alphas", "3", "--grid", "3", "--draws", "1", "--parameters", "1"]) == 0
        printed = capsys.readouterr()
        assert "left out, because it takes one objective: study_test_size" in printed.err
        report = Path("report.html").read_text(encoding="utf-8")
        assert "--objective train=mine.py:objective --objective test=mine.py:other" in report
        assert main(["examine", *FILES, "study_test_size", *BOTH]) != 0
        assert "takes one objective" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (["train=mine.py:objective"], "two or more"),
            (["train=mine.py:objective", "mine.py:other"], "several objectives have labels"),
            (["train=mine.py:objective", "train=mine.py:other"], "given twice"),
            (["train=mine.py:objective", "test=mine.py:absent"], 'no function "absent"'),
        ],
    )
    def test_that_are_off_are_one_line(self, given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
        specified = [part for one in given for part in ("--objective", one)]
        assert main(["interpolate", *FILES, *specified]) != 0
        assert message in capsys.readouterr().err

    def test_a_file_may_have_an_equals_sign_in_its_name(self, folder: Path) -> None:
        (folder / "mine.py").rename(folder / "a=b.py")
        assert main(["interpolate", *FILES, "--objective", "a=b.py:objective", "--alphas", "3"]) == 0

    def test_stand_in_a_configuration(self, folder: Path) -> None:
        (folder / "thetascope.toml").write_text('objective = ["train=mine.py:objective", "test=mine.py:other"]\n')
        assert main(["interpolate", *FILES, "--alphas", "3"]) == 0
        assert ts.load_result(next(Path("results").iterdir())).data.sizes["data"] == 2


def test_a_way_needs_no_objective(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trajectory-geometry", *FILES, "--level", "layer", "--export", "way.csv"]) == 0
    assert "tortuosity" in capsys.readouterr().out
    assert (folder / "figures" / "trajectory_geometry-layer.png").exists()
    assert Path("way.csv").exists()
    assert main(["trajectory-geometry", "--help"]) == 0
    told = capsys.readouterr().out
    assert "--objective" not in told
    assert "--engine" not in told
    assert main(["trajectory-geometry", *FILES, "--engine", "eager"]) != 0


def test_parts_are_joined_and_finished_by_the_same_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record_run(folder / "run")
    line = ["surface", "run", *SPECIFIED, "--x", "-1", "1", "3", "--y", "-1", "1", "3", "--engine", "graph:rows=10"]
    for part in ("1/2", "2/2"):
        assert main([*line, "--part", part]) == 0
        assert f"part {part[0]} of 2 is stored in " in capsys.readouterr().out
    assert not list((folder / "run").rglob("*.png"))
    assert main(["report", "run"]) == 0
    assert "1-of-2" not in Path("run/report.html").read_text(encoding="utf-8")  # a part is no result
    capsys.readouterr()
    assert main(["merge", "run"]) == 0
    place, how = capsys.readouterr().out.splitlines()
    assert place.endswith(": 2 parts, 9 points")
    assert how.startswith("  finish and draw it: thetascope surface run --objective SPEC --")
    command = how.partition(": thetascope ")[2].replace("SPEC", SPECIFIED[1]).split()
    assert main(command) == 0
    assert "0 missing" not in capsys.readouterr().out
    assert len(list((folder / "run" / "figures").glob("*.png"))) == 1
    assert main(["merge", "run/results/nothing"]) == 1
    assert "there are no parts of" in capsys.readouterr().err
    assert main([*line, "--part", "3/2"]) == 2
    assert "a part is one of so many" in capsys.readouterr().err
