"""Findings in TensorBoard, MLflow and Weights & Biases, read back from what these libraries wrote; and what is refused."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import thetascope as ts
from tests.integrations.runs import ODD, STEPS, made_run
from thetascope.cli import main
from thetascope.errors import ResultError, UsageError
from thetascope.experiments.framework.findings import words_for
from thetascope.experiments.framework.tables import table
from thetascope.integrations.logged import curves_of, last_step, logged
from thetascope.integrations.trackers import trackers
from thetascope.integrations.trackers.mlflow import LONGEST_NAME, escaped
from thetascope.integrations.trackers.tensorboard import TensorBoard
from thetascope.testing.models import case

NAMES = ["interpolate-alphas=5", "layer_rewind-barriers=False", "trajectory_geometry"]
LAST = STEPS[-1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("logged"))


@pytest.fixture(scope="module")
def results(run: Path) -> dict[str, ts.Result]:
    return {name: ts.load_result(run / "results" / name) for name in NAMES}


def read_back(kind: str, library: str, run: Path, out: Path) -> Any:
    """What a process logged and read again."""
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed: pip install thetascope[{library}]")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "WANDB_MODE": "offline"}
    command = [sys.executable, "-m", "tests.integrations.children", kind, str(run), str(out)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.rpartition("told:")[2])
    assert found["names"] == NAMES
    return found


def expected_numbers(results: dict[str, ts.Result]) -> dict[str, float]:
    return {
        f"thetascope/{name}/{key}": float(value)
        for name, result in results.items()
        for key, value in result.findings.items()
        if not isinstance(value, str)
    }


def expected_words(results: dict[str, ts.Result]) -> dict[str, str]:
    found = {f"thetascope/{n}/{key}": value for n, r in results.items() for key, value in r.findings.items() if isinstance(value, str)}
    return found | {f"thetascope/{name}/headline": result.headline for name, result in results.items()}


def expected_curves(results: dict[str, ts.Result]) -> dict[str, list[tuple[int, float]]]:
    """Some of them, by hand."""
    line, rewound, way = (results[name].data for name in NAMES)
    found = {
        f"{NAMES[0]}/states/actual_loss": zip(STEPS, line["actual_loss"].values, strict=True),
        f"{NAMES[0]}/states/actual_accuracy": zip(STEPS, line["actual_accuracy"].values, strict=True),
        f"{NAMES[2]}/states/step_length": zip(STEPS, way["step_length"].values, strict=True),
        f"{NAMES[2]}/states/turning": zip(STEPS[2:], way["turning"].values[2:], strict=True),  # the first two states have none
        f"{NAMES[2]}/states/from_start": zip(STEPS, way["from_start"].values, strict=True),
    }
    for i, layer in enumerate(rewound["layer"].values):
        found[f"{NAMES[1]}/states/excess/{layer}"] = zip(STEPS, rewound["excess"].values[i], strict=True)
    return {f"thetascope/{name}": [(step, float(value)) for step, value in points] for name, points in found.items()}


# --- the libraries themselves -----------------------------------------------------------------------------


def test_tensorboard_reads_scalars_with_their_steps_texts_and_pictures(run: Path, results: dict[str, ts.Result], tmp_path: Path) -> None:
    found = read_back("tensorboard", "tensorboard", run, tmp_path / "board")
    scalars = found["scalars"]
    for name, value in expected_numbers(results).items():
        assert scalars[name] == [[LAST, pytest.approx(value, rel=1e-6)]], name
    for name, points in expected_curves(results).items():
        assert scalars[name] == [[step, pytest.approx(value, rel=1e-6)] for step, value in points], name
    assert len(scalars["loss"]) == 8  # beside the training's own
    texts = {name: [(step, text.replace("\\", "")) for step, text in told] for name, told in found["texts"].items()}
    for name, text in expected_words(results).items():
        assert texts[name] == [(LAST, text)], name
    assert "| layer | finished |" in texts[f"thetascope/{NAMES[1]}/table"][0][1]
    assert texts["thetascope/report"] == [(LAST, f"The report is the file {run / 'report.html'}")]
    assert {name for name in found["images"] if name.startswith("thetascope")} == {f"thetascope/{name}/picture" for name in NAMES}
    assert all(
        step == LAST and width > 300 and height > 300
        for name in NAMES
        for step, width, height in found["images"][f"thetascope/{name}/picture"]
    )
    assert scalars[f"again/{ODD}/barrier"][0][0] == 77
    assert math.isnan(scalars[f"again/{ODD}/barrier"][0][1])
    assert scalars[f"again/{ODD}/distance"] == [[77, math.inf]]
    assert [step for step, _ in scalars[f"again/{ODD}/states/actual_loss"]] == list(STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("store", ["files", "runs.db"])
def test_mlflow_reads_metrics_tags_and_files(run: Path, results: dict[str, ts.Result], tmp_path: Path, store: str) -> None:
    found = read_back("mlflow", "mlflow", run, tmp_path / store)
    assert found["ended"]
    for name, value in expected_numbers(results).items():
        assert found["metrics"][escaped(name)] == [[LAST, pytest.approx(value)]], name
    for name, points in expected_curves(results).items():
        assert found["metrics"][escaped(name)] == [[step, pytest.approx(value)] for step, value in points], name
    for name, text in expected_words(results).items():
        assert found["tags"][escaped(name)] == text
    assert "_x5B_" in found["tags"]["thetascope/names"]
    files = found["files"]
    for name in NAMES:
        assert files[escaped(f"thetascope/{name}/picture") + ".png"] > 5_000
        assert 5_000 < files[escaped(f"thetascope/{name}/picture") + ".html"] < 1_000_000
    assert files[f"thetascope/{escaped(NAMES[1])}/table.csv"].startswith("layer,finished,resolved,")
    assert files["thetascope/report.html"] == (run / "report.html").stat().st_size
    strange = found["metrics"][escaped(f"again/{ODD}/barrier")]
    assert strange[0][0] == 77
    assert math.isnan(strange[0][1])
    ((_, largest),) = found["metrics"][escaped(f"again/{ODD}/distance")]
    assert largest == (math.inf if store == "files" else sys.float_info.max)


@pytest.mark.slow
def test_wandb_reads_history_by_the_training_s_steps_and_the_report(run: Path, results: dict[str, ts.Result], tmp_path: Path) -> None:
    found = read_back("wandb", "wandb", run, tmp_path / "offline")
    assert ["thetascope/*", "thetascope/step"] in found["metrics"]
    rows: dict[str, list[tuple[int, Any]]] = {}
    for row in found["history"]:
        for name, value in row.items():
            if "thetascope/step" in row:
                rows.setdefault(name, []).append((row["thetascope/step"], value))
    for name, value in expected_numbers(results).items():
        assert rows[name] == [(LAST, pytest.approx(value))], name
    for name, points in expected_curves(results).items():
        assert rows[name] == [(step, pytest.approx(value)) for step, value in points], name
    for name, text in expected_words(results).items():
        assert rows[name] == [(LAST, text)]
    steps = [row["_step"] for row in found["history"]]
    assert steps == sorted(steps)
    assert steps[-1] > 400 > LAST  # the run had gone on beyond the training's last step
    assert [row["loss"] for row in found["history"] if "loss" in row] == [1 / (1 + step) for step in range(0, 500, 100)]
    ((artifact, files),) = found["artifacts"]
    assert artifact.startswith("thetascope-report-")
    assert files == ["report.html"]
    for name, kind in ((f"images/thetascope/{NAMES[0]}/picture", ".png"), (f"plotly/thetascope/{NAMES[0]}/picture", ".json"),
                       (f"table/thetascope/{NAMES[1]}/table", ".json")):  # fmt: skip
        assert any(path.startswith(f"media/{name}") and path.endswith(kind) for path in found["media"]), name
    strange = next(row for row in found["history"] if f"again/{ODD}/barrier" in row)
    assert math.isnan(strange[f"again/{ODD}/barrier"])
    assert (strange[f"again/{ODD}/distance"], strange["again/step"]) == (math.inf, 77)


# --- what is logged, and where it stands ------------------------------------------------------------------


class Board:
    """A SummaryWriter as far as it is known by."""

    def __init__(self) -> None:
        self.scalars: dict[str, list[tuple[int, float]]] = {}
        self.texts: dict[str, str] = {}
        self.figures: list[str] = []
        self.flushed = 0

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.setdefault(name, []).append((step, value))

    def add_text(self, name: str, text: str, step: int) -> None:
        self.texts[name] = text

    def add_figure(self, name: str, figure: Any, step: int, close: bool = True) -> None:
        assert not close
        self.figures.append(name)

    def flush(self) -> None:
        self.flushed += 1


def test_one_result_several_and_by_name(results: dict[str, ts.Result]) -> None:
    way, line = results[NAMES[2]], results[NAMES[0]]
    assert ts.log_findings(way, Board()) == [NAMES[2]]
    assert ts.log_findings([way, line, way], Board()) == [NAMES[2], NAMES[0], f"{NAMES[2]}-again-2"]
    board, other = Board(), Board()
    assert ts.log_findings({"here": way}, [board, other], prefix="mine", step=np.int64(5)) == ["here"]
    assert board.scalars == other.scalars
    assert board.scalars["mine/here/length"] == [(5, way.findings["length"])]
    assert [step for step, _ in board.scalars["mine/here/states/arc"]] == list(STEPS)  # these keep their own steps
    assert (board.flushed, board.figures) == (1, ["mine/here/picture"])


def test_a_report_of_one_s_own(results: dict[str, ts.Result], run: Path) -> None:
    board = Board()
    ts.log_findings(results, board, report=run / "report.html")
    assert "report" in board.texts["thetascope/report"]
    with pytest.raises(ResultError, match=r"does not exist: write the report first"):
        ts.log_findings(results, board, report=run / "none.html")


def test_without_steps_curves_go_by_the_states_numbers_and_the_rest_is_at_the_others_last_step(results: dict[str, ts.Result]) -> None:
    unknown = ts.trajectory_geometry(ts.Trajectory.from_states(case("linear").states(3)), progress=False)
    assert last_step(unknown.data) is None
    board = Board()
    ts.log_findings({"unknown": unknown, "known": results[NAMES[2]]}, board)
    assert board.scalars["thetascope/unknown/states/arc"] == list(enumerate(unknown.data["arc"].values))
    assert board.scalars["thetascope/unknown/length"][0][0] == LAST
    alone = Board()
    ts.log_findings(unknown, alone)
    assert alone.scalars["thetascope/trajectory_geometry/length"][0][0] == 0


def test_curves_of_several_objectives_and_trainings_and_of_a_study() -> None:
    linear = case("linear")
    objective, states = ts.Objective(linear.model(), linear.data()), linear.states(6)
    one, other = (ts.Trajectory.from_states(states[3 * i :][:3], steps=[0, 5, 9]) for i in range(2))
    both = ts.interpolate({"train": objective, "test": objective}, one, alphas=3, progress=False)
    curves = {curve.name: curve for curve in curves_of(both.data)}
    assert curves["train/actual_loss"].steps == (0, 5, 9)
    assert curves["test/actual_loss"].values == tuple(both.one("test").data["actual_loss"].values)
    plane = ts.trajectory_plane(objective, {"a": one, "b": other}, 3, 3, progress=False)
    walks = {curve.name: curve for curve in curves_of(plane.data) if curve.name.startswith("path_loss")}
    assert [(name, curve.steps) for name, curve in walks.items()] == [("path_loss/0-a", (0, 5, 9)), ("path_loss/1-b", (0, 5, 9))]
    training = ts.Training(linear.model, linear.data(), linear.data(), lambda p: torch.optim.SGD(p, lr=0.1), epochs=2, batch_size=4)
    study = ts.study_epochs(training, progress=False)
    (losses,) = [curve for curve in curves_of(study.data) if curve.name == "loss"]
    assert losses.steps == tuple(epoch * training.steps(epochs=1) for epoch in range(3))
    assert losses.values == tuple(study.data["loss"].values)
    assert last_step(study.data) == losses.steps[-1] > 2


def test_errors_and_statuses_are_no_curves_and_what_was_scored_keeps_its_nan(results: dict[str, ts.Result]) -> None:
    data = results[NAMES[0]].data.copy(deep=True)
    data["actual_loss"].values[1] = math.nan
    data["off_line"].values[2] = math.nan
    curves = {curve.name: curve for curve in curves_of(data)}
    assert set(curves) == {"actual_loss", "actual_accuracy", "share", "off_line"}
    assert curves["actual_loss"].steps == STEPS
    assert math.isnan(curves["actual_loss"].values[1])
    assert curves["off_line"].steps == (0, 10, 30)


def test_the_curves_by_layer_that_words_name_are_there(results: dict[str, ts.Result]) -> None:
    for result in (results[NAMES[1]], ts.trajectory_geometry(ts.Trajectory.from_states(case("linear").states(3)), "layer", progress=False)):
        words = words_for(result.data)
        assert words is not None
        assert words.curves
        for name in words.curves:
            assert result.data[name].dims == ("layer", "state")


def test_names_of_layers_act_in_no_table_and_no_headline() -> None:
    board = Board()
    strange = "a|b\n<img src=x>*"
    TensorBoard(board).table("t", table("about [it]", ("layer", "loss"), [(strange, 1.5)]), 0)
    assert board.texts["t"].splitlines()[4] == "| a\\|b \\<img src=x\\>\\* | 1.5 |"
    assert board.texts["t"].startswith("about \\[it\\]\n\n| layer | loss |\n| --- | --- |")


def test_names_for_mlflow_are_told_apart() -> None:
    assert escaped("thetascope/fc1.weight-2 b/barrier_at") == "thetascope/fc1.weight-2 b/barrier_at"
    assert escaped("w[0,1]") == "w_x5B_0_x2C_1_x5D_"
    assert escaped("w_x5B_0") == "w_x5F_x5B_0" != escaped("w[0")
    assert escaped("a//b/../.") == "a/_x_/b/_x2E__x2E_/_x2E_"
    long = escaped("a" * 300 + "b"), escaped("a" * 300 + "c")
    assert len(long[0]) == len(long[1]) == LONGEST_NAME
    assert long[0] != long[1]


# --- what is refused --------------------------------------------------------------------------------------


def test_what_is_no_tracker_is_one_clear_error(results: dict[str, ts.Result]) -> None:
    for wrong in (object(), "runs/board", None, print):
        with pytest.raises(UsageError, match=r"^to= is no tracker that is known\. Pass one of these, .*mlflow module, .*SummaryWriter"):
            ts.log_findings(results, wrong)
    with pytest.raises(UsageError, match="to= names no tracker"):
        ts.log_findings(results, [])


def test_a_module_without_a_run_says_so(results: dict[str, ts.Result]) -> None:
    module: Any = ModuleType("wandb")
    module.log = module.define_metric = module.log_artifact = print
    with pytest.raises(UsageError, match=r"wandb has no run .*wandb\.init\(\)"):
        ts.log_findings(results, module)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefix": ""}, "prefix must be a text"),
        ({"prefix": "/"}, "prefix must be a text"),
        ({"step": -1}, "step must be a whole number"),
        ({"step": 1.5}, "step must be a whole number"),
        ({"step": True}, "step must be a whole number"),
    ],
)
def test_options_that_do_not_fit(results: dict[str, ts.Result], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ts.log_findings(results, Board(), **options)


def test_what_is_no_result_is_one_clear_error_and_nothing_is_logged(results: dict[str, ts.Result], tmp_path: Path) -> None:
    board = Board()
    good = results[NAMES[0]]
    wrong: list[tuple[Any, str]] = [
        ([good, 3], "results= is a result, several"),
        ({"": good}, "results= is a result, several"),
        ({1: good}, "results= is a result, several"),
        (7, "results= is a result, several"),
        ([], "there is no result to log"),
        (tmp_path, "holds no finished result .*results/ is empty"),
        (tmp_path / "none", "is no folder; name a run directory"),
    ]
    for given, message in wrong:
        with pytest.raises(ResultError, match=message):
            ts.log_findings(given, board)
    unfinished = ts.Result(good.data.copy(deep=True))
    unfinished.data["status"].values[1] = 0
    with pytest.raises(ResultError, match='"interpolate-alphas=5" is not finished'):
        ts.log_findings([results[NAMES[2]], unfinished], board)
    assert board.scalars == {}


def test_unfinished_and_damaged_results_of_a_run_are_named_and_left_out(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    (run / "results" / "broken").mkdir()
    half = ts.load_result(run / "results" / NAMES[0])
    half.data["status"].values[1] = 0
    half.save(run / "results" / "half")
    with pytest.warns(UserWarning, match=r"not logged: broken \(.*holds no zarr\.json.*\), half \(not finished\)"):
        assert ts.log_findings(run, Board()) == NAMES


def test_what_cannot_be_shown_of_a_run_costs_itself_alone(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    way = ts.load_result(run / "results" / NAMES[2])
    ts.Result(way.data.drop_vars("off_line")).save(run / "results" / "strange")
    with pytest.warns(UserWarning, match=r"not logged, for it cannot be shown: strange \(KeyError"):
        assert ts.log_findings(run, Board()) == NAMES


def test_what_cannot_be_drawn_leaves_nothing_half_logged(results: dict[str, ts.Result]) -> None:
    board = Board()
    broken = ts.Result(results[NAMES[2]].data.drop_vars("off_line"))
    with pytest.raises(ResultError, match=r"cannot be shown, so nothing is logged: trajectory_geometry \(KeyError"):
        ts.log_findings([results[NAMES[0]], broken], board)
    assert board.scalars == {}
    assert logged(results[NAMES[0]]).step == LAST


# --- the command ------------------------------------------------------------------------------------------


def test_the_command_logs_a_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard")
    assert main(["log", str(run), "--to", f"tensorboard={tmp_path / 'board'}"]) == 0
    assert capsys.readouterr().out.split() == [f"thetascope/{name}" for name in NAMES]
    assert list((tmp_path / "board").iterdir())


@pytest.mark.parametrize(
    ("to", "message"),
    [("neptune", 'there is no tracker "neptune"; there are: mlflow, tensorboard, wandb'), ("tensorboard", "TensorBoard needs a folder")],
)
def test_the_command_refuses_what_it_does_not_know(run: Path, to: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", str(run), "--to", to]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_what_is_not_installed_is_one_line_that_names_the_extra(name: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    real = import_module

    def absent(module: str) -> ModuleType:
        if module in ("tensorboard", "wandb", "mlflow"):
            raise ModuleNotFoundError(module)
        return real(module)

    monkeypatch.setattr("thetascope.integrations.tracker.import_module", absent)
    assert main(["log", str(run), "--to", f"{name}=somewhere"]) == 2
    assert capsys.readouterr().err.strip() == f"thetascope: {name} is not installed: pip install thetascope[{name}]"


def test_each_file_is_a_tracker() -> None:
    found = trackers()
    assert sorted(found) == ["mlflow", "tensorboard", "wandb"]
    for module in found.values():
        assert module.KNOWN_BY
        assert module.tracker_of(object(), "p") is None
