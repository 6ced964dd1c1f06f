"""A call is stored in one place and scored once, in whatever way it is made: by its function, its command, `examine`, the demo."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import thetascope as ts
from tests.cli.project import record_run
from thetascope.cli import main
from thetascope.demo.images import Images
from thetascope.demo.training import Hyperparameters
from thetascope.errors import UsageError
from thetascope.experiments.framework.call_options import subjects_of
from thetascope.experiments.framework.catalog import entries
from thetascope.experiments.framework.declaration import Call
from thetascope.experiments.framework.examine import Subject
from thetascope.scoring.metrics import LOSSES, nll
from thetascope.scoring.scores import Column
from thetascope.specification import provided

COUNTING = """
import torch
import torch.nn.functional as F
import thetascope as ts
from pathlib import Path
from thetascope.testing.models import case

def loss(outputs, targets):
    with Path("passes").open("ab") as file:
        file.write(b".")
    return F.cross_entropy(outputs, targets, reduction="none")

def objective():
    chosen = case("linear")
    return ts.Objective(chosen.model(), chosen.data(), loss)

def training():
    chosen = case("linear")
    sgd = lambda parameters: torch.optim.SGD(parameters, lr=0.1)
    return ts.Training(chosen.build, chosen.data(20), chosen.data(20), sgd, epochs=2, batch_size=5, loss=loss)
"""
SMALL = {"alphas": 5, "parameters": 1, "draws": 2, "repeats": 2, "grid": 5}
SPEC = "counting.py:objective"
ONCE_MORE = {"parameter_atlas": 12}
"""Where nothing is left to score, seven passes of the guards and two more at most show that what is stored comes out again; for an atlas,
whose final state is scored before it is known that it is stored, and whose tables are tried, so many.
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recorded run in the working folder, beside a file whose loss counts the passes over the data."""
    monkeypatch.chdir(tmp_path)
    Path("counting.py").write_text(COUNTING)
    record_run(Path("run"))
    return Path("run")


def passes() -> int:
    """How many there were since it was asked last."""
    file = Path("passes")
    found = file.stat().st_size if file.exists() else 0
    file.write_bytes(b"")
    return found


def subject_of(run: Path) -> Subject:
    objective, training = provided(SPEC, ts.Objective, ""), provided("counting.py:training", ts.Training, "")
    return Subject(objective, ts.Trajectory(run), run, training, SMALL, progress=False)


def made(subject: Subject, call: Call) -> None:
    """Make the call by its function."""
    states: dict[str, Any] = {"objective": subject.objective, "trajectory": subject.trajectory, "state": subject.trajectory[-1]}
    about = {**states, "trajectory_or_state": subject.trajectory}
    subjects = (about[name] for name in subjects_of(call.experiment.function))
    call.experiment.function(*subjects, **call.options, out="run", progress=False)


def by_function(run: Path, key: str) -> None:
    subject = subject_of(run)
    made(subject, subject.call(entries()[key]))


def by_command(run: Path, key: str) -> None:
    command = (
        subject_of(run).call(entries()[key]).command_line(str(run), SPEC).replace("--training SPEC", "--training counting.py:training")
    )
    assert main(shlex.split(command)[1:]) == 0


def by_examine(run: Path, key: str) -> None:
    options = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
    assert main(["examine", str(run), key, "--objective", SPEC, "--training", "counting.py:training", *options]) == 0


WAYS: dict[str, Callable[[Path, str], None]] = {"function": by_function, "command": by_command, "examine": by_examine}


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take seconds each, and are tested elsewhere."""
    for place in ("pictures.save_figure", "examine.refresh_figure"):
        monkeypatch.setattr(f"thetascope.experiments.framework.{place}", lambda data, path: path)
    monkeypatch.setattr("thetascope.write_report", lambda run: run / "report.html", raising=False)


def places_in(run: Path) -> set[str]:
    return {path.name for path in (run / "results").iterdir()}


@pytest.mark.parametrize("key", entries())
@pytest.mark.parametrize("first", ["function", pytest.param("command", marks=pytest.mark.slow), "examine"])
def test_every_way_leads_to_one_result_that_is_scored_once(run: Path, key: str, first: str) -> None:
    trains, scores = entries()[key].experiment.trains, entries()[key].experiment.scores
    ways = [way for way in [first, *(set(WAYS) - {first})] if not (trains and way == "function")]  # a training is of no run
    WAYS[ways[0]](run, key)
    scored = passes()
    place = run / "results" / subject_of(run).call(entries()[key]).key
    before = ts.load_result(place)
    assert before.data.attrs["key"] == place.name
    for way in ways[1:]:
        WAYS[way](run, key)
        again = passes()
        assert again <= ONCE_MORE.get(key, 9) < scored if scores else again == scored == 0, f"{way}: {again} passes after {scored}"
    assert places_in(run) == {place.name}
    assert ts.load_result(place).data.identical(before.data)


def test_what_is_of_no_run_has_no_place_of_its_own(run: Path) -> None:
    objective, trajectory = provided(SPEC, ts.Objective, ""), ts.Trajectory.from_states([dict(state) for state in ts.Trajectory(run)])
    with pytest.raises(UsageError, match='out="run" stores the result in the run directory of the states, and these are of none'):
        ts.interpolate(objective, trajectory, alphas=3, out="run", progress=False)
    assert passes() == 0


DEMONSTRATED = """
import thetascope as ts
from tests.cli.test_one_place import few_images
from thetascope.demo.network import LeNet

def objective():
    return ts.Objective(LeNet(), (few_images().test_images, few_images().test_labels), loss="nll")
"""


def few_images() -> Images:
    """Noise in the shape of the demo's images."""
    made = torch.Generator().manual_seed(0)
    images, labels = torch.randn(60, 1, 32, 32, generator=made), torch.randint(0, 10, (60,), generator=made)
    return Images("noise", images[:40], labels[:40], images[40:], labels[40:])


@pytest.mark.slow
def test_what_the_demo_found_is_not_scored_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demonstrated.py").write_text(DEMONSTRATED)
    recipe = Hyperparameters(epochs=6, learning_rate=0.01, momentum=0.5, batch_size=20, decay=0.9)
    monkeypatch.setattr("thetascope.demo.run.load", lambda data, folder: (few_images(), recipe))
    counted = {"passes": 0}

    def counting(outputs: Tensor, targets: Tensor) -> Column:
        counted["passes"] += 1
        return nll(outputs, targets)

    monkeypatch.setitem(LOSSES, "nll", counting)
    assert main(["demo", "--quick", "--no-studies", "--out", "demo"]) == 0
    spec = "demonstrated.py:objective"
    run, places, scored = Path("demo"), places_in(Path("demo")), counted["passes"]
    subject = Subject(provided(spec, ts.Objective, ""), ts.Trajectory(run), run, demo="digits quick", progress=False)
    calls = {key: subject.call(entry) for key, entry in entries().items()}
    found = {key: call for key, call in calls.items() if call.key in places}
    assert len(found) == len(places) > 8
    as_in_the_demo = ["--objective", spec, "--alphas", "11", "--parameters", "1", "--draws", "2", "--grid", "9"]
    for key, call in found.items():
        for way in WAYS:
            counted["passes"] = 0
            if way == "function":
                made(subject, call)
            else:
                command = (
                    shlex.split(call.command_line("demo", spec))[1:] if way == "command" else ["examine", "demo", key, *as_in_the_demo]
                )
                assert main(command) == 0
            assert counted["passes"] <= 2 < scored, f"{key} by {way}"
    assert places_in(run) == places
