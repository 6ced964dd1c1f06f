"""A project as a user has it: three checkpoints, and a file that says what to score and how it was trained."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

import thetascope as ts
from thetascope.testing.models import case

SPEC = """
import torch
import thetascope as ts
from thetascope.testing.models import case

def objective():
    chosen = case("linear")
    return ts.Objective(chosen.model(), chosen.data())

def training():
    chosen = case("linear")
    return ts.Training(chosen.build, chosen.data(20), chosen.data(20), lambda p: torch.optim.SGD(p, lr=0.1), epochs=2, batch_size=5)

def number():
    return 3
"""
FILES = [f"e{i}.safetensors" for i in range(3)]
SPECIFIED = ["--objective", "mine.py:objective"]
TRAINED = ["--training", "mine.py:training"]


def write_project(folder: Path) -> None:
    """Checkpoints in two formats, and mine.py."""
    for i, state in enumerate(case("linear").states(3)):
        save_file(state, folder / f"e{i}.safetensors")
        torch.save({"model": state, "epoch": i}, folder / f"c{i}.pt")
    (folder / "mine.py").write_text(SPEC)


def record_run(folder: Path) -> None:
    """The same states, recorded."""
    model = case("linear").model()
    states = case("linear").states(3)
    model.load_state_dict(states[0])
    with ts.Recorder(folder, model) as recorder:
        for step, state in enumerate(states[1:], 1):
            model.load_state_dict(state)
            recorder.record(step=step, epoch=step)
