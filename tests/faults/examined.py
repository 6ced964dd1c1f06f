"""A run that is examined and reported in children that are killed; what a child needs is imported here, once."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot  # noqa: F401 - with what follows, loaded before children are forked
import plotly.graph_objects  # noqa: F401
import torch
import torch.nn.functional as F
from torch import Tensor

import thetascope as ts
import thetascope.report.page
import thetascope.results.store
from tests.faults.steps import MAKING, REMOVING, die, watched
from thetascope.experiments.framework.catalog import chosen_entries
from thetascope.experiments.framework.examine import Finding, Subject, examine
from thetascope.testing.models import case

ENTRIES = ("interpolate", "layer_roles")
LONG_AGO = "a report of before"


def record(folder: Path) -> None:
    """A training of a few hundred parameters."""
    model, states = case("linear").model(), case("linear").states(3)
    model.load_state_dict(states[0])
    with ts.Recorder(folder, model) as recorder:
        for step, state in enumerate(states[1:], 1):
            model.load_state_dict(state)
            recorder.record(step=step, metrics={"value": step})


def examined(folder: Path) -> list[Finding]:
    """Examine the run in `folder`, two points a unit; each pass over the data adds a byte to the file `passes` beside it."""
    import pytest

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        with (folder.parent / "passes").open("ab") as file:
            file.write(b".")
        return F.cross_entropy(outputs, targets, reduction="none")

    torch.set_num_threads(1)
    objective = ts.Objective(case("linear").model(), case("linear").data(), loss=loss)
    subject = Subject(objective, ts.Trajectory(folder), folder, options={"alphas": 5, "draws": 2}, engine="eager", progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("thetascope.experiments.framework.points.unit_size", lambda *_, **__: 2)
        return examine(subject, chosen_entries(list(ENTRIES), with_training=False))


ACTIONS: dict[str, Any] = {"examine": examined, "report": ts.write_report}


def act(said: Any, action: str, folder: Path, at: int) -> None:
    """Say that it begins, act, dying before step number `at` on files (0: never), and say how many steps and seconds that took."""
    said.send("begins")
    start = time.perf_counter()
    with watched(folder, MAKING | REMOVING, at, die) as watch:
        ACTIONS[action](folder)
    said.send((watch.taken, time.perf_counter() - start))
    said.close()
    os._exit(0)
